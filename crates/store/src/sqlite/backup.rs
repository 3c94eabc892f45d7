//! Copies of the file: taken while a daemon writes it, and put in its place while none does.
//!
//! A backup is one file, readable by itself. It is written beside its name and gets it when it is whole and on the disk.

use super::Sqlite;
use super::fault::{Fault, failed};
use super::open::{self, Durability};
use super::readers::Readers;
use crate::Error;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// So many pages are copied between two words of how far it got: 4 MiB.
const PAGES: i32 = 1024;

/// Somebody who looks into the file with a tool may hold it for a moment.
const PATIENCE: Duration = Duration::from_secs(1);

/// Copies a store of one moment into a new file, also while others write it, and looks whether the copy is whole. `tell` hears how
/// many bytes there are and how many of them are copied. Blocks. Errors: `NoSpace`; `Backend`, also where the new file exists.
pub fn back_up(from: &Path, to: &Path, mut tell: impl FnMut(u64, u64)) -> Result<u64, Error> {
    if to.exists() {
        let text = format!("{} exists: name a file that does not", to.display());
        return Err(failed(text, None));
    }
    let partial = beside(to, &format!(".partial-{}", std::process::id()));
    let copied = copy(from, &partial, &mut tell)
        .and_then(|()| check_is_whole(&partial))
        .map_err(|fault| fault.in_file(from));
    let published = copied.and_then(|()| {
        let bytes = fs::metadata(&partial).map(|file| file.len());
        // Unlike a rename, a link never takes the place of a file that came meanwhile.
        sync(&partial)
            .and_then(|()| fs::hard_link(&partial, to))
            .and_then(|()| sync_folder(to))
            .and(bytes)
            .map_err(|error| failed(format!("cannot write {}", to.display()), Some(error.into())))
    });
    for leftover in ["", "-journal", "-wal", "-shm"] {
        // There is none, or it has another name by now, or it is a file that nobody misses.
        let _ = fs::remove_file(beside(&partial, leftover));
    }
    published
}

fn copy(from: &Path, to: &Path, tell: &mut impl FnMut(u64, u64)) -> Result<(), Fault> {
    let source = existing(from)?;
    // Pages have to be of one moment. Under a transaction of ours the source does not change, and copying need not begin again
    // whenever somebody writes.
    let moment = source.unchecked_transaction()?;
    let page_bytes: u64 = moment.pragma_query_value(None, "page_size", |row| row.get(0))?;
    // The first read begins the transaction.
    moment.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let mut target = Connection::open(to)?;
    private(to)?;
    let backup = Backup::new(&moment, &mut target)?;
    loop {
        let step = backup.step(PAGES)?;
        let progress = backup.progress();
        let pages = |count: i32| u64::try_from(count).unwrap_or(0) * page_bytes;
        tell(
            pages(progress.pagecount - progress.remaining),
            pages(progress.pagecount),
        );
        match step {
            StepResult::Done => break,
            StepResult::More => {}
            // Somebody has our own new file open.
            StepResult::Busy | StepResult::Locked => {
                return Err(Fault::Rule(format!(
                    "{} is in use: name another file",
                    to.display()
                )));
            }
            // The list of outcomes is open to new ones.
            _ => return Err(Fault::Rule("the copy was cut off".into())),
        }
    }
    drop(backup);
    // One file, that needs no log beside it.
    target.pragma_update(None, "journal_mode", "DELETE")?;
    Ok(())
}

/// A copy that nobody has read is no backup.
fn check_is_whole(path: &Path) -> Result<(), Fault> {
    let connection = existing(path)?;
    let mut said = Vec::new();
    connection.pragma_query(None, "quick_check", |row| {
        said.push(row.get::<_, String>(0)?);
        Ok(())
    })?;
    match said.as_slice() {
        [ok] if ok == "ok" => Ok(()),
        faults => Err(Fault::Rule(format!(
            "the store is damaged ({}): run `dauer store check`",
            faults.join("; ")
        ))),
    }
}

/// A connection to a file that is there, and is a store of ours.
fn existing(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if !path.is_file() {
        let text = format!("there is no store at {}", path.display());
        return Err(failed(text, None).into());
    }
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(open::BUSY_TIMEOUT)?;
    open::check_is_ours(&connection, path)?;
    Ok(connection)
}

/// Puts a store that is one file in the place of another one, which nobody uses and which is kept under another name. Repeating it
/// after a crash is safe. Blocks. Errors: `Backend`.
pub fn replace(store: &Path, with: &Path, kept: &Path) -> Result<(), Error> {
    let cannot = |error: io::Error| {
        let text = format!(
            "cannot put {} in the place of {}",
            with.display(),
            store.display()
        );
        failed(text, Some(error.into()))
    };
    let replaced = || -> io::Result<()> {
        sync(with)?;
        if store.exists() {
            fs::hard_link(store, kept)?;
            // A log that could not be folded belongs to what is kept. Beside the new file it would be taken for a part of that.
            let log = beside(store, "-wal");
            if log.exists() {
                fs::rename(log, beside(kept, "-wal"))?;
            }
            let index = beside(store, "-shm");
            if index.exists() {
                fs::remove_file(index)?;
            }
        }
        fs::rename(with, store)?;
        sync_folder(store)
    };
    replaced().map_err(cannot)
}

/// Whether anybody has the file open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Nobody. All of it is in the file, nothing in the log beside it.
    Free,
    /// Somebody.
    InUse,
    /// Nobody could read it.
    Damaged,
}

/// Whether anybody has this file of a store open; where not, what is in its log is written into it. Blocks.
#[must_use]
pub fn fold_where_free(path: &Path) -> Use {
    fold(path, PATIENCE)
}

fn fold(path: &Path, patience: Duration) -> Use {
    let fold = || -> Result<(), rusqlite::Error> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(patience)?;
        // Every other connection holds a part of the file for as long as it is open.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
        connection.pragma_update(None, "journal_mode", "DELETE")
    };
    match fold() {
        Ok(()) => Use::Free,
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Use::InUse,
            Some(_) | None => Use::Damaged,
        },
    }
}

impl Sqlite {
    /// Opens a file that is there and that this build has brought up to date, as one that others write. Blocks. Errors: as [`Sqlite::open`]; `Backend` where
    /// there is none, and where an older build wrote it.
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let checked =
            existing(path).and_then(|connection| open::check_is_newest(&connection, path));
        checked.map_err(|fault| fault.in_file(path))?;
        Self::open_shared(path, Durability::Full)
    }

    /// Writes everything into the file itself, so that it may be moved. Waits until whoever uses it here has ended. Errors: `Backend`
    /// where somebody else has it open.
    pub async fn close(self) -> Result<(), Error> {
        let Some(path) = self.readers.as_ref().map(Readers::path) else {
            return Ok(());
        };
        // Its threads end with it, each with its connection.
        drop(self);
        let folding = tokio::task::spawn_blocking(move || fold(&path, open::BUSY_TIMEOUT));
        let folded = folding
            .await
            .map_err(|error| failed("closing the store", Some(error.into())))?;
        match folded {
            Use::Free => Ok(()),
            Use::InUse => Err(failed("somebody else has the store open", None)),
            Use::Damaged => Err(failed("the store is damaged", None)),
        }
    }
}

/// The path with this behind its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or(OsStr::new("")).to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Only its owner reads it.
fn private(path: &Path) -> Result<(), Fault> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|error| {
        let text = format!("cannot write {}", path.display());
        Fault::from(failed(text, Some(error.into())))
    })
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn sync_folder(of: &Path) -> io::Result<()> {
    let folder = match of.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    File::open(folder)?.sync_all()
}
