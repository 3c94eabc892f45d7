//! Trying again: an attempt failed and another one may follow, from the start of the program.

use super::ended::said;
use super::verdict::{Effect, Move, Refusal, Verdict};
use super::{movement, next};
use crate::job::{Forget, Job, Outcome, Reason};
use crate::kept::Kept;
use crate::{Operation, State, Timestamp};

/// When the attempt after one that ended like this is due, if there is to be one.
pub(super) fn due_after(job: &Job, outcome: &Outcome, at: Timestamp) -> Option<Timestamp> {
    let may_help = match outcome.reason? {
        Reason::ExitCode
        | Reason::Signal
        | Reason::Timeout
        | Reason::OutOfMemory
        | Reason::StartFailed
        | Reason::Lost => true,
        // What its checkpoint holds is not given up without being asked; what was killed is wanted dead.
        Reason::RestoreFailed | Reason::Killed => false,
    };
    let policy = job.spec.retry;
    (may_help && job.retries < policy.max_retries).then(|| at.plus_ms(policy.delay_ms(job.retries)))
}

/// The attempt is over, the job is not.
pub(super) fn attempt_failed(job: &Job, outcome: &Outcome, again_at: Timestamp) -> Box<Move> {
    let mut movement = begin_anew(job, again_at, "attempt_failed");
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
    match job.state {
        State::Failed | State::Cancelled => Verdict::Move(begin_anew(job, at, "retry_asked")),
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

/// Back to where the program has not begun: no checkpoint, no token, all of its time.
fn begin_anew(job: &Job, due_at: Timestamp, event: &'static str) -> Box<Move> {
    let mut next = next(job);
    let had_sandbox = job.generation > 0;
    next.state = State::PendingRetry;
    // Stays until the old incarnation is gone, so that nothing begins beside it.
    next.operation = had_sandbox.then_some(Operation::Exiting);
    next.intent = None;
    next.finished_at = None;
    next.outcome = None;
    next.wake_at = Some(due_at);
    next.deadline_at = None;
    next.timeout_left_ms = job.spec.timeout_ms;
    next.checkpoint = None;
    next.locks = Vec::new();
    next.progress = None;
    next.restores_in_a_row = 0;
    next.waits_for = None;
    next.locks = Vec::new();
    next.progress = None;
    next.retries += 1;
    let effects = if had_sandbox {
        vec![
            Effect::Destroy {
                generation: job.generation,
            },
            Effect::DropCheckpoints { keep: None },
        ]
    } else {
        Vec::new()
    };
    let mut movement = movement(next, event, effects);
    movement.forget_tokens = Forget::All;
    movement.kept = vec![Kept::BegunAnew];
    movement
}
