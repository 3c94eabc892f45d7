//! What a write does to the tables, by itself. Runs inside a savepoint of the writer's transaction: an error leaves nothing
//! behind.

use super::fault::Fault;
use super::lease::{self, Holder};
use super::read;
use super::{
    access, cache, history, import, kept, ledger, policy, queues, removal, rows, schedules,
    snapshots, sql,
};
use crate::Error;
use crate::record::{
    CheckpointRow, CommitRow, DefinitionRow, JobRow, NewRow, Write, limit, signed, unsigned,
};
use dauer_core::{Forget, JobId};
use rusqlite::{Connection, OptionalExtension, params};

/// Does it.
pub(super) fn apply(connection: &Connection, write: &Write, me: Holder) -> Result<(), Fault> {
    match write {
        Write::Create(jobs) => jobs.iter().try_for_each(|job| create(connection, job, me)),
        Write::Begin { new, changes } => {
            new.iter().try_for_each(|job| create(connection, job, me))?;
            changes
                .iter()
                .try_for_each(|change| commit_one(connection, change, me))
        }
        Write::Define(definition) => define(connection, definition),
        Write::Undefine(id) => {
            let removed = connection
                .prepare_cached(sql::DEFINITION_DELETE)?
                .execute(params![id.name, id.version])?;
            match removed {
                0 => Err(Error::NotFound(id.to_string()).into()),
                _ => Ok(()),
            }
        }
        Write::Commit(commit) => commit_one(connection, commit, me),
        Write::DropCheckpoint(drop) => removal::drop_checkpoint(connection, drop),
        Write::Snapshot(write) => snapshots::apply(connection, write),
        Write::Cache(write) => cache::apply(connection, write),
        Write::Remove { id, version } => removal::remove(connection, id, *version, me),
        Write::AddAccess(token) => access::add(connection, token),
        Write::AccessUsed { id, at } => access::used(connection, id, *at),
        Write::RemoveAccess(id) => access::remove(connection, id),
        Write::Schedule(write) => schedules::apply(connection, write, me),
        Write::Queue(write) => queues::apply(connection, write),
        Write::Audited(write, audit) => {
            apply(connection, write, me)?;
            history::put_audit(connection, audit)
        }
        Write::ForgetRecords {
            before,
            limit: most,
        } => history::forget(connection, *before, limit(*most)),
        Write::Upkeep(upkeep) => ledger::apply(connection, upkeep),
        Write::Import(values) => import::apply(connection, values),
    }
}

fn define(connection: &Connection, definition: &DefinitionRow) -> Result<(), Fault> {
    let written = connection
        .prepare_cached(sql::DEFINITION_INSERT)?
        .execute(params![
            definition.id.name,
            definition.id.version,
            definition.runtime_type,
            definition.config,
            definition.retry_policy,
            definition.metadata,
            definition.created_at.0
        ])?;
    match written {
        0 => Err(Error::Defined(definition.id.clone()).into()),
        _ => Ok(()),
    }
}

fn commit_one(connection: &Connection, commit: &CommitRow, me: Holder) -> Result<(), Fault> {
    let row = &commit.row;
    check_is_next(connection, row, me)?;
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
            row.lane,
            me.0
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

pub(super) fn create(connection: &Connection, job: &NewRow, me: Holder) -> Result<(), Fault> {
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
    queues::check(connection, &job.queued)?;
    if let Some(folder) = job.shares.as_ref().and_then(|row| row.folder.as_ref()) {
        snapshots::check_referenced(connection, folder)?;
    }
    match &job.shares {
        None => rows::insert(connection, &[(job, row)], me)?,
        Some(shares) => {
            let apart = JobRow {
                checkpoint: None,
                ..row.clone()
            };
            rows::insert(connection, &[(job, &apart)], me)?;
            put_checkpoint(connection, &row.id, shares)?;
            point(connection, row, row.checkpoint.as_ref())?;
        }
    }
    put_beside(connection, job)?;
    match &job.entry {
        Some(entry) => rows::journal(connection, &[(row, entry)]),
        None => Ok(()),
    }
}

/// What of a new job stands in other tables than its own.
pub(super) fn put_beside(connection: &Connection, job: &NewRow) -> Result<(), Fault> {
    put_tags(connection, job)?;
    queues::put_beside(connection, &job.queued, &job.row.id)?;
    if let Some((key, digest)) = &job.key {
        connection
            .prepare_cached(sql::REQUEST_KEY_INSERT)?
            .execute(params![key, job.row.id.0, digest])?;
    }
    Ok(())
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

pub(super) fn stored_version(connection: &Connection, id: &JobId) -> Result<Option<u64>, Fault> {
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

fn check_is_next(connection: &Connection, row: &JobRow, me: Holder) -> Result<(), Fault> {
    let found: Option<(i64, Option<i64>)> = connection
        .prepare_cached(sql::JOB_VERSION_AND_HOLDER)?
        .query_row(params![row.id.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((found, holder)) = found else {
        return Err(Error::NotFound(row.id.0.clone()).into());
    };
    let found = unsigned(found);
    if found + 1 == row.version {
        return lease::check_holder(connection, &row.id, holder, me);
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

/// What a new record points to can be written only after it, since that is its job's.
pub(super) fn point(
    connection: &Connection,
    row: &JobRow,
    checkpoint: Option<&String>,
) -> Result<(), Fault> {
    connection.prepare_cached(sql::JOB_POINT)?.execute(params![
        row.id.0,
        checkpoint,
        row.ends_children
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
        .execute(params![
            checkpoint.name,
            job.0,
            checkpoint.record,
            checkpoint.folder
        ])?;
    if written == 0 {
        return Err(Fault::Rule(format!(
            "checkpoint {} belongs to another job than {job}",
            checkpoint.name
        )));
    }
    Ok(())
}
