//! Which store is meant, and having one for oneself.

use crate::command::serve;
use crate::failure::Failure;
use crate::settings::Settings;
use dauer_store::backup::{Use, fold_where_free};
use dauer_store::{Sqlite, Store};
use nix::fcntl::Flock;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A store that somebody named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A file of SQLite, by its absolute path.
    File(PathBuf),
    /// A server, by its URL.
    Server(String),
}

impl Place {
    /// What was named, else the store of this daemon.
    pub(super) fn named(url: Option<&str>, settings: &Settings) -> Result<Self, Failure> {
        match url.or(settings.store.as_deref()) {
            Some(url) => Self::parse(url),
            None => Ok(Self::File(settings.layout.database())),
        }
    }

    fn parse(url: &str) -> Result<Self, Failure> {
        let Some(path) = url.strip_prefix("sqlite:") else {
            return Ok(Self::Server(url.to_owned()));
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        let path = std::path::absolute(path)
            .map_err(Failure::because(format!("{url:?} names no file")))?;
        Ok(Self::File(path))
    }

    /// For people, without a password.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::File(path) => format!("sqlite:{}", path.display()),
            Self::Server(url) => dauer_store::shown(url),
        }
    }

    /// Opens it to be read, while others may write it. It has to be there.
    pub(super) async fn open_to_look(&self) -> Result<Arc<dyn Store>, Failure> {
        match self {
            Self::File(path) => Ok(Arc::new(Sqlite::open_existing(path)?)),
            Self::Server(url) => Ok(dauer_store::open(url).await?),
        }
    }

    /// Opens it, of which [`Alone`] says that nobody else does. A file that is not there is made.
    pub(super) async fn open(&self) -> Result<Arc<dyn Store>, Failure> {
        match self {
            Self::File(path) => Ok(Arc::new(Sqlite::open(path)?)),
            Self::Server(url) => Ok(dauer_store::open(url).await?),
        }
    }
}

impl From<dauer_store::Error> for Failure {
    fn from(error: dauer_store::Error) -> Self {
        Self::Message(error.to_string())
    }
}

/// While this lives, no daemon begins on a file. What servers keep is guarded by leases.
#[derive(Debug)]
pub(super) struct Alone {
    _locks: Vec<Flock<File>>,
    /// What is there cannot be read.
    pub(super) is_damaged: bool,
}

impl Alone {
    /// Errors: somebody has the file open.
    pub(super) fn with(place: &Place, settings: &Settings) -> Result<Self, Failure> {
        let Place::File(path) = place else {
            return Ok(Self {
                _locks: Vec::new(),
                is_damaged: false,
            });
        };
        let in_use = || {
            Failure::new(format!(
                "{} is in use: end its daemon first (`kill {}`; jobs live on)",
                path.display(),
                pid(settings)
            ))
        };
        // Beside the file is the lock of the daemon whose data folder this is; one with `--store` has its own elsewhere.
        let beside = path.with_file_name("dauer.lock");
        let mut locks = Vec::new();
        if beside == settings.layout.lock() || beside.exists() {
            locks.push(serve::lock(&beside)?.ok_or_else(in_use)?);
        }
        let mut is_damaged = false;
        if path.exists() {
            match fold_where_free(path) {
                Use::Free => {}
                Use::InUse => return Err(in_use()),
                Use::Damaged => is_damaged = true,
            }
        }
        Ok(Self {
            _locks: locks,
            is_damaged,
        })
    }
}

/// Of the daemon of these settings, as far as it is known.
fn pid(settings: &Settings) -> String {
    let file = settings.layout.run.join("dauer.pid");
    match std::fs::read_to_string(&file) {
        Ok(text) => text.trim().to_owned(),
        Err(_) => "PID".into(),
    }
}

/// It has to be there to be read.
pub(super) fn check_exists(path: &Path) -> Result<(), Failure> {
    if path.is_file() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "there is no store at {}: name one by its URL, or --data-dir",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_its_whole_path_and_a_password_by_nothing() {
        let shown = |url: &str| Place::parse(url).unwrap().shown();
        assert_eq!(shown("sqlite:/srv/a.db"), "sqlite:/srv/a.db");
        assert_eq!(shown("sqlite:///srv/a.db"), "sqlite:/srv/a.db");
        let here = std::env::current_dir().unwrap();
        assert_eq!(
            shown("sqlite:a.db"),
            format!("sqlite:{}/a.db", here.display())
        );
        assert_eq!(shown("postgres://u:p@h/d"), "postgres://u@h/d");
    }
}
