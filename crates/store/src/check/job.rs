//! What has to be true of one job: its record, its checkpoints, its journal, its open intervals. Pure.

use super::{Finding, Rule};
use crate::Entry;
use dauer_core::ledger::{Interval, Kind, Owner};
use dauer_core::{Checkpoint, Job, JobId, State};

/// What the rules about a job go by. First its journal and its intervals, then its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// As the record has it; absent where there is no record.
    state: Option<State>,
    /// Its program runs, as the record has it.
    runs: bool,
    /// It points to a checkpoint.
    has_checkpoint: bool,
    /// Where its journal ends, as far as it is kept.
    told: Option<State>,
    /// Which kinds of interval are open.
    open: Open,
}

/// Open intervals by their kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Open {
    compute: bool,
    memory: bool,
    storage: bool,
}

impl Open {
    fn of(&mut self, kind: Kind) -> &mut bool {
        match kind {
            Kind::Compute => &mut self.compute,
            Kind::Memory => &mut self.memory,
            Kind::Storage => &mut self.storage,
        }
    }
}

impl Standing {
    /// Its record.
    pub(super) fn record(&mut self, job: &Job) {
        self.state = Some(job.state);
        self.runs = job.runs_since.is_some();
        self.has_checkpoint = job.checkpoint.is_some();
    }

    /// The next entry of its journal.
    pub(super) fn tell(&mut self, entry: &Entry) -> Option<Finding> {
        let before = self.told.replace(entry.to);
        let wrong = |what: String| {
            let what = format!("entry {} ({}) {what}", entry.seq, entry.event);
            Some(Finding::new(Rule::JournalMove, subject(&entry.job), what))
        };
        // What was forgotten of its beginning says nothing of where it went from there.
        let from = match (entry.from, before) {
            (Some(from), Some(before)) if from != before => {
                return wrong(format!(
                    "goes from {from}, where the one before ends at {before}"
                ));
            }
            (None, Some(before)) => {
                return wrong(format!(
                    "is that of a beginning, and one before it ends at {before}"
                ));
            }
            (from, before) => from.or(before),
        };
        match from {
            Some(from) if !from.may_become(entry.to) => {
                wrong(format!("goes from {from} to {}", entry.to))
            }
            Some(_) | None => None,
        }
    }

    /// An interval of its.
    pub(super) fn count(&mut self, interval: &Interval) -> Option<Finding> {
        let wrong = |rule, what: String| Some(Finding::new(rule, owner(&interval.owner), what));
        let kind = interval.kind.name();
        match interval.to {
            Some(to) if to < interval.from => wrong(
                Rule::IntervalBackwards,
                format!("{kind} from {} to {}", interval.from.0, to.0),
            ),
            Some(_) => None,
            None if std::mem::replace(self.open.of(interval.kind), true) => {
                wrong(Rule::TwoOpenIntervals, format!("two of {kind} are open"))
            }
            None => None,
        }
    }

    /// What is wrong once everything was told and counted.
    pub(super) fn ends(&self, id: &JobId) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut wrong = |rule, what: String| found.push(Finding::new(rule, subject(id), what));
        let Some(state) = self.state else {
            if self.told.is_some() {
                wrong(Rule::Orphan, "it has a journal and no record".into());
            }
            if self.open != Open::default() {
                wrong(
                    Rule::IntervalOpen,
                    "it is counted on, and has no record".into(),
                );
            }
            return found;
        };
        if let Some(told) = self.told.filter(|told| *told != state) {
            wrong(
                Rule::JournalEnd,
                format!("the journal ends at {told}, the record is {state}"),
            );
        }
        let Open {
            compute,
            memory,
            storage,
        } = self.open;
        if (compute || memory) && !self.runs {
            wrong(
                Rule::IntervalOpen,
                "its run is counted on, and it does not run".into(),
            );
        }
        if self.runs && !(compute && memory) {
            wrong(
                Rule::IntervalMissing,
                "it runs, and its run is not counted".into(),
            );
        }
        if storage && !self.has_checkpoint {
            wrong(
                Rule::IntervalOpen,
                "the storage of a checkpoint is counted on, and it has none".into(),
            );
        }
        found
    }
}

/// What is wrong with a record and the checkpoints of its job.
pub(super) fn of_record(job: &Job, checkpoints: &[Checkpoint]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut wrong = |rule, what: String| found.push(Finding::new(rule, subject(&job.id), what));
    if let Some(pointer) = &job.checkpoint
        && !checkpoints.iter().any(|one| one.id == *pointer)
    {
        wrong(
            Rule::CheckpointMissing,
            format!("it is to go on from checkpoint {pointer}, which is not there"),
        );
    }
    for other in checkpoints.iter().filter(|one| one.job != job.id) {
        wrong(
            Rule::CheckpointMissing,
            format!("checkpoint {} is of job {}", other.id, other.job),
        );
    }
    let begins_by_itself = match job.state {
        State::Pending | State::PendingRetry => {
            job.operation.is_none() && job.blocked_by.is_empty()
        }
        State::Running
        | State::Suspended
        | State::Completed
        | State::Failed
        | State::Cancelled
        | State::Stopped
        | State::Error => false,
    };
    if begins_by_itself && job.wake_at.is_none() {
        wrong(Rule::NeverDue, format!("it is {} and never due", job.state));
    }
    found
}

pub(super) fn subject(job: &JobId) -> String {
    format!("job {job}")
}

fn owner(owner: &Owner) -> String {
    format!("{} {}", owner.kind.name(), owner.id)
}
