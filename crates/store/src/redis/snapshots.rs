//! Snapshots, the cache, and who refers to a folder.

use super::Redis;
use super::answer::{list, number, text, texts, tuple};
use super::ask::Ask;
use super::fault::Fault;
use super::shapes::text as moment;
use crate::record::{self, CacheWrite, SnapshotRow, SnapshotWrite, Write};
use crate::{Error, Folder, NewAudit, Snapshots};
use async_trait::async_trait;
use dauer_core::{CacheEntry, CacheTotals, CheckpointId, Snapshot, Timestamp};
use redis::Value;
use serde::Serialize;

/// Shorter beginnings of ids mean nothing.
const PREFIX_CHARS_MIN: usize = 4;

/// A snapshot in the shape in which the scripts read it.
#[derive(Serialize)]
pub(super) struct SnapshotText<'a> {
    id: &'a str,
    version: String,
    name: Option<&'a str>,
    text: &'a str,
}

impl<'a> SnapshotText<'a> {
    pub(super) fn of(row: &'a SnapshotRow) -> Self {
        Self {
            id: row.id.as_str(),
            version: row.version.to_string(),
            name: row.name.as_deref(),
            text: &row.record,
        }
    }
}

/// An entry of the cache in the shape in which the scripts keep it.
#[derive(Serialize)]
pub(super) struct CachedText<'a> {
    key: &'a str,
    snapshot: &'a str,
    exit_code: String,
    created_at: String,
    last_used_at: String,
    hits: String,
    bytes: String,
    pinned: bool,
    state: &'static str,
}

impl<'a> CachedText<'a> {
    pub(super) fn of(entry: &'a CacheEntry) -> Self {
        Self {
            key: &entry.key,
            snapshot: entry.snapshot.as_str(),
            exit_code: entry.exit_code.to_string(),
            created_at: moment(entry.created_at),
            last_used_at: moment(entry.last_used_at),
            hits: entry.hits.to_string(),
            bytes: entry.bytes.to_string(),
            pinned: entry.pinned,
            state: entry.state.name(),
        }
    }
}

fn cached(row: Value) -> Result<CacheEntry, Error> {
    let [
        key,
        snapshot,
        exit_code,
        created_at,
        last_used_at,
        hits,
        bytes,
        pinned,
        state,
    ] = tuple(row)?;
    Ok(CacheEntry {
        key: text(key)?,
        snapshot: CheckpointId(text(snapshot)?),
        exit_code: number(exit_code)?,
        created_at: Timestamp(number(created_at)?),
        last_used_at: Timestamp(number(last_used_at)?),
        hits: number(hits)?,
        bytes: number(bytes)?,
        pinned: text(pinned)? == "1",
        state: record::cache_state(&text(state)?)?,
    })
}

impl Redis {
    /// One page of them.
    pub(super) async fn snapshots_behind(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Snapshot>, Error> {
        let ask = Ask::of("snapshots").about(behind(after)).limit(limit);
        snapshots(ask.on(&self.reading).await?)
    }

    async fn cached(&self, ask: Ask) -> Result<Vec<CacheEntry>, Error> {
        let rows = list(ask.on(&self.reading).await?)?;
        rows.into_iter().map(cached).collect()
    }
}

fn behind(after: Option<&str>) -> String {
    after.map_or_else(|| "-".to_owned(), |after| format!("({after}"))
}

fn snapshots(answer: Value) -> Result<Vec<Snapshot>, Error> {
    let found: Result<_, record::Broken> = texts(answer)?
        .iter()
        .map(|text| record::snapshot(text))
        .collect();
    Ok(found?)
}

#[async_trait]
impl Snapshots for Redis {
    async fn add_snapshot(
        &self,
        snapshot: Snapshot,
        folder: Folder,
        audit: NewAudit,
    ) -> Result<(), Error> {
        let write = SnapshotWrite::add(snapshot, folder);
        self.write(Write::Snapshot(write).audited(audit)).await
    }

    async fn snapshot(&self, id: &CheckpointId) -> Result<Option<Snapshot>, Error> {
        let found: Option<String> = self.on_key("HGET", "snapshots", &[id.as_str()]).await?;
        Ok(found.map(|text| record::snapshot(&text)).transpose()?)
    }

    async fn find_snapshot(&self, text: &str) -> Result<Snapshot, Error> {
        let enough = text.chars().count() >= PREFIX_CHARS_MIN;
        let ask = Ask::of("find_snapshot").about(text);
        let ask = ask.number(u8::from(enough));
        let mut matches = snapshots(ask.on(&self.reading).await?)?;
        match (matches.pop(), matches.pop()) {
            (None, _) => Err(Error::NoSnapshot(text.to_owned())),
            (Some(found), None) => Ok(found),
            (Some(_), Some(_)) => Err(Error::AmbiguousSnapshot(text.to_owned())),
        }
    }

    async fn snapshots(
        &self,
        after: Option<&CheckpointId>,
        limit: usize,
    ) -> Result<Vec<Snapshot>, Error> {
        let after = after.map(CheckpointId::as_str);
        self.snapshots_behind(after, limit).await
    }

    async fn change_snapshot(&self, snapshot: Snapshot, audit: NewAudit) -> Result<(), Error> {
        let write = SnapshotWrite::Change(SnapshotRow::of(snapshot));
        self.write(Write::Snapshot(write).audited(audit)).await
    }

    async fn remove_snapshot(&self, id: &CheckpointId, audit: NewAudit) -> Result<(), Error> {
        let write = SnapshotWrite::Remove(id.clone());
        self.write(Write::Snapshot(write).audited(audit)).await
    }

    async fn referenced(&self, id: &CheckpointId) -> Result<bool, Error> {
        let ask = Ask::of("referenced").about(id.as_str());
        Ok(text(ask.on(&self.reading).await?)? == "1")
    }

    async fn put_cache(&self, entry: CacheEntry, evict: Vec<String>) -> Result<(), Error> {
        self.write(Write::Cache(CacheWrite::put(entry, evict)))
            .await
    }

    async fn cache_entry(&self, key: &str) -> Result<Option<CacheEntry>, Error> {
        let mut found = self.cached(Ask::of("cache_entry").about(key)).await?;
        Ok(found.pop())
    }

    async fn cache_entries(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<CacheEntry>, Error> {
        let ask = Ask::of("cache_entries").about(behind(after)).limit(limit);
        self.cached(ask).await
    }

    async fn cache_least_used(&self, limit: usize) -> Result<Vec<CacheEntry>, Error> {
        self.cached(Ask::of("cache_least_used").limit(limit)).await
    }

    async fn cache_totals(&self) -> Result<CacheTotals, Error> {
        let [count, bytes] = tuple(Ask::of("cache_totals").on(&self.reading).await?)?;
        let (count, bytes) = (number(count)?, number(bytes)?);
        Ok(CacheTotals { count, bytes })
    }

    async fn cache_hit(&self, key: &str, at: Timestamp) -> Result<(), Error> {
        let key = key.to_owned();
        self.write(Write::Cache(CacheWrite::Hit { key, at })).await
    }

    async fn pin_cache(&self, key: &str, pinned: bool) -> Result<(), Error> {
        let key = key.to_owned();
        self.write(Write::Cache(CacheWrite::Pin { key, pinned }))
            .await
    }

    async fn mark_evicting(&self, keys: Vec<String>) -> Result<(), Error> {
        self.write(Write::Cache(CacheWrite::mark_evicting(keys)))
            .await
    }

    async fn remove_cache(&self, key: &str) -> Result<(), Error> {
        self.write(Write::Cache(CacheWrite::Remove(key.to_owned())))
            .await
    }
}

/// Each snapshot by its id, version and name, and its record.
pub(super) async fn beside(
    link: &super::link::Link,
) -> Result<Vec<(String, u64, Option<String>, Option<String>)>, Error> {
    let mut found = Vec::new();
    for row in list(Ask::of("check_snapshots").on(link).await?)? {
        let [id, version, name, record] = tuple(row)?;
        let named = |value| -> Result<Option<String>, Fault> { super::answer::some_text(value) };
        found.push((text(id)?, number(version)?, named(name)?, named(record)?));
    }
    Ok(found)
}
