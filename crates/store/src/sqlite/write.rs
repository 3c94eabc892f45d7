//! What a write does to the tables. Runs inside a savepoint of the writer's transaction: an error leaves nothing behind.

use super::fault::Fault;
use super::row::{self, signed, unsigned};
use super::{kept, sql};
use crate::{Change, Error, NewEntry};
use dauer_core::{Checkpoint, CheckpointId, Forget, Job, JobId, Kept, State, Timestamp, Token};
use rusqlite::{Connection, OptionalExtension, params};

/// One write, put into its final form by the caller's task, so that the only writer spends no time on it.
#[derive(Debug)]
pub(super) enum Write {
    Create {
        row: JobRow,
        created_at: Timestamp,
        name: Option<String>,
        spec: String,
        entry: NewEntry,
    },
    Commit {
        row: JobRow,
        entry: Option<NewEntry>,
        checkpoint: Option<CheckpointRow>,
        token: Option<Token>,
        forget_tokens: Forget,
        kept: Vec<Kept>,
    },
    DropCheckpoint(CheckpointId),
    Remove {
        id: JobId,
        version: u64,
    },
}

/// What a commit writes of a job.
#[derive(Debug)]
pub(super) struct JobRow {
    id: JobId,
    version: u64,
    state: State,
    operation: Option<&'static str>,
    generation: u32,
    wake_at: Option<i64>,
    sandbox: Option<String>,
    checkpoint: Option<String>,
    record: String,
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
            id: job.id,
            version: job.version,
            state: job.state,
            operation: job.operation.map(dauer_core::Operation::name),
            generation: job.generation,
            wake_at: job.wake_at.map(|at| at.0),
            sandbox: job.sandbox.map(|sandbox| sandbox.0),
            checkpoint: job.checkpoint.map(|checkpoint| checkpoint.0),
        }
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
    pub(super) fn create(job: Job, entry: NewEntry) -> Self {
        assert_eq!(job.version, 1, "invariant: a new job has version 1");
        let (spec, name) = (row::spec(&job), job.spec.name.clone());
        Self::Create {
            created_at: job.created_at,
            row: JobRow::of(job),
            name,
            spec,
            entry,
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
        Self::Commit {
            row: JobRow::of(job),
            entry,
            checkpoint: checkpoint.map(CheckpointRow::of),
            token,
            forget_tokens,
            kept,
        }
    }

    /// Does it.
    pub(super) fn apply(&self, connection: &Connection) -> Result<(), Fault> {
        match self {
            Self::Create {
                row,
                created_at,
                name,
                spec,
                entry,
            } => {
                check_is_new(connection, &row.id)?;
                if let Some(name) = name {
                    check_name_is_free(connection, name)?;
                }
                connection
                    .prepare_cached(sql::JOB_INSERT)?
                    .execute(params![
                        row.id.0,
                        signed(row.version),
                        name,
                        row.state.name(),
                        row.operation,
                        row.wake_at,
                        row.sandbox,
                        row.checkpoint,
                        created_at.0,
                        row.record,
                        spec
                    ])?;
                put_entry(connection, row, entry)
            }
            Self::Commit {
                row,
                entry,
                checkpoint,
                token,
                forget_tokens,
                kept,
            } => {
                check_is_next(connection, row)?;
                // Before the record, which may point to it.
                if let Some(checkpoint) = checkpoint {
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
                        row.record
                    ])?;
                // Before the token of this very change.
                let forget = match forget_tokens {
                    Forget::None => None,
                    Forget::Requested => Some(sql::TOKENS_FORGET_REQUESTED),
                    Forget::All => Some(sql::TOKENS_FORGET),
                };
                if let Some(forget) = forget {
                    connection
                        .prepare_cached(forget)?
                        .execute(params![row.id.0])?;
                }
                if let Some(token) = token {
                    put_token(connection, token)?;
                }
                for kept in kept {
                    kept::put(connection, &row.id, kept)?;
                }
                match entry {
                    Some(entry) => put_entry(connection, row, entry),
                    None => Ok(()),
                }
            }
            Self::DropCheckpoint(id) => drop_checkpoint(connection, id),
            Self::Remove { id, version } => remove(connection, id, *version),
        }
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

fn put_entry(connection: &Connection, row: &JobRow, entry: &NewEntry) -> Result<(), Fault> {
    connection
        .prepare_cached(sql::JOURNAL_INSERT)?
        .execute(params![
            row.id.0,
            entry.at.0,
            entry.event,
            entry.from.map(State::name),
            row.state.name(),
            row.operation,
            row.generation,
            entry.detail
        ])?;
    Ok(())
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

fn put_token(connection: &Connection, token: &Token) -> Result<(), Fault> {
    let (status, checkpoint, message) = row::token_columns(&token.status);
    connection.prepare_cached(sql::TOKEN_PUT)?.execute(params![
        token.job.0,
        token.token,
        token.generation,
        status,
        checkpoint,
        message
    ])?;
    Ok(())
}

fn drop_checkpoint(connection: &Connection, id: &CheckpointId) -> Result<(), Fault> {
    let holder: Option<(String, i64)> = connection
        .prepare_cached(sql::CHECKPOINT_POINTED_TO)?
        .query_row(params![id.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((job, version)) = holder {
        return Err(Error::Conflict {
            job: JobId(job),
            expected: 0,
            found: unsigned(version),
        }
        .into());
    }
    connection
        .prepare_cached(sql::CHECKPOINT_DELETE)?
        .execute(params![id.0])?;
    Ok(())
}

fn remove(connection: &Connection, id: &JobId, expected: u64) -> Result<(), Fault> {
    let found: Option<(i64, String)> = connection
        .prepare_cached(sql::JOB_VERSION_AND_STATE)?
        .query_row(params![id.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((found, state)) = found else {
        return Err(Error::NotFound(id.0.clone()).into());
    };
    let found = unsigned(found);
    let is_terminal = State::from_name(&state).is_some_and(State::is_terminal);
    if found != expected || !is_terminal {
        return Err(Error::Conflict {
            job: id.clone(),
            expected,
            found,
        }
        .into());
    }
    // Whatever belongs to it goes with it.
    connection
        .prepare_cached(sql::JOB_DELETE)?
        .execute(params![id.0])?;
    Ok(())
}
