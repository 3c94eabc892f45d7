//! What can go wrong with a server, and what the caller hears of it.

use crate::Error;
use crate::record::Broken;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use std::sync::Arc;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The server said so, or could not be reached.
    #[error("redis at {at}: {source}")]
    Server {
        at: String,
        #[source]
        source: RedisError,
    },
    /// It did not answer for so long that nobody waits any longer. Whether it did what it was asked is not known: who asks again with
    /// the version that it read finds out.
    #[error("redis at {at} has not answered for {seconds} s, the last error was: {source}")]
    Away {
        at: String,
        seconds: u64,
        #[source]
        source: RedisError,
    },
    /// It is set up in a way that loses what it accepted.
    #[error("redis at {at}: {why}")]
    Unfit { at: String, why: String },
    /// Something that was written cannot be read.
    #[error("{what} cannot be read")]
    Unreadable {
        what: String,
        #[source]
        source: serde_json::Error,
    },
    /// What is stored breaks a rule, or was asked to.
    #[error("{0}")]
    Rule(String),
    /// The scripts and this program do not understand each other.
    #[error("redis gave an answer of another form than {0} has")]
    Form(&'static str),
    /// The address.
    #[error("{0}")]
    Address(String),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Backend(Arc::new(fault))
    }
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Unreadable { what, source } => Self::Unreadable { what, source },
            Broken::Rule(rule) => Self::Rule(rule),
        }
    }
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        Fault::from(broken).into()
    }
}

/// What can be done about an error of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Ask again, on another connection.
    Reconnect,
    /// Ask again after a while.
    Wait,
    /// There is no room: nothing was written.
    MakeRoom,
    /// None.
    None,
}

pub(super) fn remedy(error: &RedisError) -> Remedy {
    if error.is_io_error() || error.is_connection_dropped() || error.is_timeout() {
        return Remedy::Reconnect;
    }
    match error.kind() {
        // A copy that is no longer the first one: another address, or the same one, leads to the one that is now.
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => {
            Remedy::Reconnect
        }
        ErrorKind::Server(
            ServerErrorKind::BusyLoading | ServerErrorKind::TryAgain | ServerErrorKind::ClusterDown,
        ) => Remedy::Wait,
        _ => match error.code() {
            Some("BUSY" | "NOREPLICAS") => Remedy::Wait,
            Some("OOM" | "MISCONF") => Remedy::MakeRoom,
            _ => Remedy::None,
        },
    }
}
