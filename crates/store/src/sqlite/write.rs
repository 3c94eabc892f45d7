//! What a write does to the tables, by itself. Runs inside a savepoint of the writer's transaction: an error leaves nothing
//! behind.

use super::access;
use super::fault::Fault;
use super::read;
use super::row::{self, signed, unsigned};
use super::{history, kept, ledger, policy, queues, removal, rows, schedules, sql};
use crate::{Change, Error, NewAudit, NewEntry, NewJob};
use dauer_core::{
    AccessToken, Checkpoint, CheckpointId, Definition, DefinitionRef, Forget, Job, JobId, Kept,
    State, Timestamp, Token,
};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;

/// One write, put into its final form by the caller's task, so that the only writer spends no time on it.
#[derive(Debug)]
pub(super) enum Write {
    Create(Vec<NewRow>),
    /// One after the other, or neither.
    Both(Box<[Write; 2]>),
    Commit(Box<CommitRow>),
    DropCheckpoint(CheckpointId),
    Define {
        id: DefinitionRef,
        runtime_type: String,
        config: String,
        retry_policy: String,
        metadata: String,
        created_at: Timestamp,
    },
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
    Schedule(schedules::Write),
    Queue(queues::Write),
    /// The write, and what the history says of it.
    Audited(Box<Self>, NewAudit),
    ForgetRecords {
        before: Timestamp,
        limit: usize,
    },
    Upkeep(ledger::Upkeep),
}

/// What a transition writes.
#[derive(Debug)]
pub(super) struct CommitRow {
    pub(super) row: JobRow,
    pub(super) entry: Option<NewEntry>,
    checkpoint: Option<CheckpointRow>,
    token: Option<Token>,
    forget_tokens: Forget,
    pub(super) kept: Vec<Kept>,
}

impl CommitRow {
    /// It writes a record, its entry and what is kept, of a job without sandbox and checkpoint.
    pub(super) fn is_plain(&self) -> bool {
        self.checkpoint.is_none()
            && self.token.is_none()
            && self.forget_tokens == Forget::None
            && self.row.sandbox.is_none()
            && self.row.checkpoint.is_none()
    }
}

/// What the creation of a job writes.
#[derive(Debug)]
pub(super) struct NewRow {
    pub(super) row: JobRow,
    pub(super) created_at: Timestamp,
    pub(super) name: Option<String>,
    pub(super) spec: String,
    pub(super) params: Option<String>,
    pub(super) urgency: i64,
    pub(super) parent: Option<String>,
    tags: BTreeMap<String, String>,
    key: Option<(String, String)>,
    pub(super) entry: NewEntry,
    pub(super) queued: queues::Queued,
}

/// What a commit writes of a job.
#[derive(Debug)]
pub(super) struct JobRow {
    pub(super) id: JobId,
    pub(super) version: u64,
    pub(super) state: State,
    pub(super) operation: Option<&'static str>,
    pub(super) generation: u32,
    pub(super) wake_at: Option<i64>,
    pub(super) stage: i64,
    pub(super) sandbox: Option<String>,
    pub(super) checkpoint: Option<String>,
    pub(super) expires_at: Option<i64>,
    pub(super) ends_children: Option<&'static str>,
    pub(super) record: String,
    pub(super) lane: i64,
}

/// What a commit writes of a checkpoint.
#[derive(Debug)]
pub(super) struct CheckpointRow {
    id: CheckpointId,
    record: String,
}

impl JobRow {
    fn of(job: Job) -> Self {
        Self {
            record: row::record(&job),
            stage: row::stage(&job),
            wake_at: row::wake_at(&job),
            lane: row::lane(&job),
            id: job.id,
            version: job.version,
            state: job.state,
            operation: job.operation.map(dauer_core::Operation::name),
            generation: job.generation,
            sandbox: job.sandbox.map(|sandbox| sandbox.0),
            checkpoint: job.checkpoint.map(|checkpoint| checkpoint.0),
            expires_at: job.expires_at.map(|at| at.0),
            ends_children: policy::standing(job.ends_children),
        }
    }
}

impl NewRow {
    pub(super) fn of(new: NewJob) -> Self {
        let mut job = new.job;
        assert_eq!(job.version, 1, "invariant: a new job has version 1");
        let (spec, params) = row::spec(&mut job);
        Self {
            created_at: job.created_at,
            name: job.spec.name.clone(),
            urgency: row::urgency(job.spec.priority),
            parent: job.spec.parent.clone().map(|parent| parent.0),
            queued: queues::Queued::of(&job),
            tags: std::mem::take(&mut job.spec.tags),
            row: JobRow::of(job),
            spec,
            params,
            key: new.key,
            entry: new.entry,
        }
    }
}

impl NewRow {
    /// Nothing has to be asked before it is written.
    pub(super) fn is_plain(&self) -> bool {
        self.name.is_none() && self.key.is_none() && self.parent.is_none() && self.queued.is_plain()
    }
}

impl CheckpointRow {
    fn of(checkpoint: Checkpoint) -> Self {
        Self {
            record: row::checkpoint_record(&checkpoint),
            id: checkpoint.id,
        }
    }
}

impl Write {
    pub(super) fn create(jobs: Vec<NewJob>) -> Self {
        Self::Create(jobs.into_iter().map(NewRow::of).collect())
    }

    pub(super) fn create_begun(new: NewJob, change: Change) -> Self {
        assert_eq!(
            new.job.id, change.job.id,
            "invariant: a job begins with its own change"
        );
        Self::Both(Box::new([Self::create(vec![new]), Self::commit(change)]))
    }

    pub(super) fn define(definition: Definition) -> Self {
        let json = |value: serde_json::Result<String>| {
            value.expect("invariant: a definition is plain data and can be written as JSON")
        };
        Self::Define {
            config: json(serde_json::to_string(&definition.config)),
            retry_policy: json(serde_json::to_string(&definition.retry_policy)),
            metadata: json(serde_json::to_string(&definition.metadata)),
            runtime_type: definition.runtime_type,
            created_at: definition.created_at,
            id: DefinitionRef {
                name: definition.name,
                version: definition.version,
            },
        }
    }

    pub(super) fn commit(change: Change) -> Self {
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
        Self::Commit(Box::new(CommitRow {
            row: JobRow::of(job),
            entry,
            checkpoint: checkpoint.map(CheckpointRow::of),
            token,
            forget_tokens,
            kept,
        }))
    }

    /// How many rows of jobs it writes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Create(new) => new.len(),
            Self::Commit(_)
            | Self::DropCheckpoint(_)
            | Self::Define { .. }
            | Self::Undefine(_)
            | Self::Remove { .. }
            | Self::AddAccess(_)
            | Self::AccessUsed { .. }
            | Self::RemoveAccess(_)
            | Self::Upkeep(_)
            | Self::Queue(_)
            | Self::ForgetRecords { .. } => 1,
            Self::Both(both) => both.iter().map(Self::len).sum(),
            Self::Schedule(write) => write.len(),
            Self::Audited(write, _) => write.len(),
        }
    }

    pub(super) fn audited(self, audit: impl Into<Option<NewAudit>>) -> Self {
        match audit.into() {
            Some(audit) => Self::Audited(Box::new(self), audit),
            None => self,
        }
    }

    /// The job whose record is another one afterwards. A new one has none before.
    pub(super) fn changes_job(&self) -> Option<&JobId> {
        match self {
            Self::Commit(commit) => Some(&commit.row.id),
            Self::Remove { id, .. } => Some(id),
            // Made in this very transaction.
            Self::Create(_)
            | Self::Both(_)
            | Self::DropCheckpoint(_)
            | Self::Define { .. }
            | Self::Undefine(_)
            | Self::AddAccess(_)
            | Self::AccessUsed { .. }
            | Self::RemoveAccess(_)
            | Self::Schedule(_)
            | Self::Upkeep(_)
            | Self::Queue(_)
            | Self::ForgetRecords { .. } => None,
            Self::Audited(write, _) => write.changes_job(),
        }
    }

    /// Does it.
    pub(super) fn apply(&self, connection: &Connection) -> Result<(), Fault> {
        match self {
            Self::Create(jobs) => jobs.iter().try_for_each(|job| create(connection, job)),
            Self::Both(both) => both.iter().try_for_each(|write| write.apply(connection)),
            Self::Define {
                id,
                runtime_type,
                config,
                retry_policy,
                metadata,
                created_at,
            } => {
                let written =
                    connection
                        .prepare_cached(sql::DEFINITION_INSERT)?
                        .execute(params![
                            id.name,
                            id.version,
                            runtime_type,
                            config,
                            retry_policy,
                            metadata,
                            created_at.0
                        ])?;
                match written {
                    0 => Err(Error::Defined(id.clone()).into()),
                    _ => Ok(()),
                }
            }
            Self::Undefine(id) => {
                let removed = connection
                    .prepare_cached(sql::DEFINITION_DELETE)?
                    .execute(params![id.name, id.version])?;
                match removed {
                    0 => Err(Error::NotFound(id.to_string()).into()),
                    _ => Ok(()),
                }
            }
            Self::Commit(commit) => commit_one(connection, commit),
            Self::DropCheckpoint(id) => removal::drop_checkpoint(connection, id),
            Self::Remove { id, version } => removal::remove(connection, id, *version),
            Self::AddAccess(token) => access::add(connection, token),
            Self::AccessUsed { id, at } => access::used(connection, id, *at),
            Self::RemoveAccess(id) => access::remove(connection, id),
            Self::Schedule(write) => write.apply(connection),
            Self::Queue(write) => write.apply(connection),
            Self::Audited(write, audit) => {
                write.apply(connection)?;
                history::put_audit(connection, audit)
            }
            Self::ForgetRecords { before, limit } => {
                history::forget(connection, *before, read::limit(*limit))
            }
            Self::Upkeep(upkeep) => upkeep.apply(connection),
        }
    }
}

fn commit_one(connection: &Connection, commit: &CommitRow) -> Result<(), Fault> {
    let row = &commit.row;
    check_is_next(connection, row)?;
    // Before the record, which may point to it.
    if let Some(checkpoint) = &commit.checkpoint {
        put_checkpoint(connection, &row.id, checkpoint)?;
    }
    connection
        .prepare_cached(sql::JOB_UPDATE)?
        .execute(params![
            row.id.0,
            signed(row.version),
            row.state.name(),
            row.operation,
            row.wake_at,
            row.sandbox,
            row.checkpoint,
            row.record,
            row.expires_at,
            row.ends_children,
            row.stage,
            row.lane
        ])?;
    // Before the token of this very change.
    let forget = match commit.forget_tokens {
        Forget::None => None,
        Forget::Requested => Some(sql::TOKENS_FORGET_REQUESTED),
        Forget::All => Some(sql::TOKENS_FORGET),
    };
    if let Some(forget) = forget {
        connection
            .prepare_cached(forget)?
            .execute(params![row.id.0])?;
    }
    if let Some(token) = &commit.token {
        kept::put_token(connection, token)?;
    }
    for kept in &commit.kept {
        kept::put(connection, &row.id, kept)?;
    }
    match &commit.entry {
        Some(entry) => rows::journal(connection, &[(row, entry)]),
        None => Ok(()),
    }
}

pub(super) fn create(connection: &Connection, job: &NewRow) -> Result<(), Fault> {
    let row = &job.row;
    check_is_new(connection, &row.id)?;
    if let Some((key, _)) = &job.key {
        check_key_is_free(connection, key)?;
    }
    if let Some(name) = &job.name {
        check_name_is_free(connection, name)?;
    }
    if let Some(parent) = &job.parent {
        policy::check_parent(connection, parent)?;
    }
    job.queued.check(connection)?;
    rows::insert(connection, &[job])?;
    put_tags(connection, job)?;
    job.queued.put_beside(connection, &row.id)?;
    if let Some((key, digest)) = &job.key {
        connection
            .prepare_cached(sql::REQUEST_KEY_INSERT)?
            .execute(params![key, row.id.0, digest])?;
    }
    rows::journal(connection, &[(row, &job.entry)])
}

pub(super) fn put_tags(connection: &Connection, job: &NewRow) -> Result<(), Fault> {
    for (key, value) in &job.tags {
        connection
            .prepare_cached(sql::TAG_INSERT)?
            .execute(params![key, value, job.row.id.0])?;
    }
    Ok(())
}

fn check_key_is_free(connection: &Connection, key: &String) -> Result<(), Fault> {
    let used = read::keyed(connection, std::slice::from_ref(key))?;
    match used.into_iter().next() {
        None => Ok(()),
        Some((key, used)) => Err(Error::KeyInUse { key, used }.into()),
    }
}

fn stored_version(connection: &Connection, id: &JobId) -> Result<Option<u64>, Fault> {
    let found: Option<i64> = connection
        .prepare_cached(sql::JOB_VERSION)?
        .query_row(params![id.0], |row| row.get(0))
        .optional()?;
    Ok(found.map(unsigned))
}

fn check_is_new(connection: &Connection, id: &JobId) -> Result<(), Fault> {
    match stored_version(connection, id)? {
        None => Ok(()),
        Some(found) => Err(Error::Conflict {
            job: id.clone(),
            expected: 0,
            found,
        }
        .into()),
    }
}

fn check_is_next(connection: &Connection, row: &JobRow) -> Result<(), Fault> {
    let Some(found) = stored_version(connection, &row.id)? else {
        return Err(Error::NotFound(row.id.0.clone()).into());
    };
    if found + 1 == row.version {
        return Ok(());
    }
    Err(Error::Conflict {
        job: row.id.clone(),
        expected: row.version.saturating_sub(1),
        found,
    }
    .into())
}

fn check_name_is_free(connection: &Connection, name: &str) -> Result<(), Fault> {
    let holder: Option<String> = connection
        .prepare_cached(sql::JOB_OF_NAME)?
        .query_row(params![name], |row| row.get(0))
        .optional()?;
    match holder {
        None => Ok(()),
        Some(job) => Err(Error::NameInUse {
            name: name.to_owned(),
            job: JobId(job),
        }
        .into()),
    }
}

fn put_checkpoint(
    connection: &Connection,
    job: &JobId,
    checkpoint: &CheckpointRow,
) -> Result<(), Fault> {
    let written = connection
        .prepare_cached(sql::CHECKPOINT_PUT)?
        .execute(params![checkpoint.id.0, job.0, checkpoint.record])?;
    if written == 0 {
        return Err(Fault::Rule(format!(
            "checkpoint {} belongs to another job than {job}",
            checkpoint.id
        )));
    }
    Ok(())
}
