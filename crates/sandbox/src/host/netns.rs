//! Network namespaces, made by system calls. They have no name on disk, so they vanish with the last process in them.

use crate::Error;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
use std::os::fd::OwnedFd;

/// A new network namespace whose loopback is up. The calling thread stays where it is.
pub fn create() -> Result<OwnedFd, Error> {
    // unshare changes only the calling thread, and the thread ends with it: the way back is not needed.
    let made = std::thread::spawn(|| -> Result<OwnedFd, Error> {
        unshare(CloneFlags::CLONE_NEWNET).map_err(Error::os("make a network namespace"))?;
        loopback_up().map_err(Error::os("bring up loopback"))?;
        let path = "/proc/thread-self/ns/net";
        Ok(File::open(path)
            .map_err(Error::io(format!("open {path}")))?
            .into())
    });
    made.join().expect("the thread returns its errors")
}

/// Brings up `lo` in the namespace of this thread. Only system calls.
pub fn loopback_up() -> Result<(), Errno> {
    // SAFETY: plain system calls; the zeroed request is filled before it is used.
    unsafe {
        let socket = Errno::result(libc::socket(
            libc::AF_INET,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            0,
        ))?;
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let result = Errno::result(libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request));
        libc::close(socket);
        result.map(drop)
    }
}
