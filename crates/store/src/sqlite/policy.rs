//! Waiting that has an end, and the jobs below a job.

use super::fault::Fault;
use super::sql;
use crate::Error;
use dauer_core::{JobId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

pub(super) fn expiring(
    connection: &Connection,
    limit: usize,
) -> Result<Vec<(JobId, Timestamp)>, Fault> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(sql::JOBS_EXPIRING)?;
    let found = statement
        .query_map(params![limit], |row| {
            Ok((JobId(row.get(0)?), Timestamp(row.get(1)?)))
        })?
        .collect::<Result<_, _>>()?;
    Ok(found)
}

pub(super) fn children(
    connection: &Connection,
    parent: &JobId,
    after: Option<&JobId>,
    limit: usize,
) -> Result<Vec<JobId>, Fault> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let after = after.map_or("", JobId::as_str);
    let mut statement = connection.prepare_cached(sql::JOB_CHILDREN)?;
    let found = statement
        .query_map(params![parent.0, after, limit], |row| {
            Ok(JobId(row.get(0)?))
        })?
        .collect::<Result<_, _>>()?;
    Ok(found)
}

/// In the transaction that adds a child: what is cancelled with its children gets no further ones.
pub(super) fn check_parent(connection: &Connection, parent: &str) -> Result<(), Fault> {
    let found: Option<Option<String>> = connection
        .prepare_cached(sql::JOB_ENDS_CHILDREN)?
        .query_row(params![parent], |row| row.get(0))
        .optional()?;
    match found {
        None => Err(Error::NotFound(parent.to_owned()).into()),
        Some(Some(_)) => Err(Error::ParentEnding(JobId(parent.to_owned())).into()),
        Some(None) => Ok(()),
    }
}
