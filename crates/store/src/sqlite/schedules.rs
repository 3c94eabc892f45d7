//! Schedules, as rows.

use super::fault::Fault;
use super::lease::Holder;
use super::{sql, write};
use crate::Error;
use crate::record::{self, ScheduleRow, ScheduleWrite, signed, unsigned};
use dauer_core::{Schedule, Timestamp};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

/// Does it.
pub(super) fn apply(
    connection: &Connection,
    write: &ScheduleWrite,
    me: Holder,
) -> Result<(), Fault> {
    match write {
        ScheduleWrite::Add(row) => add(connection, row),
        ScheduleWrite::Change { row, jobs } => {
            change(connection, row)?;
            jobs.iter()
                .try_for_each(|job| write::create(connection, job, me))
        }
        ScheduleWrite::Remove(name) => {
            let removed = connection
                .prepare_cached(sql::SCHEDULE_DELETE)?
                .execute(params![name])?;
            match removed {
                0 => Err(Error::NotFound(name.clone()).into()),
                _ => Ok(()),
            }
        }
    }
}

fn add(connection: &Connection, row: &ScheduleRow) -> Result<(), Fault> {
    let written = connection
        .prepare_cached(sql::SCHEDULE_INSERT)?
        .execute(params![
            row.name,
            signed(row.version),
            row.due_at.map(|at| at.0),
            row.record
        ])?;
    match written {
        0 => Err(Error::ScheduleExists(row.name.clone()).into()),
        _ => Ok(()),
    }
}

fn change(connection: &Connection, row: &ScheduleRow) -> Result<(), Fault> {
    let found: Option<i64> = connection
        .prepare_cached(sql::SCHEDULE_VERSION)?
        .query_row(params![row.name], |row| row.get(0))
        .optional()?;
    match found.map(unsigned) {
        None => return Err(Error::NotFound(row.name.clone()).into()),
        Some(found) if found + 1 == row.version => {}
        Some(_) => return Err(Error::ScheduleChanged(row.name.clone()).into()),
    }
    connection
        .prepare_cached(sql::SCHEDULE_UPDATE)?
        .execute(params![
            row.name,
            signed(row.version),
            row.due_at.map(|at| at.0),
            row.record
        ])?;
    Ok(())
}

pub(super) fn one(connection: &Connection, name: &str) -> Result<Option<Schedule>, Fault> {
    Ok(some(connection, sql::SCHEDULE, params![name])?.pop())
}

pub(super) fn page(
    connection: &Connection,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<Schedule>, Fault> {
    let after = after.unwrap_or_default();
    some(connection, sql::SCHEDULES, params![after, limit])
}

pub(super) fn due(
    connection: &Connection,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Schedule>, Fault> {
    some(connection, sql::SCHEDULES_DUE, params![now.0, limit])
}

pub(super) fn next(connection: &Connection) -> Result<Option<Timestamp>, Fault> {
    Ok(connection
        .prepare_cached(sql::SCHEDULE_NEXT)?
        .query_row([], |row| Ok(Timestamp(row.get(0)?)))
        .optional()?)
}

fn some(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<Schedule>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(schedule(row)?);
    }
    Ok(found)
}

fn schedule(row: &Row<'_>) -> Result<Schedule, Fault> {
    let record: String = row.get(0)?;
    Ok(record::schedule(&record)?)
}
