//! A node that goes down again and again with the same job on its way up: after a while it is taken to be the job that does it.

use super::ended::terminal;
use super::verdict::{Verdict, Why};
use super::{CALM_MS, CRASHES_IN_A_ROW_MAX, Now, movement, next};
use crate::job::{Job, Outcome, Reason};
use crate::{Operation, State, Timestamp};

/// The job was to be brought up, and was not when the node went down.
pub(super) fn interrupted(job: &Job, boot_id: &str, now: Now) -> Verdict {
    if !is_rising(job) {
        return Verdict::Ignore(Why::NoLongerMatters);
    }
    let crashes = crashes(job, now);
    if crashes > CRASHES_IN_A_ROW_MAX {
        return crash_loop(job, crashes, now.at);
    }
    let mut next = next(job);
    next.crashes_in_a_row = crashes;
    next.boot_id = Some(boot_id.to_owned());
    Verdict::Move(movement(next, "interrupted", Vec::new()))
}

/// How often in a row the node of this job went down, with this time.
pub(super) fn crashes(job: &Job, now: Now) -> u32 {
    let calm = job
        .runs_since
        .is_some_and(|since| now.seen_at.since(since) >= CALM_MS);
    if calm && !is_rising(job) {
        0
    } else {
        job.crashes_in_a_row + 1
    }
}

fn is_rising(job: &Job) -> bool {
    match job.operation {
        Some(Operation::Starting | Operation::Waking | Operation::Restarting) => true,
        Some(
            Operation::Checkpointing
            | Operation::Suspending
            | Operation::Terminating
            | Operation::Exiting,
        )
        | None => false,
    }
}

/// The job is not brought up again.
pub(super) fn crash_loop(job: &Job, crashes: u32, at: Timestamp) -> Verdict {
    let outcome = Outcome {
        reason: Some(Reason::CrashLoop),
        message: Some(format!(
            "its node went down {crashes} times in a row while it was brought up or had hardly run"
        )),
        ..Outcome::default()
    };
    let mut movement = terminal(job, (State::Failed, outcome), at);
    movement.job.crashes_in_a_row = crashes;
    Verdict::Move(movement)
}
