//! Durable state: one trait, one conformance suite, and the back ends.
//!
//! Every change of a job is one [`Change`]: the new record at an expected version, its journal entry and
//! whatever belongs to it (a checkpoint, a token, its output, its signals), in one transaction. Nothing else writes.

mod capabilities;
pub mod check;
pub mod conformance;
mod error;
mod history;
mod lease;
pub mod moving;
mod place;
#[cfg(feature = "postgres")]
mod postgres;
mod queues;
mod record;
#[cfg(feature = "redis")]
mod redis;
mod snapshots;
mod sqlite;

#[cfg(feature = "redis")]
pub use self::redis::Redis;
pub use capabilities::{Capabilities, Durable, check_keeps};
pub use error::Error;
pub use history::{HistoryFilter, HistoryPage, HistoryPlace, NewAudit, Recorded};
pub use lease::{Leases, Notice};
pub use place::{open, shown};
#[cfg(feature = "postgres")]
pub use postgres::Postgres;
pub use queues::{DaemonRun, Sleeper, Waiting};
pub use snapshots::{Folder, Snapshots};
pub use sqlite::{Durability, Sqlite, backup};

use async_trait::async_trait;
use dauer_core::ledger::{Account, By, Interval, Labels, Owner, Range};
use dauer_core::plan::turn::{Ask, Due};
use dauer_core::{
    AccessToken, Checkpoint, CheckpointId, Definition, DefinitionRef, Forget, Job, JobId, Json,
    Kept, Queue, SandboxId, Schedule, Signal, State, Timestamp, Token, Turn, Unique, Wait,
};
use moving::Movable;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One transition of one job, written whole or not at all.
#[derive(Clone, Debug)]
pub struct Change {
    /// The new record; its version is one above the stored one, else [`Error::Conflict`]. Shared with whoever goes on with it then.
    pub job: Arc<Job>,
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

/// A job to be added.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Of version 1.
    pub job: Job,
    /// What the journal says of it.
    pub entry: NewEntry,
    /// The key of the request that asked for it, and the digest of that request. Kept as long as the job.
    pub key: Option<(String, String)>,
    /// Its own row of the kept state that it begins from (`JobSpec::from`), which is written only while something else still
    /// keeps that.
    pub shares: Option<Checkpoint>,
}

/// A change of a schedule, written whole or not at all.
#[derive(Clone, Debug)]
pub struct ScheduleChange {
    /// The new record; its version is one above the stored one, else [`Error::ScheduleChanged`].
    pub schedule: Schedule,
    /// The jobs that it fires.
    pub jobs: Vec<NewJob>,
    /// What the history says of it beside them.
    pub audit: Option<NewAudit>,
}

/// What a key of a request was used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// The job that was made.
    pub job: JobId,
    /// The digest of the request it was made from.
    pub digest: String,
}

/// A journal entry to be written; the store numbers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// When.
    pub at: Timestamp,
    /// What happened, as a word.
    pub event: Cow<'static, str>,
    /// State before; absent for the first.
    pub from: Option<State>,
    /// A line more.
    pub detail: Option<String>,
    /// Who asked for it: `uid:0`, `token:ci`, `job:<id>`, `schedule:<name>`, or `node` where nobody did.
    pub by: Option<Cow<'static, str>>,
    /// What they asked it for, in their words.
    pub why: Option<String>,
}

/// A journal entry. State, operation and generation are those after the change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Who asked for it, as in [`NewEntry`]; absent in entries of older builds.
    pub by: Option<String>,
    /// What they asked it for.
    pub why: Option<String>,
}

/// Which jobs to list, newest first (by id, which sorts by creation).
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these states; empty: all.
    pub states: Vec<State>,
    /// Only with every one of these tags.
    pub tags: Vec<(String, String)>,
    /// Only the one of this name.
    pub name: Option<String>,
    /// Only those of this batch.
    pub batch: Option<String>,
    /// Only ids below this one: the last id of the page before.
    pub before: Option<JobId>,
    /// At most so many.
    pub limit: usize,
}

impl Filter {
    /// Whether a job is one of those asked for, wherever in the list.
    #[must_use]
    pub fn accepts(&self, job: &Job) -> bool {
        let has = |(key, value): &(String, String)| job.spec.tags.get(key) == Some(value);
        (self.states.is_empty() || self.states.contains(&job.state))
            && self.tags.iter().all(has)
            && (self.name.is_none() || self.name == job.spec.name)
            && (self.batch.is_none() || self.batch == job.spec.batch)
    }
}

/// What to add up of the ledger.
#[derive(Clone, Debug)]
pub struct UsageQuery {
    /// A sum for each of these.
    pub by: By,
    /// Only what lies in here.
    pub range: Range,
    /// Open intervals count up to this moment.
    pub now: Timestamp,
    /// Only of this owner.
    pub owner: Option<Owner>,
    /// Only what had every one of these tags while it ran.
    pub tags: Vec<(String, String)>,
}

impl UsageQuery {
    /// Whether an interval is one of those asked for, wherever it lies.
    #[must_use]
    pub fn asks_for(&self, interval: &Interval) -> bool {
        self.owner
            .as_ref()
            .is_none_or(|owner| *owner == interval.owner)
            && self.asks_for_labels(&interval.labels)
    }

    /// Whether intervals with these labels are asked for, whosever they are.
    #[must_use]
    pub fn asks_for_labels(&self, labels: &Labels) -> bool {
        let has = |(key, value): &(String, String)| labels.tags.get(key) == Some(value);
        self.tags.iter().all(has)
    }
}

/// Which definitions to list, by name and version as texts.
#[derive(Clone, Debug, Default)]
pub struct DefinitionFilter {
    /// Only those of this name.
    pub name: Option<String>,
    /// Only those after this one: the last of the page before.
    pub after: Option<DefinitionRef>,
    /// At most so many.
    pub limit: usize,
}

/// Durable state of jobs. Every method is atomic; what it returned Ok for survives a crash of the process, and
/// of the machine where the back end's setting says so.
#[async_trait]
pub trait Store: Leases + Snapshots + Movable + Send + Sync + 'static {
    /// What it promises. Costs nothing.
    fn capabilities(&self) -> Capabilities;

    /// Adds a job of version 1 with its first journal entry. Errors: `Conflict` where the id is taken; `NameInUse`.
    async fn create(&self, job: Job, entry: NewEntry) -> Result<(), Error> {
        let (key, shares) = (None, None);
        let new = NewJob {
            job,
            entry,
            key,
            shares,
        };
        self.create_all(vec![new]).await
    }

    /// Adds all of these jobs, or none. Errors: as `create`; `KeyInUse` with what the key of one of them was used for;
    /// `NotFound` where a parent is not there, `ParentEnding`; `NotUnique` where another job stands for one of them; `Unreferenced`
    /// where nothing keeps any more what one of them begins from.
    async fn create_all(&self, jobs: Vec<NewJob>) -> Result<(), Error>;

    /// Adds all of these jobs, and the first change of each that has one here, in one transaction; or none. Errors: as `create_all`,
    /// and as `commit`.
    async fn create_begun(&self, jobs: Vec<NewJob>, changes: Vec<Change>) -> Result<(), Error>;

    /// What these keys of requests were used for; those that never were are left out.
    async fn keyed(&self, keys: Vec<String>) -> Result<BTreeMap<String, Keyed>, Error>;

    /// Writes a transition. The spec was written by `create`; only `Kept::Described` changes its tags and metadata. Errors, with nothing written: `Conflict`;
    /// `NotFound`; `Backend` where the record points to a checkpoint that is not there, or names another job's sandbox.
    async fn commit(&self, change: Change) -> Result<(), Error>;

    /// Writes many transitions in one transaction, in this order. Each has its own result, as `commit` would give it: one that
    /// is refused leaves the others as they are.
    async fn commit_all(&self, changes: Vec<Change>) -> Vec<Result<(), Error>>;

    /// The records of these ids, all of one moment and in this order; those that are not there (any more) are left out.
    async fn jobs(&self, ids: Vec<JobId>) -> Result<Vec<Job>, Error>;

    /// The record of this id. Errors: `NotFound`.
    async fn job(&self, id: &JobId) -> Result<Job, Error>;

    /// The id meant by a person: an exact id, else an exact name, else a unique beginning of an id of at least 4 characters.
    /// Errors: `NotFound`, `Ambiguous`.
    async fn find(&self, text: &str) -> Result<JobId, Error>;

    /// One page of jobs, without their `params`.
    async fn list(&self, filter: Filter) -> Result<Vec<Job>, Error>;

    /// Every job that recovery has to look at: not terminal, except those pending, suspended or waiting for a retry without an
    /// operation in flight, which cost nothing; terminal ones whose operation is not finished; and those whose children are still
    /// to be cancelled. Without their `params`.
    async fn unsettled(&self) -> Result<Vec<Job>, Error>;

    /// Jobs that have ended, the oldest ids first: those after this one, at most so many. Without their `params`.
    async fn ended(&self, after: Option<&JobId>, limit: usize) -> Result<Vec<Job>, Error>;

    /// The earliest `wake_at` after `now` of a job that waits: pending, suspended or waiting for a retry, without an operation.
    async fn next_wake(&self, now: Timestamp) -> Result<Option<Timestamp>, Error>;

    /// The jobs asked for of those that wait and whose `wake_at` is at or before `now`, in the order of their turns. What their
    /// queue holds back costs nothing.
    async fn due(&self, now: Timestamp, ask: &Ask) -> Result<Vec<Due>, Error>;

    /// Jobs that wait without an operation and whose waiting has an end (`expires_at`), the earliest end first.
    async fn expiring(&self, limit: usize) -> Result<Vec<(JobId, Timestamp)>, Error>;

    /// The jobs whose parent this is, in the order of their ids, after this id.
    async fn children(
        &self,
        parent: &JobId,
        after: Option<&JobId>,
        limit: usize,
    ) -> Result<Vec<JobId>, Error>;

    /// The job whose record names this sandbox.
    async fn owner(&self, sandbox: &SandboxId) -> Result<Option<JobId>, Error>;

    /// The committed checkpoints of a job, oldest first; among them the one it began from, where it did.
    async fn checkpoints(&self, job: &JobId) -> Result<Vec<Checkpoint>, Error>;

    /// This job needs this checkpoint no longer. Its files may go once nothing else keeps them (`Snapshots::referenced`). Fine where it
    /// is unknown; never the one the job's record points to (`Conflict`).
    async fn drop_checkpoint(&self, job: &JobId, id: &CheckpointId) -> Result<(), Error>;

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

    /// The intervals of this owner, in the order in which they began. They outlive it.
    async fn intervals(&self, owner: &Owner) -> Result<Vec<Interval>, Error>;

    /// Adds up what is asked for. Errors: `TooManyGroups`.
    async fn usage(&self, query: UsageQuery) -> Result<Account, Error>;

    /// Forgets about so many intervals that were closed before then, the oldest first. What is open stays.
    async fn prune_ledger(&self, before: Timestamp, about: usize) -> Result<(), Error>;

    /// When the closed interval ended that ended first.
    async fn ledger_oldest(&self) -> Result<Option<Timestamp>, Error>;

    /// The daemon was alive then, and so was all that it watched over.
    async fn heartbeat(&self, at: Timestamp) -> Result<(), Error>;

    /// The last such moment.
    async fn last_heartbeat(&self) -> Result<Option<Timestamp>, Error>;

    /// Adds a token for callers. Errors: `Backend` where the id is taken.
    async fn add_access_token(&self, token: AccessToken, audit: NewAudit) -> Result<(), Error>;

    /// The tokens for callers, in the order of their ids.
    async fn access_tokens(&self) -> Result<Vec<AccessToken>, Error>;

    /// A token for callers was used then; fine where there is none any more.
    async fn access_token_used(&self, id: &str, at: Timestamp) -> Result<(), Error>;

    /// Removes a token for callers. Errors: `NotFound`.
    async fn remove_access_token(&self, id: &str, audit: NewAudit) -> Result<(), Error>;

    /// Removes a terminal job of this version with everything that belongs to it. Errors: `Conflict`, also where it is
    /// not terminal; `NotFound`.
    async fn remove(&self, id: &JobId, version: u64, audit: NewAudit) -> Result<(), Error>;

    /// Adds a definition. Errors: `Defined` where there is one of this name and version, whatever it says.
    async fn define(&self, definition: Definition, audit: NewAudit) -> Result<(), Error>;

    /// The definition of this name and version.
    async fn definition(&self, id: &DefinitionRef) -> Result<Option<Definition>, Error>;

    /// The versions that there are of a definition, in no order.
    async fn versions(&self, name: &str) -> Result<Vec<String>, Error>;

    /// One page of definitions.
    async fn definitions(&self, filter: DefinitionFilter) -> Result<Vec<Definition>, Error>;

    /// Removes a definition. Jobs that were made from it keep everything. Errors: `NotFound`.
    async fn undefine(&self, id: &DefinitionRef, audit: NewAudit) -> Result<(), Error>;

    /// Adds a schedule. Errors: `ScheduleExists`.
    async fn add_schedule(&self, schedule: Schedule, audit: NewAudit) -> Result<(), Error>;

    /// The schedule of this name.
    async fn schedule(&self, name: &str) -> Result<Option<Schedule>, Error>;

    /// One page of schedules, by name: those after this one, at most so many.
    async fn schedules(&self, after: Option<&str>, limit: usize) -> Result<Vec<Schedule>, Error>;

    /// Schedules that somebody has to look at by `now`, those first that have been due the longest.
    async fn due_schedules(&self, now: Timestamp, limit: usize) -> Result<Vec<Schedule>, Error>;

    /// The earliest moment at which somebody has to look at one.
    async fn next_schedule(&self) -> Result<Option<Timestamp>, Error>;

    /// Writes a schedule and adds the jobs that it fires. Errors, with nothing written: `ScheduleChanged`; `NotFound`; for the
    /// jobs as `create_all`.
    async fn change_schedule(&self, change: ScheduleChange) -> Result<(), Error>;

    /// Removes a schedule; its jobs stay. Errors: `NotFound`.
    async fn remove_schedule(&self, name: &str, audit: NewAudit) -> Result<(), Error>;

    /// One page of what is recorded of jobs and of everything else, in the order in which it was committed.
    async fn history(&self, filter: HistoryFilter) -> Result<HistoryPage, Error>;

    /// The moment of what was recorded first, of what is kept.
    async fn oldest_record(&self) -> Result<Option<Timestamp>, Error>;

    /// Forgets what was recorded before that moment, but only so many records, the oldest, so that no other write waits long for it.
    async fn forget_records(&self, before: Timestamp, limit: usize) -> Result<(), Error>;

    /// Of each of these, the job that stands for it; those for which none does are left out. By their place in the question.
    async fn holders(&self, unique: Vec<Unique>) -> Result<BTreeMap<usize, JobId>, Error>;

    /// The jobs that wait for this one.
    async fn followers(&self, job: &JobId) -> Result<Vec<JobId>, Error>;

    /// Whether any job waits for another one.
    async fn has_followers(&self) -> Result<bool, Error>;

    /// Jobs that have ended, or are gone, while others still wait for them.
    async fn ended_before_followers(&self) -> Result<Vec<JobId>, Error>;

    /// How many jobs of a batch are in each state; empty where there are none.
    async fn batch(&self, batch: &str) -> Result<BTreeMap<String, u64>, Error>;

    /// Whether a job of a batch has not ended, or its end is not done with.
    async fn batch_is_open(&self, batch: &str) -> Result<bool, Error>;

    /// Sets what a queue holds back.
    async fn set_queue(&self, queue: Queue, audit: NewAudit) -> Result<(), Error>;

    /// Forgets the settings of a queue; its jobs stay. Errors: `NotFound`.
    async fn remove_queue(&self, name: &str, audit: NewAudit) -> Result<(), Error>;

    /// The queues with settings, by name.
    async fn queues(&self) -> Result<Vec<Queue>, Error>;

    /// How many jobs wait in each queue that has some.
    async fn waiting(&self, now: Timestamp) -> Result<Vec<Waiting>, Error>;

    /// The jobs of a queue that sleep.
    async fn sleepers(&self, queue: &str) -> Result<Vec<Sleeper>, Error>;

    /// What was kept of the turns that queues gave, the earliest first.
    async fn turns(&self) -> Result<Vec<Turn>, Error>;

    /// A daemon begins. Returns how the last of those before it were, the newest first: at most `limit`.
    async fn daemon_started(&self, at: Timestamp, limit: usize) -> Result<Vec<DaemonRun>, Error>;

    /// A job completed under the present daemon.
    async fn daemon_completed_a_job(&self) -> Result<(), Error>;

    /// The present daemon was asked to end and is about to.
    async fn daemon_ended_well(&self) -> Result<(), Error>;
}
