//! What a write says of jobs and schedules, in the shape in which the scripts read it.

use super::encode::json;
use crate::NewAudit;
use crate::record::{CheckpointRow, CommitRow, JobRow, NewRow, ScheduleRow, labels, token_columns};
use dauer_core::ledger::{Kind, Owner};
use dauer_core::{Forget, Kept, State, Timestamp, Token};
use serde::Serialize;

/// What the history says, as text.
#[derive(Serialize)]
pub(super) struct Record {
    pub(super) at: String,
    pub(super) text: String,
}

/// The columns of a job that a commit writes.
#[derive(Serialize)]
struct Changing<'a> {
    state: &'static str,
    lane: i64,
    waits: bool,
    unsettled: bool,
    wake_at: Option<String>,
    expires_at: Option<String>,
    ends_children: Option<&'a str>,
    sandbox: Option<&'a str>,
    checkpoint: Option<&'a str>,
}

/// All of them.
#[derive(Serialize)]
pub(super) struct Columns<'a> {
    state: &'static str,
    lane: i64,
    waits: bool,
    unsettled: bool,
    wake_at: Option<String>,
    expires_at: Option<String>,
    ends_children: Option<&'a str>,
    sandbox: Option<&'a str>,
    pub(super) checkpoint: Option<&'a str>,
    queue: &'a str,
    concurrency_key: Option<&'a str>,
    cpu_millis: Option<String>,
    memory_bytes: Option<String>,
    unique: Option<&'a str>,
    batch: Option<&'a str>,
}

#[derive(Serialize)]
struct UniqueStates<'a> {
    key: &'a str,
    states: Vec<&'static str>,
}

#[derive(Serialize)]
pub(super) struct New<'a> {
    id: &'a str,
    version: String,
    pub(super) columns: Columns<'a>,
    record: &'a str,
    spec: &'a str,
    params: Option<&'a str>,
    name: Option<&'a str>,
    parent: Option<&'a str>,
    key: Option<&'a str>,
    digest: Option<&'a str>,
    tags: Vec<(&'a str, &'a str)>,
    unique: Option<UniqueStates<'a>>,
    blocked_by: Vec<&'a str>,
    shares: Option<Named<'a>>,
    /// Absent where it comes from another store.
    entry: Option<Record>,
}

#[derive(Serialize)]
pub(super) struct Changed<'a> {
    id: &'a str,
    version: String,
    expected: String,
    columns: Changing<'a>,
    record: &'a str,
    entry: Option<Record>,
    checkpoint: Option<Named<'a>>,
    token: Option<TokenText<'a>>,
    forget_tokens: Option<&'static str>,
    kept: Vec<KeptText<'a>>,
}

#[derive(Serialize)]
pub(super) struct Named<'a> {
    id: &'a str,
    folder: Option<&'a str>,
    text: &'a str,
}

#[derive(Serialize)]
pub(super) struct TokenText<'a> {
    token: &'a str,
    text: String,
}

#[derive(Serialize)]
pub(super) struct ScheduleText<'a> {
    name: &'a str,
    version: String,
    due_at: Option<String>,
    text: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "kept", rename_all = "snake_case")]
enum KeptText<'a> {
    Output {
        text: &'a str,
    },
    Signal {
        id: &'a str,
        name: &'a str,
        text: String,
    },
    SignalTaken {
        id: &'a str,
        token: &'a str,
    },
    SignalsSealed,
    SignalsFreed,
    BegunAnew,
    Wait {
        token: &'a str,
        text: String,
    },
    Described {
        tags: Vec<(&'a str, &'a str)>,
        text: String,
    },
    Opened {
        owner_kind: &'static str,
        owner: &'a str,
        kind: &'static str,
        from: String,
        text: String,
    },
    Closed {
        owner_kind: &'static str,
        owner: &'a str,
        kind: &'static str,
        to: String,
        used: Option<String>,
        closed_by: &'a str,
    },
    Relabelled {
        owner_kind: &'static str,
        owner: &'a str,
        kinds: Vec<&'static str>,
        at: String,
        labels: String,
    },
    Unblocked {
        by: &'a str,
    },
    Turn {
        queue: &'a str,
        key: Option<&'a str>,
        at: String,
        forget_before: String,
    },
}

pub(super) fn text(at: Timestamp) -> String {
    at.0.to_string()
}

pub(super) fn number<T: ToString>(value: Option<T>) -> Option<String> {
    value.map(|value| value.to_string())
}

impl Record {
    pub(super) fn of(audit: &NewAudit) -> Self {
        let NewAudit {
            at,
            event,
            subject,
            detail,
            by,
            why,
        } = audit;
        Self {
            at: text(*at),
            text: json(&(event, subject, detail, by, why)),
        }
    }

    fn of_job(row: &JobRow, entry: &crate::NewEntry) -> Self {
        let from = entry.from.map(State::name);
        Self {
            at: text(entry.at),
            text: json(&(
                &entry.event,
                from,
                row.state.name(),
                row.operation,
                row.generation,
                &entry.detail,
                &entry.by,
                &entry.why,
            )),
        }
    }
}

const WAITS: i64 = 1;
const UNSETTLED: i64 = 2;

impl<'a> Changing<'a> {
    fn of(row: &'a JobRow) -> Self {
        Self {
            state: row.state.name(),
            lane: row.lane,
            waits: row.stage & WAITS != 0,
            unsettled: row.stage & UNSETTLED != 0,
            wake_at: number(row.wake_at),
            expires_at: number(row.expires_at),
            ends_children: row.ends_children,
            sandbox: row.sandbox.as_deref(),
            checkpoint: row.checkpoint.as_deref(),
        }
    }
}

impl<'a> Columns<'a> {
    pub(super) fn of(new: &'a NewRow) -> Self {
        let Changing {
            state,
            lane,
            waits,
            unsettled,
            wake_at,
            expires_at,
            ends_children,
            sandbox,
            checkpoint,
        } = Changing::of(&new.row);
        let queued = &new.queued;
        Self {
            state,
            lane,
            waits,
            unsettled,
            wake_at,
            expires_at,
            ends_children,
            sandbox,
            checkpoint,
            queue: &queued.queue,
            concurrency_key: queued.key.as_deref(),
            cpu_millis: number(queued.cpu_millis),
            memory_bytes: number(queued.memory_bytes),
            unique: queued.unique.as_ref().map(|unique| unique.key.as_str()),
            batch: queued.batch.as_deref(),
        }
    }
}

fn pairs<'a>(tags: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<(&'a str, &'a str)> {
    let pair = |(key, value): (&'a String, &'a String)| (key.as_str(), value.as_str());
    tags.into_iter().map(pair).collect()
}

impl<'a> New<'a> {
    pub(super) fn of(new: &'a NewRow) -> Self {
        let unique = new.queued.unique.as_ref().map(|unique| UniqueStates {
            key: &unique.key,
            states: unique.states.iter().map(|state| state.name()).collect(),
        });
        let (key, digest) = match &new.key {
            Some((key, digest)) => (Some(key.as_str()), Some(digest.as_str())),
            None => (None, None),
        };
        Self {
            id: new.row.id.as_str(),
            version: new.row.version.to_string(),
            columns: Columns::of(new),
            record: &new.row.record,
            spec: &new.spec,
            params: new.params.as_deref(),
            name: new.name.as_deref(),
            parent: new.parent.as_deref(),
            key,
            digest,
            tags: pairs(&new.tags),
            unique,
            blocked_by: new
                .queued
                .blocked_by
                .iter()
                .map(|job| job.as_str())
                .collect(),
            shares: new.shares.as_ref().map(Named::of),
            entry: new
                .entry
                .as_ref()
                .map(|entry| Record::of_job(&new.row, entry)),
        }
    }

    pub(super) fn all(jobs: &'a [NewRow]) -> Vec<Self> {
        jobs.iter().map(Self::of).collect()
    }
}

impl<'a> Changed<'a> {
    pub(super) fn of(commit: &'a CommitRow) -> Self {
        let row = &commit.row;
        Self {
            id: row.id.as_str(),
            version: row.version.to_string(),
            expected: row.version.saturating_sub(1).to_string(),
            columns: Changing::of(row),
            record: &row.record,
            entry: commit
                .entry
                .as_ref()
                .map(|entry| Record::of_job(row, entry)),
            checkpoint: commit.checkpoint.as_ref().map(Named::of),
            token: commit.token.as_ref().map(TokenText::of),
            forget_tokens: match commit.forget_tokens {
                Forget::None => None,
                Forget::Requested => Some("requested"),
                Forget::All => Some("all"),
            },
            kept: commit.kept.iter().map(KeptText::of).collect(),
        }
    }
}

impl<'a> Named<'a> {
    fn of(checkpoint: &'a CheckpointRow) -> Self {
        Self {
            id: &checkpoint.name,
            folder: checkpoint.folder.as_deref(),
            text: &checkpoint.record,
        }
    }
}

impl<'a> TokenText<'a> {
    pub(super) fn of(token: &'a Token) -> Self {
        let (word, checkpoint, message) = token_columns(&token.status);
        Self {
            token: &token.token,
            text: json(&(word, token.generation, checkpoint, message)),
        }
    }
}

impl<'a> ScheduleText<'a> {
    pub(super) fn of(row: &'a ScheduleRow) -> Self {
        Self {
            name: &row.name,
            version: row.version.to_string(),
            due_at: row.due_at.map(text),
            text: &row.record,
        }
    }
}

fn owner_of(owner: &Owner) -> (&'static str, &str) {
    (owner.kind.name(), &owner.id)
}

impl<'a> KeptText<'a> {
    fn of(kept: &'a Kept) -> Self {
        match kept {
            Kept::Output(output) => Self::Output { text: &output.0 },
            Kept::Signal(signal) => Self::Signal {
                id: &signal.id,
                name: &signal.name,
                text: json(signal),
            },
            Kept::SignalTaken { signal, token } => Self::SignalTaken { id: signal, token },
            Kept::SignalsSealed => Self::SignalsSealed,
            Kept::SignalsFreed => Self::SignalsFreed,
            Kept::BegunAnew => Self::BegunAnew,
            Kept::Wait(wait) => Self::Wait {
                token: &wait.token,
                text: json(wait),
            },
            Kept::Described { tags, metadata } => Self::Described {
                tags: pairs(tags),
                text: json(&(tags, metadata)),
            },
            Kept::Opened(interval) => {
                let (owner_kind, owner) = owner_of(&interval.owner);
                Self::Opened {
                    owner_kind,
                    owner,
                    kind: interval.kind.name(),
                    from: text(interval.from),
                    text: json(&**interval),
                }
            }
            Kept::Closed(closing) => {
                let (owner_kind, owner) = owner_of(&closing.owner);
                Self::Closed {
                    owner_kind,
                    owner,
                    kind: closing.kind.name(),
                    to: text(closing.to),
                    used: number(closing.used),
                    closed_by: &closing.closed_by,
                }
            }
            Kept::Relabelled(relabelling) => {
                let (owner_kind, owner) = owner_of(&relabelling.owner);
                Self::Relabelled {
                    owner_kind,
                    owner,
                    kinds: Kind::ALL.into_iter().map(Kind::name).collect(),
                    at: text(relabelling.at),
                    labels: labels(&relabelling.labels),
                }
            }
            Kept::Unblocked { by } => Self::Unblocked { by: by.as_str() },
            Kept::Turn {
                turn,
                forget_before,
            } => Self::Turn {
                queue: &turn.queue,
                key: turn.key.as_deref(),
                at: text(turn.at),
                forget_before: text(*forget_before),
            },
        }
    }
}
