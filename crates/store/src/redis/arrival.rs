//! What comes from another store, in the shape in which the script reads it.

use super::encode::{access_text, definition_member, definition_text, json};
use super::shapes::{New, ScheduleText, TokenText, number, text};
use super::snapshots::{CachedText, SnapshotText};
use crate::DaemonRun;
use crate::record::{Arrival, JobArrival};
use dauer_core::{State, Timestamp, Turn};
use serde::Serialize;

/// One value.
#[derive(Serialize)]
#[serde(tag = "arrives", rename_all = "snake_case")]
pub(super) enum Arriving<'a> {
    Definition {
        id: String,
        text: String,
    },
    Job(Box<ArrivingJob<'a>>),
    Entry {
        seq: String,
        job: &'a str,
        at: String,
        text: String,
    },
    Audit {
        number: String,
        after: String,
        at: String,
        text: String,
    },
    Interval(Box<ArrivingInterval<'a>>),
    Schedule(ScheduleText<'a>),
    Snapshot(SnapshotText<'a>),
    Cached(CachedText<'a>),
    Access {
        id: &'a str,
        text: String,
    },
    Queue {
        name: &'a str,
        text: &'a str,
    },
    Turns {
        queue: &'a str,
        turns: Vec<TurnText<'a>>,
    },
    Daemons {
        runs: Vec<String>,
        heartbeat: Option<String>,
    },
    Mark {
        text: &'a str,
    },
}

#[derive(Serialize)]
pub(super) struct ArrivingJob<'a> {
    new: New<'a>,
    checkpoints: Vec<CheckpointText<'a>>,
    tokens: Vec<TokenText<'a>>,
    output: Option<&'a str>,
    signals: Vec<SignalText<'a>>,
    waits: Vec<WaitText<'a>>,
}

#[derive(Serialize)]
struct CheckpointText<'a> {
    number: String,
    id: &'a str,
    folder: Option<&'a str>,
    text: &'a str,
}

#[derive(Serialize)]
struct SignalText<'a> {
    number: u64,
    id: &'a str,
    name: &'a str,
    text: String,
    standing: &'static str,
    token: Option<&'a str>,
}

#[derive(Serialize)]
struct WaitText<'a> {
    token: &'a str,
    text: String,
}

#[derive(Serialize)]
pub(super) struct TurnText<'a> {
    key: Option<&'a str>,
    at: String,
}

#[derive(Serialize)]
pub(super) struct ArrivingInterval<'a> {
    number: u64,
    owner_kind: &'static str,
    owner: &'a str,
    kind: &'static str,
    from: String,
    to: Option<String>,
    used: Option<String>,
    closed_by: Option<&'a str>,
    text: String,
}

impl<'a> ArrivingJob<'a> {
    fn of(job: &'a JobArrival) -> Self {
        let mut new = New::of(&job.new);
        new.columns.checkpoint = job.checkpoint.as_deref();
        let checkpoint = |(number, row): &'a (u64, crate::record::CheckpointRow)| CheckpointText {
            number: number.to_string(),
            id: &row.name,
            folder: row.folder.as_deref(),
            text: &row.record,
        };
        Self {
            new,
            checkpoints: job.checkpoints.iter().map(checkpoint).collect(),
            tokens: job.tokens.iter().map(TokenText::of).collect(),
            output: job.output.as_ref().map(|output| output.0.as_str()),
            signals: job.signals.iter().map(SignalText::of).collect(),
            waits: job.waits.iter().map(WaitText::of).collect(),
        }
    }
}

impl<'a> WaitText<'a> {
    fn of(wait: &'a dauer_core::Wait) -> Self {
        Self {
            token: &wait.token,
            text: json(wait),
        }
    }
}

impl<'a> SignalText<'a> {
    fn of(moved: &'a crate::moving::Numbered<crate::moving::PortableSignal>) -> Self {
        let signal = &moved.value.signal;
        Self {
            number: moved.number,
            id: &signal.id,
            name: &signal.name,
            text: json(signal),
            standing: super::export::letter(moved.value.standing),
            token: moved.value.token.as_deref(),
        }
    }
}

impl<'a> TurnText<'a> {
    fn of(turn: &'a Turn) -> Self {
        Self {
            key: turn.key.as_deref(),
            at: text(turn.at),
        }
    }
}

/// The oldest one first; as the script writes them.
fn run_text(run: &DaemonRun) -> String {
    let DaemonRun {
        started_at: Timestamp(at),
        completed,
        ended_well,
    } = run;
    format!("{at}:{}:{}", u8::from(*completed), u8::from(*ended_well))
}

impl<'a> Arriving<'a> {
    pub(super) fn of(arrival: &'a Arrival) -> Self {
        match arrival {
            Arrival::Definition(row) => Self::Definition {
                id: definition_member(&row.id.name, &row.id.version),
                text: definition_text(row),
            },
            Arrival::Job(job) => Self::Job(Box::new(ArrivingJob::of(job))),
            Arrival::Entry(entry) => Self::Entry {
                seq: entry.seq.to_string(),
                job: entry.job.as_str(),
                at: text(entry.at),
                text: json(&(
                    &entry.event,
                    entry.from.map(State::name),
                    entry.to.name(),
                    &entry.operation,
                    entry.generation,
                    &entry.detail,
                    &entry.by,
                    &entry.why,
                )),
            },
            Arrival::Audit(moved) => {
                let record = super::shapes::Record::of(&moved.audit);
                Self::Audit {
                    number: moved.number.to_string(),
                    after: moved.after.to_string(),
                    at: record.at,
                    text: record.text,
                }
            }
            Arrival::Interval(moved) => {
                let interval = &moved.interval;
                Self::Interval(Box::new(ArrivingInterval {
                    number: moved.number,
                    owner_kind: interval.owner.kind.name(),
                    owner: &interval.owner.id,
                    kind: interval.kind.name(),
                    from: text(interval.from),
                    to: interval.to.map(text),
                    used: number(interval.used),
                    closed_by: interval.closed_by.as_deref(),
                    text: json(interval),
                }))
            }
            Arrival::Schedule(row) => Self::Schedule(ScheduleText::of(row)),
            Arrival::Snapshot(row) => Self::Snapshot(SnapshotText::of(row)),
            Arrival::Cached(entry) => Self::Cached(CachedText::of(entry)),
            Arrival::Access(token) => Self::Access {
                id: &token.id,
                text: access_text(token),
            },
            Arrival::Queue { name, settings } => Self::Queue {
                name,
                text: settings,
            },
            Arrival::Turns { queue, turns } => Self::Turns {
                queue,
                turns: turns.iter().map(TurnText::of).collect(),
            },
            Arrival::Daemons { runs, heartbeat } => Self::Daemons {
                runs: runs.iter().map(run_text).collect(),
                heartbeat: heartbeat.map(text),
            },
            Arrival::Mark(mark) => Self::Mark { text: mark },
        }
    }
}
