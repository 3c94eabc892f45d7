//! User namespaces: what an ordinary user needs to mount and to make other namespaces.

use crate::Error;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

/// Ids 0 to 2^32-2: every owner stays what it is.
pub const IDENTITY_MAP: &str = "0 0 4294967295";

/// Whether this process is the machine's root, or of a container that may do what root may.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root() && !is_nested()
}

/// Whether this process is in a user namespace that maps only some ids: an ordinary user who entered one with [`enter`].
fn is_nested() -> bool {
    // Without /proc nothing here works; being taken for root then yields the clearer errors.
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| {
        map.split_whitespace()
            .nth(2)
            .is_some_and(|count| count == "1")
    })
}

/// Puts this process (it must have one thread) into a mount namespace of its own, and where it is not root into a user
/// namespace in which it is.
pub fn enter() -> Result<(), Error> {
    if is_root() || is_nested() {
        return unshare(CloneFlags::CLONE_NEWNS).map_err(Error::os("make a mount namespace"));
    }
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).map_err(|errno| {
        Error::Unsupported(format!(
            "this user may not make user namespaces ({errno}): allow it (sysctl kernel.unprivileged_userns_clone=1, \
             user.max_user_namespaces) or run dauer as root"
        ))
    })?;
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        let path = format!("/proc/self/{file}");
        std::fs::write(&path, text).map_err(Error::io(format!("write {path}")))?;
    }
    Ok(())
}
