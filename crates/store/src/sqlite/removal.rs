//! Taking out what nothing may need any more: a checkpoint, a job.

use super::fault::Fault;
use super::lease::{self, Holder};
use super::sql;
use crate::Error;
use crate::record::{Drop, unsigned};
use dauer_core::{JobId, State};
use rusqlite::{Connection, OptionalExtension, params};

pub(super) fn drop_checkpoint(connection: &Connection, drop: &Drop) -> Result<(), Fault> {
    let [name, shared] = drop.names();
    let holder: Option<(String, i64)> = connection
        .prepare_cached(sql::CHECKPOINT_POINTED_TO)?
        .query_row(params![drop.job.0, name, shared], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    if let Some((job, version)) = holder {
        return Err(Error::Conflict {
            job: JobId(job),
            expected: 0,
            found: unsigned(version),
        }
        .into());
    }
    connection
        .prepare_cached(sql::CHECKPOINT_DELETE)?
        .execute(params![drop.job.0, name, shared])?;
    Ok(())
}

pub(super) fn remove(
    connection: &Connection,
    id: &JobId,
    expected: u64,
    me: Holder,
) -> Result<(), Fault> {
    let found: Option<(i64, String, Option<i64>)> = connection
        .prepare_cached(sql::JOB_VERSION_AND_STATE)?
        .query_row(params![id.0], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((found, state, holder)) = found else {
        return Err(Error::NotFound(id.0.clone()).into());
    };
    let found = unsigned(found);
    let is_terminal = State::from_name(&state).is_some_and(State::is_terminal);
    if found != expected || !is_terminal {
        return Err(Error::Conflict {
            job: id.clone(),
            expected,
            found,
        }
        .into());
    }
    lease::check_holder(connection, id, holder, me)?;
    // Whatever belongs to it goes with it.
    connection
        .prepare_cached(sql::JOB_DELETE)?
        .execute(params![id.0])?;
    Ok(())
}
