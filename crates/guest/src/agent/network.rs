//! The sandbox's loopback, over which the job reaches the runtime API.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Brings `lo` up where it is down and we may.
///
/// Failing is not reported: where we may not (no CAP_NET_ADMIN) the runtime did it already, and if it did not, binding the
/// relay fails next, with a reason that is passed on.
pub(super) fn raise_loopback() {
    // SAFETY: plain system calls; the request is all zero but for the name and lives through both.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return;
        }
        let socket = OwnedFd::from_raw_fd(socket);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        if libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCGIFFLAGS as _,
            &raw mut request,
        ) < 0
        {
            return;
        }
        let up = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        if request.ifr_ifru.ifru_flags & up == up {
            return;
        }
        request.ifr_ifru.ifru_flags |= up;
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw mut request,
        );
    }
}
