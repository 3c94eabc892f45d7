//! Whole folders: copied with everything that matters, or linked where the original is about to vanish.

use super::changes::is_opaque;
use super::xattr;
use crate::Error;
use crate::host::userns;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;
use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What becomes of a file that is no folder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Copy,
    Link,
}

/// What is where it is taken to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing, or what an earlier try left of the same.
    New,
    /// What overlayfs showed below: it gives way as it did there.
    Stacked,
}

/// Copies what is in `from` into `to` (made where missing): contents (shared where the file system can, holes kept), attributes, owners, modes, times,
/// devices, hard links among themselves. Nothing may write to `from` meanwhile. Errors: `NoSpace`, `Io`.
pub fn copy_tree(from: &Path, to: &Path) -> Result<(), Error> {
    take(from, to, How::Copy, Place::New)
}

/// The same with hard links for all but folders: for an original that nothing will ever write to again. Falls back to copying where
/// the two are on different file systems.
pub fn link_tree(from: &Path, to: &Path) -> Result<(), Error> {
    take(from, to, How::Link, Place::New)
}

/// Makes of an upper folder and the one it was stacked on what a single upper folder would hold: `below` linked, as nothing writes to it any
/// more, and what is in `upper` copied over it, or linked too where nothing writes to that either. Errors: `NoSpace`, `Io`.
pub fn stack_trees(below: &Path, upper: &Path, to: &Path, linked: bool) -> Result<(), Error> {
    let how = if linked { How::Link } else { How::Copy };
    take(below, to, How::Link, Place::New)?;
    take(upper, to, how, Place::Stacked)
}

/// Whether there is nothing in this folder.
pub(crate) fn is_empty(folder: &Path) -> Result<bool, Error> {
    let mut entries =
        fs::read_dir(folder).map_err(Error::io(format!("list {}", folder.display())))?;
    Ok(entries.next().is_none())
}

/// Bytes that the files below `path` really occupy; hard links count once.
pub fn tree_bytes(path: &Path) -> Result<u64, Error> {
    let mut seen = std::collections::HashSet::new();
    let mut bytes = 0;
    walk(path, |_, meta| {
        if meta.nlink() == 1 || meta.is_dir() || seen.insert((meta.dev(), meta.ino())) {
            bytes += meta.blocks() * 512;
        }
        Ok(())
    })?;
    Ok(bytes)
}

/// Visits everything below `path` (not `path` itself), parents first. No recursion: a job may nest folders deeply, and threads here have
/// small stacks.
pub(crate) fn walk(
    path: &Path,
    mut visit: impl FnMut(&Path, &Metadata) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).map_err(Error::io(format!("list {}", folder.display())))?;
        for entry in entries {
            let entry = entry.map_err(Error::io(format!("list {}", folder.display())))?;
            let path = entry.path();
            let meta = entry
                .metadata()
                .map_err(Error::io(format!("look at {}", path.display())))?;
            visit(&path, &meta)?;
            if meta.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(())
}

fn take(from: &Path, to: &Path, how: How, place: Place) -> Result<(), Error> {
    fs::create_dir_all(to).map_err(Error::io(format!("make {}", to.display())))?;
    let root =
        fs::symlink_metadata(from).map_err(Error::io(format!("look at {}", from.display())))?;
    // Folders get their times and modes last: filling them changes the times, and a read-only one could not be filled by an ordinary user.
    let mut folders: Vec<(PathBuf, PathBuf, Metadata)> =
        vec![(from.to_owned(), to.to_owned(), root)];
    let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
    walk(from, |source, meta| {
        let target = to.join(source.strip_prefix(from).unwrap_or(source));
        let hides = place == Place::Stacked && give_way(source, meta, &target)?;
        let taken = if meta.is_dir() {
            folders.push((source.to_owned(), target.clone(), meta.clone()));
            match fs::create_dir(&target) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
                _ => Ok(()),
            }
        } else {
            leaf(source, &target, meta, how, &mut links)
        };
        let taken = taken.and_then(|()| if hides { make_opaque(&target) } else { Ok(()) });
        taken.map_err(|e| failure(source, &target, meta, e))
    })?;
    for (source, target, meta) in folders.iter().rev() {
        keep(source, target, meta).map_err(|e| failure(source, target, meta, e))?;
    }
    Ok(())
}

/// Removes what an entry of an upper folder hides: anything but a folder under a folder that lets it show through. Returns whether a folder
/// comes in the place of something that hid what lies further below, and so has to hide it from now on.
fn give_way(source: &Path, meta: &Metadata, target: &Path) -> Result<bool, Error> {
    let there = match fs::symlink_metadata(target) {
        Ok(there) => there,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(Error::io(format!("look at {}", target.display()))(e)),
    };
    if !there.is_dir() {
        fs::remove_file(target).map_err(Error::io(format!("remove {}", target.display())))?;
        return Ok(meta.is_dir());
    }
    if !meta.is_dir() || is_opaque(source)? {
        crate::files::remove_tree(target)?;
    }
    Ok(false)
}

/// Overlayfs shows nothing of what is below this folder.
fn make_opaque(folder: &Path) -> io::Result<()> {
    let name = if userns::is_root() {
        c"trusted.overlay.opaque"
    } else {
        c"user.overlay.opaque"
    };
    xattr::set(folder, name, b"y")
}

fn failure(source: &Path, target: &Path, meta: &Metadata, error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => {
            no_space(target.parent().unwrap_or(target), meta.blocks() * 512)
        }
        _ => Error::io(format!("copy {} to {}", source.display(), target.display()))(error),
    }
}

/// The error for a full disk, with what is really free there.
pub(crate) fn no_space(path: &Path, needed_bytes: u64) -> Error {
    Error::NoSpace {
        path: path.to_owned(),
        needed_bytes,
        free_bytes: free_bytes(path).unwrap_or(0),
    }
}

/// Room on the file system of this path for an ordinary user's files.
pub(crate) fn free_bytes(path: &Path) -> Result<u64, Error> {
    let room = nix::sys::statvfs::statvfs(path)
        .map_err(Error::os(format!("measure the room on {}", path.display())))?;
    Ok(room.blocks_available() * room.fragment_size())
}

fn leaf(
    source: &Path,
    target: &Path,
    meta: &Metadata,
    how: How,
    links: &mut HashMap<(u64, u64), PathBuf>,
) -> io::Result<()> {
    if how == How::Link {
        match fs::hard_link(source, target) {
            Err(e)
                if matches!(
                    e.raw_os_error(),
                    Some(libc::EXDEV | libc::EMLINK | libc::EPERM)
                ) => {}
            linked => return linked,
        }
    }
    if meta.nlink() > 1 {
        if let Some(first) = links.get(&(meta.dev(), meta.ino())) {
            return fs::hard_link(first, target);
        }
        links.insert((meta.dev(), meta.ino()), target.to_owned());
    }
    let kind = meta.file_type();
    if kind.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(source)?, target)?;
    } else if kind.is_file() {
        contents(source, target, meta.len())?;
    } else {
        // Sockets too: the name is what a program may look for, though nobody listens.
        let mode = Mode::from_bits_truncate(meta.mode());
        let node = if kind.is_socket() {
            SFlag::S_IFSOCK
        } else {
            SFlag::from_bits_truncate(meta.mode() & libc::S_IFMT)
        };
        mknod(target, node, mode, meta.rdev())?;
    }
    keep(source, target, meta)
}

/// Owner, attributes, mode, times, in the order in which one does not undo another.
pub(crate) fn keep(source: &Path, target: &Path, meta: &Metadata) -> io::Result<()> {
    match std::os::unix::fs::lchown(target, Some(meta.uid()), Some(meta.gid())) {
        // An ordinary user's uppers hold only what that user owns.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
        done => done?,
    }
    xattr::copy(source, target)?;
    if !meta.is_symlink() {
        fs::set_permissions(target, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    }
    let accessed = TimeSpec::new(meta.atime(), meta.atime_nsec());
    let modified = TimeSpec::new(meta.mtime(), meta.mtime_nsec());
    utimensat(
        AT_FDCWD,
        target,
        &accessed,
        &modified,
        UtimensatFlags::NoFollowSymlink,
    )?;
    Ok(())
}

fn contents(source: &Path, target: &Path, length: u64) -> io::Result<()> {
    let from = File::open(source)?;
    let to = File::create(target)?;
    if length == 0 {
        return Ok(());
    }
    // SAFETY: two valid descriptors.
    if unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) } == 0 {
        return Ok(());
    }
    to.set_len(length)?;
    let mut at = 0;
    while let Some((start, end)) = next_data(&from, at, length)? {
        copy_range(&from, &to, start, end)?;
        at = end;
    }
    Ok(())
}

/// The next stretch of a file that is not a hole.
pub(crate) fn next_data(file: &File, at: u64, length: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= length {
        return Ok(None);
    }
    let seek = |offset: u64, whence| {
        // SAFETY: a valid descriptor.
        let found = unsafe { libc::lseek(file.as_raw_fd(), offset.cast_signed(), whence) };
        u64::try_from(found).map_err(|_| io::Error::last_os_error())
    };
    match seek(at, libc::SEEK_DATA) {
        Ok(start) => Ok(Some((start, seek(start, libc::SEEK_HOLE)?.min(length)))),
        Err(e) if e.raw_os_error() == Some(libc::ENXIO) => Ok(None),
        // A file system without holes: all of it is data.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Ok(Some((at, length))),
        Err(e) => Err(e),
    }
}

fn copy_range(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut read_at, mut write_at) = (start.cast_signed(), start.cast_signed());
    while read_at.cast_unsigned() < end {
        let left = usize::try_from(end - read_at.cast_unsigned())
            .unwrap_or(usize::MAX)
            .min(1 << 30);
        // SAFETY: valid descriptors and offsets.
        let copied = unsafe {
            libc::copy_file_range(
                from.as_raw_fd(),
                &mut read_at,
                to.as_raw_fd(),
                &mut write_at,
                left,
                0,
            )
        };
        match copied {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            1.. => {}
            _ => {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EXDEV | libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP) => {
                        return copy_through_memory(from, to, read_at.cast_unsigned(), end);
                    }
                    Some(libc::EINTR) => {}
                    _ => return Err(error),
                }
            }
        }
    }
    Ok(())
}

fn copy_through_memory(from: &File, to: &File, mut at: u64, end: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut buffer = vec![0; 128 << 10];
    while at < end {
        let wanted = usize::try_from(end - at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let length = from.read_at(&mut buffer[..wanted], at)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all_at(&buffer[..length], at)?;
        at += length as u64;
    }
    Ok(())
}
