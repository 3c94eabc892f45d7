//! The main thread once everything runs: takes the status of every orphan of the sandbox at once.
//!
//! Runtimes wait for their helpers to vanish, and a zombie does not: who reaps late makes them slow. Tools that a driver started are left to the
//! driver: they are children of the thread that started them, orphans come to the first thread, and `__WNOTHREAD` tells the two apart.

use super::Occurrence;
use crate::{Error, files};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

/// Woken by `SIGCHLD`, by the end of the sandbox and by `Shared::wake`.
pub(super) struct Reaper {
    children: SignalFd,
    shared: Arc<Shared>,
}

/// What other threads tell the reaper.
pub(super) struct Shared {
    waker: EventFd,
    orders: Mutex<Orders>,
}

#[derive(Default)]
struct Orders {
    sandbox: Option<(i32, OwnedFd)>,
    code: Option<i32>,
}

impl Shared {
    /// Watch this process: its end is the sandbox's. False where it has ended (and was reaped as an orphan) already.
    pub(super) fn watch(&self, pid: i32) -> Result<bool, Error> {
        match files::pidfd(pid) {
            Ok(pidfd) => {
                self.order(|orders| orders.sandbox = Some((pid, pidfd)));
                Ok(true)
            }
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(false),
            Err(e) => Err(Error::io(format!("watch the sandbox's process {pid}"))(e)),
        }
    }

    /// End the shim with this code.
    pub(super) fn end(&self, code: i32) {
        self.order(|orders| orders.code = Some(code));
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner));
        // Fails only at a counter of 2^64.
        let _ = self.waker.write(1);
    }
}

impl Reaper {
    /// Call it before the first thread is started: they inherit that `SIGCHLD` is blocked.
    pub(super) fn new() -> Result<Self, Error> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGCHLD);
        signals.thread_block().map_err(Error::os("block SIGCHLD"))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let children =
            SignalFd::with_flags(&signals, flags).map_err(Error::os("make a signal descriptor"))?;
        let waker = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let waker = waker.map_err(Error::os("make an event descriptor"))?;
        Ok(Self {
            children,
            shared: Arc::new(Shared {
                waker,
                orders: Mutex::default(),
            }),
        })
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Reaps until told to end; returns the exit code.
    pub(super) fn run(&self, occurrences: &Sender<Occurrence>) -> i32 {
        let mut sandbox: Option<(i32, OwnedFd)> = None;
        loop {
            let mut fds = vec![
                PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.shared.waker.as_fd(), PollFlags::POLLIN),
            ];
            fds.extend(
                sandbox
                    .iter()
                    .map(|(_, pidfd)| PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)),
            );
            // Nothing but an interruption can go wrong with valid descriptors, and then everything is looked at once more.
            let _ = poll(&mut fds, PollTimeout::NONE);
            let sandbox_ended = fds.get(2).is_some_and(|fd| fd.any().unwrap_or(false));
            drop(fds);
            let _ = self.shared.waker.read();
            while matches!(self.children.read_signal(), Ok(Some(_))) {}
            if sandbox_ended && let Some((pid, _)) = sandbox.take() {
                reap_one(pid);
                // The owner thread is gone only when the shim ends anyway.
                let _ = occurrences.send(Occurrence::SandboxEnded);
            }
            reap_orphans();
            let mut orders = self
                .shared
                .orders
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(watched) = orders.sandbox.take() {
                sandbox = Some(watched);
            }
            if let Some(code) = orders.code {
                return code;
            }
        }
    }
}

fn reap_one(pid: i32) {
    let mut status = 0;
    // SAFETY: an integer to fill. Not our child any more is fine: it was reaped as an orphan.
    unsafe { libc::waitpid(pid, &mut status, 0) };
}

fn reap_orphans() {
    loop {
        // SAFETY: an all-zero siginfo is valid, and waitid fills it.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::__WNOTHREAD;
        // SAFETY: as above.
        let result = unsafe { libc::waitid(libc::P_ALL, 0, &mut info, flags) };
        // SAFETY: set by waitid, or zero.
        if result != 0 || unsafe { info.si_pid() } == 0 {
            return;
        }
    }
}
