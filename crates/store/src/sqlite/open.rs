//! Opening the file: is it ours, is its schema one we know, bring it up to date, set how it is written.

use super::fault::{Fault, failed};
use crate::Error;
use nix::fcntl::{FallocateFlags, fallocate};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::path::Path;
use std::time::Duration;

/// In the header of the file, so that another program's database is never taken for ours: "DAUE".
const APPLICATION_ID: i32 = 0x4441_5545;

/// The schema, step by step: the n-th script makes version n. A script that was released is never edited.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_jobs.sql"),
    include_str!("migrations/0002_definitions.sql"),
    include_str!("migrations/0003_own.sql"),
    include_str!("migrations/0004_access.sql"),
    include_str!("migrations/0005_schedules.sql"),
    include_str!("migrations/0006_policy.sql"),
    include_str!("migrations/0007_stage.sql"),
    include_str!("migrations/0008_ledger.sql"),
    include_str!("migrations/0009_queues.sql"),
    include_str!("migrations/0010_leases.sql"),
    include_str!("migrations/0011_moving.sql"),
    include_str!("migrations/0012_snapshots.sql"),
];

/// Somebody who looks into the file with a tool may hold it for a moment.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// The write-ahead log has this much of the disk for itself, and shrinks to it again after a burst. SQLite begins to copy it
/// into the file at half of that.
const WAL_BYTES_KEPT: u32 = 8 << 20;

/// More than there are statements: each is prepared once per connection.
const STATEMENTS_CACHED: usize = 192;

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Also a crash of the machine: each commit is synced to the disk before it is answered.
    #[default]
    Full,
    /// A crash of the process. After one of the machine the newest commits may be gone, but never a part of one.
    Normal,
}

/// Opens the file for writing, makes it where there is none, and brings its schema up to date.
/// A file that is not ours, or of a newer version, is refused and not touched.
pub(super) fn writer(path: &Path, durability: Durability) -> Result<Connection, Error> {
    let result = Connection::open(path)
        .map_err(Fault::from)
        .and_then(|mut connection| {
            configure(&connection)?;
            check_is_known(&connection, path)?;
            let synchronous = match durability {
                Durability::Full => "FULL",
                Durability::Normal => "NORMAL",
            };
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", synchronous)?;
            connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
            migrate(&mut connection)?;
            reserve_log(path);
            Ok(connection)
        });
    result.map_err(|fault| fault.in_file(path))
}

/// Takes the log's room on the disk beforehand: when a job has filled the disk, the store can still write down what became
/// of it. Only the log: closing another descriptor of the file itself would drop SQLite's locks on it.
fn reserve_log(path: &Path) {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let file = std::fs::OpenOptions::new().write(true).open(&log);
    let reserved = file.and_then(|file| {
        // Blocks behind the end of the file; its length, which SQLite goes by, stays.
        let mode = FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&file, mode, 0, i64::from(WAL_BYTES_KEPT)).map_err(std::io::Error::from)
    });
    if let Err(error) = reserved {
        // Not every file system can. Then a full disk fails writes at once, which is told to whoever writes.
        tracing::debug!(%error, log = %log.display(), "no room reserved for the store's log");
    }
}

/// A database without a file.
pub(super) fn memory() -> Result<Connection, Error> {
    let result = Connection::open_in_memory()
        .map_err(Fault::from)
        .and_then(|mut connection| {
            configure(&connection)?;
            migrate(&mut connection)?;
            Ok(connection)
        });
    result.map_err(|fault| fault.in_file(Path::new(":memory:")))
}

/// One more connection, for reading only.
pub(super) fn reader(path: &Path) -> Result<Connection, Fault> {
    // Not SQLITE_OPEN_READ_ONLY: the first reader after a crash has to be able to recover the write-ahead log.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    configure(&connection)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> Result<(), Fault> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Otherwise a statement with a range is planned anew each time it is bound to other values, which costs more than running it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(())
}

fn version(connection: &Connection) -> Result<usize, Fault> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    usize::try_from(version).map_err(|_| {
        Fault::Rule(format!(
            "the schema version {version} is not one of dauer's"
        ))
    })
}

fn check_is_known(connection: &Connection, path: &Path) -> Result<(), Fault> {
    let application_id: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let objects: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application_id != APPLICATION_ID && (application_id != 0 || objects != 0) {
        return Err(failed(
            format!("{} is a database of another program", path.display()),
            None,
        )
        .into());
    }
    check_is_not_newer(connection, path)
}

/// A file of this dauer or of an older one, and not an empty one either.
pub(super) fn check_is_ours(connection: &Connection, path: &Path) -> Result<(), Fault> {
    check_is_known(connection, path)?;
    match version(connection)? {
        0 => Err(failed(format!("{} is no store of dauer", path.display()), None).into()),
        _ => Ok(()),
    }
}

/// Looking at it is not to change it.
pub(super) fn check_is_newest(connection: &Connection, path: &Path) -> Result<(), Fault> {
    let (found, newest) = (version(connection)?, MIGRATIONS.len());
    if found < newest {
        let text = format!(
            "{} has schema version {found}, this dauer writes {newest}: start its daemon once, which brings it up to date",
            path.display()
        );
        return Err(failed(text, None).into());
    }
    Ok(())
}

fn check_is_not_newer(connection: &Connection, path: &Path) -> Result<(), Fault> {
    let (found, known) = (version(connection)?, MIGRATIONS.len());
    if found > known {
        let text = format!(
            "{} has schema version {found}, this dauer knows up to {known}: use the dauer that wrote it, or a newer one",
            path.display()
        );
        return Err(failed(text, None).into());
    }
    Ok(())
}

/// Runs the scripts that are missing, each in a transaction of its own that also writes the version it makes.
fn migrate(connection: &mut Connection) -> Result<(), Fault> {
    for (index, script) in MIGRATIONS.iter().enumerate() {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Read inside the transaction: another process may just have done it.
        if version(&transaction)? > index {
            continue;
        }
        transaction.execute_batch(script)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", index + 1)?;
        transaction.commit()?;
        tracing::info!(version = index + 1, "store schema updated");
    }
    Ok(())
}
