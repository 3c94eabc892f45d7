//! Taking in what another store gave.

use super::plan::{Plan, additions, row};
use super::snapshots::{cache_row, snapshot_row};
use super::sql::{moving, snapshots, write as sql};
use crate::record::{Arrival, DefinitionRow, JobArrival, labels, signed, token_columns};
use dauer_core::{AccessToken, State};
use std::collections::HashSet;

/// What is not about one job.
const ALL: &str = "";

/// The jobs among these.
pub(super) fn jobs<'a>(values: &'a [Arrival]) -> Vec<&'a str> {
    let id = |value: &'a Arrival| match value {
        Arrival::Job(job) => Some(job.new.row.id.as_str()),
        Arrival::Definition(_)
        | Arrival::Entry(_)
        | Arrival::Audit(_)
        | Arrival::Interval(_)
        | Arrival::Schedule(_)
        | Arrival::Snapshot(_)
        | Arrival::Cached(_)
        | Arrival::Access(_)
        | Arrival::Queue { .. }
        | Arrival::Turns { .. }
        | Arrival::Daemons { .. }
        | Arrival::Mark(_) => None,
    };
    values.iter().filter_map(id).collect()
}

impl<'a> Plan<'a> {
    /// Takes all of these but the jobs that are there already.
    pub(super) fn take_in(&mut self, values: &'a [Arrival], there: &HashSet<String>) {
        let mut taken = HashSet::new();
        for value in values {
            match value {
                Arrival::Job(job) => {
                    let id = job.new.row.id.as_str();
                    if !there.contains(id) && taken.insert(id) {
                        self.arrive(job);
                    }
                }
                Arrival::Definition(definition) => {
                    let row = definition_row(definition);
                    self.put(ALL, &moving::IMPORT_DEFINITIONS, row);
                }
                Arrival::Entry(entry) => {
                    let row = row![
                        entry.seq,
                        entry.job.as_str(),
                        entry.at.0,
                        &entry.event,
                        entry.from.map(State::name),
                        entry.to.name(),
                        &entry.operation,
                        entry.generation,
                        &entry.detail,
                        &entry.by,
                        &entry.why,
                    ];
                    self.put(ALL, &moving::IMPORT_JOURNAL, row);
                }
                Arrival::Audit(moved) => {
                    let audit = &moved.audit;
                    let row = row![
                        moved.number,
                        moved.after,
                        audit.at.0,
                        &audit.event,
                        &audit.subject,
                        &audit.detail,
                        &audit.by,
                        &audit.why,
                    ];
                    self.put(ALL, &moving::IMPORT_AUDIT, row);
                }
                Arrival::Interval(moved) => {
                    let interval = &moved.interval;
                    let row = row![
                        moved.number,
                        interval.owner.kind.name(),
                        &interval.owner.id,
                        interval.generation,
                        interval.kind.name(),
                        interval.amount,
                        interval.from.0,
                        interval.to.map(|at| at.0),
                        interval.used.map(signed),
                        &interval.cause,
                        &interval.closed_by,
                        labels(&interval.labels),
                    ];
                    self.put(ALL, &moving::IMPORT_LEDGER, row);
                }
                Arrival::Schedule(schedule) => {
                    let row = row![
                        &schedule.name,
                        schedule.version,
                        schedule.due_at.map(|at| at.0),
                        &schedule.record,
                    ];
                    self.put(ALL, &moving::IMPORT_SCHEDULES, row);
                }
                Arrival::Snapshot(snapshot) => {
                    self.put(ALL, &snapshots::IMPORT_SNAPSHOTS, snapshot_row(snapshot));
                }
                Arrival::Cached(entry) => {
                    self.put(ALL, &snapshots::IMPORT_CACHE, cache_row(entry));
                }
                Arrival::Access(token) => {
                    self.put(ALL, &moving::IMPORT_ACCESS, access(token));
                }
                Arrival::Queue { name, settings } => {
                    self.put(ALL, &sql::PUT_QUEUES, row![name, settings]);
                }
                Arrival::Turns { queue, turns } => {
                    self.put(ALL, &moving::FORGET_ALL_TURNS, row![queue]);
                    for turn in turns {
                        self.put(ALL, &sql::INSERT_TURNS, row![queue, &turn.key, turn.at.0]);
                    }
                }
                Arrival::Daemons { runs, heartbeat } => {
                    let node = self.node();
                    self.put(ALL, &moving::FORGET_DAEMONS, row![node]);
                    for run in runs {
                        let row = row![node, run.started_at.0, run.completed, run.ended_well];
                        self.put(ALL, &moving::IMPORT_DAEMONS, row);
                    }
                    let node = node.unwrap_or_default();
                    self.put(ALL, &moving::FORGET_HEARTBEAT, row![node]);
                    if let Some(at) = heartbeat {
                        self.put(ALL, &sql::PUT_HEARTBEAT, row![node, at.0]);
                    }
                }
                Arrival::Mark(mark) => self.put(ALL, &moving::PUT_MARK, row![1_i64, mark]),
            }
        }
        self.raise_numbers();
    }

    /// A job as it was; nobody holds it: whoever finds it unsettled takes it.
    fn arrive(&mut self, job: &'a JobArrival) {
        let (new, id) = (&job.new, job.new.row.id.as_str());
        self.put(id, &sql::INSERT_JOBS, additions(new, &new.row, None));
        self.put_beside(new);
        for (number, checkpoint) in &job.checkpoints {
            let row = row![
                *number,
                &checkpoint.name,
                id,
                &checkpoint.record,
                &checkpoint.folder,
            ];
            self.put(id, &moving::IMPORT_CHECKPOINTS, row);
        }
        if let Some(checkpoint) = &job.checkpoint {
            self.put(id, &moving::POINT_JOBS, row![id, checkpoint]);
        }
        for token in &job.tokens {
            let (status, checkpoint, message) = token_columns(&token.status);
            let row = row![
                id,
                &token.token,
                token.generation,
                status,
                checkpoint,
                message
            ];
            self.put(id, &moving::IMPORT_TOKENS, row);
        }
        if let Some(output) = &job.output {
            self.put(id, &sql::PUT_OUTPUTS, row![id, &output.0]);
        }
        for moved in &job.signals {
            let signal = &moved.value.signal;
            let row = row![
                moved.number,
                id,
                &signal.id,
                &signal.name,
                &signal.payload.0,
                signal.sent_at.0,
                moved.value.standing.name(),
                &moved.value.token,
            ];
            self.put(id, &moving::IMPORT_SIGNALS, row);
        }
        for wait in &job.waits {
            let row = row![id, &wait.token, wait.give_up_at.0, wait.timed_out];
            self.put(id, &moving::IMPORT_WAITS, row);
        }
    }
}

/// A token for callers.
pub(super) fn definition_row(definition: &DefinitionRow) -> [super::plan::Cell<'_>; 7] {
    row![
        &definition.id.name,
        &definition.id.version,
        &definition.runtime_type,
        &definition.config,
        &definition.retry_policy,
        &definition.metadata,
        definition.created_at.0,
    ]
}

pub(super) fn access(token: &AccessToken) -> [super::plan::Cell<'_>; 7] {
    row![
        &token.id,
        &token.name,
        token.scope.name(),
        &token.digest,
        token.created_at.0,
        token.expires_at.map(|at| at.0),
        token.last_used_at.map(|at| at.0),
    ]
}
