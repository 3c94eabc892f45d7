//! What comes from another store, in its final form.

use super::checkpoint::CheckpointRow;
use super::columns::{DefinitionRow, json};
use super::snapshot::SnapshotRow;
use super::write::{NewRow, ScheduleRow, Write};
use crate::moving::{
    Numbered, Portable, PortableAudit, PortableInterval, PortableJob, PortableSignal,
};
use crate::{DaemonRun, Entry};
use dauer_core::{AccessToken, CacheEntry, Json, Timestamp, Token, Turn, Wait};

/// One value. What is there already under its id or number stays, but for what replaces it.
#[derive(Debug)]
pub(crate) enum Arrival {
    Definition(DefinitionRow),
    Job(Box<JobArrival>),
    Entry(Box<Entry>),
    Audit(Box<PortableAudit>),
    Interval(Box<PortableInterval>),
    Schedule(ScheduleRow),
    Snapshot(SnapshotRow),
    Cached(CacheEntry),
    Access(AccessToken),
    /// Replaces.
    Queue {
        name: String,
        settings: String,
    },
    /// Replaces all of the queue.
    Turns {
        queue: String,
        turns: Vec<Turn>,
    },
    /// Replaces all.
    Daemons {
        runs: Vec<DaemonRun>,
        heartbeat: Option<Timestamp>,
    },
    /// Replaces.
    Mark(String),
}

/// A job and what belongs to it.
#[derive(Debug)]
pub(crate) struct JobArrival {
    /// Without the pointer to its checkpoint, which is not there before it.
    pub(crate) new: NewRow,
    pub(crate) checkpoint: Option<String>,
    pub(crate) checkpoints: Vec<(u64, CheckpointRow)>,
    pub(crate) tokens: Vec<Token>,
    pub(crate) output: Option<Json>,
    pub(crate) signals: Vec<Numbered<PortableSignal>>,
    pub(crate) waits: Vec<Wait>,
}

impl JobArrival {
    fn of(moved: PortableJob) -> Self {
        let key = moved.key.map(|key| (key.key, key.digest));
        let checkpoints = moved
            .checkpoints
            .iter()
            .map(|one| (one.number, CheckpointRow::of(&moved.job, &one.value)))
            .collect();
        let mut new = NewRow::arrived(moved.job, key);
        Self {
            checkpoint: new.row.checkpoint.take(),
            new,
            checkpoints,
            tokens: moved.tokens,
            output: moved.output,
            signals: moved.signals,
            waits: moved.waits,
        }
    }
}

impl Arrival {
    fn of(value: Portable) -> Self {
        match value {
            Portable::Definition(definition) => Self::Definition(DefinitionRow::of(*definition)),
            Portable::Job(job) => Self::Job(Box::new(JobArrival::of(*job))),
            Portable::Entry(entry) => Self::Entry(Box::new(entry)),
            Portable::Audit(audit) => Self::Audit(Box::new(audit)),
            Portable::Interval(interval) => Self::Interval(interval),
            Portable::Schedule(schedule) => Self::Schedule(ScheduleRow::of(*schedule)),
            Portable::Snapshot(snapshot) => Self::Snapshot(SnapshotRow::of(*snapshot)),
            Portable::Cached(entry) => Self::Cached(entry),
            Portable::Access(token) => Self::Access(token),
            Portable::Queue(queue) => Self::Queue {
                settings: json(&queue),
                name: queue.name,
            },
            Portable::Turns { queue, turns } => Self::Turns { queue, turns },
            Portable::Daemons { runs, heartbeat } => Self::Daemons { runs, heartbeat },
            Portable::Move(mark) => Self::Mark(json(&mark)),
        }
    }
}

impl Write {
    pub(crate) fn import(values: Vec<Portable>) -> Self {
        Self::Import(values.into_iter().map(Arrival::of).collect())
    }
}
