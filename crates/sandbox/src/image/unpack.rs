//! A tar becomes a folder. Nothing of it is trusted: every path is walked from the folder's own descriptor and follows no link, so that
//! nothing is read or written outside, whatever the entries are called and in whatever order they come.

use super::marks;
use super::refusal::{self, Why};
use super::tape::{Entry, Kind, Tape};
use crate::Error;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmodat, fstatat, futimens, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{
    Gid, LinkatFlags, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat,
};
use std::ffi::{CString, OsStr};
use std::io::BufRead;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What an image may unpack to: a few bytes of a packed tar can stand for a full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files, as long as they say they are.
    pub bytes_max: u64,
    /// Files, folders and everything else.
    pub entries_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes_max: 64 << 30,
            entries_max: 4_000_000,
        }
    }
}

/// What a tar stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A root file system.
    Root,
    /// What changes between a layer and those below it.
    Layer,
}

/// What was unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unpacked {
    /// Bytes of all files.
    pub(super) bytes: u64,
    /// Files, folders and everything else.
    pub(super) entries: u64,
}

/// Unpacks into an empty folder that nobody else writes to. Reads `tar` to its very end. Does not sync. Errors: `Invalid` naming the
/// entry; `NoSpace`; `Io`.
pub(super) fn unpack(
    tar: impl BufRead,
    into: &Path,
    content: Content,
    limits: Limits,
) -> Result<Unpacked, Error> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = nix::fcntl::open(into, flags, Mode::empty())
        .map_err(Error::os(format!("open {}", into.display())))?;
    let mut unpacker = Unpacker {
        place: into.to_owned(),
        root,
        content,
        limits,
        done: Unpacked::default(),
        folders: Vec::new(),
        last: None,
        is_root: crate::host::userns::is_root(),
    };
    let mut tape = Tape::new(tar);
    loop {
        let entry = match tape.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(error) => return Err(refusal::torn(&unpacker.place, &error)),
        };
        unpacker.count(&entry)?;
        let name = String::from_utf8_lossy(&entry.path).into_owned();
        let put = unpacker.put(&entry, &mut tape);
        put.map_err(|why| why.explain(&name, &unpacker.place))?;
    }
    if unpacker.done.entries == 0 && content == Content::Root {
        return Err(Error::Invalid("the image has nothing in it".into()));
    }
    unpacker.finish()?;
    Ok(unpacker.done)
}

/// A folder's last words: filling it changes its times, and a read-only one could not be filled by an ordinary user.
struct Folder {
    path: PathBuf,
    mode: u32,
    mtime: TimeSpec,
}

struct Unpacker {
    place: PathBuf,
    root: OwnedFd,
    content: Content,
    limits: Limits,
    done: Unpacked,
    folders: Vec<Folder>,
    /// The folder of the entry before: most entries are in the same.
    last: Option<(PathBuf, Rc<OwnedFd>)>,
    is_root: bool,
}

impl Unpacker {
    fn count(&mut self, entry: &Entry) -> Result<(), Error> {
        self.done.entries += 1;
        if entry.kind == Kind::File {
            self.done.bytes = self.done.bytes.saturating_add(entry.bytes);
        }
        let Limits {
            bytes_max,
            entries_max,
        } = self.limits;
        if self.done.bytes > bytes_max || self.done.entries > entries_max {
            return Err(Error::Invalid(format!(
                "the image unpacks to more than {bytes_max} bytes or {entries_max} files, which no image may"
            )));
        }
        Ok(())
    }

    fn put<R: BufRead>(&mut self, entry: &Entry, tape: &mut Tape<R>) -> Result<(), Why> {
        let path = plain(&entry.path)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return self.put_top(entry);
        };
        if entry.kind == Kind::Device {
            // Devices come from the sandbox's own /dev.
            return if path.starts_with("dev") {
                Ok(())
            } else {
                Err(Why::Refused("is a device".into()))
            };
        }
        let folder = self.folder(parent)?;
        if self.content == Content::Layer && marks::is_mark(name) {
            return self.hide(&folder, name, parent);
        }
        match entry.kind {
            Kind::Folder => self.put_folder(&folder, name, &path, entry),
            Kind::File => self.put_file(&folder, name, entry, tape),
            Kind::HardLink => self.put_hard_link(&folder, name, entry),
            Kind::SymbolicLink => {
                let target = OsStr::from_bytes(&entry.target);
                self.replacing(&folder, name, || symlinkat(target, &folder, name))?;
                self.dress(&folder, name, entry)
            }
            Kind::Fifo => {
                let mode = Mode::from_bits_truncate(entry.mode);
                self.replacing(&folder, name, || {
                    mknodat(&folder, name, SFlag::S_IFIFO, mode, 0)
                })?;
                self.dress(&folder, name, entry)
            }
            Kind::Device => Ok(()),
        }
    }

    /// `./`, the root of the image.
    fn put_top(&mut self, entry: &Entry) -> Result<(), Why> {
        if entry.kind != Kind::Folder {
            return Err(Why::Refused("stands for the root and is no folder".into()));
        }
        if self.is_root {
            let (uid, gid) = owner(entry);
            fchownat(&self.root, "", uid, gid, AtFlags::AT_EMPTY_PATH)?;
        }
        self.folders.push(Folder::of(PathBuf::from("."), entry));
        Ok(())
    }

    /// The folder of an entry, made where the tar did not say what it is.
    fn folder(&mut self, path: &Path) -> Result<Rc<OwnedFd>, Why> {
        if let Some((last, fd)) = &self.last
            && last == path
        {
            return Ok(Rc::clone(fd));
        }
        let fd = Rc::new(self.open_folder(path)?);
        self.last = Some((path.to_owned(), Rc::clone(&fd)));
        Ok(fd)
    }

    fn open_folder(&self, path: &Path) -> Result<OwnedFd, Why> {
        match self.find(path) {
            Err(Errno::ENOENT) => {}
            found => return Ok(found?),
        }
        let mut reached = self.find(Path::new(""))?;
        for part in path {
            // What everybody writes to is so from the beginning: a layer that only adds a file to it need not say it.
            let mode = if path.ends_with("tmp") && part == "tmp" {
                0o1777
            } else {
                0o755
            };
            match mkdirat(&reached, part, Mode::from_bits_truncate(mode)) {
                Ok(()) => fchmodat(
                    &reached,
                    part,
                    Mode::from_bits_truncate(mode),
                    FchmodatFlags::FollowSymlink,
                )?,
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            reached = openat(&reached, part, flags, Mode::empty())?;
        }
        Ok(reached)
    }

    fn find(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        openat2(&self.root, path, how)
    }

    fn put_folder(
        &mut self,
        folder: &OwnedFd,
        name: &OsStr,
        path: &Path,
        entry: &Entry,
    ) -> Result<(), Why> {
        let made = mkdirat(folder, name, Mode::S_IRWXU);
        match made {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                let there = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
                if there.st_mode & libc::S_IFMT != libc::S_IFDIR {
                    let was_hidden = marks::is_whiteout(&there);
                    unlinkat(folder, name, UnlinkatFlags::NoRemoveDir)?;
                    mkdirat(folder, name, Mode::S_IRWXU)?;
                    if was_hidden {
                        // It takes the place of the one below and shows nothing of it.
                        marks::set_opaque(folder, name, self.is_root)?;
                    }
                }
            }
            Err(errno) => return Err(errno.into()),
        }
        if self.is_root {
            let (uid, gid) = owner(entry);
            fchownat(folder, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        if !entry.attributes.is_empty() {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let opened = openat(folder, name, flags, Mode::empty())?;
            self.set_attributes(&opened, entry)?;
        }
        self.folders.push(Folder::of(path.to_owned(), entry));
        Ok(())
    }

    fn put_file<R: BufRead>(
        &mut self,
        folder: &OwnedFd,
        name: &OsStr,
        entry: &Entry,
        tape: &mut Tape<R>,
    ) -> Result<(), Why> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let open = || openat(folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR);
        let file = self.replacing(folder, name, open)?;
        loop {
            let there = tape.content().map_err(Why::Torn)?;
            if there.is_empty() {
                break;
            }
            let written = nix::unistd::write(&file, there)?;
            tape.used(written);
        }
        if self.is_root {
            let (uid, gid) = owner(entry);
            fchown(&file, uid, gid)?;
        }
        // After the owner, whose change takes set-user-id away.
        nix::sys::stat::fchmod(&file, Mode::from_bits_truncate(entry.mode))?;
        self.set_attributes(&file, entry)?;
        let mtime = TimeSpec::new(entry.mtime.0, entry.mtime.1);
        Ok(futimens(&file, &mtime, &mtime)?)
    }

    fn put_hard_link(&mut self, folder: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<(), Why> {
        let target = plain(&entry.target)?;
        let absent = || {
            Why::Refused(format!(
                "is a link to {}, which is not in the image before it",
                target.display()
            ))
        };
        let (Some(parent), Some(linked)) = (target.parent(), target.file_name()) else {
            return Err(Why::Refused("is a hard link to a folder".into()));
        };
        let parent = match self.find(parent) {
            Err(Errno::ENOENT) => return Err(absent()),
            found => found?,
        };
        let there = match fstatat(&parent, linked, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Err(absent()),
            found => found?,
        };
        if marks::is_whiteout(&there) {
            return Err(absent());
        }
        if there.st_mode & libc::S_IFMT == libc::S_IFDIR {
            return Err(Why::Refused("is a hard link to a folder".into()));
        }
        self.replacing(folder, name, || {
            linkat(&parent, linked, folder, name, LinkatFlags::empty())
        })
    }

    fn hide(&mut self, folder: &OwnedFd, name: &OsStr, parent: &Path) -> Result<(), Why> {
        if !marks::is_opaque_mark(name) {
            return marks::hide(folder, name, self.is_root);
        }
        match (parent.parent(), parent.file_name()) {
            (Some(above), Some(name)) => {
                let above = self.folder(above)?;
                marks::set_opaque(&above, name, self.is_root)
            }
            // Nothing is below the root that could be seen: the lowest layer is where that ends.
            (None | Some(_), _) => Err(Why::Refused("hides the whole image".into())),
        }
    }

    /// Makes something, in the place of what an earlier entry of this name put there.
    fn replacing<T>(
        &mut self,
        folder: &OwnedFd,
        name: &OsStr,
        mut make: impl FnMut() -> Result<T, Errno>,
    ) -> Result<T, Why> {
        match make() {
            Err(Errno::EEXIST) => {}
            made => return Ok(made?),
        }
        if unlinkat(folder, name, UnlinkatFlags::NoRemoveDir) == Err(Errno::EISDIR) {
            let path = crate::host::mounts::path_of(folder)
                .map_err(|error| Why::Refused(error.to_string()))?;
            std::fs::remove_dir_all(path.join(name)).map_err(Why::Torn)?;
            // Descriptors of folders that are gone, and what was to be said of them.
            self.last = None;
        }
        Ok(make()?)
    }

    /// Owner, mode and times of what is no file and no folder.
    fn dress(&self, folder: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<(), Why> {
        if self.is_root {
            let (uid, gid) = owner(entry);
            fchownat(folder, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        let mtime = TimeSpec::new(entry.mtime.0, entry.mtime.1);
        Ok(utimensat(
            folder,
            name,
            &mtime,
            &mtime,
            UtimensatFlags::NoFollowSymlink,
        )?)
    }

    /// Capabilities and the user's own. Those of overlayfs would let a layer say what others hide; those of the machine's security modules
    /// mean nothing elsewhere.
    fn set_attributes(&self, file: &OwnedFd, entry: &Entry) -> Result<(), Why> {
        for (name, value) in &entry.attributes {
            let of_user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
            if !(of_user || (self.is_root && name == b"security.capability")) {
                continue;
            }
            let Ok(name) = CString::new(name.as_slice()) else {
                return Err(Why::Refused(
                    "has an attribute whose name has a zero byte".into(),
                ));
            };
            match marks::set_attribute(file, &name, value) {
                // A file system without them.
                Err(Errno::EOPNOTSUPP) => {}
                set => set?,
            }
        }
        Ok(())
    }

    /// Modes and times of folders, the innermost first.
    fn finish(&mut self) -> Result<(), Error> {
        for folder in self.folders.iter().rev() {
            let done = || -> Result<(), Errno> {
                let opened = match self.find(&folder.path) {
                    // A later entry took its place.
                    Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(()),
                    found => found?,
                };
                let itself = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
                let mode = Mode::from_bits_truncate(folder.mode);
                fchmodat(
                    nix::fcntl::AT_FDCWD,
                    &itself,
                    mode,
                    FchmodatFlags::FollowSymlink,
                )?;
                let mtime = &folder.mtime;
                utimensat(
                    nix::fcntl::AT_FDCWD,
                    &itself,
                    mtime,
                    mtime,
                    UtimensatFlags::FollowSymlink,
                )
            };
            done().map_err(Error::os(format!(
                "finish {} in {}",
                folder.path.display(),
                self.place.display()
            )))?;
        }
        Ok(())
    }
}

impl Folder {
    fn of(path: PathBuf, entry: &Entry) -> Self {
        let mtime = TimeSpec::new(entry.mtime.0, entry.mtime.1);
        Self {
            path,
            mode: entry.mode,
            mtime,
        }
    }
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )
}

/// A path relative to the root, without anything that leads up. One that begins with `/` means the image's own root.
fn plain(path: &[u8]) -> Result<PathBuf, Why> {
    let mut plain = PathBuf::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Why::Refused("leads out of it".into())),
            part if part.contains(&0) => {
                return Err(Why::Refused("has a zero byte in its path".into()));
            }
            part => plain.push(OsStr::from_bytes(part)),
        }
    }
    Ok(plain)
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
