//! What is asked of the tables.

use super::fault::Fault;
use super::{row, sql};
use crate::record::{self, limit, signed};
use crate::{DefinitionFilter, Entry, Error, Filter, Keyed};
use dauer_core::{Checkpoint, Definition, DefinitionRef, Job, JobId, SandboxId, State, Token};
use rusqlite::{Connection, OptionalExtension, Params, params};
use std::collections::BTreeMap;

/// Shorter beginnings of ids mean nothing.
pub(super) const PREFIX_CHARS_MIN: usize = 4;

/// Above every id.
pub(super) const AFTER_EVERY_ID: &str = "\u{10FFFF}";

/// The record, and how many bytes of the file it was made of.
pub(super) fn job(connection: &Connection, id: &JobId) -> Result<(Job, usize), Fault> {
    let mut statement = connection.prepare_cached(sql::JOB)?;
    let mut rows = statement.query(params![id.0])?;
    let Some(found) = rows.next()? else {
        return Err(Error::NotFound(id.0.clone()).into());
    };
    let record = found.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
    let spec = found.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
    let params = found
        .get_ref(2)?
        .as_str_or_null()
        .map_err(rusqlite::Error::from)?;
    let bytes = record.len() + spec.len() + params.map_or(0, str::len);
    Ok((record::job(&id.0, record, spec, params)?, bytes))
}

/// Those of these records that are there, in this order.
pub(super) fn some_jobs(connection: &Connection, ids: &[JobId]) -> Result<Vec<Job>, Fault> {
    // All of one moment.
    let moment = connection.unchecked_transaction()?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        match job(&moment, id) {
            Ok((job, _)) => found.push(job),
            Err(Fault::Answer(Error::NotFound(_))) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(found)
}

pub(super) fn keyed(
    connection: &Connection,
    keys: &[String],
) -> Result<BTreeMap<String, Keyed>, Fault> {
    let mut found = BTreeMap::new();
    let mut statement = connection.prepare_cached(sql::REQUEST_KEY)?;
    for key in keys {
        let used = statement.query_row(params![key], |row| {
            Ok(Keyed {
                job: JobId(row.get(0)?),
                digest: row.get(1)?,
            })
        });
        if let Some(used) = used.optional()? {
            found.insert(key.clone(), used);
        }
    }
    Ok(found)
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
    // One question, of whichever index leaves the least; what it does not know is looked at in the records.
    if filter.name.is_some() {
        let named = params![before, filter.name];
        return accepted(connection, sql::JOB_NAMED, named, filter);
    }
    if filter.batch.is_some() {
        let moment = connection.unchecked_transaction()?;
        let asked = |state: &State| filter.states.is_empty() || filter.states.contains(state);
        let mut found = Vec::new();
        for state in State::ALL.into_iter().filter(asked) {
            let together = params![before, filter.batch, state.name()];
            found.extend(accepted(
                &moment,
                sql::JOBS_NEWEST_IN_BATCH,
                together,
                filter,
            )?);
        }
        return Ok(newest(found, filter.limit));
    }
    if let Some((key, value)) = filter.tags.first() {
        let tagged = params![before, key, value];
        return accepted(connection, sql::JOBS_NEWEST_TAGGED, tagged, filter);
    }
    if filter.states.is_empty() {
        return jobs(connection, sql::JOBS_NEWEST, params![before, limit]);
    }
    // One question per state and stage, each answered from an index in order; one for all would have to sort everything that matches.
    let moment = connection.unchecked_transaction()?;
    let mut found = Vec::new();
    for state in State::ALL
        .into_iter()
        .filter(|state| filter.states.contains(state))
    {
        let stages: &[&str] = match state {
            State::Completed | State::Failed | State::Cancelled => {
                &[sql::JOBS_NEWEST_ENDED, sql::JOBS_NEWEST_UNSETTLED]
            }
            State::Pending | State::Suspended | State::PendingRetry => {
                &[sql::JOBS_NEWEST_WAITING, sql::JOBS_NEWEST_UNSETTLED]
            }
            State::Running | State::Stopped | State::Error => &[sql::JOBS_NEWEST_UNSETTLED],
        };
        for statement in stages {
            let asked = params![before, limit, state.name()];
            found.extend(jobs(&moment, statement, asked)?);
        }
    }
    Ok(newest(found, filter.limit))
}

/// So many of these, the newest first.
fn newest(mut found: Vec<Job>, limit: usize) -> Vec<Job> {
    found.sort_unstable_by(|a, b| b.id.cmp(&a.id));
    // One that waits may be unsettled too.
    found.dedup_by(|a, b| a.id == b.id);
    found.truncate(limit);
    found
}

pub(super) fn ended(
    connection: &Connection,
    after: Option<&JobId>,
    limit_to: usize,
) -> Result<Vec<Job>, Fault> {
    let after = after.map_or("", JobId::as_str);
    let moment = connection.unchecked_transaction()?;
    let mut found = Vec::new();
    // One question per state, each answered from the index in order.
    for state in State::ALL.into_iter().filter(|state| state.is_terminal()) {
        let asked = params![after, limit(limit_to), state.name()];
        found.extend(jobs(&moment, sql::JOBS_OLDEST_IN_STATE, asked)?);
    }
    found.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    found.truncate(limit_to);
    Ok(found)
}

/// Held by the node of this number, or by nobody.
pub(super) fn unsettled(connection: &Connection, node: i64) -> Result<Vec<Job>, Fault> {
    jobs(connection, sql::JOBS_UNSETTLED, params![node])
}

pub(super) fn definition(
    connection: &Connection,
    id: &DefinitionRef,
) -> Result<Option<Definition>, Fault> {
    let mut statement = connection.prepare_cached(sql::DEFINITION)?;
    let mut rows = statement.query(params![id.name, id.version])?;
    rows.next()?.map(row::definition).transpose()
}

pub(super) fn versions(connection: &Connection, name: &str) -> Result<Vec<String>, Fault> {
    let mut statement = connection.prepare_cached(sql::DEFINITION_VERSIONS)?;
    let found = statement
        .query_map(params![name], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(found)
}

pub(super) fn definitions(
    connection: &Connection,
    filter: &DefinitionFilter,
) -> Result<Vec<Definition>, Fault> {
    let after = filter.after.as_ref();
    let (name, version) = match after {
        Some(after) => (after.name.as_str(), after.version.as_str()),
        None => ("", ""),
    };
    let limit = limit(filter.limit);
    let (sql, name, version) = match filter.name.as_deref() {
        None => (sql::DEFINITIONS, name, version),
        // The page before ended behind all of this name.
        Some(only) if only < name => return Ok(Vec::new()),
        Some(only) if only == name => (sql::DEFINITIONS_NAMED, name, version),
        Some(only) => (sql::DEFINITIONS_NAMED, only, ""),
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![name, version, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(row::definition(row)?);
    }
    Ok(found)
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
        found.push(record::checkpoint(job, &record)?);
    }
    Ok(found)
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
        found.push(listed(row)?);
    }
    Ok(found)
}

/// The first of these that the filter accepts. The statement has no limit: reading stops when there are enough.
fn accepted(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    filter: &Filter,
) -> Result<Vec<Job>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while found.len() < filter.limit
        && let Some(row) = rows.next()?
    {
        let job = listed(row)?;
        if filter.accepts(&job) {
            found.push(job);
        }
    }
    Ok(found)
}

/// A job of a list, which has no parameters.
fn listed(row: &rusqlite::Row<'_>) -> Result<Job, Fault> {
    let text = |column: usize| -> Result<&str, Fault> {
        Ok(row
            .get_ref(column)?
            .as_str()
            .map_err(rusqlite::Error::from)?)
    };
    Ok(record::job(text(0)?, text(1)?, text(2)?, None)?)
}

fn ids(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<JobId>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement
        .query_map(params, |row| Ok(JobId(row.get(0)?)))?
        .collect::<Result<_, _>>()?;
    Ok(found)
}
