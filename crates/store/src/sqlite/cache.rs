//! Entries of the cache, as rows.

use super::fault::Fault;
use super::{snapshots, sql};
use crate::Error;
use crate::record::{self, CacheWrite, signed, unsigned};
use dauer_core::{CacheEntry, CacheTotals, CheckpointId, Timestamp};
use rusqlite::{Connection, Params, Row, params};

/// Does it.
pub(super) fn apply(connection: &Connection, write: &CacheWrite) -> Result<(), Fault> {
    match write {
        CacheWrite::Put { entry, evict } => {
            if !snapshots::is_there(connection, &entry.snapshot)? {
                return Err(Error::NoSnapshot(entry.snapshot.0.clone()).into());
            }
            if one(connection, &entry.key)?.is_some() {
                return Err(Error::CacheKeyInUse(entry.key.clone()).into());
            }
            for key in evict {
                if touch(connection, sql::CACHE_EVICT, params![key])? == 0 {
                    return Err(Error::CacheChanged(key.clone()).into());
                }
            }
            put(connection, entry).map(|_| ())
        }
        CacheWrite::Hit { key, at } => used(connection, sql::CACHE_HIT, key, params![key, at.0]),
        CacheWrite::Pin { key, pinned } => {
            used(connection, sql::CACHE_PIN, key, params![key, pinned])
        }
        CacheWrite::MarkEvicting(keys) => {
            for key in keys {
                touch(connection, sql::CACHE_MARK, params![key])?;
            }
            Ok(())
        }
        CacheWrite::Remove(key) => touch(connection, sql::CACHE_DELETE, params![key]).map(|_| ()),
    }
}

/// How many rows it wrote.
fn touch(connection: &Connection, sql: &str, params: impl Params) -> Result<usize, Fault> {
    Ok(connection.prepare_cached(sql)?.execute(params)?)
}

/// It is about an entry that may be used.
fn used(connection: &Connection, sql: &str, key: &str, params: impl Params) -> Result<(), Fault> {
    match touch(connection, sql, params)? {
        0 => Err(Error::NotCached(key.to_owned()).into()),
        _ => Ok(()),
    }
}

/// One of a key that is there already stays.
pub(super) fn put(connection: &Connection, entry: &CacheEntry) -> Result<usize, Fault> {
    touch(
        connection,
        sql::CACHE_INSERT,
        params![
            entry.key,
            entry.snapshot.0,
            entry.exit_code,
            entry.created_at.0,
            entry.last_used_at.0,
            signed(entry.hits),
            signed(entry.bytes),
            entry.pinned,
            entry.state.name()
        ],
    )
}

pub(super) fn one(connection: &Connection, key: &str) -> Result<Option<CacheEntry>, Fault> {
    Ok(some(connection, sql::CACHE_ENTRY, params![key])?.pop())
}

pub(super) fn page(
    connection: &Connection,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<CacheEntry>, Fault> {
    let after = after.unwrap_or_default();
    some(connection, sql::CACHE_ENTRIES, params![after, limit])
}

pub(super) fn least_used(connection: &Connection, limit: i64) -> Result<Vec<CacheEntry>, Fault> {
    some(connection, sql::CACHE_LEAST_USED, params![i64::MIN, limit])
}

pub(super) fn totals(connection: &Connection) -> Result<CacheTotals, Fault> {
    let mut statement = connection.prepare_cached(sql::CACHE_TOTALS)?;
    Ok(statement.query_row([], |row| {
        Ok(CacheTotals {
            count: unsigned(row.get(0)?),
            bytes: unsigned(row.get(1)?),
        })
    })?)
}

fn some(connection: &Connection, sql: &str, params: impl Params) -> Result<Vec<CacheEntry>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(entry(row)?);
    }
    Ok(found)
}

fn entry(row: &Row<'_>) -> Result<CacheEntry, Fault> {
    let state: String = row.get(8)?;
    Ok(CacheEntry {
        key: row.get(0)?,
        snapshot: CheckpointId(row.get(1)?),
        exit_code: row.get(2)?,
        created_at: Timestamp(row.get(3)?),
        last_used_at: Timestamp(row.get(4)?),
        hits: unsigned(row.get(5)?),
        bytes: unsigned(row.get(6)?),
        pinned: row.get(7)?,
        state: record::cache_state(&state)?,
    })
}
