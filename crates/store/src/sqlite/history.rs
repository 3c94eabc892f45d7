//! The history: the journal and the audit as one, and forgetting what is old.

use super::fault::Fault;
use super::{row, sql};
use crate::record::{Filling, Halving, signed, unsigned};
use crate::{HistoryFilter, HistoryPage, HistoryPlace, NewAudit, Recorded};
use dauer_core::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Rows, params};

pub(super) fn put_audit(connection: &Connection, audit: &NewAudit) -> Result<(), Fault> {
    // Behind everything before it, also where the newest entry went with its job.
    let mut after = 0;
    for newest in [sql::JOURNAL_NEWEST, sql::AUDIT_NEWEST] {
        let found: Option<i64> = connection
            .prepare_cached(newest)?
            .query_row([], |row| row.get(0))
            .optional()?;
        after = after.max(found.unwrap_or(0));
    }
    connection
        .prepare_cached(sql::AUDIT_INSERT)?
        .execute(params![
            after,
            audit.at.0,
            audit.event,
            audit.subject,
            audit.detail,
            audit.by,
            audit.why
        ])?;
    Ok(())
}

pub(super) fn page(connection: &Connection, filter: &HistoryFilter) -> Result<HistoryPage, Fault> {
    let moment = connection.unchecked_transaction()?;
    let mut place = filter.after;
    if let Some(since) = filter.since
        && place == HistoryPlace::default()
    {
        place = place_before(&moment, since)?;
    }
    let (after, audit) = (signed(place.seq), signed(place.audit));
    let mut entries = moment.prepare_cached(match filter.job {
        Some(_) => sql::JOURNAL_OF_JOB,
        None => sql::JOURNAL,
    })?;
    let mut audits = moment.prepare_cached(sql::AUDIT)?;
    let mut entries = match &filter.job {
        Some(job) => Stream::of(entries.query(params![after, i64::MAX, job.0])?, entry)?,
        None => Stream::of(entries.query(params![after, i64::MAX])?, entry)?,
    };
    // All that the audit says of a job is its removal, after which nobody can ask for it.
    let none = if filter.job.is_some() { 0 } else { i64::MAX };
    let mut audits = Stream::of(audits.query(params![after, audit, none])?, other)?;
    let mut filling = Filling::new(filter, place);
    loop {
        let first = match (&entries.head, &audits.head) {
            (Some((entry, _)), Some((audit, _))) if audit < entry => audits.take()?,
            (Some(_), _) => entries.take()?,
            (None, _) => audits.take()?,
        };
        let Some((found, record)) = first else {
            return Ok(filling.page());
        };
        if !filling.take(found, record) {
            return Ok(filling.page());
        }
    }
}

type Placed = (HistoryPlace, Recorded);

/// The records of one of the tables, read as far as they are needed.
struct Stream<'a, F> {
    rows: Rows<'a>,
    read: F,
    head: Option<Placed>,
}

impl<'a, F: Fn(&Row<'_>) -> Result<Placed, Fault>> Stream<'a, F> {
    fn of(rows: Rows<'a>, read: F) -> Result<Self, Fault> {
        let head = None;
        let mut stream = Self { rows, read, head };
        stream.take()?;
        Ok(stream)
    }

    fn take(&mut self) -> Result<Option<Placed>, Fault> {
        let next = match self.rows.next()? {
            Some(row) => Some((self.read)(row)?),
            None => None,
        };
        Ok(std::mem::replace(&mut self.head, next))
    }
}

fn entry(row: &Row<'_>) -> Result<Placed, Fault> {
    let entry = row::entry(row)?;
    let place = HistoryPlace {
        seq: entry.seq,
        audit: 0,
    };
    Ok((place, Recorded::Job(entry)))
}

fn other(row: &Row<'_>) -> Result<Placed, Fault> {
    let place = HistoryPlace {
        seq: unsigned(row.get(0)?),
        audit: unsigned(row.get(1)?),
    };
    let audit = NewAudit {
        at: Timestamp(row.get(2)?),
        event: row.get(3)?,
        subject: row.get(4)?,
        detail: row.get(5)?,
        by: row.get(6)?,
        why: row.get(7)?,
    };
    Ok((place, Recorded::Other(audit)))
}

/// A place such that all that was recorded since then comes behind it.
fn place_before(connection: &Connection, since: Timestamp) -> Result<HistoryPlace, Fault> {
    let mut statement = connection.prepare_cached(sql::JOURNAL_AT)?;
    let newest = connection
        .prepare_cached(sql::JOURNAL_NEWEST)?
        .query_row([], |row| row.get::<_, i64>(0))
        .optional()?;
    let mut halving = Halving::new(newest.unwrap_or(0), since);
    while let Some(seq) = halving.asks() {
        let found = statement.query_row(params![seq], |row| row.get::<_, i64>(0));
        halving.answered(found.optional()?);
    }
    Ok(halving.found())
}

pub(super) fn oldest(connection: &Connection) -> Result<Option<Timestamp>, Fault> {
    let mut oldest = None;
    for first in [sql::JOURNAL_FIRST, sql::AUDIT_FIRST] {
        let found: Option<i64> = connection
            .prepare_cached(first)?
            .query_row([], |row| row.get(1))
            .optional()?;
        oldest = oldest.into_iter().chain(found).min();
    }
    Ok(oldest.map(Timestamp))
}

pub(super) fn forget(connection: &Connection, before: Timestamp, limit: i64) -> Result<(), Fault> {
    for (first, delete) in [
        (sql::JOURNAL_FIRST, sql::JOURNAL_FORGET),
        (sql::AUDIT_FIRST, sql::AUDIT_FORGET),
    ] {
        let first: Option<i64> = connection
            .prepare_cached(first)?
            .query_row([], |row| row.get(0))
            .optional()?;
        if let Some(first) = first {
            connection
                .prepare_cached(delete)?
                .execute(params![first.saturating_add(limit), before.0])?;
        }
    }
    Ok(())
}
