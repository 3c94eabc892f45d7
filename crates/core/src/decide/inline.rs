//! Jobs that are functions of the program which the engine is part of: nothing is made for them and nothing is left of them.
//!
//! They have the states of every job. What a sandbox is to others is here the process: when it ends, its functions are gone, and
//! they are tried again from what they saved, without using up an attempt that their policy allows, unless the process ends
//! again and again while they run.

use super::ended::{ended_by, terminal};
use super::ending::deadline_reached;
use super::event::Returned;
use super::interrupted::crash_loop;
use super::retry::attempt_over;
use super::verdict::{Verdict, Why};
use super::{CALM_MS, CRASHES_IN_A_ROW_MAX, Now, counted, movement, next};
use crate::job::{End, Intent, Job, Outcome, Reason};
use crate::kept::{Json, Kept};
use crate::{State, Timestamp, timeout};

/// Its turn has come, and its function is called when this is committed.
pub(super) fn claimed(job: &Job, process: &str, counted_ms: Option<u64>, now: Now) -> Verdict {
    let waits = matches!(job.state, State::Pending | State::PendingRetry);
    let is_due = job.wake_at.is_none_or(|due| due <= now.at) && job.blocked_by.is_empty();
    if !waits || job.operation.is_some() || !is_due || !job.is_inline() {
        return Verdict::Ignore(Why::NoLongerMatters);
    }
    if job.expires_at.is_some_and(|over_at| over_at <= now.at) {
        return deadline_reached(job, now);
    }
    let mut next = next(job);
    next.state = State::Running;
    next.attempt += 1;
    next.generation += 1;
    next.boot_id = Some(process.to_owned());
    next.wake_at = None;
    next.started_at = job.started_at.or(Some(now.at));
    next.called_at = Some(now.at);
    timeout::start(&mut next, now.at);
    let mut movement = movement(next, "started", Vec::new());
    movement.kept = counted_ms
        .map(|ms| counted(job, ms, now.at))
        .into_iter()
        .collect();
    Verdict::Move(movement)
}

/// Somebody wants a job that waits for its time, or to be asked for, to have its turn now.
pub(super) fn begin_asked(job: &Job, at: Timestamp) -> Verdict {
    if job.state != State::Pending || job.wake_at.is_none_or(|due| due <= at) {
        return Verdict::Ignore(Why::NoLongerMatters);
    }
    let mut next = next(job);
    next.wake_at = Some(at);
    Verdict::Move(movement(next, "begin_asked", Vec::new()))
}

/// The function is over, by itself or because it was asked to end.
pub(super) fn returned(job: &Job, returned: &Returned, now: Now) -> Verdict {
    if job.state != State::Running || !job.is_inline() {
        return Verdict::Ignore(Why::NoLongerMatters);
    }
    if let Some(end) = end_of(job) {
        return Verdict::Move(attempt_over(job, ended_by(job, end, None, None), now));
    }
    let failed = |reason, message: &str| Outcome {
        exit_code: None,
        signal: None,
        reason: Some(reason),
        message: Some(message.to_owned()),
    };
    let movement = match returned {
        Returned::Done(output) => {
            let outcome = Outcome {
                exit_code: Some(0),
                ..Outcome::default()
            };
            let mut movement = terminal(job, (State::Completed, outcome), now.at);
            movement.kept.extend(output.clone().map(Kept::Output));
            movement
        }
        Returned::Failed {
            message,
            fatal: true,
        } => terminal(job, (State::Failed, failed(Reason::Error, message)), now.at),
        Returned::Failed {
            message,
            fatal: false,
        } => attempt_over(job, (State::Failed, failed(Reason::Error, message)), now),
        Returned::Panicked { message } => {
            attempt_over(job, (State::Failed, failed(Reason::Panic, message)), now)
        }
    };
    Verdict::Move(movement)
}

/// What it wants to find when it is called again.
pub(super) fn saved(job: &Job, state: &Json) -> Verdict {
    if job.state != State::Running || !job.is_inline() {
        return Verdict::Ignore(Why::NoLongerMatters);
    }
    let mut next = next(job);
    next.saved = Some(state.clone());
    // It got somewhere.
    next.crashes_in_a_row = 0;
    let mut movement = movement(next, "saved", Vec::new());
    movement.quiet = true;
    Verdict::Move(movement)
}

/// The process ends in order, and gives back what it could not finish.
pub(super) fn given_back(job: &Job, now: Now) -> Verdict {
    if job.state != State::Running || !job.is_inline() {
        return Verdict::Ignore(Why::NoLongerMatters);
    }
    if let Some(end) = end_of(job) {
        return Verdict::Move(attempt_over(job, ended_by(job, end, None, None), now));
    }
    Verdict::Move(movement(waits_again(job, now.at), "given_back", Vec::new()))
}

/// The process that ran it ended in the middle.
pub(super) fn lost(job: &Job, now: Now) -> Verdict {
    if job.state != State::Running {
        return Verdict::Ignore(Why::AlreadyDone);
    }
    // Nobody knows when exactly the process ended: one that is started again only later counts as one that ran.
    let calm = job
        .called_at
        .is_some_and(|since| now.at.since(since) >= CALM_MS);
    let crashes = if calm { 0 } else { job.crashes_in_a_row + 1 };
    if crashes > CRASHES_IN_A_ROW_MAX {
        return crash_loop(job, crashes, now.at);
    }
    let mut next = waits_again(job, now.at);
    next.restores += 1;
    next.crashes_in_a_row = crashes;
    let mut movement = movement(next, "lost", Vec::new());
    movement.detail = Some("the process that ran it ended: it is tried again".into());
    Verdict::Move(movement)
}

fn waits_again(job: &Job, at: Timestamp) -> Job {
    let mut next = next(job);
    next.state = State::PendingRetry;
    next.operation = None;
    next.intent = None;
    next.wake_at = Some(at);
    timeout::renew_attempt(&mut next);
    next
}

fn end_of(job: &Job) -> Option<End> {
    match &job.intent {
        Some(Intent::End { end, .. }) => Some(*end),
        Some(Intent::Checkpoint { .. } | Intent::Wake { .. }) | None => None,
    }
}
