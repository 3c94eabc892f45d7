//! The listening socket, and who has come in but not said yet what for.

use crate::Error;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks at the very end, when there is nothing left that could tell.
const LET_IN_PAUSE: Duration = Duration::from_millis(1);

/// `shim.sock`.
pub(super) struct Door {
    listener: UnixListener,
    unopened: Mutex<usize>,
}

/// A connection that was accepted; dropped once it is known what it is.
pub(super) struct Unopened<'a>(pub(super) &'a Door);

impl Drop for Unopened<'_> {
    fn drop(&mut self) {
        *self.0.unopened() -= 1;
    }
}

impl Door {
    pub(super) fn new(listener: UnixListener) -> Self {
        Self {
            listener,
            unopened: Mutex::new(0),
        }
    }

    fn unopened(&self) -> MutexGuard<'_, usize> {
        // A counter is always whole.
        self.unopened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a connection waits to be accepted; looks for so long.
    fn somebody_waits(&self, how_long: PollTimeout) -> bool {
        let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, how_long).is_ok_and(|ready| ready > 0)
    }

    /// The next connection, counted as unopened: an [`Unopened`] must be made of it.
    pub(super) fn accept(&self) -> Result<UnixStream, Error> {
        while !self.somebody_waits(PollTimeout::NONE) {}
        // Counted before anybody can see that it no longer waits.
        let mut unopened = self.unopened();
        let (stream, _) = self
            .listener
            .accept()
            .map_err(Error::io("accept a connection"))?;
        *unopened += 1;
        Ok(stream)
    }

    /// At the end: whoever has connected hears how it ended. A daemon that launched a sandbox that failed at once may only just have arrived.
    pub(super) fn let_everybody_in(&self, at_most: Duration) {
        let deadline = Instant::now() + at_most;
        while Instant::now() < deadline {
            {
                let unopened = self.unopened();
                if *unopened == 0 && !self.somebody_waits(PollTimeout::ZERO) {
                    return;
                }
            }
            std::thread::sleep(LET_IN_PAUSE);
        }
    }
}
