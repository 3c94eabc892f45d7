//! Files that must be whole or absent, locks that name their owner, and processes by descriptor.

use crate::Error;
use dauer_core::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Whether a file must survive a crash of the machine when the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    /// It must.
    Yes,
    /// Whole or absent is enough.
    No,
}

/// When a file was last written to; `None` where there is none.
pub(crate) fn modified(path: &Path) -> Result<Option<Timestamp>, Error> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(Timestamp(
            meta.mtime() * 1000 + meta.mtime_nsec() / 1_000_000,
        ))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(format!("look at {}", path.display()))(e)),
    }
}

/// Writes a file of JSON by rename: readers see the old one or the new one.
pub(crate) fn write_json<T: Serialize>(
    path: &Path,
    value: &T,
    durable: Durable,
) -> Result<(), Error> {
    let what = || format!("write {}", path.display());
    let bytes =
        serde_json::to_vec_pretty(value).map_err(|e| Error::io(what())(io::Error::other(e)))?;
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    let write = || -> io::Result<()> {
        let mut file = File::create(&aside)?;
        file.write_all(&bytes)?;
        if durable == Durable::Yes {
            file.sync_data()?;
        }
        fs::rename(&aside, path)?;
        if durable == Durable::Yes {
            sync_folder(path.parent().unwrap_or(Path::new("/")))?;
        }
        Ok(())
    };
    write().map_err(Error::io(what()))
}

/// Reads a file of JSON; `None` where there is none. Errors: `Invalid` for one that is no such JSON.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(format!("read {}", path.display()))(e)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| Error::Invalid(format!("{}: {e}", path.display())))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Removes a file; fine where there is none.
pub(crate) fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io(format!("remove {}", path.display()))(e)),
    }
}

/// Removes a folder with all that is in it; fine where there is none. Folders that their owner may not enter (a job made them, or
/// overlayfs its work folder) are opened up first.
pub(crate) fn remove_tree(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => open_up(path),
        Err(e) => return Err(Error::io(format!("remove {}", path.display()))(e)),
    }
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", path.display()))(e))
        }
        _ => Ok(()),
    }
}

fn open_up(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    // What cannot be opened up is reported by the removal that follows.
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    let Ok(entries) = fs::read_dir(path) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// The names in a folder, sorted; none where there is no folder.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(format!("list {}", path.display()))(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io(format!("list {}", path.display())))?;
        // All names here are made by Dauer and are text; another one is not ours.
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Takes the lock on a file that says which process owns an incarnation; it lasts until the process ends or closes any descriptor of
/// this file. `None` where another process has it.
pub(crate) fn lock(path: &Path) -> Result<Option<File>, Error> {
    let what = || format!("lock {}", path.display());
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(Error::io(what()))?;
    let lock = whole_file(libc::F_WRLCK);
    // SAFETY: a valid descriptor and a valid lock description.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &lock) } == 0 {
        return Ok(Some(file));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(None),
        _ => Err(Error::io(what())(error)),
    }
}

/// The process that holds [`lock`] on a file.
pub(crate) fn lock_owner(path: &Path) -> Result<Option<i32>, Error> {
    let file = match fs::OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(format!("open {}", path.display()))(e)),
    };
    let mut lock = whole_file(libc::F_WRLCK);
    // SAFETY: a valid descriptor and a valid lock description, which the kernel fills in.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &mut lock) } != 0 {
        return Err(Error::io(format!("ask who locks {}", path.display()))(
            io::Error::last_os_error(),
        ));
    }
    Ok((i32::from(lock.l_type) != libc::F_UNLCK).then_some(lock.l_pid))
}

fn whole_file(kind: i32) -> libc::flock {
    // SAFETY: a plain C structure, for which all zeros means the whole file from its start.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock
}

/// A process by descriptor: readable once it ended.
pub(crate) fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers; a descriptor that comes back is ours alone.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if fd < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(OwnedFd::from_raw_fd(fd as i32))
        }
    }
}

/// Kills a process by descriptor.
pub(crate) fn pidfd_kill(pidfd: &OwnedFd) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a valid descriptor; no signal information is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::SIGKILL,
            none,
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
