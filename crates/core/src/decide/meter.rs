//! The ledger's side of a decision: which intervals it opens and closes.
//!
//! Compute and memory run while the record says that its present incarnation runs a program, from when that really began to when it
//! really ended; storage runs while the record points to a checkpoint. Both are read from the records before and after, so that no
//! way through the states can leave one out.

use super::verdict::{Move, Verdict};
use super::{Ended, Event, EventKind, movement, next};
use crate::kept::Kept;
use crate::ledger::{self, Closing, Interval, Kind, Labels, Owner};
use crate::{Job, Operation, State, Timestamp};

/// The verdict with what it means for the ledger.
pub(super) fn settle(job: &Job, event: &Event, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Move(mut movement) => {
            meter(job, event, &mut movement);
            Verdict::Move(movement)
        }
        // It runs, although nothing comes of it: it is to end already, or its record is of a time before the ledger.
        Verdict::Ignore(_)
            if event.kind == EventKind::Started && job.runs_since.is_none() && may_run(job) =>
        {
            let mut movement = movement(next(job), "runs", Vec::new());
            movement.quiet = true;
            meter(job, event, &mut movement);
            Verdict::Move(movement)
        }
        Verdict::Ignore(why) => Verdict::Ignore(why),
        Verdict::Refuse(refusal) => Verdict::Refuse(refusal),
    }
}

/// Whether a program may run in the present incarnation of this record.
fn may_run(job: &Job) -> bool {
    match (job.state, job.operation) {
        (State::Running | State::Error, _)
        | (State::Suspended, Some(Operation::Waking | Operation::Terminating)) => true,
        (
            State::Suspended,
            None
            | Some(
                Operation::Starting
                | Operation::Checkpointing
                | Operation::Suspending
                | Operation::Exiting
                | Operation::Restarting,
            ),
        )
        | (
            State::Pending
            | State::PendingRetry
            | State::Completed
            | State::Failed
            | State::Cancelled
            | State::Stopped,
            _,
        ) => false,
    }
}

fn meter(job: &Job, event: &Event, movement: &mut Move) {
    let over = movement.job.generation != job.generation || !may_run(&movement.job);
    let mut opened = None;
    let began_at = event.life.began_at.map(|began_at| began_at.min(event.at));
    match (job.runs_since, &event.kind) {
        (Some(_), _) => {}
        (None, EventKind::Started) if !over => opened = Some(began_at.unwrap_or(event.at)),
        // It had run and ended before anybody heard that it ran.
        (
            None,
            EventKind::Ended(Ended::Exited { .. } | Ended::Lost { .. } | Ended::NodeLost { .. }),
        ) => opened = began_at,
        (None, _) => {}
    }
    if let Some(from) = opened {
        movement.job.runs_since = Some(from);
        let cause = match job.operation {
            Some(Operation::Waking) => "woken",
            Some(Operation::Restarting) => "restored",
            Some(
                Operation::Starting
                | Operation::Checkpointing
                | Operation::Suspending
                | Operation::Terminating
                | Operation::Exiting,
            )
            | None => "started",
        };
        let cpu_millis = job.spec.cpu_millis.map(u64::from);
        for (kind, amount) in [
            (
                Kind::Compute,
                cpu_millis.unwrap_or(ledger::CPU_MILLIS_DEFAULT),
            ),
            (
                Kind::Memory,
                job.spec
                    .memory_bytes
                    .unwrap_or(ledger::MEMORY_BYTES_DEFAULT),
            ),
        ] {
            let opening = open(job, kind, amount, from, cause);
            movement.kept.push(Kept::Opened(opening));
        }
    }
    if let Some(since) = job.runs_since.or(opened)
        && over
    {
        movement.job.runs_since = None;
        let to = ended_at(event).min(event.at).max(since);
        for (kind, used) in [
            (Kind::Compute, event.life.cpu_ms),
            (Kind::Memory, event.life.memory_bytes),
        ] {
            let closing = close(job, kind, to, used, movement.event);
            movement.kept.push(Kept::Closed(closing));
        }
    }
    store(job, event, movement);
}

/// When what ended with this event really ended.
fn ended_at(event: &Event) -> Timestamp {
    match &event.kind {
        // It never ran again after it was frozen.
        EventKind::CheckpointPublished(checkpoint) => checkpoint.frozen_at(),
        _ => event.life.ended_at.unwrap_or(event.at),
    }
}

/// Storage follows the record's checkpoint.
fn store(job: &Job, event: &Event, movement: &mut Move) {
    if job.checkpoint == movement.job.checkpoint {
        return;
    }
    let at = match &movement.checkpoint {
        Some(checkpoint) => checkpoint.taken_at.min(event.at),
        None => event.at,
    };
    if job.checkpoint.is_some() {
        let closing = close(job, Kind::Storage, at, None, movement.event);
        movement.kept.push(Kept::Closed(closing));
    }
    let pointed_to = match &event.kind {
        EventKind::RollbackAsked { to, .. } => to.as_deref(),
        _ => movement.checkpoint.as_ref(),
    };
    if let Some(checkpoint) = pointed_to {
        let bytes = checkpoint.bytes_on_disk();
        let opening = open(job, Kind::Storage, bytes, at, movement.event);
        movement.kept.push(Kept::Opened(opening));
    }
}

fn open(job: &Job, kind: Kind, amount: u64, from: Timestamp, cause: &str) -> Box<Interval> {
    Box::new(Interval {
        owner: Owner::job(&job.id),
        generation: job.generation,
        kind,
        amount,
        from,
        to: None,
        used: None,
        cause: cause.to_owned(),
        closed_by: None,
        labels: Labels::of(job),
    })
}

fn close(job: &Job, kind: Kind, to: Timestamp, used: Option<u64>, closed_by: &str) -> Closing {
    Closing {
        owner: Owner::job(&job.id),
        kind,
        to,
        used,
        closed_by: closed_by.to_owned(),
    }
}
