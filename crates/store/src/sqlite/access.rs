//! Tokens for callers, as rows.

use super::fault::Fault;
use super::sql;
use crate::Error;
use crate::record;
use dauer_core::{AccessToken, Timestamp};
use rusqlite::{Connection, Row, params};

pub(super) fn add(connection: &Connection, token: &AccessToken) -> Result<(), Fault> {
    put(connection, sql::ACCESS_INSERT, token)
}

/// By one of the statements that take a whole token.
pub(super) fn put(
    connection: &Connection,
    statement: &str,
    token: &AccessToken,
) -> Result<(), Fault> {
    connection.prepare_cached(statement)?.execute(params![
        token.id,
        token.name,
        token.scope.name(),
        token.digest,
        token.created_at.0,
        token.expires_at.map(|at| at.0),
        token.last_used_at.map(|at| at.0)
    ])?;
    Ok(())
}

pub(super) fn used(connection: &Connection, id: &str, at: Timestamp) -> Result<(), Fault> {
    // One that was removed meanwhile stays removed.
    connection
        .prepare_cached(sql::ACCESS_USED)?
        .execute(params![id, at.0])?;
    Ok(())
}

pub(super) fn remove(connection: &Connection, id: &str) -> Result<(), Fault> {
    let removed = connection
        .prepare_cached(sql::ACCESS_DELETE)?
        .execute(params![id])?;
    match removed {
        0 => Err(Error::NotFound(id.to_owned()).into()),
        _ => Ok(()),
    }
}

pub(super) fn all(connection: &Connection) -> Result<Vec<AccessToken>, Fault> {
    let mut statement = connection.prepare_cached(sql::ACCESS_ALL)?;
    let mut rows = statement.query([])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        tokens.push(token(row)?);
    }
    Ok(tokens)
}

fn token(row: &Row<'_>) -> Result<AccessToken, Fault> {
    let scope: String = row.get(2)?;
    let at = |column| {
        row.get::<_, Option<i64>>(column)
            .map(|at| at.map(Timestamp))
    };
    Ok(AccessToken {
        id: row.get(0)?,
        name: row.get(1)?,
        scope: record::scope(&scope)?,
        digest: row.get(3)?,
        created_at: Timestamp(row.get(4)?),
        expires_at: at(5)?,
        last_used_at: at(6)?,
    })
}
