//! A job as JSON and columns: which part is which, and back.

use super::Broken;
use super::lean::{self, Blank};
use dauer_core::{Job, JobId, JobSpec, Priority, RetryPolicy, State};
use std::sync::LazyLock;

static RECORD: LazyLock<Blank> = LazyLock::new(|| {
    let spec = r#"{"name":null,"driver":""}"#;
    let least = format!(r#"{{"spec":{spec},"state":"pending","created_at":0}}"#);
    Blank::of::<Job>(&least, &["id", "spec"])
});

static SPEC: LazyLock<Blank> =
    LazyLock::new(|| Blank::of::<JobSpec>(r#"{"driver":""}"#, &["params", "retry"]));

static RETRY: LazyLock<Blank> = LazyLock::new(|| Blank::of::<RetryPolicy>("{}", &[]));

/// The record of a job as JSON, without its id and its spec: that hardly ever changes, and is written once.
pub(super) fn record(job: &Job) -> String {
    lean::json(job, &RECORD)
}

/// The spec of a job as JSON without its parameters, and those.
pub(super) fn spec(spec: &JobSpec) -> (String, Option<String>) {
    let params = spec.params.as_ref().map(ToString::to_string);
    let mut text = lean::json(spec, &SPEC);
    let retry = lean::json(&spec.retry, &RETRY);
    if retry != "{}" {
        // There is a driver before it.
        text.truncate(text.len() - 1);
        text.push_str(",\"retry\":");
        text.push_str(&retry);
        text.push('}');
    }
    (text, params)
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

/// Somebody has to look at it, and holds it.
pub(crate) fn is_unsettled(job: &Job) -> bool {
    stage(job) & 2 != 0
}

/// A job from its parts; without parameters where they were not read.
pub(crate) fn job(id: &str, record: &str, spec: &str, params: Option<&str>) -> Result<Job, Broken> {
    let unreadable = |source| Broken::Unreadable {
        what: format!("the record of job {id}"),
        source,
    };
    // Putting the parts together as text spares building them as trees. The record is an object with fields, never `{}`.
    let Some(fields) = record.strip_prefix('{') else {
        return Err(Broken::Rule(format!(
            "the record of job {id} is not a JSON object"
        )));
    };
    let whole = match (params, spec.strip_prefix('{')) {
        (Some(params), Some(spec)) => {
            format!("{{\"spec\":{{\"params\":{params},{spec},{fields}")
        }
        (Some(_) | None, _) => format!("{{\"spec\":{spec},{fields}"),
    };
    let job: Job = serde_json::from_str(&whole).map_err(unreadable)?;
    Ok(Job {
        id: JobId(id.to_owned()),
        ..job
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
pub(crate) const LANE_BEGINS_MAX: i64 = LANES - 1;

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
pub(crate) fn of_lane(lane: i64) -> Result<(Priority, bool), Broken> {
    let urgency_of = |priority: &Priority| urgency(*priority) == lane % LANES;
    let priority = Priority::ALL.into_iter().find(urgency_of);
    let priority =
        priority.ok_or_else(|| Broken::Rule(format!("a job waits in the unknown lane {lane}")))?;
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
