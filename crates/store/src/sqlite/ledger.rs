//! The ledger as rows, and the heartbeat that bounds what a crash can hide from it.

use super::fault::Fault;
use super::sql;
use crate::record::{
    Upkeep, interval_kind, labels, limit, owner_kind, read_labels, signed, unsigned,
};
use dauer_core::Timestamp;
use dauer_core::ledger::{Closing, Interval, Owner, Relabelling};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

/// Does it.
pub(super) fn apply(connection: &Connection, upkeep: &Upkeep) -> Result<(), Fault> {
    match upkeep {
        Upkeep::Prune { before, about } => prune(connection, *before, *about),
        Upkeep::Heartbeat(at) => beat(connection, *at),
    }
}

pub(super) fn open(connection: &Connection, interval: &Interval) -> Result<usize, Fault> {
    Ok(connection
        .prepare_cached(sql::LEDGER_OPEN)?
        .execute(params![
            interval.owner.kind.name(),
            interval.owner.id,
            interval.generation,
            interval.kind.name(),
            signed(interval.amount),
            interval.from.0,
            interval.cause,
            labels(&interval.labels)
        ])?)
}

pub(super) fn close(connection: &Connection, closing: &Closing) -> Result<usize, Fault> {
    Ok(connection
        .prepare_cached(sql::LEDGER_CLOSE)?
        .execute(params![
            closing.owner.kind.name(),
            closing.owner.id,
            closing.kind.name(),
            closing.to.0,
            closing.used.map(signed),
            closing.closed_by
        ])?)
}

pub(super) fn relabel(connection: &Connection, relabelling: &Relabelling) -> Result<usize, Fault> {
    let (owner, at) = (&relabelling.owner, relabelling.at.0);
    // What was used so far stays under the old labels.
    connection
        .prepare_cached(sql::LEDGER_SPLIT)?
        .execute(params![owner.kind.name(), owner.id, at])?;
    Ok(connection
        .prepare_cached(sql::LEDGER_RELABEL)?
        .execute(params![
            owner.kind.name(),
            owner.id,
            at,
            labels(&relabelling.labels)
        ])?)
}

pub(super) fn intervals(connection: &Connection, owner: &Owner) -> Result<Vec<Interval>, Fault> {
    let mut found = Vec::new();
    let asked = params![owner.kind.name(), owner.id];
    each(connection, sql::LEDGER_OF_OWNER, asked, |interval| {
        found.push(interval);
        Ok(())
    })?;
    Ok(found)
}

fn each(
    connection: &Connection,
    question: &str,
    asked: impl Params,
    mut take: impl FnMut(Interval) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(question)?;
    let mut rows = statement.query(asked)?;
    while let Some(row) = rows.next()? {
        take(interval(row)?)?;
    }
    Ok(())
}

pub(super) fn interval(row: &Row<'_>) -> Result<Interval, Fault> {
    let (whose, kind, text): (String, String, String) = (row.get(0)?, row.get(3)?, row.get(10)?);
    let id: String = row.get(1)?;
    let labels = read_labels(&whose, &id, &text)?;
    Ok(Interval {
        owner: Owner {
            kind: owner_kind(&whose)?,
            id,
        },
        generation: row.get(2)?,
        kind: interval_kind(&kind)?,
        amount: unsigned(row.get(4)?),
        from: Timestamp(row.get(5)?),
        to: row.get::<_, Option<i64>>(6)?.map(Timestamp),
        used: row.get::<_, Option<i64>>(7)?.map(unsigned),
        cause: row.get(8)?,
        closed_by: row.get(9)?,
        labels,
    })
}

/// Forgets about so many intervals that were closed before then, the oldest first; all that ended in one moment go together.
fn prune(connection: &Connection, before: Timestamp, about: usize) -> Result<(), Fault> {
    let last: Option<i64> = connection
        .prepare_cached(sql::LEDGER_NTH)?
        .query_row(params![before.0, limit(about)], |row| row.get(0))
        .optional()?;
    let bound = last.unwrap_or(before.0);
    connection
        .prepare_cached(sql::LEDGER_PRUNE)?
        .execute(params![bound])?;
    Ok(())
}

/// When the interval ended that ended first.
pub(super) fn oldest(connection: &Connection) -> Result<Option<Timestamp>, Fault> {
    Ok(connection
        .prepare_cached(sql::LEDGER_OLDEST)?
        .query_row([], |row| row.get(0).map(Timestamp))
        .optional()?)
}

fn beat(connection: &Connection, at: Timestamp) -> Result<(), Fault> {
    connection
        .prepare_cached(sql::HEARTBEAT_PUT)?
        .execute(params![at.0])?;
    Ok(())
}

pub(super) fn last_beat(connection: &Connection) -> Result<Option<Timestamp>, Fault> {
    Ok(connection
        .prepare_cached(sql::HEARTBEAT)?
        .query_row([], |row| row.get(0).map(Timestamp))
        .optional()?)
}
