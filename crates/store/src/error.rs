//! What can go wrong with a store.

use crate::Keyed;
use dauer_core::{CheckpointId, DefinitionRef, JobId, NodeId};
use std::sync::Arc;

/// What went wrong, by what the caller can do next.
#[allow(missing_docs, reason = "the fields are what the messages say")]
#[derive(Debug, thiserror::Error, Clone)]
pub enum Error {
    /// Somebody else wrote first: load again and decide again.
    #[error("version conflict on job {job}: expected {expected}, found {found}")]
    Conflict {
        /// Which job.
        job: JobId,
        /// The stored version this write was made for; 0 where it was made for none.
        expected: u64,
        /// The stored version.
        found: u64,
    },
    /// There is no such job (any more).
    #[error("no job {0}")]
    NotFound(String),
    /// A kept job has this name.
    #[error("the name {name:?} is in use by job {job}")]
    NameInUse {
        /// The name.
        name: String,
        /// Whose it is.
        job: JobId,
    },
    /// A request with this key was accepted before.
    #[error("the key {key:?} was used for job {}", used.job)]
    KeyInUse {
        /// The key.
        key: String,
        /// What it was used for.
        used: Keyed,
    },
    /// This job is being cancelled with its children, or was: it gets no further ones.
    #[error("job {0} is cancelled with its children")]
    ParentEnding(JobId),
    /// Another job stands for one that is to be unique.
    #[error("job {job} has the unique key {key:?}")]
    NotUnique {
        /// The key.
        key: String,
        /// The job that has it.
        job: JobId,
    },
    /// There is another definition of this name and version.
    #[error("there is a definition {0} already")]
    Defined(DefinitionRef),
    /// There is a schedule of this name.
    #[error("there is a schedule {0} already")]
    ScheduleExists(String),
    /// Somebody else wrote this schedule first: load again and decide again.
    #[error("the schedule {0} was changed by somebody else")]
    ScheduleChanged(String),
    /// Nothing keeps this checkpoint any more: its folder may be gone.
    #[error("checkpoint {0} is gone")]
    Unreferenced(CheckpointId),
    /// There is no such snapshot (any more).
    #[error("no snapshot {0}")]
    NoSnapshot(String),
    /// A snapshot has this name.
    #[error("the name {name:?} is in use by snapshot {snapshot}")]
    SnapshotNameInUse {
        /// The name.
        name: String,
        /// Whose it is.
        snapshot: CheckpointId,
    },
    /// Somebody else wrote this snapshot first: load again and decide again.
    #[error("snapshot {0} was changed by somebody else")]
    SnapshotChanged(CheckpointId),
    /// The cache has it under this key: evict that first.
    #[error("snapshot {snapshot} is what the cache has under {key:?}")]
    SnapshotCached {
        /// Which snapshot.
        snapshot: CheckpointId,
        /// The key.
        key: String,
    },
    /// More than one snapshot matches.
    #[error("{0:?} matches several snapshots")]
    AmbiguousSnapshot(String),
    /// The cache has no such entry that may be used (any more).
    #[error("the cache has nothing under {0:?}")]
    NotCached(String),
    /// The cache has an entry of this key, or one on its way out: use that, or wait until it is gone.
    #[error("the cache has an entry under {0:?} already")]
    CacheKeyInUse(String),
    /// What was to make room in the cache is pinned, on its way out or gone: look again and decide again.
    #[error("{0:?} cannot be evicted from the cache any more")]
    CacheChanged(String),
    /// More than one job matches.
    #[error("{0:?} matches several jobs")]
    Ambiguous(String),
    /// The sums that were asked for have too many groups: ask for less.
    #[error("more than {} groups", dauer_core::ledger::account::GROUPS_MAX)]
    TooManyGroups,
    /// Somebody else has taken over what this handle wrote for: nothing was written, and nothing will be. Stop.
    #[error("the lease of node {node} was taken from epoch {epoch} (now {})", epoch_found(*found))]
    Fenced {
        /// Under whose lease this handle writes.
        node: NodeId,
        /// The epoch it took.
        epoch: u64,
        /// The stored one; absent where the store knows no such node any more.
        found: Option<u64>,
    },
    /// Another node holds the job: nothing was written; ask there.
    #[error("job {job} is held by node {node}")]
    Held {
        /// Which job.
        job: JobId,
        /// Who holds it.
        node: NodeId,
    },
    /// The lease of this epoch has not run out, or somebody else took it over: look again.
    #[error("the lease of node {0} was renewed or taken over by somebody else")]
    LeaseChanged(NodeId),
    /// The disk is full: nothing was written; try again when there is room.
    #[error("no space left for the store: {0}")]
    NoSpace(String),
    /// A store is not moved, or not worked on while it is.
    #[error(transparent)]
    Moving(#[from] crate::moving::Refusal),
    /// The store cannot be used.
    #[error("store: {0}")]
    Backend(Arc<dyn std::error::Error + Send + Sync>),
}

fn epoch_found(found: Option<u64>) -> String {
    found.map_or_else(|| "gone".to_owned(), |epoch| format!("epoch {epoch}"))
}

/// What failed on what; the text ends with the reason, and the source is kept.
#[derive(Debug)]
struct Failed {
    what: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// An error that the caller can only report.
pub(crate) fn failed(
    what: impl Into<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Backend(Arc::new(Failed {
        what: what.into(),
        source,
    }))
}
