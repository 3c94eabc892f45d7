//! What is kept beside a record: written with it, read by itself.

use super::fault::Fault;
use super::{ledger, sql};
use crate::SignalFor;
use crate::record::{token_columns, unsigned};
use dauer_core::{JobId, Json, Kept, Signal, Timestamp, Token, Wait};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Part of a commit.
pub(super) fn put(connection: &Connection, job: &JobId, kept: &Kept) -> Result<(), Fault> {
    match kept {
        Kept::Output(Json(output)) => connection
            .prepare_cached(sql::OUTPUT_PUT)?
            .execute(params![job.0, output])?,
        Kept::Signal(signal) => connection
            .prepare_cached(sql::SIGNAL_INSERT)?
            .execute(params![
                job.0,
                signal.id,
                signal.name,
                signal.payload.0,
                signal.sent_at.0
            ])?,
        Kept::SignalTaken { signal, token } => {
            let taken = connection
                .prepare_cached(sql::SIGNAL_TAKE)?
                .execute(params![job.0, signal, token])?;
            if taken == 0 {
                return Err(Fault::Rule(format!(
                    "the signal {signal} of job {job} does not wait to be taken"
                )));
            }
            taken
        }
        Kept::SignalsSealed => connection
            .prepare_cached(sql::SIGNALS_SEAL)?
            .execute(params![job.0])?,
        Kept::SignalsFreed => connection
            .prepare_cached(sql::SIGNALS_FREE)?
            .execute(params![job.0])?,
        Kept::BegunAnew => {
            for forget in [sql::OUTPUT_DELETE, sql::SIGNALS_FREE_ALL, sql::WAITS_DELETE] {
                connection.prepare_cached(forget)?.execute(params![job.0])?;
            }
            0
        }
        Kept::Wait(wait) => connection.prepare_cached(sql::WAIT_PUT)?.execute(params![
            job.0,
            wait.token,
            wait.give_up_at.0,
            wait.timed_out
        ])?,
        Kept::Described { tags, metadata } => {
            let json = |value: serde_json::Result<String>| {
                value.expect("invariant: tags and metadata are plain data")
            };
            connection
                .prepare_cached(sql::JOB_DESCRIBE)?
                .execute(params![
                    job.0,
                    json(serde_json::to_string(tags)),
                    json(serde_json::to_string(metadata))
                ])?;
            connection
                .prepare_cached(sql::TAGS_DELETE)?
                .execute(params![job.0])?;
            for (key, value) in tags {
                connection
                    .prepare_cached(sql::TAG_INSERT)?
                    .execute(params![key, value, job.0])?;
            }
            tags.len()
        }
        Kept::Opened(interval) => ledger::open(connection, interval)?,
        Kept::Closed(closing) => ledger::close(connection, closing)?,
        Kept::Relabelled(relabelling) => ledger::relabel(connection, relabelling)?,
        Kept::Unblocked { by } => connection
            .prepare_cached(sql::FOLLOWER_DELETE)?
            .execute(params![job.0, by.0])?,
        Kept::Turn {
            turn,
            forget_before,
        } => super::queues::put_turn(connection, turn, *forget_before)?,
    };
    Ok(())
}

pub(super) fn put_token(connection: &Connection, token: &Token) -> Result<(), Fault> {
    let (status, checkpoint, message) = token_columns(&token.status);
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

pub(super) fn output(connection: &Connection, job: &JobId) -> Result<Option<Json>, Fault> {
    let found: Option<String> = connection
        .prepare_cached(sql::OUTPUT)?
        .query_row(params![job.0], |row| row.get(0))
        .optional()?;
    Ok(found.map(Json))
}

pub(super) fn has_signal(connection: &Connection, job: &JobId, id: &str) -> Result<bool, Fault> {
    Ok(connection
        .prepare_cached(sql::SIGNAL_EXISTS)?
        .exists(params![job.0, id])?)
}

pub(super) fn signal_for(
    connection: &Connection,
    job: &JobId,
    name: &str,
    token: &str,
) -> Result<Option<SignalFor>, Fault> {
    // All three questions see the same moment.
    let moment = connection.unchecked_transaction()?;
    let read = |row: &Row<'_>| {
        Ok(Signal {
            job: job.clone(),
            id: row.get(0)?,
            name: row.get(1)?,
            payload: Json(row.get(2)?),
            sent_at: Timestamp(row.get(3)?),
        })
    };
    let taken = moment
        .prepare_cached(sql::SIGNAL_TAKEN_BY)?
        .query_row(params![job.0, token], read)
        .optional()?;
    if let Some(signal) = taken {
        return Ok(Some(SignalFor::Taken(signal)));
    }
    let before = moment
        .prepare_cached(sql::SIGNAL_HAD_BY)?
        .query_row(params![job.0, token, name], read)
        .optional()?;
    let waiting = match before {
        Some(signal) => Some(signal),
        None => moment
            .prepare_cached(sql::SIGNAL_OLDEST)?
            .query_row(params![job.0, name], read)
            .optional()?,
    };
    Ok(waiting.map(SignalFor::Waiting))
}

pub(super) fn signals_waiting(connection: &Connection, job: &JobId) -> Result<u64, Fault> {
    let count: i64 = connection
        .prepare_cached(sql::SIGNALS_WAITING)?
        .query_row(params![job.0], |row| row.get(0))?;
    Ok(unsigned(count))
}

pub(super) fn wait(
    connection: &Connection,
    job: &JobId,
    token: &str,
) -> Result<Option<Wait>, Fault> {
    Ok(connection
        .prepare_cached(sql::WAIT)?
        .query_row(params![job.0, token], |row| {
            Ok(Wait {
                job: job.clone(),
                token: token.to_owned(),
                give_up_at: Timestamp(row.get(0)?),
                timed_out: row.get(1)?,
            })
        })
        .optional()?)
}
