//! Whether the file is whole, and its columns say what the records say. All of one moment.

use super::fault::Fault;
use super::sql;
use crate::check::columns::{self, Beside, COLUMNS, DIFFERENT_MAX, Stored};
use crate::check::{Finding, Rule};
use crate::record;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// So many faults of the file itself are told.
const FAULTS_MAX: i64 = 100;

/// What is wrong with the file and its tables.
pub(super) fn check(connection: &Connection) -> Result<Vec<Finding>, Fault> {
    let moment = connection.unchecked_transaction()?;
    let mut found = integrity(&moment)?;
    orphans(&moment, &mut found)?;
    jobs(&moment, &mut found)?;
    schedules(&moment, &mut found)?;
    queues(&moment, &mut found)?;
    snapshots(&moment, &mut found)?;
    numbers(&moment, &mut found)?;
    Ok(found)
}

fn integrity(connection: &Connection) -> Result<Vec<Finding>, Fault> {
    let mut found = Vec::new();
    connection.pragma(None, "integrity_check", FAULTS_MAX, |row| {
        let said: String = row.get(0)?;
        if said != "ok" {
            found.push(Finding::new(Rule::Damaged, "the file", said));
        }
        Ok(())
    })?;
    Ok(found)
}

fn orphans(connection: &Connection, found: &mut Vec<Finding>) -> Result<(), Fault> {
    connection.pragma_query(None, "foreign_key_check", |row| {
        let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
        let what = format!("a row points to one of {parent} that is not there");
        found.push(Finding::new(Rule::Orphan, format!("table {table}"), what));
        Ok(())
    })?;
    found.dedup();
    Ok(())
}

fn jobs(connection: &Connection, found: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut statement = connection.prepare(sql::CHECK_JOBS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if found.len() >= DIFFERENT_MAX {
            found.push(columns::and_more());
            return Ok(());
        }
        let id: String = row.get(0)?;
        let (record, spec, params): (String, String, Option<String>) =
            (row.get(1)?, row.get(2)?, row.get(3)?);
        let beside = beside(connection, &id, row)?;
        let job = record::job(&id, &record, &spec, params.as_deref());
        columns::job(&id, job, &beside, found);
    }
    Ok(())
}

fn beside(connection: &Connection, id: &str, row: &Row<'_>) -> Result<Beside, Fault> {
    let mut columns = [const { Stored::Absent }; COLUMNS.len()];
    for (index, column) in columns.iter_mut().enumerate() {
        *column = match row.get(index + 4)? {
            Value::Integer(number) => Stored::Number(number),
            Value::Text(text) => Stored::Text(text),
            Value::Null | Value::Real(_) | Value::Blob(_) => Stored::Absent,
        };
    }
    Ok(Beside {
        columns,
        tags: pairs(connection, id)?,
        after: texts(connection, sql::CHECK_AFTER, id)?,
    })
}

fn pairs(connection: &Connection, job: &str) -> Result<Vec<(String, String)>, Fault> {
    let mut statement = connection.prepare_cached(sql::CHECK_TAGS)?;
    let found = statement.query_map(params![job], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn texts(connection: &Connection, sql: &str, job: &str) -> Result<Vec<String>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map(params![job], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn schedules(connection: &Connection, found: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut statement = connection.prepare(sql::CHECK_SCHEDULES)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, version, due_at): (String, i64, Option<i64>) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let text: String = row.get(3)?;
        columns::schedule(&(name, version, due_at), record::schedule(&text), found);
    }
    Ok(())
}

fn queues(connection: &Connection, found: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut statement = connection.prepare(sql::CHECK_QUEUES)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, settings): (String, String) = (row.get(0)?, row.get(1)?);
        columns::queue(&name, record::queue(&settings), found);
    }
    Ok(())
}

fn snapshots(connection: &Connection, found: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut statement = connection.prepare(sql::CHECK_SNAPSHOTS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let has = (row.get(0)?, record::unsigned(row.get(1)?), row.get(2)?);
        let text: String = row.get(3)?;
        columns::snapshot(&has, record::snapshot(&text), found);
    }
    Ok(())
}

/// A number that was given is never given again.
fn numbers(connection: &Connection, found: &mut Vec<Finding>) -> Result<(), Fault> {
    for (table, newest) in [
        ("journal", sql::JOURNAL_NEWEST),
        ("audit", sql::AUDIT_NEWEST_ID),
        ("checkpoints", sql::CHECKPOINTS_NEWEST),
        ("signals", sql::SIGNALS_NEWEST),
    ] {
        let newest: Option<i64> = connection
            .prepare_cached(newest)?
            .query_row([], |row| row.get(0))
            .optional()?;
        let given: Option<i64> = connection
            .prepare_cached(sql::CHECK_NUMBERS)?
            .query_row(params![table], |row| row.get(0))
            .optional()?;
        columns::number(table, newest, given, found);
    }
    Ok(())
}
