//! A job as a row: which part is JSON, which parts are columns, and back.

use super::fault::Fault;
use super::lean;
use crate::Entry;
use dauer_core::{
    Checkpoint, CheckpointId, Definition, Job, JobId, Priority, State, Timestamp, Token,
    TokenStatus,
};
use rusqlite::Row;

/// The record of a job without its spec, as JSON. The spec never changes and is written once.
pub(super) fn record(job: &Job) -> String {
    lean::json(job, "spec")
}

/// The spec of a job as JSON, and its parameters, which are taken out of it.
pub(super) fn spec(job: &mut Job) -> (String, Option<String>) {
    let params = job.spec.params.take().map(|params| params.to_string());
    (lean::json(&job.spec, "params"), params)
}

/// What the column `stage` says of a record, by which partial indexes hold it: it waits (1), it is unsettled (2), also both.
pub(super) fn stage(job: &Job) -> i64 {
    let stage = match (job.state, job.operation) {
        (State::Completed | State::Failed | State::Cancelled, None) => 0,
        (State::Pending | State::Suspended | State::PendingRetry, None) => 1,
        (State::Running | State::Stopped | State::Error, _)
        | (
            State::Pending
            | State::Suspended
            | State::PendingRetry
            | State::Completed
            | State::Failed
            | State::Cancelled,
            Some(_),
        ) => 2,
    };
    if job.is_ending_children() {
        stage | 2
    } else {
        stage
    }
}

/// A job from its parts; without parameters where they were not read.
pub(super) fn job(id: &str, record: &str, spec: &str, params: Option<&str>) -> Result<Job, Fault> {
    let unreadable = |source| Fault::Unreadable {
        what: format!("the record of job {id}"),
        source,
    };
    // Putting the halves together as text spares building both as trees. The record is an object with fields, never `{}`.
    let Some(fields) = record.strip_prefix('{') else {
        return Err(Fault::Rule(format!(
            "the record of job {id} is not a JSON object"
        )));
    };
    let whole = match (params, spec.strip_prefix('{')) {
        (Some(params), Some(spec)) => {
            format!("{{\"spec\":{{\"params\":{params},{spec},{fields}")
        }
        (Some(_) | None, _) => format!("{{\"spec\":{spec},{fields}"),
    };
    serde_json::from_str(&whole).map_err(unreadable)
}

/// A definition from the columns in the order of the statements.
pub(super) fn definition(row: &Row<'_>) -> Result<Definition, Fault> {
    let (name, version): (String, String) = (row.get(0)?, row.get(1)?);
    let unreadable = |source| Fault::Unreadable {
        what: format!("the definition {name}@{version}"),
        source,
    };
    let json = |column: usize| -> Result<String, Fault> { Ok(row.get(column)?) };
    Ok(Definition {
        runtime_type: row.get(2)?,
        config: serde_json::from_str(&json(3)?).map_err(unreadable)?,
        retry_policy: serde_json::from_str(&json(4)?).map_err(unreadable)?,
        metadata: serde_json::from_str(&json(5)?).map_err(unreadable)?,
        created_at: Timestamp(row.get(6)?),
        name,
        version,
    })
}

/// How urgent it is, as a number that grows with it.
pub(super) fn urgency(priority: Priority) -> i64 {
    match priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
        Priority::Critical => 3,
    }
}

/// How far the lanes of those that sleep lie behind the others.
const LANES: i64 = 4;

/// The last of the lanes of those that do not sleep.
pub(super) const LANE_BEGINS_MAX: i64 = LANES - 1;

/// Where a job waits in its queue: jobs of one lane have their turns in the order in which they are due.
pub(super) fn lane(job: &Job) -> i64 {
    let asleep = match job.state {
        State::Suspended => LANES,
        State::Pending
        | State::Running
        | State::PendingRetry
        | State::Completed
        | State::Failed
        | State::Cancelled
        | State::Stopped
        | State::Error => 0,
    };
    urgency(job.spec.priority) + asleep
}

/// The priority of a lane, and whether its jobs sleep.
pub(super) fn of_lane(lane: i64) -> Result<(Priority, bool), Fault> {
    let urgency_of = |priority: &Priority| urgency(*priority) == lane % LANES;
    let priority = Priority::ALL.into_iter().find(urgency_of);
    let priority =
        priority.ok_or_else(|| Fault::Rule(format!("a job waits in the unknown lane {lane}")))?;
    Ok((priority, lane >= LANES))
}

/// Since when or until when a job waits, where it does.
pub(super) fn wake_at(job: &Job) -> Option<i64> {
    let waits = match job.state {
        State::Pending | State::Suspended | State::PendingRetry => job.operation.is_none(),
        State::Running
        | State::Completed
        | State::Failed
        | State::Cancelled
        | State::Stopped
        | State::Error => false,
    };
    job.wake_at.filter(|_| waits).map(|at| at.0)
}

/// A checkpoint as JSON.
pub(super) fn checkpoint_record(checkpoint: &Checkpoint) -> String {
    serde_json::to_string(checkpoint)
        .expect("invariant: a checkpoint is plain data and can be written as JSON")
}

/// A checkpoint from its JSON.
pub(super) fn checkpoint(job: &JobId, record: &str) -> Result<Checkpoint, Fault> {
    serde_json::from_str(record).map_err(|source| Fault::Unreadable {
        what: format!("a checkpoint of job {job}"),
        source,
    })
}

/// The columns of a token's status: its word, the checkpoint, the message.
pub(super) fn token_columns(status: &TokenStatus) -> (&'static str, Option<&str>, Option<&str>) {
    match status {
        TokenStatus::Requested => ("requested", None, None),
        TokenStatus::Done { checkpoint } => ("done", Some(checkpoint.as_str()), None),
        TokenStatus::Failed { message } => ("failed", None, Some(message)),
    }
}

/// A token from the columns generation, status, checkpoint, message.
pub(super) fn token(job: &JobId, token: &str, row: &Row<'_>) -> Result<Token, Fault> {
    let word: String = row.get(1)?;
    let (checkpoint, message): (Option<String>, Option<String>) = (row.get(2)?, row.get(3)?);
    let status = match (word.as_str(), checkpoint, message) {
        ("requested", None, None) => TokenStatus::Requested,
        ("done", Some(checkpoint), None) => TokenStatus::Done {
            checkpoint: CheckpointId(checkpoint),
        },
        ("failed", None, Some(message)) => TokenStatus::Failed { message },
        (other, ..) => {
            return Err(Fault::Rule(format!(
                "the token {token:?} of job {job} has no good status ({other})"
            )));
        }
    };
    Ok(Token {
        job: job.clone(),
        token: token.to_owned(),
        generation: row.get(0)?,
        status,
    })
}

/// A journal entry from the columns in the order of the statement.
pub(super) fn entry(row: &Row<'_>) -> Result<Entry, Fault> {
    let (from, to): (Option<String>, String) = (row.get(4)?, row.get(5)?);
    let state = |name: &str| {
        State::from_name(name)
            .ok_or_else(|| Fault::Rule(format!("the journal names an unknown state {name:?}")))
    };
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

/// SQLite's integers are signed. Versions and positions count single commits and never come near the limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The inverse of [`signed`].
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
