//! Queues as rows: who waits where, what jobs say of each other, what was set, and the daemons of this node.

use super::fault::Fault;
use super::sql;
use crate::record::{self, LANE_BEGINS_MAX, QueueWrite, Queued, unsigned};
use crate::{DaemonRun, Error, Sleeper, Waiting};
use dauer_core::plan::admission::Wants;
use dauer_core::plan::turn::{self, Ask, Due, Gate};
use dauer_core::{JobId, Queue, Timestamp, Turn, Unique};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;

/// So many daemons are remembered.
const DAEMONS_KEPT: i64 = 100;

/// Behind all lanes of a queue.
const AFTER_EVERY_LANE: i64 = i64::MAX;

/// Before a job is written that waits there.
pub(super) fn check(connection: &Connection, queued: &Queued) -> Result<(), Fault> {
    match &queued.unique {
        Some(unique) => check_is_unique(connection, unique),
        None => Ok(()),
    }
}

/// What is written beside it.
pub(super) fn put_beside(
    connection: &Connection,
    queued: &Queued,
    job: &JobId,
) -> Result<(), Fault> {
    for after in &queued.blocked_by {
        connection
            .prepare_cached(sql::FOLLOWER_INSERT)?
            .execute(params![after.0, job.0])?;
    }
    Ok(())
}

/// Does it.
pub(super) fn apply(connection: &Connection, write: &QueueWrite) -> Result<(), Fault> {
    match write {
        QueueWrite::Set { name, settings } => set(connection, name, settings),
        QueueWrite::Remove(name) => remove(connection, name),
        QueueWrite::DaemonStarted(at) => daemon_started(connection, *at),
        QueueWrite::DaemonCompleted => daemon_is(connection, sql::DAEMON_COMPLETED),
        QueueWrite::DaemonEndedWell => daemon_is(connection, sql::DAEMON_ENDED_WELL),
    }
}

/// The lane after this one in which somebody waits.
fn lane_after(
    connection: &Connection,
    queue: &str,
    lane: i64,
) -> Result<Option<(String, i64)>, Fault> {
    Ok(connection
        .prepare_cached(sql::LANE_AFTER)?
        .query_row(params![queue, lane], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

/// One question for each lane in which somebody waits, which the index answers in order; nobody behind a shut gate is looked at.
pub(super) fn due(connection: &Connection, now: Timestamp, ask: &Ask) -> Result<Vec<Due>, Fault> {
    let moment = connection.unchecked_transaction()?;
    let mut found = Vec::new();
    let mut place = lane_after(&moment, "", -1)?;
    while let Some((queue, lane)) = place {
        let (priority, suspended) = record::of_lane(lane)?;
        let gate = ask.gate(&queue, suspended);
        let next = match gate {
            Gate::Shut if suspended => AFTER_EVERY_LANE,
            // Those that sleep may still pass.
            Gate::Shut => lane.max(LANE_BEGINS_MAX),
            Gate::Open | Gate::But(_) => lane,
        };
        if *gate != Gate::Shut {
            let mut statement = moment.prepare_cached(sql::JOBS_DUE)?;
            let mut rows = statement.query(params![queue, lane, now.0])?;
            let enough = found.len().saturating_add(ask.limit);
            while found.len() < enough
                && let Some(row) = rows.next()?
            {
                let key = row.get_ref(2)?.as_str_or_null();
                // There may be very many of a key that is held back: nothing is made of them.
                if !gate.lets(key.map_err(rusqlite::Error::from)?) {
                    continue;
                }
                let wants = Wants {
                    cpu_millis: row.get(3)?,
                    memory_bytes: row.get::<_, Option<i64>>(4)?.map(unsigned),
                };
                if wants.fits_into(ask.at_most) {
                    found.push(Due {
                        job: JobId(row.get(0)?),
                        priority,
                        wake_at: Timestamp(row.get(1)?),
                        suspended,
                        queue: queue.clone(),
                        key: row.get(2)?,
                        wants,
                    });
                }
            }
        }
        place = lane_after(&moment, &queue, next)?;
    }
    turn::sort(&mut found);
    found.truncate(ask.limit);
    Ok(found)
}

pub(super) fn next_wake(
    connection: &Connection,
    now: Timestamp,
) -> Result<Option<Timestamp>, Fault> {
    let moment = connection.unchecked_transaction()?;
    let mut earliest: Option<i64> = None;
    let mut place = lane_after(&moment, "", -1)?;
    while let Some((queue, lane)) = place {
        let found: Option<i64> = moment
            .prepare_cached(sql::NEXT_WAKE)?
            .query_row(params![queue, lane, now.0], |row| row.get(0))
            .optional()?;
        earliest = earliest.into_iter().chain(found).min();
        place = lane_after(&moment, &queue, lane)?;
    }
    Ok(earliest.map(Timestamp))
}

/// Of all states that count, the one job.
fn holder(connection: &Connection, unique: &Unique) -> Result<Option<JobId>, Fault> {
    let mut statement = connection.prepare_cached(sql::UNIQUE_HOLDER)?;
    for state in &unique.states {
        let found: Option<String> = statement
            .query_row(params![unique.key, state.name()], |row| row.get(0))
            .optional()?;
        if let Some(id) = found {
            return Ok(Some(JobId(id)));
        }
    }
    Ok(None)
}

/// Part of a creation.
fn check_is_unique(connection: &Connection, unique: &Unique) -> Result<(), Fault> {
    match holder(connection, unique)? {
        None => Ok(()),
        Some(job) => Err(Error::NotUnique {
            key: unique.key.clone(),
            job,
        }
        .into()),
    }
}

pub(super) fn holders(
    connection: &Connection,
    unique: &[Unique],
) -> Result<BTreeMap<usize, JobId>, Fault> {
    let mut found = BTreeMap::new();
    for (index, unique) in unique.iter().enumerate() {
        if let Some(job) = holder(connection, unique)? {
            found.insert(index, job);
        }
    }
    Ok(found)
}

pub(super) fn followers(connection: &Connection, job: &JobId) -> Result<Vec<JobId>, Fault> {
    let mut statement = connection.prepare_cached(sql::FOLLOWERS)?;
    let found = statement.query_map(params![job.0], |row| Ok(JobId(row.get(0)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

pub(super) fn has_followers(connection: &Connection) -> Result<bool, Fault> {
    Ok(connection
        .prepare_cached(sql::FOLLOWERS_EXIST)?
        .exists([])?)
}

pub(super) fn ended_before_followers(connection: &Connection) -> Result<Vec<JobId>, Fault> {
    let mut statement = connection.prepare_cached(sql::ENDED_BEFORE_FOLLOWERS)?;
    let found = statement.query_map([], |row| Ok(JobId(row.get(0)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

pub(super) fn batch(connection: &Connection, batch: &str) -> Result<BTreeMap<String, u64>, Fault> {
    let mut statement = connection.prepare_cached(sql::BATCH)?;
    let counted = |row: &Row<'_>| Ok((row.get(0)?, unsigned(row.get(1)?)));
    let found = statement.query_map(params![batch], counted)?;
    Ok(found.collect::<Result<_, _>>()?)
}

pub(super) fn batch_is_open(connection: &Connection, batch: &str) -> Result<bool, Fault> {
    Ok(connection
        .prepare_cached(sql::BATCH_OPEN)?
        .exists(params![batch])?)
}

fn set(connection: &Connection, name: &str, settings: &str) -> Result<(), Fault> {
    connection
        .prepare_cached(sql::QUEUE_PUT)?
        .execute(params![name, settings])?;
    Ok(())
}

fn remove(connection: &Connection, name: &str) -> Result<(), Fault> {
    let removed = connection
        .prepare_cached(sql::QUEUE_DELETE)?
        .execute(params![name])?;
    match removed {
        0 => Err(Error::NotFound(name.to_owned()).into()),
        _ => Ok(()),
    }
}

pub(super) fn all(connection: &Connection) -> Result<Vec<Queue>, Fault> {
    let mut statement = connection.prepare_cached(sql::QUEUES)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let settings: String = row.get(0)?;
        found.push(record::queue(&settings)?);
    }
    Ok(found)
}

pub(super) fn waiting(connection: &Connection, now: Timestamp) -> Result<Vec<Waiting>, Fault> {
    let mut statement = connection.prepare_cached(sql::JOBS_WAITING)?;
    let counted = |row: &Row<'_>| {
        Ok(Waiting {
            queue: row.get(0)?,
            due: unsigned(row.get(1)?),
            later: unsigned(row.get(2)?),
        })
    };
    let found = statement.query_map(params![now.0], counted)?;
    Ok(found.collect::<Result<_, _>>()?)
}

pub(super) fn sleepers(connection: &Connection, queue: &str) -> Result<Vec<Sleeper>, Fault> {
    let mut statement = connection.prepare_cached(sql::JOBS_ASLEEP)?;
    let found = statement.query_map(params![queue], |row| {
        Ok(Sleeper {
            job: JobId(row.get(0)?),
            key: row.get(1)?,
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Part of a commit.
pub(super) fn put_turn(
    connection: &Connection,
    turn: &Turn,
    forget_before: Timestamp,
) -> Result<usize, Fault> {
    connection
        .prepare_cached(sql::TURNS_FORGET)?
        .execute(params![turn.queue, forget_before.0])?;
    Ok(connection
        .prepare_cached(sql::TURN_INSERT)?
        .execute(params![turn.queue, turn.key, turn.at.0])?)
}

pub(super) fn turns(connection: &Connection) -> Result<Vec<Turn>, Fault> {
    let mut statement = connection.prepare_cached(sql::TURNS)?;
    let found = statement.query_map([], |row| {
        Ok(Turn {
            queue: row.get(0)?,
            key: row.get(1)?,
            at: Timestamp(row.get(2)?),
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn daemon_started(connection: &Connection, at: Timestamp) -> Result<(), Fault> {
    connection
        .prepare_cached(sql::DAEMON_INSERT)?
        .execute(params![at.0])?;
    let seq = connection.last_insert_rowid();
    connection
        .prepare_cached(sql::DAEMONS_FORGET)?
        .execute(params![seq - DAEMONS_KEPT])?;
    Ok(())
}

/// Says something of the present daemon, which is the newest.
fn daemon_is(connection: &Connection, sql: &str) -> Result<(), Fault> {
    let seq: Option<i64> = connection
        .prepare_cached(sql::DAEMON_NEWEST)?
        .query_row([], |row| row.get(0))
        .optional()?;
    connection.prepare_cached(sql)?.execute(params![seq])?;
    Ok(())
}

pub(super) fn daemons(connection: &Connection, limit: usize) -> Result<Vec<DaemonRun>, Fault> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(sql::DAEMONS)?;
    let found = statement.query_map(params![limit], |row| {
        Ok(DaemonRun {
            started_at: Timestamp(row.get(0)?),
            completed: row.get(1)?,
            ended_well: row.get(2)?,
        })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}
