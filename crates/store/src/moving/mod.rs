//! What a store holds, as values that any other store can take in: for moving, and for looking whether all of it is right.
//!
//! ```text
//! source ── export: a page of a section ──► Portable ── import: the same again changes nothing ──► target
//! ```
//!
//! A job travels with what belongs to it, as one value; so a store never holds a part of one. Numbers that say an order (of the
//! journal, of checkpoints, of signals) travel too: they are in ids of events that callers keep.

mod giving;
mod migration;
mod tally;

pub(crate) use giving::{
    Few, PAGE_BYTES_MAX, RUNS_MAX, definitions_behind, definitions_page, number, standing,
};
pub use migration::{BATCH, Migration, Moved, Progress};
pub use tally::{Tallies, Tally};

use crate::check::Finding;
use crate::{DaemonRun, Entry, Error, NewAudit, Store};
use async_trait::async_trait;
use dauer_core::ledger::Interval;
use dauer_core::{
    AccessToken, CacheEntry, Checkpoint, Definition, Job, JobId, Json, Queue, Schedule, Signal,
    Snapshot, Timestamp, Token, Turn, Wait,
};
use serde::{Deserialize, Serialize};

/// What a store gives and takes in.
#[async_trait]
pub trait Movable: Send + Sync + 'static {
    /// A page of a section: at most so many values, those after this key, of one moment. With limit 0 only how many there are.
    async fn export(
        &self,
        section: Section,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, Error>;

    /// Takes in what another store gave, in one transaction. What is there already under the same id or number stays as it is; what
    /// says that it replaces something does. Numbers are kept, and those given from then on are above them.
    async fn import(&self, values: Vec<Portable>) -> Result<(), Error>;

    /// What the back end keeps beside the records and does not agree with them, or cannot read: a part of [`crate::check::check`].
    async fn check(&self) -> Result<Vec<Finding>, Error>;
}

/// The form of [`Portable`]. A move that was begun in another form is not gone on with.
pub const FORMAT: u32 = 2;

/// A part of a store that is read and written by itself, in this order: what is pointed to comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// Templates of jobs.
    Definitions,
    /// Jobs with what belongs to each.
    Jobs,
    /// What happened to them.
    Journal,
    /// What was done to everything else.
    Audit,
    /// Who used what.
    Ledger,
    /// What is to be submitted again and again.
    Schedules,
    /// Kept states.
    Snapshots,
    /// What cached steps left.
    Cache,
    /// Limits.
    Queues,
    /// Turns that queues with a rate gave.
    Turns,
    /// Tokens for callers.
    Access,
    /// The daemons of the node, and when the last one was seen alive.
    Daemons,
    /// What was moved here and how far; it never travels itself.
    Move,
}

impl Section {
    /// All that travel, in their order.
    pub const ALL: [Self; 12] = [
        Self::Definitions,
        Self::Jobs,
        Self::Journal,
        Self::Audit,
        Self::Ledger,
        Self::Schedules,
        Self::Snapshots,
        Self::Cache,
        Self::Queues,
        Self::Turns,
        Self::Access,
        Self::Daemons,
    ];

    /// The serialized name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Definitions => "definitions",
            Self::Jobs => "jobs",
            Self::Journal => "journal",
            Self::Audit => "audit",
            Self::Ledger => "ledger",
            Self::Schedules => "schedules",
            Self::Snapshots => "snapshots",
            Self::Cache => "cache",
            Self::Queues => "queues",
            Self::Turns => "turns",
            Self::Access => "access",
            Self::Daemons => "daemons",
            Self::Move => "move",
        }
    }
}

impl std::fmt::Display for Section {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// One value of a section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "section", content = "value", rename_all = "snake_case")]
pub enum Portable {
    /// A definition.
    Definition(Box<Definition>),
    /// A job.
    Job(Box<PortableJob>),
    /// An entry of the journal, with its number.
    Entry(Entry),
    /// A record of the audit.
    Audit(PortableAudit),
    /// An interval of the ledger.
    Interval(Box<PortableInterval>),
    /// A schedule.
    Schedule(Box<Schedule>),
    /// A snapshot.
    Snapshot(Box<Snapshot>),
    /// An entry of the cache.
    Cached(CacheEntry),
    /// The settings of a queue.
    Queue(Queue),
    /// All turns of a queue that are kept: taken in, they replace those that are there.
    Turns {
        /// The queue.
        queue: String,
        /// The earliest first, then by key.
        turns: Vec<Turn>,
    },
    /// A token for callers.
    Access(AccessToken),
    /// All that is known of daemons: taken in, it replaces what is there.
    Daemons {
        /// The oldest first.
        runs: Vec<DaemonRun>,
        /// When the last one was seen alive.
        heartbeat: Option<Timestamp>,
    },
    /// What was moved here: taken in, it replaces what is there.
    Move(Box<Mark>),
}

impl Portable {
    /// The section that it is of.
    #[must_use]
    pub fn section(&self) -> Section {
        match self {
            Self::Definition(_) => Section::Definitions,
            Self::Job(_) => Section::Jobs,
            Self::Entry(_) => Section::Journal,
            Self::Audit(_) => Section::Audit,
            Self::Interval(_) => Section::Ledger,
            Self::Schedule(_) => Section::Schedules,
            Self::Snapshot(_) => Section::Snapshots,
            Self::Cached(_) => Section::Cache,
            Self::Queue(_) => Section::Queues,
            Self::Turns { .. } => Section::Turns,
            Self::Access(_) => Section::Access,
            Self::Daemons { .. } => Section::Daemons,
            Self::Move(_) => Section::Move,
        }
    }
}

/// A job and all that goes when it is removed, but for its journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PortableJob {
    /// The record with its spec and its parameters.
    pub job: Job,
    /// The key of the request that asked for it.
    pub key: Option<RequestKey>,
    /// The committed ones, oldest first.
    pub checkpoints: Vec<Numbered<Checkpoint>>,
    /// By their keys.
    pub tokens: Vec<Token>,
    /// What it left as its result.
    pub output: Option<Json>,
    /// In the order in which they were sent.
    pub signals: Vec<Numbered<PortableSignal>>,
    /// By their tokens.
    pub waits: Vec<Wait>,
}

/// What a key of a request was used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestKey {
    /// The key.
    pub key: String,
    /// The digest of the request.
    pub digest: String,
}

/// Something with the number that says where it stands among its like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered<T> {
    /// Grows with each.
    pub number: u64,
    /// What has it.
    pub value: T,
}

/// A signal and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortableSignal {
    /// As it was sent.
    pub signal: Signal,
    /// Whether somebody has it.
    pub standing: Standing,
    /// Of the wait that took it, or that had it before a rollback.
    pub token: Option<String>,
}

/// Whether somebody has a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nobody.
    Waiting,
    /// Since the newest checkpoint.
    Taken,
    /// Since before it, so that no rollback gives it back.
    Sealed,
}

impl Standing {
    /// The serialized name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Taken => "taken",
            Self::Sealed => "sealed",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Waiting, Self::Taken, Self::Sealed]
            .into_iter()
            .find(|standing| standing.name() == name)
    }
}

/// A record of the audit and its place in the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortableAudit {
    /// Its own number, as [`crate::HistoryPlace::audit`].
    pub number: u64,
    /// The number of the journal entry before it, as [`crate::HistoryPlace::seq`].
    pub after: u64,
    /// What it says.
    pub audit: NewAudit,
}

/// An interval of the ledger and its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortableInterval {
    /// Grows with each that is opened; of no meaning beside that.
    pub number: u64,
    /// The interval.
    pub interval: Interval,
}

/// What is being moved into a store, or was: written with every batch, so that it is always as far as the values are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// [`FORMAT`] of the dauer that began.
    pub format: u32,
    /// Where from, for people.
    pub from: String,
    /// What the source was known by when the move began: it has to be the same one, unchanged, to the end.
    pub source: String,
    /// When it began.
    pub began_at: Timestamp,
    /// The section that is being moved.
    pub section: Section,
    /// The last key of the source that is here.
    pub after: Option<String>,
    /// What is here.
    pub moved: Tallies,
    /// When all of it was here and had been compared; absent before.
    pub done_at: Option<Timestamp>,
}

/// A part of a section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// In the order of their keys; fewer than asked for where they are long.
    pub values: Vec<Portable>,
    /// The key of the last one, where there may be more behind it. Only the store that gave it knows what it says.
    pub next: Option<String>,
    /// How many values the section has, where only that was asked for.
    pub total: Option<u64>,
}

impl Page {
    /// Of these, of which so many were asked for: where fewer came there are no more behind them.
    pub(crate) fn behind<T>(
        found: Vec<T>,
        asked: usize,
        key: impl Fn(&T) -> String,
        value: impl Fn(T) -> Portable,
    ) -> Self {
        let next = found.last().filter(|_| found.len() >= asked).map(key);
        Self {
            values: found.into_iter().map(value).collect(),
            next,
            total: None,
        }
    }
}

/// Why a store is not moved, or not into that one. Nothing was written but what [`Mark`] says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Somebody still works on the source or the target.
    #[error("node {node} uses this store: stop its daemon first")]
    InUse {
        /// Whose lease has not run out.
        node: String,
    },
    /// A record says that something is under way, which only the daemon can bring to an end.
    #[error(
        "{} cannot be moved while under way: {}; start the daemon on the old store and wait for the end of each, or `dauer suspend` or `dauer stop` it",
        jobs(*count), first.iter().map(JobId::as_str).collect::<Vec<_>>().join(", ")
    )]
    UnderWay {
        /// How many.
        count: usize,
        /// Some of them.
        first: Vec<JobId>,
    },
    /// The target holds something that this move did not write.
    #[error("the target is not empty, it has {0}: move into an empty store")]
    NotEmpty(Section),
    /// The target holds a part of another move.
    #[error(
        "the target holds a part of what was being moved from {0}: go on with that, or take an empty store"
    )]
    OtherMove(String),
    /// The source was written to since the move began.
    #[error("the source was changed since the move began: empty the target and begin again")]
    Changed,
    /// Not the same came out on the other side.
    #[error("{part} differ: {} in the source ({}), {} in the target ({}); the source is untouched", source_has.count, source_has.short(), target_has.count, target_has.short())]
    Differs {
        /// What.
        part: String,
        /// As read from the source.
        source_has: Tally,
        /// As read from the target.
        target_has: Tally,
    },
    /// Only a part of what is being moved is here.
    #[error(
        "only a part of {0} has been moved into this store: go on with `dauer store migrate`, or use the old store"
    )]
    HalfMoved(String),
}

fn jobs(count: usize) -> String {
    match count {
        1 => "1 job".to_owned(),
        count => format!("{count} jobs"),
    }
}

/// What was moved into this store, or is being moved.
pub async fn mark(store: &dyn Store) -> Result<Option<Mark>, Error> {
    let page = store.export(Section::Move, None, 1).await?;
    Ok(page.values.into_iter().find_map(|value| match value {
        Portable::Move(mark) => Some(*mark),
        Portable::Definition(_)
        | Portable::Job(_)
        | Portable::Entry(_)
        | Portable::Audit(_)
        | Portable::Interval(_)
        | Portable::Schedule(_)
        | Portable::Snapshot(_)
        | Portable::Cached(_)
        | Portable::Queue(_)
        | Portable::Turns { .. }
        | Portable::Access(_)
        | Portable::Daemons { .. } => None,
    }))
}

/// A store into which something is being moved is not to be worked on. Errors: [`Refusal::HalfMoved`].
pub async fn check_is_whole(store: &dyn Store) -> Result<(), Error> {
    match mark(store).await? {
        Some(mark) if mark.done_at.is_none() => Err(Refusal::HalfMoved(mark.from).into()),
        Some(_) | None => Ok(()),
    }
}
