//! Whether what stands beside a record says what the record says.

use super::{Finding, Rule};
use crate::record::{Broken, NewRow, ScheduleRow, signed};
use dauer_core::{Job, Queue, Schedule, Snapshot};

/// So many columns that differ are told; the others differ for the same reason.
pub(crate) const DIFFERENT_MAX: usize = 1000;

/// A value as a back end has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Absent,
    Number(i64),
    Text(String),
}

impl From<Option<i64>> for Stored {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::Absent, Self::Number)
    }
}

impl From<Option<String>> for Stored {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::Absent, Self::Text)
    }
}

/// What a back end has beside the record of a job.
#[derive(Debug)]
pub(crate) struct Beside {
    /// In the order of [`COLUMNS`].
    pub(crate) columns: [Stored; COLUMNS.len()],
    /// By their keys.
    pub(crate) tags: Vec<(String, String)>,
    /// For whom it waits, by their ids.
    pub(crate) after: Vec<String>,
}

/// What a job is searched by.
pub(crate) const COLUMNS: [&str; 20] = [
    "version",
    "name",
    "state",
    "operation",
    "wake_at",
    "sandbox",
    "checkpoint",
    "created_at",
    "priority",
    "expires_at",
    "parent",
    "ends_children",
    "stage",
    "queue",
    "concurrency_key",
    "unique_key",
    "batch",
    "lane",
    "cpu_millis",
    "memory_bytes",
];

/// Where it says when a job is due.
const WAKE_AT: usize = 4;

fn columns_of(job: &Job) -> [Stored; COLUMNS.len()] {
    let new = NewRow::arrived(job.clone(), None);
    let (row, queued) = (new.row, new.queued);
    [
        Stored::Number(signed(row.version)),
        new.name.into(),
        Stored::Text(row.state.name().into()),
        row.operation.map(str::to_owned).into(),
        row.wake_at.into(),
        row.sandbox.into(),
        row.checkpoint.into(),
        Stored::Number(new.created_at.0),
        Stored::Number(new.urgency),
        row.expires_at.into(),
        new.parent.into(),
        row.ends_children.map(str::to_owned).into(),
        Stored::Number(row.stage),
        Stored::Text(queued.queue),
        queued.key.into(),
        queued.unique.map(|unique| unique.key).into(),
        queued.batch.into(),
        Stored::Number(row.lane),
        queued.cpu_millis.map(i64::from).into(),
        queued.memory_bytes.into(),
    ]
}

/// Looks at a job that is stored under this id.
pub(crate) fn job(
    id: &str,
    record: Result<Job, Broken>,
    beside: &Beside,
    found: &mut Vec<Finding>,
) {
    let subject = format!("job {id}");
    let job = match record {
        Ok(job) => job,
        Err(broken) => {
            let what = match broken {
                Broken::Unreadable { what, source } => format!("{what}: {source}"),
                Broken::Rule(rule) => rule,
            };
            found.push(Finding::new(Rule::Unreadable, subject, what));
            return;
        }
    };
    if job.id.0 != id {
        let what = format!("its record is that of job {}", job.id);
        found.push(Finding::new(Rule::ColumnDiffers, subject, what));
        return;
    }
    let mut differs = |column: &str, has: &dyn std::fmt::Debug, should: &dyn std::fmt::Debug| {
        let what = format!("{column} is {has:?}, its record says {should:?}");
        found.push(Finding::new(Rule::ColumnDiffers, subject.clone(), what));
    };
    let waits = beside.columns[WAKE_AT] != Stored::Absent;
    let should = columns_of(&job);
    for ((column, has), should) in COLUMNS.iter().zip(&beside.columns).zip(&should) {
        // Only the index of those that wait goes by these, and older builds set them only for such.
        let is_for_waiting = matches!(*column, "lane" | "cpu_millis" | "memory_bytes");
        if has != should && (waits || !is_for_waiting) {
            differs(column, has, should);
        }
    }
    let should: Vec<(String, String)> = job.spec.tags.clone().into_iter().collect();
    if beside.tags != should {
        differs("tags", &beside.tags, &should);
    }
    let mut should: Vec<String> = job.blocked_by.iter().map(|id| id.0.clone()).collect();
    should.sort_unstable();
    should.dedup();
    if beside.after != should {
        differs("waiting for", &beside.after, &should);
    }
}

/// Looks at a schedule by its name, version and moment.
pub(crate) fn schedule(
    has: &(String, i64, Option<i64>),
    schedule: Result<Schedule, Broken>,
    found: &mut Vec<Finding>,
) {
    // What cannot be read is told by who reads it.
    let Ok(schedule) = schedule else { return };
    let row = ScheduleRow::of(schedule);
    let should = (row.name, signed(row.version), row.due_at.map(|at| at.0));
    if *has != should {
        let what = format!("name, version and moment are {has:?}, its record says {should:?}");
        let subject = format!("schedule {}", has.0);
        found.push(Finding::new(Rule::ColumnDiffers, subject, what));
    }
}

/// Looks at a snapshot by its id, version and name.
pub(crate) fn snapshot(
    has: &(String, u64, Option<String>),
    snapshot: Result<Snapshot, Broken>,
    found: &mut Vec<Finding>,
) {
    let Ok(snapshot) = snapshot else { return };
    let should = (snapshot.id.0, snapshot.version, snapshot.name);
    if *has != should {
        let what = format!("id, version and name are {has:?}, its record says {should:?}");
        let subject = format!("snapshot {}", has.0);
        found.push(Finding::new(Rule::ColumnDiffers, subject, what));
    }
}

/// Looks at the settings of a queue of this name.
pub(crate) fn queue(name: &str, settings: Result<Queue, Broken>, found: &mut Vec<Finding>) {
    if let Ok(queue) = settings
        && queue.name != name
    {
        let what = format!("its settings are those of queue {}", queue.name);
        let subject = format!("queue {name}");
        found.push(Finding::new(Rule::ColumnDiffers, subject, what));
    }
}

/// Those that were told are enough.
pub(crate) fn and_more() -> Finding {
    let what = "more than these differ; they are not told one by one";
    Finding::new(Rule::ColumnDiffers, "the store", what)
}

/// A number that was given is never given again.
pub(crate) fn number(
    table: &str,
    newest: Option<i64>,
    given: Option<i64>,
    found: &mut Vec<Finding>,
) {
    if newest > given {
        let what = format!("the newest number is {newest:?}, the last one given {given:?}");
        let subject = format!("table {table}");
        found.push(Finding::new(Rule::NumberUsed, subject, what));
    }
}
