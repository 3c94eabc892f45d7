//! Copies a folder with everything in it: owners, modes, times and links stay what they are.

use crate::Error;
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Copies what is in `from` into the existing folder `to`. Sockets are left out: nobody listens on a copy.
pub fn tree(from: &Path, to: &Path) -> Result<(), Error> {
    let entries = fs::read_dir(from).map_err(Error::io(format!("read {}", from.display())))?;
    for entry in entries {
        let entry = entry.map_err(Error::io(format!("read {}", from.display())))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        one(&source, &target).map_err(Error::io(format!("copy {}", source.display())))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            tree(&source, &target)?;
            keep_attributes(&source, &target)
                .map_err(Error::io(format!("copy {}", source.display())))?;
        }
    }
    Ok(())
}

/// Copies these of what is in `from`, by their paths within it and parents first, into the existing folder `to`. Nothing below them
/// comes along.
pub fn chosen(from: &Path, to: &Path, paths: &[PathBuf]) -> Result<(), Error> {
    let failed = |path: &Path| Error::io(format!("copy {}", from.join(path).display()));
    for path in paths {
        one(&from.join(path), &to.join(path)).map_err(failed(path))?;
    }
    // Folders last: filling them changes their times, and what may not be written to could not be filled.
    for path in paths.iter().rev() {
        let (source, target) = (from.join(path), to.join(path));
        if target.is_dir() && !target.is_symlink() {
            keep_attributes(&source, &target).map_err(failed(path))?;
        }
    }
    Ok(())
}

fn one(source: &Path, target: &Path) -> std::io::Result<()> {
    let meta = fs::symlink_metadata(source)?;
    let kind = meta.file_type();
    // What is there already is never followed: it may be a link that the image put there to lead out of it.
    match fs::symlink_metadata(target) {
        Ok(there) if there.is_dir() && kind.is_dir() => return Ok(()),
        Ok(there) if there.is_dir() => return Err(std::io::ErrorKind::IsADirectory.into()),
        Ok(_) => fs::remove_file(target)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    if kind.is_dir() {
        return fs::create_dir(target);
    }
    if kind.is_socket() {
        return Ok(());
    }
    if kind.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(source)?, target)?;
    } else if kind.is_file() {
        fs::copy(source, target)?;
    } else {
        let mode = nix::sys::stat::Mode::from_bits_truncate(meta.mode());
        let node = nix::sys::stat::SFlag::from_bits_truncate(meta.mode() & libc::S_IFMT);
        nix::sys::stat::mknod(target, node, mode, meta.rdev())?;
    }
    keep_attributes(source, target)
}

fn keep_attributes(source: &Path, target: &Path) -> std::io::Result<()> {
    let meta = fs::symlink_metadata(source)?;
    match std::os::unix::fs::lchown(target, Some(meta.uid()), Some(meta.gid())) {
        // An ordinary user owns what it copies; there is nothing else it could do.
        Err(e)
            if e.raw_os_error() == Some(Errno::EPERM as i32)
                || e.raw_os_error() == Some(Errno::EINVAL as i32) => {}
        done => done?,
    }
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
