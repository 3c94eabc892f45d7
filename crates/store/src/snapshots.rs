//! What a store keeps of states that outlive their jobs: snapshots, and the cache that leads to some of them.
//!
//! Several may refer to one folder `snapshots/<id>`: jobs that took or share the checkpoint, and a snapshot. Rows go first and the folder
//! after the last of them: where [`Snapshots::referenced`] says no, nothing can refer to it again, since whoever shares it is refused in
//! the same transaction that would have written the reference.

use crate::{Error, NewAudit};
use async_trait::async_trait;
use dauer_core::{CacheEntry, CacheTotals, CheckpointId, Snapshot, Timestamp};

/// Whose the folder of a new snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// Just published for it; nothing else knows it.
    New,
    /// A checkpoint of a job is in it.
    Shared,
}

/// Snapshots and the cache.
#[async_trait]
pub trait Snapshots: Send + Sync + 'static {
    /// Adds a snapshot of version 1. Errors: `SnapshotNameInUse`; `SnapshotChanged` where there is one of this id; `Unreferenced` where
    /// its folder is shared and nothing keeps that any more.
    async fn add_snapshot(
        &self,
        snapshot: Snapshot,
        folder: Folder,
        audit: NewAudit,
    ) -> Result<(), Error>;

    /// The snapshot of this id.
    async fn snapshot(&self, id: &CheckpointId) -> Result<Option<Snapshot>, Error>;

    /// The snapshot meant by a person: an exact id, else an exact name, else a unique beginning of an id of at least 4 characters.
    /// Errors: `NoSnapshot`, `AmbiguousSnapshot`.
    async fn find_snapshot(&self, text: &str) -> Result<Snapshot, Error>;

    /// One page of snapshots by their ids: those after this one, at most so many.
    async fn snapshots(
        &self,
        after: Option<&CheckpointId>,
        limit: usize,
    ) -> Result<Vec<Snapshot>, Error>;

    /// Writes a snapshot over the version before. Errors: `NoSnapshot`, `SnapshotChanged`, `SnapshotNameInUse`.
    async fn change_snapshot(&self, snapshot: Snapshot, audit: NewAudit) -> Result<(), Error>;

    /// Removes a snapshot; its folder may go once nothing else keeps that. Errors: `NoSnapshot`; `SnapshotCached` where an entry of
    /// the cache that may be used leads to it.
    async fn remove_snapshot(&self, id: &CheckpointId, audit: NewAudit) -> Result<(), Error>;

    /// Whether a checkpoint of any job, or a snapshot, is in this folder. What is not stays so.
    async fn referenced(&self, id: &CheckpointId) -> Result<bool, Error>;

    /// Adds an entry that may be used, and marks these as evicting to make room for it; all or nothing. Errors: `CacheKeyInUse`;
    /// `NoSnapshot` where its snapshot is not there; `CacheChanged` where one of those may not be evicted (any more).
    async fn put_cache(&self, entry: CacheEntry, evict: Vec<String>) -> Result<(), Error>;

    /// The entry of this key, in whatever state.
    async fn cache_entry(&self, key: &str) -> Result<Option<CacheEntry>, Error>;

    /// One page of entries by their keys: those after this one, at most so many.
    async fn cache_entries(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<CacheEntry>, Error>;

    /// Those that may be evicted, the least recently used first.
    async fn cache_least_used(&self, limit: usize) -> Result<Vec<CacheEntry>, Error>;

    /// How much there is of what may be used.
    async fn cache_totals(&self) -> Result<CacheTotals, Error>;

    /// An entry was used then. Errors: `NotCached` where it may not be used (any more).
    async fn cache_hit(&self, key: &str, at: Timestamp) -> Result<(), Error>;

    /// Whether an entry may be evicted to make room. Errors: `NotCached` where it may not be used (any more).
    async fn pin_cache(&self, key: &str, pinned: bool) -> Result<(), Error>;

    /// These entries are used no more, also where they are pinned. Fine where there are none of them.
    async fn mark_evicting(&self, keys: Vec<String>) -> Result<(), Error>;

    /// The last step of an eviction, after the snapshot went: the entry goes. One that may be used stays; fine where there is none.
    async fn remove_cache(&self, key: &str) -> Result<(), Error>;
}
