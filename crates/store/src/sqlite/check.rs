//! Whether the file is whole, and its columns say what the records say. All of one moment.

use super::fault::Fault;
use super::sql;
use crate::check::{Finding, Rule};
use crate::record::{self, Broken, NewRow, ScheduleRow, signed};
use dauer_core::{Job, JobId};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// So many faults of the file itself are told.
const FAULTS_MAX: i64 = 100;

/// So many columns that differ are told; the others differ for the same reason.
const DIFFERENT_MAX: usize = 1000;

/// What is wrong with the file and its tables.
pub(super) fn check(connection: &Connection) -> Result<Vec<Finding>, Fault> {
    let moment = connection.unchecked_transaction()?;
    let mut found = integrity(&moment)?;
    orphans(&moment, &mut found)?;
    jobs(&moment, &mut found)?;
    schedules(&moment, &mut found)?;
    queues(&moment, &mut found)?;
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
            let what = "more than these differ; they are not told one by one";
            found.push(Finding::new(Rule::ColumnDiffers, "the store", what));
            return Ok(());
        }
        job(connection, row, found)?;
    }
    Ok(())
}

fn job(connection: &Connection, row: &Row<'_>, found: &mut Vec<Finding>) -> Result<(), Fault> {
    let id: String = row.get(0)?;
    let subject = format!("job {id}");
    let (record, spec, params): (String, String, Option<String>) =
        (row.get(1)?, row.get(2)?, row.get(3)?);
    let job = match record::job(&id, &record, &spec, params.as_deref()) {
        Ok(job) => job,
        Err(broken) => {
            let what = match broken {
                Broken::Unreadable { what, source } => format!("{what}: {source}"),
                Broken::Rule(rule) => rule,
            };
            found.push(Finding::new(Rule::Unreadable, subject, what));
            return Ok(());
        }
    };
    if job.id.0 != id {
        let what = format!("its record is that of job {}", job.id);
        found.push(Finding::new(Rule::ColumnDiffers, subject, what));
        return Ok(());
    }
    let mut differs = |column: &str, has: &dyn std::fmt::Debug, should: &dyn std::fmt::Debug| {
        let what = format!("{column} is {has:?}, its record says {should:?}");
        found.push(Finding::new(Rule::ColumnDiffers, subject.clone(), what));
    };
    let waits: Option<i64> = row.get(8)?;
    for (index, (column, should)) in columns(&job).into_iter().enumerate() {
        // Only the index of those that wait goes by these, and older builds set them only for such.
        let is_for_waiting = matches!(column, "lane" | "cpu_millis" | "memory_bytes");
        let has: Value = row.get(index + 4)?;
        if has != should && (waits.is_some() || !is_for_waiting) {
            differs(column, &has, &should);
        }
    }
    let tags = pairs(connection, &job.id)?;
    let should: Vec<(String, String)> = job.spec.tags.clone().into_iter().collect();
    if tags != should {
        differs("tags", &tags, &should);
    }
    let after = texts(connection, sql::CHECK_AFTER, &job.id)?;
    let mut should: Vec<String> = job.blocked_by.iter().map(|id| id.0.clone()).collect();
    should.sort_unstable();
    should.dedup();
    if after != should {
        differs("waiting for", &after, &should);
    }
    Ok(())
}

/// What the columns should be, in the order in which they are asked for.
fn columns(job: &Job) -> [(&'static str, Value); 20] {
    let text = |text: Option<String>| text.map_or(Value::Null, Value::Text);
    let number = |number: Option<i64>| number.map_or(Value::Null, Value::Integer);
    let new = NewRow::arrived(job.clone(), None);
    let (row, queued) = (new.row, new.queued);
    [
        ("version", Value::Integer(signed(row.version))),
        ("name", text(new.name)),
        ("state", Value::Text(row.state.name().into())),
        ("operation", text(row.operation.map(str::to_owned))),
        ("wake_at", number(row.wake_at)),
        ("sandbox", text(row.sandbox)),
        ("checkpoint", text(row.checkpoint)),
        ("created_at", Value::Integer(new.created_at.0)),
        ("priority", Value::Integer(new.urgency)),
        ("expires_at", number(row.expires_at)),
        ("parent", text(new.parent)),
        ("ends_children", text(row.ends_children.map(str::to_owned))),
        ("stage", Value::Integer(row.stage)),
        ("queue", Value::Text(queued.queue)),
        ("concurrency_key", text(queued.key)),
        ("unique_key", text(queued.unique.map(|unique| unique.key))),
        ("batch", text(queued.batch)),
        ("lane", Value::Integer(row.lane)),
        ("cpu_millis", number(queued.cpu_millis.map(i64::from))),
        ("memory_bytes", number(queued.memory_bytes)),
    ]
}

fn pairs(connection: &Connection, job: &JobId) -> Result<Vec<(String, String)>, Fault> {
    let mut statement = connection.prepare_cached(sql::CHECK_TAGS)?;
    let found = statement.query_map(params![job.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn texts(connection: &Connection, sql: &str, job: &JobId) -> Result<Vec<String>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map(params![job.0], |row| row.get(0))?;
    Ok(found.collect::<Result<_, _>>()?)
}

fn schedules(connection: &Connection, found: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut statement = connection.prepare(sql::CHECK_SCHEDULES)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, version, due_at): (String, i64, Option<i64>) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let text: String = row.get(3)?;
        // What cannot be read is told by who reads it.
        let Ok(schedule) = record::schedule(&text) else {
            continue;
        };
        let should = ScheduleRow::of(schedule);
        let has = (name, version, due_at);
        let should = (
            should.name,
            signed(should.version),
            should.due_at.map(|at| at.0),
        );
        if has != should {
            let what = format!("name, version and moment are {has:?}, its record says {should:?}");
            let subject = format!("schedule {}", has.0);
            found.push(Finding::new(Rule::ColumnDiffers, subject, what));
        }
    }
    Ok(())
}

fn queues(connection: &Connection, found: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut statement = connection.prepare(sql::CHECK_QUEUES)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, settings): (String, String) = (row.get(0)?, row.get(1)?);
        if let Ok(queue) = record::queue(&settings)
            && queue.name != name
        {
            let what = format!("its settings are those of queue {}", queue.name);
            let subject = format!("queue {name}");
            found.push(Finding::new(Rule::ColumnDiffers, subject, what));
        }
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
        if newest > given {
            let what = format!("the newest number is {newest:?}, the last one given {given:?}");
            found.push(Finding::new(
                Rule::NumberUsed,
                format!("table {table}"),
                what,
            ));
        }
    }
    Ok(())
}
