//! Snapshots, the cache, and who refers to a folder.

use super::Postgres;
use super::asked::{AFTER_EVERY_ID, PREFIX_CHARS_MIN};
use super::fault::Fault;
use super::gather::ALL;
use super::plan::{Cell, Plan, row};
use super::refusal::Asked;
use super::sql::snapshots as sql;
use crate::record::{
    self, CacheWrite, CheckpointRow, SnapshotRow, SnapshotWrite, Write, limit, unsigned,
};
use crate::{Error, Folder, NewAudit, Snapshots};
use async_trait::async_trait;
use dauer_core::{CacheEntry, CacheTotals, CheckpointId, Snapshot, Timestamp};
use tokio_postgres::Row;

#[async_trait]
impl Snapshots for Postgres {
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
        self.first(&sql::SNAPSHOT, &[&id.0], snapshot).await
    }

    async fn find_snapshot(&self, text: &str) -> Result<Snapshot, Error> {
        let after = format!("{text}{AFTER_EVERY_ID}");
        let is_prefix = text.chars().count() >= PREFIX_CHARS_MIN;
        let rows = self
            .rows(&sql::FIND_SNAPSHOT, &[&text, &after, &is_prefix])
            .await?;
        let mut matches = self
            .each(rows, |row| Ok((snapshot(row)?, row.try_get::<_, i64>(1)?)))?
            .into_iter();
        match (matches.next(), matches.next()) {
            (None, _) => Err(Error::NoSnapshot(text.to_owned())),
            (Some((_, 2)), Some(_)) => Err(Error::AmbiguousSnapshot(text.to_owned())),
            (Some((found, _)), _) => Ok(found),
        }
    }

    async fn snapshots(
        &self,
        after: Option<&CheckpointId>,
        most: usize,
    ) -> Result<Vec<Snapshot>, Error> {
        let after = after.map_or("", CheckpointId::as_str);
        self.snapshots_behind(after, limit(most)).await
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
        self.exists(&sql::REFERENCED, &[&id.0]).await
    }

    async fn put_cache(&self, entry: CacheEntry, evict: Vec<String>) -> Result<(), Error> {
        let write = CacheWrite::put(entry, evict);
        self.writer.write(Write::Cache(write)).await
    }

    async fn cache_entry(&self, key: &str) -> Result<Option<CacheEntry>, Error> {
        self.first(&sql::CACHE_ENTRY, &[&key], cached).await
    }

    async fn cache_entries(
        &self,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<CacheEntry>, Error> {
        let asked = (after.unwrap_or_default(), limit(most));
        let rows = self
            .rows(&sql::CACHE_ENTRIES, &[&asked.0, &asked.1])
            .await?;
        self.each(rows, cached)
    }

    async fn cache_least_used(&self, most: usize) -> Result<Vec<CacheEntry>, Error> {
        let rows = self.rows(&sql::CACHE_LEAST_USED, &[&limit(most)]).await?;
        self.each(rows, cached)
    }

    async fn cache_totals(&self) -> Result<CacheTotals, Error> {
        let totals = |row: &Row| {
            Ok(CacheTotals {
                count: unsigned(row.try_get(0)?),
                bytes: unsigned(row.try_get(1)?),
            })
        };
        let found = self.first(&sql::CACHE_TOTALS, &[], totals).await?;
        Ok(found.unwrap_or_default())
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

impl Postgres {
    /// One page of them.
    pub(super) async fn snapshots_behind(
        &self,
        after: &str,
        most: i64,
    ) -> Result<Vec<Snapshot>, Error> {
        let rows = self.rows(&sql::SNAPSHOTS, &[&after, &most]).await?;
        self.each(rows, snapshot)
    }
}

fn snapshot(row: &Row) -> Result<Snapshot, Fault> {
    Ok(record::snapshot(row.try_get(0)?)?)
}

fn cached(row: &Row) -> Result<CacheEntry, Fault> {
    Ok(CacheEntry {
        key: row.try_get(0)?,
        snapshot: CheckpointId(row.try_get(1)?),
        exit_code: i32::try_from(row.try_get::<_, i64>(2)?).unwrap_or(i32::MAX),
        created_at: Timestamp(row.try_get(3)?),
        last_used_at: Timestamp(row.try_get(4)?),
        hits: unsigned(row.try_get(5)?),
        bytes: unsigned(row.try_get(6)?),
        pinned: row.try_get(7)?,
        state: record::cache_state(row.try_get(8)?)?,
    })
}

pub(super) fn snapshot_row(row: &SnapshotRow) -> [Cell<'_>; 4] {
    row![row.id.as_str(), row.version, &row.name, &row.record]
}

pub(super) fn cache_row(entry: &CacheEntry) -> [Cell<'_>; 9] {
    row![
        &entry.key,
        entry.snapshot.as_str(),
        i64::from(entry.exit_code),
        entry.created_at.0,
        entry.last_used_at.0,
        entry.hits,
        entry.bytes,
        entry.pinned,
        entry.state.name(),
    ]
}

impl<'a> Plan<'a> {
    /// A job's own row of the checkpoint it begins from.
    pub(super) fn share(&mut self, job: &'a str, shares: &'a CheckpointRow) {
        if let Some(folder) = &shares.folder {
            self.put(job, &sql::CHECK_REFERENCED, row![folder]);
        }
        let row = row![&shares.name, &shares.folder, job, &shares.record];
        self.put(job, &sql::INSERT_SHARES, row);
    }

    pub(super) fn snapshot(&mut self, write: &'a SnapshotWrite) {
        match write {
            SnapshotWrite::Add { row, folder } => {
                match folder {
                    Folder::New => {}
                    Folder::Shared => {
                        self.put(ALL, &sql::CHECK_REFERENCED, row![row.id.as_str()]);
                    }
                }
                self.put(ALL, &sql::INSERT_SNAPSHOTS, snapshot_row(row));
            }
            SnapshotWrite::Change(row) => {
                self.put(ALL, &sql::UPDATE_SNAPSHOTS, snapshot_row(row));
            }
            SnapshotWrite::Remove(id) => {
                self.put(ALL, &sql::DELETE_SNAPSHOTS, row![id.as_str()]);
                self.put(ALL, &sql::CHECK_NOT_CACHED, row![id.as_str()]);
            }
        }
    }

    pub(super) fn cache(&mut self, write: &'a CacheWrite) {
        match write {
            CacheWrite::Put { entry, evict } => {
                self.put(ALL, &sql::CHECK_SNAPSHOTS, row![entry.snapshot.as_str()]);
                for key in evict {
                    self.put(ALL, &sql::EVICT_CACHE, row![key]);
                }
                self.put(ALL, &sql::INSERT_CACHE, cache_row(entry));
            }
            CacheWrite::Hit { key, at } => self.put(ALL, &sql::HIT_CACHE, row![key, at.0]),
            CacheWrite::Pin { key, pinned } => self.put(ALL, &sql::PIN_CACHE, row![key, *pinned]),
            CacheWrite::MarkEvicting(keys) => {
                for key in keys {
                    self.put(ALL, &sql::MARK_CACHE, row![key]);
                }
            }
            CacheWrite::Remove(key) => self.put(ALL, &sql::DELETE_CACHE, row![key]),
        }
    }
}

impl Asked<'_> {
    /// Nothing keeps this folder.
    pub(super) async fn unreferenced(&self, folder: &String) -> Result<Option<Error>, Fault> {
        let found = self.one(&sql::REFERENCED, &[folder]).await?;
        Ok(match found {
            Some(_) => None,
            None => Some(Error::Unreferenced(CheckpointId(folder.clone()))),
        })
    }

    pub(super) async fn snapshot(&self, write: &SnapshotWrite) -> Result<Option<Error>, Fault> {
        match write {
            SnapshotWrite::Add { row, folder } => {
                if self.version(&row.id).await?.is_some() {
                    return Ok(Some(Error::SnapshotChanged(row.id.clone())));
                }
                let unreferenced = match folder {
                    Folder::New => None,
                    Folder::Shared => self.unreferenced(&row.id.0).await?,
                };
                match unreferenced {
                    Some(error) => Ok(Some(error)),
                    None => self.name_in_use(row).await,
                }
            }
            SnapshotWrite::Change(row) => match self.version(&row.id).await? {
                None => Ok(Some(Error::NoSnapshot(row.id.0.clone()))),
                Some(found) if found + 1 != row.version => {
                    Ok(Some(Error::SnapshotChanged(row.id.clone())))
                }
                Some(_) => self.name_in_use(row).await,
            },
            SnapshotWrite::Remove(id) => {
                if self.version(id).await?.is_none() {
                    return Ok(Some(Error::NoSnapshot(id.0.clone())));
                }
                match self.one(&sql::SNAPSHOT_CACHED, &[&id.0]).await? {
                    None => Ok(None),
                    Some(row) => Ok(Some(Error::SnapshotCached {
                        snapshot: id.clone(),
                        key: row.try_get(0)?,
                    })),
                }
            }
        }
    }

    async fn version(&self, id: &CheckpointId) -> Result<Option<u64>, Fault> {
        match self.one(&sql::SNAPSHOT_VERSION, &[&id.0]).await? {
            None => Ok(None),
            Some(row) => Ok(Some(unsigned(row.try_get(0)?))),
        }
    }

    async fn name_in_use(&self, row: &SnapshotRow) -> Result<Option<Error>, Fault> {
        let Some(name) = &row.name else {
            return Ok(None);
        };
        let Some(found) = self.one(&sql::SNAPSHOT_OF_NAME, &[name]).await? else {
            return Ok(None);
        };
        let (name, snapshot) = (name.clone(), CheckpointId(found.try_get(0)?));
        Ok((snapshot != row.id).then_some(Error::SnapshotNameInUse { name, snapshot }))
    }

    pub(super) async fn cache(&self, write: &CacheWrite) -> Result<Option<Error>, Fault> {
        let entry = async |key: &String| -> Result<Option<CacheEntry>, Fault> {
            let found = self.one(&sql::CACHE_ENTRY, &[key]).await?;
            found.as_ref().map(cached).transpose()
        };
        let may_be_used = |entry: &CacheEntry| entry.state == dauer_core::CacheState::Ready;
        match write {
            CacheWrite::Put { entry: new, evict } => {
                if self.version(&new.snapshot).await?.is_none() {
                    return Ok(Some(Error::NoSnapshot(new.snapshot.0.clone())));
                }
                if entry(&new.key).await?.is_some() {
                    return Ok(Some(Error::CacheKeyInUse(new.key.clone())));
                }
                for key in evict {
                    let found = entry(key).await?;
                    if !found.is_some_and(|entry| may_be_used(&entry) && !entry.pinned) {
                        return Ok(Some(Error::CacheChanged(key.clone())));
                    }
                }
                Ok(None)
            }
            CacheWrite::Hit { key, .. } | CacheWrite::Pin { key, .. } => {
                let found = entry(key).await?;
                let is_there = found.is_some_and(|entry| may_be_used(&entry));
                Ok((!is_there).then(|| Error::NotCached(key.clone())))
            }
            CacheWrite::MarkEvicting(_) | CacheWrite::Remove(_) => Ok(None),
        }
    }
}
