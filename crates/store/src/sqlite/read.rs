//! What is asked of the tables.

use super::fault::Fault;
use super::row::{self, signed};
use super::sql;
use crate::{Entry, Error, Filter};
use dauer_core::{Checkpoint, CheckpointId, Job, JobId, SandboxId, State, Timestamp, Token};
use rusqlite::{Connection, OptionalExtension, Params, params};

/// Shorter beginnings of ids mean nothing.
const PREFIX_CHARS_MIN: usize = 4;

/// Above every id.
const AFTER_EVERY_ID: &str = "\u{10FFFF}";

pub(super) fn job(connection: &Connection, id: &JobId) -> Result<Job, Fault> {
    let mut statement = connection.prepare_cached(sql::JOB)?;
    let mut rows = statement.query(params![id.0])?;
    let Some(found) = rows.next()? else {
        return Err(Error::NotFound(id.0.clone()).into());
    };
    row::job(
        &id.0,
        found.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?,
        found.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?,
    )
}

pub(super) fn find(connection: &Connection, text: &str) -> Result<JobId, Fault> {
    // All three questions see the same moment.
    let moment = connection.unchecked_transaction()?;
    for exact in [sql::ID_EXACT, sql::JOB_OF_NAME] {
        let found: Option<String> = moment
            .prepare_cached(exact)?
            .query_row(params![text], |row| row.get(0))
            .optional()?;
        if let Some(id) = found {
            return Ok(JobId(id));
        }
    }
    if text.chars().count() < PREFIX_CHARS_MIN {
        return Err(Error::NotFound(text.to_owned()).into());
    }
    let after = format!("{text}{AFTER_EVERY_ID}");
    let mut matches = ids(&moment, sql::IDS_BETWEEN, params![text, after])?;
    match (matches.pop(), matches.pop()) {
        (None, _) => Err(Error::NotFound(text.to_owned()).into()),
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => Err(Error::Ambiguous(text.to_owned()).into()),
    }
}

pub(super) fn list(connection: &Connection, filter: &Filter) -> Result<Vec<Job>, Fault> {
    let before = filter.before.as_ref().map_or(AFTER_EVERY_ID, JobId::as_str);
    let limit = limit(filter.limit);
    if filter.states.is_empty() {
        return jobs(connection, sql::JOBS_NEWEST, params![before, limit]);
    }
    // One question per state, each answered from the index in order; one for all would have to sort everything that matches.
    let moment = connection.unchecked_transaction()?;
    let mut found = Vec::new();
    for state in State::ALL
        .into_iter()
        .filter(|state| filter.states.contains(state))
    {
        found.extend(jobs(
            &moment,
            sql::JOBS_NEWEST_IN_STATE,
            params![before, limit, state.name()],
        )?);
    }
    found.sort_unstable_by(|a, b| b.id.cmp(&a.id));
    found.truncate(filter.limit);
    Ok(found)
}

pub(super) fn unsettled(connection: &Connection) -> Result<Vec<Job>, Fault> {
    jobs(connection, sql::JOBS_UNSETTLED, [])
}

pub(super) fn next_wake(connection: &Connection) -> Result<Option<Timestamp>, Fault> {
    let found: Option<i64> = connection
        .prepare_cached(sql::NEXT_WAKE)?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(found.map(Timestamp))
}

pub(super) fn due(
    connection: &Connection,
    now: Timestamp,
    limit_to: usize,
) -> Result<Vec<JobId>, Fault> {
    ids(connection, sql::JOBS_DUE, params![now.0, limit(limit_to)])
}

pub(super) fn owner(connection: &Connection, sandbox: &SandboxId) -> Result<Option<JobId>, Fault> {
    let found: Option<String> = connection
        .prepare_cached(sql::OWNER)?
        .query_row(params![sandbox.0], |row| row.get(0))
        .optional()?;
    Ok(found.map(JobId))
}

pub(super) fn checkpoints(connection: &Connection, job: &JobId) -> Result<Vec<Checkpoint>, Fault> {
    let mut statement = connection.prepare_cached(sql::CHECKPOINTS)?;
    let mut rows = statement.query(params![job.0])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let record: String = row.get(0)?;
        found.push(row::checkpoint(job, &record)?);
    }
    Ok(found)
}

pub(super) fn has_checkpoint(connection: &Connection, id: &CheckpointId) -> Result<bool, Fault> {
    Ok(connection
        .prepare_cached(sql::CHECKPOINT_EXISTS)?
        .exists(params![id.0])?)
}

pub(super) fn token(
    connection: &Connection,
    job: &JobId,
    token: &str,
) -> Result<Option<Token>, Fault> {
    let mut statement = connection.prepare_cached(sql::TOKEN)?;
    let mut rows = statement.query(params![job.0, token])?;
    rows.next()?
        .map(|row| row::token(job, token, row))
        .transpose()
}

pub(super) fn journal(
    connection: &Connection,
    job: Option<&JobId>,
    after: u64,
    limit_to: usize,
) -> Result<Vec<Entry>, Fault> {
    let (after, limit) = (signed(after), limit(limit_to));
    let mut found = Vec::new();
    let (sql, job) = match job {
        Some(job) => (sql::JOURNAL_OF_JOB, Some(job.as_str())),
        None => (sql::JOURNAL, None),
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = match job {
        Some(job) => statement.query(params![after, limit, job])?,
        None => statement.query(params![after, limit])?,
    };
    while let Some(row) = rows.next()? {
        found.push(row::entry(row)?);
    }
    Ok(found)
}

fn jobs(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<Job>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let text = |column: usize| -> Result<&str, Fault> {
            Ok(row
                .get_ref(column)?
                .as_str()
                .map_err(rusqlite::Error::from)?)
        };
        found.push(row::job(text(0)?, text(1)?, text(2)?)?);
    }
    Ok(found)
}

fn ids(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<JobId>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement
        .query_map(params, |row| Ok(JobId(row.get(0)?)))?
        .collect::<Result<_, _>>()?;
    Ok(found)
}

fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
