//! A write, put into its final form by the caller's task, so that whoever writes spends no time on it.

use super::arrival::Arrival;
use super::checkpoint::{CheckpointRow, Drop, checkpoint_name};
use super::columns::{DefinitionRow, json, signed, standing};
use super::job;
use super::snapshot::{CacheWrite, SnapshotWrite};
use crate::{Change, NewAudit, NewEntry, NewJob, ScheduleChange};
use dauer_core::{
    AccessToken, Definition, DefinitionRef, Forget, Job, JobId, Kept, Queue, Schedule, State,
    Timestamp, Token, Unique,
};
use std::collections::BTreeMap;

/// One write.
#[derive(Debug)]
pub(crate) enum Write {
    Create(Vec<NewRow>),
    /// New jobs, and the first changes of some of them, in the same order; all or none.
    Begin {
        new: Vec<NewRow>,
        changes: Vec<CommitRow>,
    },
    Commit(Box<CommitRow>),
    DropCheckpoint(Drop),
    Snapshot(SnapshotWrite),
    Cache(CacheWrite),
    Define(DefinitionRow),
    Undefine(DefinitionRef),
    Remove {
        id: JobId,
        version: u64,
    },
    AddAccess(AccessToken),
    AccessUsed {
        id: String,
        at: Timestamp,
    },
    RemoveAccess(String),
    Schedule(ScheduleWrite),
    Queue(QueueWrite),
    /// The write, and what the history says of it.
    Audited(Box<Self>, NewAudit),
    ForgetRecords {
        before: Timestamp,
        limit: usize,
    },
    Upkeep(Upkeep),
    Import(Vec<Arrival>),
}

/// What a transition writes.
#[derive(Debug)]
pub(crate) struct CommitRow {
    pub(crate) row: JobRow,
    pub(crate) entry: Option<NewEntry>,
    pub(crate) checkpoint: Option<CheckpointRow>,
    pub(crate) token: Option<Token>,
    pub(crate) forget_tokens: Forget,
    pub(crate) kept: Vec<Kept>,
}

/// What the creation of a job writes.
#[derive(Debug)]
pub(crate) struct NewRow {
    pub(crate) row: JobRow,
    pub(crate) created_at: Timestamp,
    pub(crate) name: Option<String>,
    pub(crate) spec: String,
    pub(crate) params: Option<String>,
    pub(crate) urgency: i64,
    pub(crate) parent: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) key: Option<(String, String)>,
    /// Absent where it comes from another store, as its journal does.
    pub(crate) entry: Option<NewEntry>,
    pub(crate) queued: Queued,
    /// Its own row of the checkpoint it begins from.
    pub(crate) shares: Option<CheckpointRow>,
}

/// What a commit writes of a job.
#[derive(Clone, Debug)]
pub(crate) struct JobRow {
    pub(crate) id: JobId,
    pub(crate) version: u64,
    pub(crate) state: State,
    pub(crate) operation: Option<&'static str>,
    pub(crate) generation: u32,
    pub(crate) wake_at: Option<i64>,
    pub(crate) stage: i64,
    pub(crate) sandbox: Option<String>,
    pub(crate) checkpoint: Option<String>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) ends_children: Option<&'static str>,
    pub(crate) record: String,
    pub(crate) lane: i64,
}

/// What the creation of a job writes of the place where it waits.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) queue: String,
    pub(crate) key: Option<String>,
    pub(crate) cpu_millis: Option<u32>,
    pub(crate) memory_bytes: Option<i64>,
    pub(crate) unique: Option<Unique>,
    pub(crate) batch: Option<String>,
    pub(crate) blocked_by: Vec<JobId>,
}

/// What is written of queues and of daemons.
#[derive(Debug)]
pub(crate) enum QueueWrite {
    Set { name: String, settings: String },
    Remove(String),
    DaemonStarted(Timestamp),
    DaemonCompleted,
    DaemonEndedWell,
}

/// What is written of schedules.
#[derive(Debug)]
pub(crate) enum ScheduleWrite {
    Add(ScheduleRow),
    Change { row: ScheduleRow, jobs: Vec<NewRow> },
    Remove(String),
}

/// A schedule in its final form.
#[derive(Debug)]
pub(crate) struct ScheduleRow {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) due_at: Option<Timestamp>,
    pub(crate) record: String,
}

/// What is written without a job.
#[derive(Debug)]
pub(crate) enum Upkeep {
    Prune { before: Timestamp, about: usize },
    Heartbeat(Timestamp),
}

impl CommitRow {
    fn of(change: Change) -> Self {
        let Change {
            job,
            entry,
            checkpoint,
            token,
            forget_tokens,
            kept,
        } = change;
        let whose = checkpoint
            .iter()
            .map(|checkpoint| &checkpoint.job)
            .chain(token.iter().map(|token| &token.job))
            .chain(kept.iter().filter_map(Kept::job));
        for owner in whose {
            assert_eq!(
                owner, &job.id,
                "invariant: a change writes what belongs to its own job only"
            );
        }
        Self {
            checkpoint: checkpoint.map(|checkpoint| CheckpointRow::of(&job, &checkpoint)),
            row: JobRow::of(&job),
            entry,
            token,
            forget_tokens,
            kept,
        }
    }

    /// It writes a record, its entry and what is kept, of a job without sandbox and checkpoint.
    pub(crate) fn is_plain(&self) -> bool {
        self.checkpoint.is_none()
            && self.token.is_none()
            && self.forget_tokens == Forget::None
            && self.row.sandbox.is_none()
            && self.row.checkpoint.is_none()
    }
}

impl JobRow {
    /// Somebody holds it.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.stage & 2 != 0
    }

    fn of(job: &Job) -> Self {
        Self::with(job, job::record)
    }

    fn with(job: &Job, record: fn(&Job) -> String) -> Self {
        Self {
            record: record(job),
            stage: job::stage(job),
            wake_at: job::wake_at(job),
            lane: job::lane(job),
            checkpoint: job
                .checkpoint
                .as_ref()
                .map(|checkpoint| checkpoint_name(job, checkpoint)),
            id: job.id.clone(),
            version: job.version,
            state: job.state,
            operation: job.operation.map(dauer_core::Operation::name),
            generation: job.generation,
            sandbox: job.sandbox.as_ref().map(|sandbox| sandbox.0.clone()),
            expires_at: job.expires_at.map(|at| at.0),
            ends_children: standing(job.ends_children),
        }
    }
}

impl NewRow {
    fn of(new: NewJob) -> Self {
        Self::with(new, job::record)
    }

    fn with(new: NewJob, record: fn(&Job) -> String) -> Self {
        assert_eq!(new.job.version, 1, "invariant: a new job has version 1");
        let shares = new.shares.map(|shares| {
            assert_eq!(
                (&shares.job, Some(&shares.id)),
                (&new.job.id, new.job.spec.from.as_ref()),
                "invariant: a new job brings its own row of what it begins from"
            );
            CheckpointRow::of(&new.job, &shares)
        });
        Self {
            entry: Some(new.entry),
            shares,
            ..Self::placed(new.job, new.key, record)
        }
    }

    /// Of whatever version, without an entry.
    pub(crate) fn arrived(job: Job, key: Option<(String, String)>) -> Self {
        Self::placed(job, key, job::record)
    }

    fn placed(job: Job, key: Option<(String, String)>, record: fn(&Job) -> String) -> Self {
        let (spec, params) = job::spec(&job.spec);
        Self {
            created_at: job.created_at,
            name: job.spec.name.clone(),
            urgency: job::urgency(job.spec.priority),
            parent: job.spec.parent.clone().map(|parent| parent.0),
            queued: Queued::of(&job),
            tags: job.spec.tags.clone(),
            row: JobRow::with(&job, record),
            spec,
            params,
            key,
            entry: None,
            shares: None,
        }
    }

    /// Nothing has to be asked before it is written.
    pub(crate) fn is_plain(&self) -> bool {
        self.name.is_none()
            && self.key.is_none()
            && self.parent.is_none()
            && self.shares.is_none()
            && self.queued.is_plain()
    }
}

impl Queued {
    fn of(job: &Job) -> Self {
        let spec = &job.spec;
        Self {
            queue: spec.queue().to_owned(),
            key: spec.concurrency_key.clone(),
            cpu_millis: spec.cpu_millis,
            memory_bytes: spec.memory_bytes.map(signed),
            unique: spec.unique.clone(),
            batch: spec.batch.clone(),
            blocked_by: job.blocked_by.clone(),
        }
    }

    /// Nothing has to be asked before it is written, and nothing is written beside it.
    fn is_plain(&self) -> bool {
        self.unique.is_none() && self.blocked_by.is_empty()
    }
}

impl QueueWrite {
    pub(crate) fn set(queue: &Queue) -> Self {
        Self::Set {
            settings: json(queue),
            name: queue.name.clone(),
        }
    }
}

impl ScheduleRow {
    pub(crate) fn of(schedule: Schedule) -> Self {
        Self {
            record: json(&schedule),
            version: schedule.version,
            due_at: schedule.due_at(),
            name: schedule.name,
        }
    }
}

impl ScheduleWrite {
    pub(crate) fn add(schedule: Schedule) -> Self {
        assert_eq!(
            schedule.version, 1,
            "invariant: a new schedule has version 1"
        );
        Self::Add(ScheduleRow::of(schedule))
    }

    pub(crate) fn change(change: ScheduleChange) -> Self {
        Self::Change {
            row: ScheduleRow::of(change.schedule),
            jobs: change.jobs.into_iter().map(NewRow::of).collect(),
        }
    }

    /// How many rows of jobs it writes.
    fn len(&self) -> usize {
        match self {
            Self::Change { jobs, .. } => jobs.len(),
            Self::Add(_) | Self::Remove(_) => 0,
        }
    }
}

impl Write {
    pub(crate) fn create(jobs: Vec<NewJob>) -> Self {
        Self::Create(jobs.into_iter().map(NewRow::of).collect())
    }

    pub(crate) fn create_begun(jobs: Vec<NewJob>, changes: Vec<Change>) -> Self {
        let mut begun = changes.iter().map(|change| &change.job.id).peekable();
        // What the change replaces in the same transaction nobody ever reads.
        let rows = jobs
            .into_iter()
            .map(|new| match begun.next_if(|id| **id == new.job.id) {
                Some(_) => NewRow::with(new, |_| String::new()),
                None => NewRow::of(new),
            });
        let new = rows.collect();
        assert!(
            begun.next().is_none(),
            "invariant: jobs begin with changes of their own, in their order"
        );
        Self::Begin {
            new,
            changes: changes.into_iter().map(CommitRow::of).collect(),
        }
    }

    pub(crate) fn define(definition: Definition) -> Self {
        Self::Define(DefinitionRow::of(definition))
    }

    pub(crate) fn commit(change: Change) -> Self {
        Self::Commit(Box::new(CommitRow::of(change)))
    }

    /// How many rows of jobs it writes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Create(new) | Self::Begin { new, .. } => new.len(),
            Self::Commit(_)
            | Self::DropCheckpoint(_)
            | Self::Snapshot(_)
            | Self::Cache(_)
            | Self::Define(_)
            | Self::Undefine(_)
            | Self::Remove { .. }
            | Self::AddAccess(_)
            | Self::AccessUsed { .. }
            | Self::RemoveAccess(_)
            | Self::Upkeep(_)
            | Self::Queue(_)
            | Self::ForgetRecords { .. } => 1,
            Self::Schedule(write) => write.len(),
            Self::Import(values) => values.len(),
            Self::Audited(write, _) => write.len(),
        }
    }

    pub(crate) fn audited(self, audit: impl Into<Option<NewAudit>>) -> Self {
        match audit.into() {
            Some(audit) => Self::Audited(Box::new(self), audit),
            None => self,
        }
    }

    /// The job whose record is another one afterwards. A new one has none before.
    pub(crate) fn changes_job(&self) -> Option<&JobId> {
        match self {
            Self::Commit(commit) => Some(&commit.row.id),
            Self::Remove { id, .. } => Some(id),
            // Made in this very transaction, or left as it is.
            Self::Create(_)
            | Self::Begin { .. }
            | Self::DropCheckpoint(_)
            | Self::Snapshot(_)
            | Self::Cache(_)
            | Self::Define(_)
            | Self::Undefine(_)
            | Self::AddAccess(_)
            | Self::AccessUsed { .. }
            | Self::RemoveAccess(_)
            | Self::Schedule(_)
            | Self::Upkeep(_)
            | Self::Queue(_)
            | Self::Import(_)
            | Self::ForgetRecords { .. } => None,
            Self::Audited(write, _) => write.changes_job(),
        }
    }
}
