//! What the columns of a statement say, in their order.

use super::fault::Fault;
use crate::Entry;
use crate::record::{DefinitionRow, state, token_status, unsigned};
use dauer_core::{Definition, DefinitionRef, JobId, Timestamp, Token};
use rusqlite::Row;

/// A definition.
pub(super) fn definition(row: &Row<'_>) -> Result<Definition, Fault> {
    let row = DefinitionRow {
        id: DefinitionRef {
            name: row.get(0)?,
            version: row.get(1)?,
        },
        runtime_type: row.get(2)?,
        config: row.get(3)?,
        retry_policy: row.get(4)?,
        metadata: row.get(5)?,
        created_at: Timestamp(row.get(6)?),
    };
    Ok(row.read()?)
}

/// A token from the columns generation, status, checkpoint, message.
pub(super) fn token(job: &JobId, token: &str, row: &Row<'_>) -> Result<Token, Fault> {
    let columns = (row.get(1)?, row.get(2)?, row.get(3)?);
    Ok(Token {
        job: job.clone(),
        token: token.to_owned(),
        generation: row.get(0)?,
        status: token_status((job, token), columns)?,
    })
}

/// A journal entry.
pub(super) fn entry(row: &Row<'_>) -> Result<Entry, Fault> {
    let (from, to): (Option<String>, String) = (row.get(4)?, row.get(5)?);
    Ok(Entry {
        seq: unsigned(row.get(0)?),
        job: JobId(row.get(1)?),
        at: Timestamp(row.get(2)?),
        event: row.get(3)?,
        from: from.as_deref().map(state).transpose()?,
        to: state(&to)?,
        operation: row.get(6)?,
        generation: row.get(7)?,
        detail: row.get(8)?,

        by: row.get(9)?,
        why: row.get(10)?,
    })
}
