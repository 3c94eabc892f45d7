//! What is written of snapshots and of the cache.

use super::columns::json;
use crate::Folder;
use dauer_core::{CacheEntry, CheckpointId, Snapshot, Timestamp};

/// What is written of snapshots.
#[derive(Debug)]
pub(crate) enum SnapshotWrite {
    Add {
        row: SnapshotRow,
        folder: Folder,
    },
    /// The version is one above the stored one.
    Change(SnapshotRow),
    Remove(CheckpointId),
}

/// A snapshot in its final form.
#[derive(Debug)]
pub(crate) struct SnapshotRow {
    pub(crate) id: CheckpointId,
    pub(crate) version: u64,
    pub(crate) name: Option<String>,
    pub(crate) record: String,
}

impl SnapshotRow {
    pub(crate) fn of(snapshot: Snapshot) -> Self {
        Self {
            record: json(&snapshot),
            id: snapshot.id,
            version: snapshot.version,
            name: snapshot.name,
        }
    }
}

impl SnapshotWrite {
    pub(crate) fn add(snapshot: Snapshot, folder: Folder) -> Self {
        assert_eq!(
            snapshot.version, 1,
            "invariant: a new snapshot has version 1"
        );
        Self::Add {
            row: SnapshotRow::of(snapshot),
            folder,
        }
    }
}

/// What is written of the cache.
#[derive(Debug)]
pub(crate) enum CacheWrite {
    /// An entry comes, and these make room for it.
    Put {
        entry: CacheEntry,
        evict: Vec<String>,
    },
    Hit {
        key: String,
        at: Timestamp,
    },
    Pin {
        key: String,
        pinned: bool,
    },
    MarkEvicting(Vec<String>),
    Remove(String),
}

impl CacheWrite {
    /// The keys sort, so that two writers do not wait for each other.
    pub(crate) fn put(entry: CacheEntry, mut evict: Vec<String>) -> Self {
        evict.sort_unstable();
        evict.dedup();
        Self::Put { entry, evict }
    }

    pub(crate) fn mark_evicting(mut keys: Vec<String>) -> Self {
        keys.sort_unstable();
        keys.dedup();
        Self::MarkEvicting(keys)
    }
}
