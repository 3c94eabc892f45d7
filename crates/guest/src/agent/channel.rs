//! The channel to the shim: taken from the standard streams at the start, so that no child ever inherits it.

use super::{Agent, die};
use dauer_wire::frame::Frame;
use dauer_wire::guest::ToGuest;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Far from 0–2, which children get anew.
const FIRST_FD: RawFd = 100;

/// The three ends that came as 0, 1 and 2.
pub(super) struct Channel {
    pub(super) from_shim: File,
    pub(super) to_shim: File,
    pub(super) job_stdout: OwnedFd,
}

/// Moves the channel away and puts `/dev/null` in its place; marks whatever else came along as not for children.
pub(super) fn take_over() -> io::Result<Channel> {
    hide_from_children();
    let [from_shim, to_shim, job_stdout] = [move_up(0)?, move_up(1)?, move_up(2)?];
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    for fd in 0..3 {
        // SAFETY: both numbers are open; what fd stood for was moved up above.
        if unsafe { libc::dup2(null.as_raw_fd(), fd) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(Channel {
        from_shim: from_shim.into(),
        to_shim: to_shim.into(),
        job_stdout,
    })
}

/// Whatever came along beside the streams is closed in each child.
fn hide_from_children() {
    // SAFETY: numbers only; Linux 5.11 and later.
    if unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    } == 0
    {
        return;
    }
    for entry in fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
    {
        let Some(fd) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<RawFd>().ok())
        else {
            continue;
        };
        if fd > 2 {
            // SAFETY: borrowed for this call only; an fd closed meanwhile (the listing's own) gives EBADF, which is fine.
            let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
            let _ = fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
        }
    }
}

fn move_up(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: 0–2 are open: the runtime opens what is missing before main.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let moved = fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(FIRST_FD))?;
    // SAFETY: fresh from fcntl, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

/// Handles frames until the shim is gone; then the sandbox goes, too.
pub(super) fn serve(agent: &'static Agent, mut from_shim: File) -> ! {
    while let Some(message) = next(&mut from_shim) {
        match message {
            ToGuest::Quiesce => hold_still(agent, &mut from_shim),
            // The original was never quiesced, or is told twice: both mean the same.
            ToGuest::Resume(resume) => agent.resume(&resume),
            other => agent.handle(other),
        }
    }
    die(1)
}

/// From Quiesce to Resume. What comes between is put off: handling it could need to send, which would wait for
/// a Resume that this very thread has to read.
fn hold_still(agent: &'static Agent, from_shim: &mut File) {
    agent.quiesce();
    let mut put_off = Vec::new();
    loop {
        match next(from_shim) {
            None => die(1),
            Some(ToGuest::Quiesce) => agent.quiesce(),
            Some(ToGuest::Resume(resume)) => {
                agent.resume(&resume);
                break;
            }
            Some(other) => put_off.push(other),
        }
    }
    for message in put_off {
        agent.handle(message);
    }
}

/// The next message; none where the shim is gone or what it sends is no protocol of ours, which is no better.
fn next(from_shim: &mut File) -> Option<ToGuest> {
    let frame = Frame::read_from(from_shim).ok()??;
    ToGuest::from_frame(frame).ok()
}
