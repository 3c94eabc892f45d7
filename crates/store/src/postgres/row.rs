//! What the columns of a statement say, in their order.

use super::fault::Fault;
use crate::record::{
    self, DefinitionRow, interval_kind, owner_kind, read_labels, state, token_status, unsigned,
};
use crate::{DaemonRun, Entry};
use dauer_core::ledger::{Interval, Owner};
use dauer_core::{
    AccessToken, Definition, DefinitionRef, Job, JobId, Json, Signal, Timestamp, Token,
};
use tokio_postgres::Row;

pub(super) fn id(row: &Row) -> Result<JobId, Fault> {
    Ok(JobId(row.try_get(0)?))
}

pub(super) fn at(row: &Row) -> Result<Timestamp, Fault> {
    Ok(Timestamp(row.try_get(0)?))
}

/// One that may be absent.
pub(super) fn maybe_at(row: &Row) -> Result<Option<Timestamp>, Fault> {
    Ok(row.try_get::<_, Option<i64>>(0)?.map(Timestamp))
}

/// A whole job.
pub(super) fn job(row: &Row) -> Result<Job, Fault> {
    let (id, record, spec) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(record::job(id, record, spec, row.try_get(3)?)?)
}

/// A job of a list, which has no parameters.
pub(super) fn listed(row: &Row) -> Result<Job, Fault> {
    let (id, record, spec) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(record::job(id, record, spec, None)?)
}

pub(super) fn definition(row: &Row) -> Result<Definition, Fault> {
    let row = DefinitionRow {
        id: DefinitionRef {
            name: row.try_get(0)?,
            version: row.try_get(1)?,
        },
        runtime_type: row.try_get(2)?,
        config: row.try_get(3)?,
        retry_policy: row.try_get(4)?,
        metadata: row.try_get(5)?,
        created_at: Timestamp(row.try_get(6)?),
    };
    Ok(row.read()?)
}

/// A token from the columns generation, status, checkpoint, message.
pub(super) fn token(job: &JobId, token: &str, row: &Row) -> Result<Token, Fault> {
    let columns = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    Ok(Token {
        job: job.clone(),
        token: token.to_owned(),
        generation: small(row, 0)?,
        status: token_status((job, token), columns)?,
    })
}

/// A signal, behind another column.
pub(super) fn signal(job: &JobId, row: &Row) -> Result<Signal, Fault> {
    Ok(Signal {
        job: job.clone(),
        id: row.try_get(1)?,
        name: row.try_get(2)?,
        payload: Json(row.try_get(3)?),
        sent_at: Timestamp(row.try_get(4)?),
    })
}

/// A journal entry whose columns, but the first, begin there.
pub(super) fn entry(row: &Row, first: usize) -> Result<Entry, Fault> {
    let (from, to): (Option<&str>, &str) = (row.try_get(first + 3)?, row.try_get(first + 4)?);
    Ok(Entry {
        seq: unsigned(row.try_get(0)?),
        job: JobId(row.try_get(first)?),
        at: Timestamp(row.try_get(first + 1)?),
        event: row.try_get(first + 2)?,
        from: from.map(state).transpose()?,
        to: state(to)?,
        operation: row.try_get(first + 5)?,
        generation: small(row, first + 6)?,
        detail: row.try_get(first + 7)?,

        by: row.try_get(first + 8)?,
        why: row.try_get(first + 9)?,
    })
}

pub(super) fn interval(row: &Row) -> Result<Interval, Fault> {
    let (whose, id): (&str, String) = (row.try_get(0)?, row.try_get(1)?);
    let labels = read_labels(whose, &id, row.try_get(10)?)?;
    Ok(Interval {
        owner: Owner {
            kind: owner_kind(whose)?,
            id,
        },
        generation: small(row, 2)?,
        kind: interval_kind(row.try_get(3)?)?,
        amount: unsigned(row.try_get(4)?),
        from: Timestamp(row.try_get(5)?),
        to: row.try_get::<_, Option<i64>>(6)?.map(Timestamp),
        used: row.try_get::<_, Option<i64>>(7)?.map(unsigned),
        cause: row.try_get(8)?,
        closed_by: row.try_get(9)?,
        labels,
    })
}

pub(super) fn access(row: &Row) -> Result<AccessToken, Fault> {
    let at = |column| -> Result<Option<Timestamp>, Fault> {
        Ok(row.try_get::<_, Option<i64>>(column)?.map(Timestamp))
    };
    Ok(AccessToken {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        scope: record::scope(row.try_get(2)?)?,
        digest: row.try_get(3)?,
        created_at: Timestamp(row.try_get(4)?),
        expires_at: at(5)?,
        last_used_at: at(6)?,
    })
}

/// A number that was one of 32 bits when it was written.
pub(super) fn small(row: &Row, column: usize) -> Result<u32, Fault> {
    let number: i64 = row.try_get(column)?;
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

/// How a daemon was.
pub(super) fn daemon(row: &Row) -> Result<DaemonRun, Fault> {
    Ok(DaemonRun {
        started_at: at(row)?,
        completed: row.try_get(1)?,
        ended_well: row.try_get(2)?,
    })
}
