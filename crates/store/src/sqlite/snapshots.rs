//! Snapshots, as rows, and who refers to a folder.

use super::fault::Fault;
use super::read::{AFTER_EVERY_ID, PREFIX_CHARS_MIN};
use super::{Sqlite, cache, sql};
use crate::record::{self, CacheWrite, SnapshotRow, SnapshotWrite, Write, signed, unsigned};
use crate::{Error, Folder, NewAudit, Snapshots};
use async_trait::async_trait;
use dauer_core::{CacheEntry, CacheTotals, CheckpointId, Snapshot, Timestamp};
use rusqlite::{Connection, OptionalExtension, Params, params};

#[async_trait]
impl Snapshots for Sqlite {
    async fn add_snapshot(
        &self,
        snapshot: Snapshot,
        folder: Folder,
        audit: NewAudit,
    ) -> Result<(), Error> {
        let write = Write::Snapshot(SnapshotWrite::add(snapshot, folder)).audited(audit);
        self.writer.write(write).await
    }

    async fn snapshot(&self, id: &CheckpointId) -> Result<Option<Snapshot>, Error> {
        let id = id.clone();
        self.read(move |connection| one(connection, sql::SNAPSHOT, &id.0))
            .await
    }

    async fn find_snapshot(&self, text: &str) -> Result<Snapshot, Error> {
        let text = text.to_owned();
        self.read(move |connection| find(connection, &text)).await
    }

    async fn snapshots(
        &self,
        after: Option<&CheckpointId>,
        limit: usize,
    ) -> Result<Vec<Snapshot>, Error> {
        let (after, limit) = (after.cloned(), record::limit(limit));
        self.read(move |connection| {
            page(connection, after.as_ref().map(CheckpointId::as_str), limit)
        })
        .await
    }

    async fn change_snapshot(&self, snapshot: Snapshot, audit: NewAudit) -> Result<(), Error> {
        let write = SnapshotWrite::Change(SnapshotRow::of(snapshot));
        self.writer
            .write(Write::Snapshot(write).audited(audit))
            .await
    }

    async fn remove_snapshot(&self, id: &CheckpointId, audit: NewAudit) -> Result<(), Error> {
        let write = SnapshotWrite::Remove(id.clone());
        self.writer
            .write(Write::Snapshot(write).audited(audit))
            .await
    }

    async fn referenced(&self, id: &CheckpointId) -> Result<bool, Error> {
        let id = id.clone();
        self.read(move |connection| is_referenced(connection, &id.0))
            .await
    }

    async fn put_cache(&self, entry: CacheEntry, evict: Vec<String>) -> Result<(), Error> {
        let write = CacheWrite::put(entry, evict);
        self.writer.write(Write::Cache(write)).await
    }

    async fn cache_entry(&self, key: &str) -> Result<Option<CacheEntry>, Error> {
        let key = key.to_owned();
        self.read(move |connection| cache::one(connection, &key))
            .await
    }

    async fn cache_entries(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<CacheEntry>, Error> {
        let (after, limit) = (after.map(str::to_owned), record::limit(limit));
        self.read(move |connection| cache::page(connection, after.as_deref(), limit))
            .await
    }

    async fn cache_least_used(&self, limit: usize) -> Result<Vec<CacheEntry>, Error> {
        let limit = record::limit(limit);
        self.read(move |connection| cache::least_used(connection, limit))
            .await
    }

    async fn cache_totals(&self) -> Result<CacheTotals, Error> {
        self.read(cache::totals).await
    }

    async fn cache_hit(&self, key: &str, at: Timestamp) -> Result<(), Error> {
        let key = key.to_owned();
        let write = CacheWrite::Hit { key, at };
        self.writer.write(Write::Cache(write)).await
    }

    async fn pin_cache(&self, key: &str, pinned: bool) -> Result<(), Error> {
        let key = key.to_owned();
        let write = CacheWrite::Pin { key, pinned };
        self.writer.write(Write::Cache(write)).await
    }

    async fn mark_evicting(&self, keys: Vec<String>) -> Result<(), Error> {
        let write = CacheWrite::mark_evicting(keys);
        self.writer.write(Write::Cache(write)).await
    }

    async fn remove_cache(&self, key: &str) -> Result<(), Error> {
        let write = CacheWrite::Remove(key.to_owned());
        self.writer.write(Write::Cache(write)).await
    }
}

/// Does it.
pub(super) fn apply(connection: &Connection, write: &SnapshotWrite) -> Result<(), Fault> {
    match write {
        SnapshotWrite::Add { row, folder } => {
            if version(connection, &row.id)?.is_some() {
                return Err(Error::SnapshotChanged(row.id.clone()).into());
            }
            match folder {
                Folder::New => {}
                Folder::Shared => check_referenced(connection, &row.id.0)?,
            }
            check_name_is_free(connection, row)?;
            put(connection, sql::SNAPSHOT_INSERT, row)
        }
        SnapshotWrite::Change(row) => {
            match version(connection, &row.id)? {
                None => return Err(Error::NoSnapshot(row.id.0.clone()).into()),
                Some(found) if found + 1 == row.version => {}
                Some(_) => return Err(Error::SnapshotChanged(row.id.clone()).into()),
            }
            check_name_is_free(connection, row)?;
            put(connection, sql::SNAPSHOT_UPDATE, row)
        }
        SnapshotWrite::Remove(id) => remove(connection, id),
    }
}

fn remove(connection: &Connection, id: &CheckpointId) -> Result<(), Fault> {
    let cached: Option<String> = connection
        .prepare_cached(sql::SNAPSHOT_CACHED)?
        .query_row(params![id.0], |row| row.get(0))
        .optional()?;
    if let Some(key) = cached {
        let snapshot = id.clone();
        return Err(Error::SnapshotCached { snapshot, key }.into());
    }
    let removed = connection
        .prepare_cached(sql::SNAPSHOT_DELETE)?
        .execute(params![id.0])?;
    match removed {
        0 => Err(Error::NoSnapshot(id.0.clone()).into()),
        _ => Ok(()),
    }
}

/// By one of the statements that take a whole snapshot.
pub(super) fn put(
    connection: &Connection,
    statement: &str,
    row: &SnapshotRow,
) -> Result<(), Fault> {
    connection.prepare_cached(statement)?.execute(params![
        row.id.0,
        signed(row.version),
        row.name,
        row.record
    ])?;
    Ok(())
}

fn version(connection: &Connection, id: &CheckpointId) -> Result<Option<u64>, Fault> {
    let found: Option<i64> = connection
        .prepare_cached(sql::SNAPSHOT_VERSION)?
        .query_row(params![id.0], |row| row.get(0))
        .optional()?;
    Ok(found.map(unsigned))
}

fn check_name_is_free(connection: &Connection, row: &SnapshotRow) -> Result<(), Fault> {
    let Some(name) = &row.name else { return Ok(()) };
    let holder: Option<String> = connection
        .prepare_cached(sql::SNAPSHOT_OF_NAME)?
        .query_row(params![name], |row| row.get(0))
        .optional()?;
    match holder.filter(|holder| *holder != row.id.0) {
        None => Ok(()),
        Some(holder) => Err(Error::SnapshotNameInUse {
            name: name.clone(),
            snapshot: CheckpointId(holder),
        }
        .into()),
    }
}

fn is_referenced(connection: &Connection, folder: &str) -> Result<bool, Fault> {
    let mut statement = connection.prepare_cached(sql::REFERENCED)?;
    Ok(statement.exists(params![folder])?)
}

/// Something keeps this folder.
pub(super) fn check_referenced(connection: &Connection, folder: &str) -> Result<(), Fault> {
    if is_referenced(connection, folder)? {
        return Ok(());
    }
    Err(Error::Unreferenced(CheckpointId(folder.to_owned())).into())
}

/// Whether there is a snapshot of this id.
pub(super) fn is_there(connection: &Connection, id: &CheckpointId) -> Result<bool, Fault> {
    Ok(version(connection, id)?.is_some())
}

fn one(connection: &Connection, sql: &str, what: &str) -> Result<Option<Snapshot>, Fault> {
    Ok(some(connection, sql, params![what])?.pop())
}

fn find(connection: &Connection, text: &str) -> Result<Snapshot, Fault> {
    // All three questions see the same moment.
    let moment = connection.unchecked_transaction()?;
    for exact in [sql::SNAPSHOT, sql::SNAPSHOT_NAMED] {
        if let Some(found) = one(&moment, exact, text)? {
            return Ok(found);
        }
    }
    if text.chars().count() < PREFIX_CHARS_MIN {
        return Err(Error::NoSnapshot(text.to_owned()).into());
    }
    let after = format!("{text}{AFTER_EVERY_ID}");
    let mut matches = some(&moment, sql::SNAPSHOTS_BETWEEN, params![text, after])?;
    match (matches.pop(), matches.pop()) {
        (None, _) => Err(Error::NoSnapshot(text.to_owned()).into()),
        (Some(found), None) => Ok(found),
        (Some(_), Some(_)) => Err(Error::AmbiguousSnapshot(text.to_owned()).into()),
    }
}

pub(super) fn page(
    connection: &Connection,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Snapshot>, Fault> {
    let after = after.unwrap_or_default();
    some(connection, sql::SNAPSHOTS, params![after, limit])
}

fn some(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<Snapshot>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let record: String = row.get(0)?;
        found.push(record::snapshot(&record)?);
    }
    Ok(found)
}
