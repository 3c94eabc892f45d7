//! What a cached step left: the snapshot behind its key.

use crate::{CheckpointId, Timestamp};
use serde::{Deserialize, Serialize};

/// Whether an entry of the cache may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheState {
    /// It may; its snapshot is there.
    #[default]
    Ready,
    /// It is on its way out: first its snapshot goes, then itself. Nobody uses it any more.
    Evicting,
}

impl CacheState {
    /// The serialized name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Evicting => "evicting",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Ready, Self::Evicting]
            .into_iter()
            .find(|state| state.name() == name)
    }
}

/// A step that was done, by its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheEntry {
    /// What says that two steps are the same.
    pub key: String,
    /// What it left.
    pub snapshot: CheckpointId,
    /// How its program ended.
    pub exit_code: i32,
    /// When it was put there.
    pub created_at: Timestamp,
    /// When it was last used, or put there.
    pub last_used_at: Timestamp,
    /// How often it was used.
    #[serde(default)]
    pub hits: u64,
    /// What it takes of the cache's room.
    pub bytes: u64,
    /// It is never evicted to make room.
    #[serde(default)]
    pub pinned: bool,
    /// Whether it may be used.
    #[serde(default)]
    pub state: CacheState,
}

/// How much there is of what may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheTotals {
    /// Entries.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}
