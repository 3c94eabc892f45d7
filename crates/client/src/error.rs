//! What can go wrong with a call, by what the caller can do next.

use dauer_wire::http::Problem;
use std::io;

/// An error of this crate; the text is one line for people.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// That is no address of a daemon.
    #[error("{0}")]
    Host(String),
    /// Nothing answers there: start the daemon.
    #[error("no daemon answers at {host}: {source}")]
    Unreachable {
        /// The address.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection was cut before the answer: ask again, where asking twice is harmless.
    #[error("the connection to the daemon was cut ({0})")]
    Lost(String),
    /// The daemon said no; [`Problem::code`] is for programs.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// The answer is none this version understands.
    #[error(
        "cannot understand the daemon's answer: {0} (client and daemon may be of different versions)"
    )]
    Protocol(String),
    /// The caller's own input could not be read.
    #[error("{0}")]
    Input(io::Error),
    /// This process is no job of Dauer, and the call has no meaning without one.
    #[error(
        "not managed by dauer: DAUER_API is not set; start the program with: dauer run -- PROGRAM"
    )]
    NotManaged,
    /// The job goes on without this checkpoint.
    #[error("no checkpoint was taken: {0}")]
    CheckpointFailed(String),
    /// The job's own checkpoint would wait for its own lock, and so forever.
    #[error("a checkpoint waits for all locks, and this is inside of one: leave with_lock first")]
    LockHeld,
    /// The signal of this name did not come.
    #[error("the signal {0:?} did not come in time")]
    SignalTimeout(String),
}

impl Error {
    /// The code of the daemon's refusal.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => Some(&problem.code),
            Self::Host(_)
            | Self::Unreachable { .. }
            | Self::Lost(_)
            | Self::Protocol(_)
            | Self::Input(_)
            | Self::NotManaged
            | Self::CheckpointFailed(_)
            | Self::LockHeld
            | Self::SignalTimeout(_) => None,
        }
    }

    /// The path of the field that the daemon found wrong.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => problem.field.as_deref(),
            _ => None,
        }
    }

    /// The daemon went away: it may be started again and the call repeated, where that is harmless.
    #[must_use]
    pub fn is_disconnect(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost(_) => true,
            Self::Host(_)
            | Self::Refused(_)
            | Self::Protocol(_)
            | Self::Input(_)
            | Self::NotManaged
            | Self::CheckpointFailed(_)
            | Self::LockHeld
            | Self::SignalTimeout(_) => false,
        }
    }

    pub(crate) fn lost(source: impl std::fmt::Display) -> Self {
        Self::Lost(source.to_string())
    }
}
