//! Signals to a command in the foreground, which go on to the program it shows.

use crate::failure::Failure;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that are passed on.
#[derive(Debug)]
pub(crate) struct Signals {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    user1: Signal,
    user2: Signal,
    window: Signal,
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// To be passed on.
    Signal(i32),
    /// The terminal has another size.
    Resized,
}

impl Signals {
    /// From here on these signals no longer end this process.
    pub(crate) fn catch() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).map_err(Failure::because("cannot catch signals"));
        Ok(Self {
            hangup: catch(SignalKind::hangup())?,
            interrupt: catch(SignalKind::interrupt())?,
            quit: catch(SignalKind::quit())?,
            terminate: catch(SignalKind::terminate())?,
            user1: catch(SignalKind::user_defined1())?,
            user2: catch(SignalKind::user_defined2())?,
            window: catch(SignalKind::window_change())?,
        })
    }

    /// The next one. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Came {
        use nix::libc;
        tokio::select! {
            _ = self.hangup.recv() => Came::Signal(libc::SIGHUP),
            _ = self.interrupt.recv() => Came::Signal(libc::SIGINT),
            _ = self.quit.recv() => Came::Signal(libc::SIGQUIT),
            _ = self.terminate.recv() => Came::Signal(libc::SIGTERM),
            _ = self.user1.recv() => Came::Signal(libc::SIGUSR1),
            _ = self.user2.recv() => Came::Signal(libc::SIGUSR2),
            _ = self.window.recv() => Came::Resized,
        }
    }
}
