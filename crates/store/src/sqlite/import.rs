//! Taking in what another store gave.

use super::fault::Fault;
use super::lease::Holder;
use super::{access, cache, kept, rows, snapshots, sql, write};
use crate::DaemonRun;
use crate::Entry;
use crate::moving::{PortableAudit, PortableInterval};
use crate::record::{Arrival, DefinitionRow, JobArrival, labels, signed};
use dauer_core::{State, Timestamp, Turn};
use rusqlite::{Connection, params};

/// Writes all of these.
pub(super) fn apply(connection: &Connection, values: &[Arrival]) -> Result<(), Fault> {
    jobs(connection, values)?;
    values
        .iter()
        .try_for_each(|value| everything_else(connection, value))
}

/// Those that are not there yet, many in a statement.
fn jobs(connection: &Connection, values: &[Arrival]) -> Result<(), Fault> {
    let mut missing: Vec<&JobArrival> = Vec::new();
    for value in values {
        if let Arrival::Job(job) = value
            && write::stored_version(connection, &job.new.row.id)?.is_none()
        {
            missing.push(job);
        }
    }
    let new: Vec<_> = missing.iter().map(|job| (&job.new, &job.new.row)).collect();
    // Nobody holds what comes: whoever finds it unsettled takes it.
    rows::insert(connection, &new, Holder(None))?;
    missing
        .into_iter()
        .try_for_each(|job| belongings(connection, job))
}

fn belongings(connection: &Connection, job: &JobArrival) -> Result<(), Fault> {
    let id = &job.new.row.id;
    write::put_beside(connection, &job.new)?;
    for (number, checkpoint) in &job.checkpoints {
        connection
            .prepare_cached(sql::CHECKPOINT_IMPORT)?
            .execute(params![
                signed(*number),
                checkpoint.name,
                id.0,
                checkpoint.record,
                checkpoint.folder
            ])?;
    }
    if job.checkpoint.is_some() || job.new.row.ends_children.is_some() {
        write::point(connection, &job.new.row, job.checkpoint.as_ref())?;
    }
    for token in &job.tokens {
        kept::put_token(connection, token)?;
    }
    if let Some(output) = &job.output {
        connection
            .prepare_cached(sql::OUTPUT_PUT)?
            .execute(params![id.0, output.0])?;
    }
    for moved in &job.signals {
        let signal = &moved.value.signal;
        connection
            .prepare_cached(sql::SIGNAL_IMPORT)?
            .execute(params![
                signed(moved.number),
                id.0,
                signal.id,
                signal.name,
                signal.payload.0,
                signal.sent_at.0,
                moved.value.standing.name(),
                moved.value.token
            ])?;
    }
    for wait in &job.waits {
        connection.prepare_cached(sql::WAIT_PUT)?.execute(params![
            id.0,
            wait.token,
            wait.give_up_at.0,
            wait.timed_out
        ])?;
    }
    Ok(())
}

fn everything_else(connection: &Connection, value: &Arrival) -> Result<(), Fault> {
    match value {
        // Written before.
        Arrival::Job(_) => Ok(()),
        Arrival::Definition(row) => definition(connection, row),
        Arrival::Entry(one) => entry(connection, one),
        Arrival::Audit(one) => audit(connection, one),
        Arrival::Interval(one) => interval(connection, one),
        Arrival::Schedule(row) => {
            connection
                .prepare_cached(sql::SCHEDULE_INSERT)?
                .execute(params![
                    row.name,
                    signed(row.version),
                    row.due_at.map(|at| at.0),
                    row.record
                ])?;
            Ok(())
        }
        Arrival::Snapshot(row) => snapshots::put(connection, sql::SNAPSHOT_IMPORT, row),
        Arrival::Cached(entry) => cache::put(connection, entry).map(|_| ()),
        Arrival::Access(token) => access::put(connection, sql::ACCESS_IMPORT, token),
        Arrival::Queue { name, settings } => {
            connection
                .prepare_cached(sql::QUEUE_PUT)?
                .execute(params![name, settings])?;
            Ok(())
        }
        Arrival::Turns { queue, turns } => replace_turns(connection, queue, turns),
        Arrival::Daemons { runs, heartbeat } => replace_daemons(connection, runs, *heartbeat),
        Arrival::Mark(mark) => {
            connection
                .prepare_cached(sql::MARK_PUT)?
                .execute(params![mark])?;
            Ok(())
        }
    }
}

fn definition(connection: &Connection, row: &DefinitionRow) -> Result<(), Fault> {
    connection
        .prepare_cached(sql::DEFINITION_INSERT)?
        .execute(params![
            row.id.name,
            row.id.version,
            row.runtime_type,
            row.config,
            row.retry_policy,
            row.metadata,
            row.created_at.0
        ])?;
    Ok(())
}

fn entry(connection: &Connection, entry: &Entry) -> Result<(), Fault> {
    connection
        .prepare_cached(sql::JOURNAL_IMPORT)?
        .execute(params![
            signed(entry.seq),
            entry.job.0,
            entry.at.0,
            entry.event,
            entry.from.map(State::name),
            entry.to.name(),
            entry.operation,
            entry.generation,
            entry.detail,
            entry.by,
            entry.why
        ])?;
    Ok(())
}

fn audit(connection: &Connection, moved: &PortableAudit) -> Result<(), Fault> {
    let audit = &moved.audit;
    connection
        .prepare_cached(sql::AUDIT_IMPORT)?
        .execute(params![
            signed(moved.number),
            signed(moved.after),
            audit.at.0,
            audit.event,
            audit.subject,
            audit.detail,
            audit.by,
            audit.why
        ])?;
    Ok(())
}

fn interval(connection: &Connection, moved: &PortableInterval) -> Result<(), Fault> {
    let interval = &moved.interval;
    connection
        .prepare_cached(sql::LEDGER_IMPORT)?
        .execute(params![
            interval.owner.kind.name(),
            interval.owner.id,
            interval.generation,
            interval.kind.name(),
            signed(interval.amount),
            interval.from.0,
            interval.to.map(|at| at.0),
            interval.used.map(signed),
            interval.cause,
            interval.closed_by,
            labels(&interval.labels),
            signed(moved.number)
        ])?;
    Ok(())
}

fn replace_turns(connection: &Connection, queue: &str, turns: &[Turn]) -> Result<(), Fault> {
    connection
        .prepare_cached(sql::TURNS_FORGET)?
        .execute(params![queue, i64::MAX])?;
    for turn in turns {
        connection
            .prepare_cached(sql::TURN_INSERT)?
            .execute(params![queue, turn.key, turn.at.0])?;
    }
    Ok(())
}

fn replace_daemons(
    connection: &Connection,
    runs: &[DaemonRun],
    heartbeat: Option<Timestamp>,
) -> Result<(), Fault> {
    connection
        .prepare_cached(sql::DAEMONS_FORGET)?
        .execute(params![i64::MAX])?;
    for run in runs {
        connection
            .prepare_cached(sql::DAEMON_IMPORT)?
            .execute(params![run.started_at.0, run.completed, run.ended_well])?;
    }
    match heartbeat {
        Some(at) => connection
            .prepare_cached(sql::HEARTBEAT_PUT)?
            .execute(params![at.0])?,
        None => connection
            .prepare_cached(sql::HEARTBEAT_DELETE)?
            .execute([])?,
    };
    Ok(())
}
