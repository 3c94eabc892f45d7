//! Durable state: one trait, one conformance suite, SQLite first.
//!
//! Every change of a job is one [`Change`]: the new record at an expected version, its journal entry and
//! whatever belongs to it (a checkpoint, a token, its output, its signals), in one transaction. Nothing else writes.

pub mod conformance;
mod sqlite;

pub use sqlite::{Durability, Sqlite};

use async_trait::async_trait;
use dauer_core::{
    Checkpoint, CheckpointId, Forget, Job, JobId, Json, Kept, SandboxId, Signal, State, Timestamp,
    Token, Wait,
};
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
    /// More than one job matches.
    #[error("{0:?} matches several jobs")]
    Ambiguous(String),
    /// The disk is full: nothing was written; try again when there is room.
    #[error("no space left for the store: {0}")]
    NoSpace(String),
    /// The store cannot be used.
    #[error("store: {0}")]
    Backend(Arc<dyn std::error::Error + Send + Sync>),
}

/// One transition of one job, written whole or not at all.
#[derive(Clone, Debug)]
pub struct Change {
    /// The new record; its version is one above the stored one, else [`Error::Conflict`].
    pub job: Job,
    /// What the journal says of it; absent where that would be too small and too frequent.
    pub entry: Option<NewEntry>,
    /// A checkpoint that this commits.
    pub checkpoint: Option<Checkpoint>,
    /// A token's new status.
    pub token: Option<Token>,
    /// Which of its tokens are forgotten, before the one above is written.
    pub forget_tokens: Forget,
    /// What else belongs to it, written in this order. A signal is taken only while it waits (`Backend`).
    pub kept: Vec<Kept>,
}

/// What a wait for a signal gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalFor {
    /// What it took before, also of another name.
    Taken(Signal),
    /// The one to take: that which it had before a rollback gave it back, else the oldest of the name.
    Waiting(Signal),
}

/// A journal entry to be written; the store numbers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// When.
    pub at: Timestamp,
    /// What happened, as a word.
    pub event: String,
    /// State before; absent for the first.
    pub from: Option<State>,
    /// A line more.
    pub detail: Option<String>,
}

/// A journal entry. State, operation and generation are those after the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position over all jobs, growing in the order of commits.
    pub seq: u64,
    /// Whose.
    pub job: JobId,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub event: String,
    /// State before.
    pub from: Option<State>,
    /// State after.
    pub to: State,
    /// Operation after, by name.
    pub operation: Option<String>,
    /// Incarnation after.
    pub generation: u32,
    /// A line more.
    pub detail: Option<String>,
}

/// Which jobs to list, newest first (by id, which sorts by creation).
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these states; empty: all.
    pub states: Vec<State>,
    /// Only ids below this one: the last id of the page before.
    pub before: Option<JobId>,
    /// At most so many.
    pub limit: usize,
}

/// Durable state of jobs. Every method is atomic; what it returned Ok for survives a crash of the process, and
/// of the machine where the back end's setting says so.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Adds a job of version 1 with its first journal entry. Errors: `Conflict` where the id is taken; `NameInUse`.
    async fn create(&self, job: Job, entry: NewEntry) -> Result<(), Error>;

    /// Writes a transition. The spec was written by `create` and is not written again. Errors, with nothing written: `Conflict`;
    /// `NotFound`; `Backend` where the record points to a checkpoint that is not there, or names another job's sandbox.
    async fn commit(&self, change: Change) -> Result<(), Error>;

    /// The record of this id. Errors: `NotFound`.
    async fn job(&self, id: &JobId) -> Result<Job, Error>;

    /// The id meant by a person: an exact id, else an exact name, else a unique beginning of an id of at least 4 characters.
    /// Errors: `NotFound`, `Ambiguous`.
    async fn find(&self, text: &str) -> Result<JobId, Error>;

    /// One page of jobs.
    async fn list(&self, filter: Filter) -> Result<Vec<Job>, Error>;

    /// Every job that recovery has to look at: not terminal, except those suspended or waiting for a retry without an
    /// operation in flight, which cost nothing; and terminal ones whose operation is not finished.
    async fn unsettled(&self) -> Result<Vec<Job>, Error>;

    /// The earliest `wake_at` of a suspended job without an operation.
    async fn next_wake(&self) -> Result<Option<Timestamp>, Error>;

    /// Suspended jobs without an operation whose `wake_at` is at or before `now`, earliest first.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, Error>;

    /// The job whose record names this sandbox.
    async fn owner(&self, sandbox: &SandboxId) -> Result<Option<JobId>, Error>;

    /// The committed checkpoints of a job, oldest first.
    async fn checkpoints(&self, job: &JobId) -> Result<Vec<Checkpoint>, Error>;

    /// Forgets a checkpoint whose files are about to be deleted. Fine where it is unknown; never the one a job's record points to
    /// (`Conflict`).
    async fn drop_checkpoint(&self, id: &CheckpointId) -> Result<(), Error>;

    /// Whether a committed checkpoint has this id.
    async fn has_checkpoint(&self, id: &CheckpointId) -> Result<bool, Error>;

    /// A token of a job.
    async fn token(&self, job: &JobId, token: &str) -> Result<Option<Token>, Error>;

    /// What a job left as its result.
    async fn output(&self, job: &JobId) -> Result<Option<Json>, Error>;

    /// Whether a signal of this id was ever sent to the job.
    async fn has_signal(&self, job: &JobId, id: &str) -> Result<bool, Error>;

    /// What a wait for this name under this token gets; nothing where no signal waits.
    async fn signal_for(
        &self,
        job: &JobId,
        name: &str,
        token: &str,
    ) -> Result<Option<SignalFor>, Error>;

    /// How many signals of a job nobody took yet.
    async fn signals_waiting(&self, job: &JobId) -> Result<u64, Error>;

    /// A wait that has an end.
    async fn wait(&self, job: &JobId, token: &str) -> Result<Option<Wait>, Error>;

    /// Journal entries after `seq`, of one job or of all, oldest first.
    async fn journal(
        &self,
        job: Option<&JobId>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, Error>;

    /// Removes a terminal job of this version with everything that belongs to it. Errors: `Conflict`, also where it is
    /// not terminal; `NotFound`.
    async fn remove(&self, id: &JobId, version: u64) -> Result<(), Error>;
}
