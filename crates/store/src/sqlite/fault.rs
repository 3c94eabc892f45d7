//! From what SQLite says to what a caller can do.

use crate::Error;
pub(super) use crate::error::failed;
use crate::record::Broken;
use rusqlite::ErrorCode;
use std::path::Path;

/// Why a read or write inside the store stopped, before the file it is about is named.
#[derive(Debug)]
pub(super) enum Fault {
    /// An answer for the caller.
    Answer(Error),
    /// SQLite refused.
    Sql(rusqlite::Error),
    /// Something that was written cannot be read.
    Unreadable {
        /// What it is.
        what: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// The caller broke a rule of the store.
    Rule(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
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
        match broken {
            Broken::Unreadable { what, source } => Self::Unreadable { what, source },
            Broken::Rule(text) => Self::Rule(text),
        }
    }
}

impl Fault {
    /// The error for the caller, naming the file.
    pub(super) fn in_file(self, path: &Path) -> Error {
        match self {
            Self::Answer(error) => error,
            Self::Sql(error) => sql(error, path),
            Self::Unreadable { what, source } => failed(
                format!("cannot read {what} in {}", path.display()),
                Some(Box::new(source)),
            ),
            Self::Rule(text) => failed(text, None),
        }
    }
}

fn sql(error: rusqlite::Error, path: &Path) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            Error::NoSpace(format!("no room for {} to grow", path.display()))
        }
        Some(ErrorCode::DatabaseCorrupt) => failed(
            format!(
                "{} is damaged: stop dauer and put a good copy in its place",
                path.display()
            ),
            Some(Box::new(error)),
        ),
        Some(ErrorCode::NotADatabase) => failed(
            format!(
                "{} is not an SQLite database: it is damaged, or another program's file",
                path.display()
            ),
            Some(Box::new(error)),
        ),
        Some(_) | None => failed(
            format!("cannot use {}", path.display()),
            Some(Box::new(error)),
        ),
    }
}
