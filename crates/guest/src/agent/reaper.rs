//! Collects every dead child, orphans of others included.

use super::sessions::Sessions;

/// Never returns.
pub(super) fn run(sessions: &'static Sessions) {
    loop {
        let forks = sessions.forks();
        match next_dead() {
            Some(pid) => sessions.reap(pid),
            None => sessions.wait_for_fork_after(forks),
        }
    }
}

/// Waits for a dead child and leaves it to be collected, so that its pid cannot be reused before the table of sessions
/// knows. None where there is no child.
fn next_dead() -> Option<i32> {
    loop {
        // SAFETY: an all-zero siginfo_t is valid, and is filled by the call.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is valid for the call.
        let result =
            unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, libc::WEXITED | libc::WNOWAIT) };
        if result == 0 {
            // SAFETY: filled by a successful waitid.
            return Some(unsafe { info.si_pid() });
        }
        if std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return None;
        }
    }
}
