//! From what PostgreSQL says to what a caller can do.

use crate::Error;
use crate::error::failed;
use crate::record::Broken;
use tokio_postgres::error::{DbError, SqlState};

/// Why a read or write stopped, before the server it is about is named.
#[derive(Debug)]
pub(super) enum Fault {
    /// An answer for the caller.
    Answer(Error),
    /// The server, or the way to it.
    Sql(tokio_postgres::Error),
    /// What is stored breaks a rule, or was asked to.
    Broken(Broken),
    /// It was tried for as long as anybody waits.
    Unreachable(String),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Answer(error)
    }
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// What to do about an error of the server, or of the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The connection is gone, or there was none: try with another one, later.
    Lost,
    /// Somebody else was in the way: try again.
    Again,
    /// A pooler stands between and gives each transaction another connection: prepare nothing by name.
    Pooled,
    /// It was refused for what it is.
    Refused,
}

impl Trouble {
    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        let Some(error) = error.as_db_error() else {
            return if is_ours(error) {
                Self::Refused
            } else {
                Self::Lost
            };
        };
        let code = error.code();
        if code.code().starts_with("08") || code.code().starts_with("57P") {
            return Self::Lost;
        }
        match *code {
            SqlState::T_R_SERIALIZATION_FAILURE
            | SqlState::T_R_DEADLOCK_DETECTED
            | SqlState::LOCK_NOT_AVAILABLE => Self::Again,
            SqlState::TOO_MANY_CONNECTIONS
            | SqlState::CRASH_SHUTDOWN
            | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
            // A standby that was not promoted yet, or the old primary after a failover.
            | SqlState::READ_ONLY_SQL_TRANSACTION => Self::Lost,
            SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::DUPLICATE_PSTATEMENT => Self::Pooled,
            _ => Self::Refused,
        }
    }
}

/// An error of what was said, not of the way to the server: trying again says the same.
fn is_ours(error: &tokio_postgres::Error) -> bool {
    let text = error.to_string();
    [
        "error serializing",
        "error deserializing",
        "invalid configuration",
    ]
    .iter()
    .any(|ours| text.starts_with(ours))
}

impl Fault {
    /// What to do about it; nothing where it is an answer.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Sql(error) => Some(Trouble::of(error)),
            Self::Answer(_) | Self::Broken(_) | Self::Unreachable(_) => None,
        }
    }

    /// The error for the caller, naming the server.
    pub(super) fn at(self, place: &str) -> Error {
        match self {
            Self::Answer(error) => error,
            Self::Sql(error) => sql(error, place),
            Self::Broken(Broken::Unreadable { what, source }) => failed(
                format!("cannot read {what} in {place}"),
                Some(Box::new(source)),
            ),
            Self::Broken(Broken::Rule(text)) => failed(text, None),
            Self::Unreachable(why) => failed(
                format!("cannot reach {place}: {why}; see whether the server runs"),
                None,
            ),
        }
    }
}

fn sql(error: tokio_postgres::Error, place: &str) -> Error {
    match error.as_db_error().map(DbError::code) {
        Some(&SqlState::DISK_FULL) => {
            Error::NoSpace(format!("no room for {place} to grow: {}", said(&error)))
        }
        Some(&SqlState::CHARACTER_NOT_IN_REPERTOIRE | &SqlState::UNTRANSLATABLE_CHARACTER) => {
            failed(
                "PostgreSQL keeps no text with a zero character: leave it out",
                Some(Box::new(error)),
            )
        }
        Some(_) | None => failed(format!("{place}: {}", said(&error)), Some(Box::new(error))),
    }
}

/// What the server said: the library's own text is only "db error".
pub(super) fn said(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return match error.detail() {
            Some(detail) => format!("{} ({detail})", error.message()),
            None => error.message().to_owned(),
        };
    }
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
