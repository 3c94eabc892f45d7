//! Waiting for other jobs: each that ends is told to those that follow it, once or more often.

use super::ended::terminal;
use super::verdict::{Verdict, Why};
use super::{movement, next};
use crate::job::{Job, Outcome, Reason};
use crate::kept::Kept;
use crate::{JobId, State, Timestamp};

pub(super) fn dependency_ended(
    job: &Job,
    dependency: &JobId,
    ended: Option<State>,
    at: Timestamp,
) -> Verdict {
    if !job.blocked_by.contains(dependency) {
        return Verdict::Ignore(Why::AlreadyDone);
    }
    let mut asked = job
        .spec
        .after
        .iter()
        .filter(|after| after.job == *dependency);
    if !asked.all(|after| after.when.is_met_by(ended)) {
        let how = match ended {
            Some(State::Cancelled) => "was cancelled",
            Some(_) => "failed",
            None => "was removed",
        };
        let outcome = Outcome {
            reason: Some(Reason::DependencyFailed),
            message: Some(format!("it comes after job {dependency}, which {how}")),
            ..Outcome::default()
        };
        return Verdict::Move(terminal(job, (State::Failed, outcome), at));
    }
    let mut next = next(job);
    next.blocked_by.retain(|by| by != dependency);
    if next.blocked_by.is_empty() {
        next.wake_at = Some(job.spec.run_at.filter(|run_at| *run_at > at).unwrap_or(at));
    }
    let mut movement = movement(next, "unblocked", Vec::new());
    movement.detail = Some(format!("after job {dependency}"));
    movement.kept = vec![Kept::Unblocked {
        by: dependency.clone(),
    }];
    Verdict::Move(movement)
}
