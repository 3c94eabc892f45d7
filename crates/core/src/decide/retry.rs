//! Trying again: an attempt failed and another one may follow, from the start of the program or from its checkpoint.

use super::ended::{said, terminal};
use super::verdict::{Effect, Move, Refusal, Verdict};
use super::{Now, movement, next};
use crate::job::{End, Forget, Intent, Job, Outcome};
use crate::kept::Kept;
use crate::retry::RetryFrom;
use crate::{CheckpointId, Operation, State, Timestamp, timeout};

/// The end of an attempt, and of the job where no other one follows.
pub(super) fn attempt_over(job: &Job, (state, outcome): (State, Outcome), now: Now) -> Box<Move> {
    match due_after(job, state, &outcome, now) {
        Some(again_at) => attempt_failed(job, &outcome, again_at, now.at),
        None => terminal(job, (state, outcome), now.at),
    }
}

/// The same where another attempt cannot go on from a checkpoint.
pub(super) fn attempt_over_anew(
    job: &Job,
    (state, outcome): (State, Outcome),
    now: Now,
) -> Box<Move> {
    match due_after(job, state, &outcome, now) {
        Some(again_at) => {
            let movement = begin_anew(job, again_at, "attempt_failed");
            described(job, movement, &outcome, now.at)
        }
        None => terminal(job, (state, outcome), now.at),
    }
}

/// When the attempt after one that ended like this is due, if there is to be one.
fn due_after(job: &Job, state: State, outcome: &Outcome, now: Now) -> Option<Timestamp> {
    let policy = &job.spec.retry;
    if state != State::Failed || !policy.covers(outcome) || job.retries >= policy.max_retries {
        return None;
    }
    if let Some(Intent::End {
        end: End::JobTimeout | End::QueueTimeout,
        ..
    }) = job.intent
    {
        return None;
    }
    let again_at = now.at.plus_ms(policy.delay_ms(job.retries, now.chance));
    // One that could not begin before the whole job's time is over would only hide why this one failed.
    let in_time = job.job_deadline_at.is_none_or(|over_at| again_at < over_at);
    in_time.then_some(again_at)
}

/// The attempt is over, the job is not.
fn attempt_failed(job: &Job, outcome: &Outcome, again_at: Timestamp, at: Timestamp) -> Box<Move> {
    let movement = match (job.spec.retry.from, &job.checkpoint) {
        (RetryFrom::Checkpoint, Some(checkpoint)) => go_on(job, checkpoint, again_at),
        (RetryFrom::Checkpoint, None) | (RetryFrom::Start, _) => {
            begin_anew(job, again_at, "attempt_failed")
        }
    };
    described(job, movement, outcome, at)
}

fn described(job: &Job, mut movement: Box<Move>, outcome: &Outcome, at: Timestamp) -> Box<Move> {
    timeout::renew_attempt(&mut movement.job);
    timeout::start_of_job(&mut movement.job, at);
    let why = said(outcome).unwrap_or_default();
    let ended = match (outcome.exit_code, outcome.signal) {
        (Some(code), _) => format!(" (exit code {code})"),
        (None, Some(signal)) => format!(" (signal {signal})"),
        (None, None) => String::new(),
    };
    let line = format!("attempt {} failed: {why}{ended}", job.attempt);
    movement.job.last_error = Some(line.clone());
    movement.detail = Some(line);
    movement
}

pub(super) fn retry_asked(job: &Job, at: Timestamp) -> Verdict {
    if job.is_ending_children() {
        return Verdict::Refuse(Refusal::ChildrenEnding);
    }
    match job.state {
        State::Failed | State::Cancelled => {
            let mut movement = begin_anew(job, at, "retry_asked");
            timeout::renew(&mut movement.job);
            // It may have children again.
            movement.job.ends_children = None;
            Verdict::Move(movement)
        }
        // It is to be tried again anyway: now, then.
        State::PendingRetry => {
            let mut next = next(job);
            next.wake_at = Some(at);
            Verdict::Move(movement(next, "retry_asked", Vec::new()))
        }
        State::Pending
        | State::Running
        | State::Suspended
        | State::Completed
        | State::Stopped
        | State::Error => Verdict::Refuse(Refusal::WrongState {
            asked: "retry",
            state: job.state,
        }),
    }
}

/// Back to where the program has not begun: no checkpoint, no token.
fn begin_anew(job: &Job, due_at: Timestamp, event: &'static str) -> Box<Move> {
    let mut next = waiting_again(job, due_at);
    next.checkpoint = None;
    next.progress = None;
    if job.spec.retry.from == RetryFrom::Start {
        next.saved = None;
    }
    let mut movement = movement(next, event, leftovers(job, None));
    movement.forget_tokens = Forget::All;
    movement.kept = vec![Kept::BegunAnew];
    movement
}

/// Back to the newest checkpoint, as after a loss.
fn go_on(job: &Job, checkpoint: &CheckpointId, due_at: Timestamp) -> Box<Move> {
    let next = waiting_again(job, due_at);
    let mut movement = movement(next, "attempt_failed", leftovers(job, Some(checkpoint)));
    movement.forget_tokens = Forget::Requested;
    movement.kept = vec![Kept::SignalsFreed];
    movement
}

pub(super) fn waiting_again(job: &Job, due_at: Timestamp) -> Job {
    let mut next = next(job);
    next.state = State::PendingRetry;
    // Stays until the old incarnation is gone, so that nothing begins beside it.
    next.operation = (job.sandbox.is_some() && !job.is_inline()).then_some(Operation::Exiting);
    next.intent = None;
    next.finished_at = None;
    next.outcome = None;
    next.wake_at = Some(due_at);
    next.waits_for = None;
    next.locks = Vec::new();
    next.restores_in_a_row = 0;
    next.crashes_in_a_row = 0;
    next.retries += 1;
    next
}

/// What is left of the incarnation before, and its checkpoints but one.
fn leftovers(job: &Job, keep: Option<&CheckpointId>) -> Vec<Effect> {
    let generation = job.generation;
    if job.sandbox.is_none() || job.is_inline() {
        return Vec::new();
    }
    let keep = keep.cloned();
    vec![
        Effect::Destroy { generation },
        Effect::DropCheckpoints { keep },
    ]
}
