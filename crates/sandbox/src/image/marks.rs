//! What a layer takes away from those below it: the names it is written down with in a tar, and the marks of overlayfs that say the same.

use super::refusal::Why;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat, mknodat};
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// A file that hides one below begins with this.
const WHITEOUT: &[u8] = b".wh.";

/// An entry with this name hides all that lower layers have in its folder.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Whether an entry of this name is a mark, not a file.
pub(super) fn is_mark(name: &OsStr) -> bool {
    name.as_bytes().starts_with(WHITEOUT)
}

/// Whether it is the one that hides a whole folder.
pub(super) fn is_opaque_mark(name: &OsStr) -> bool {
    name.as_bytes() == OPAQUE
}

/// Hides what the mark of this name is about.
pub(super) fn hide(folder: &OwnedFd, name: &OsStr, is_root: bool) -> Result<(), Why> {
    let hidden = OsStr::from_bytes(&name.as_bytes()[WHITEOUT.len()..]);
    // Notes of an older kind of union file system.
    if hidden.as_bytes().starts_with(WHITEOUT) {
        return Ok(());
    }
    if hidden.is_empty() || hidden == "." || hidden == ".." {
        return Err(Why::Refused("hides nothing that could be there".into()));
    }
    match mknodat(folder, hidden, SFlag::S_IFCHR, Mode::empty(), 0) {
        // What this layer has there itself stays, and hides what is below, whole.
        Err(Errno::EEXIST) => {
            let there = fstatat(folder, hidden, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if there.st_mode & libc::S_IFMT == libc::S_IFDIR {
                set_opaque(folder, hidden, is_root)?;
            }
            Ok(())
        }
        made => Ok(made?),
    }
}

/// Hides all that lower layers have in this folder.
pub(super) fn set_opaque(folder: &OwnedFd, name: &OsStr, is_root: bool) -> Result<(), Why> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = openat(folder, name, flags, Mode::empty())?;
    let attribute = if is_root {
        c"trusted.overlay.opaque"
    } else {
        c"user.overlay.opaque"
    };
    set_attribute(&opened, attribute, b"y")?;
    Ok(())
}

/// Whether it is one of overlayfs.
pub(super) fn is_whiteout(stat: &libc::stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == 0
}

/// One extended attribute.
pub(super) fn set_attribute(
    file: &OwnedFd,
    name: &std::ffi::CStr,
    value: &[u8],
) -> Result<(), Errno> {
    // SAFETY: a valid descriptor, a terminated string, and a buffer of the given length.
    let result = unsafe {
        libc::fsetxattr(
            file.as_raw_fd(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Errno::result(result).map(drop)
}
