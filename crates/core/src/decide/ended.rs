//! Having ended: an incarnation is over, and with it the job, or not.

use super::event::Ended;
use super::verdict::{Effect, Move, Verdict, Why};
use super::{RESTORES_IN_A_ROW_MAX, WAKE_RETRY_MS, movement, next, retry};
use crate::job::{End, Forget, Intent, Job, Outcome, Reason};
use crate::kept::Kept;
use crate::{Operation, State, Timestamp};

pub(super) fn incarnation_ended(job: &Job, ended: &Ended, at: Timestamp) -> Verdict {
    if job.state.is_terminal() {
        return Verdict::Ignore(Why::AlreadyDone);
    }
    if job.state == State::Suspended && job.operation != Some(Operation::Waking) && !is_ending(job)
    {
        // The frozen sandbox of a suspended job going away is what was wanted.
        return Verdict::Ignore(Why::NoLongerMatters);
    }
    let end = match &job.intent {
        Some(Intent::End { end, .. }) => Some(*end),
        Some(Intent::Checkpoint { .. } | Intent::Wake { .. }) | None => None,
    };
    match ended {
        Ended::Exited {
            code,
            signal,
            out_of_memory,
        } => {
            let ended = match end {
                Some(end) => ended_by(end, *code, *signal),
                None => exited(*code, *signal, *out_of_memory),
            };
            Verdict::Move(terminal(job, ended, at))
        }
        Ended::StartFailed { code, message } => {
            let code = (*code != 125).then_some(*code);
            let outcome = Outcome {
                exit_code: code,
                signal: None,
                reason: Some(Reason::StartFailed),
                message: Some(message.clone()),
            };
            Verdict::Move(terminal(job, (State::Failed, outcome), at))
        }
        Ended::RestoreFailed { message, bad_image } => match end {
            Some(end) => Verdict::Move(terminal(job, ended_by(end, None, Some(9)), at)),
            None => restore_failed(job, message, *bad_image, at),
        },
        Ended::Lost {
            out_of_memory,
            rebooted,
        } => match end {
            Some(end) => Verdict::Move(terminal(job, ended_by(end, None, Some(9)), at)),
            None => lost(job, *out_of_memory, *rebooted, at),
        },
    }
}

fn is_ending(job: &Job) -> bool {
    matches!(job.intent, Some(Intent::End { .. }))
}

fn exited(code: Option<i32>, signal: Option<i32>, out_of_memory: bool) -> (State, Outcome) {
    let outcome = |reason| Outcome {
        exit_code: code,
        signal,
        reason,
        message: None,
    };
    match (code, signal) {
        (Some(0), _) => (State::Completed, outcome(None)),
        (_, Some(_)) if out_of_memory => (State::Failed, outcome(Some(Reason::OutOfMemory))),
        (Some(_), _) => (State::Failed, outcome(Some(Reason::ExitCode))),
        (None, _) => (State::Failed, outcome(Some(Reason::Signal))),
    }
}

/// State and outcome of a job that ended because somebody or the clock wanted it.
pub(super) fn ended_by(end: End, code: Option<i32>, signal: Option<i32>) -> (State, Outcome) {
    let outcome = |reason| Outcome {
        exit_code: code,
        signal,
        reason,
        message: None,
    };
    match end {
        End::Stop => (State::Cancelled, outcome(None)),
        End::Kill => (State::Failed, outcome(Some(Reason::Killed))),
        End::Timeout => (State::Failed, outcome(Some(Reason::Timeout))),
        // What it said counts, not how its program was then ended.
        End::Exit { exit_code } => exited(Some(exit_code), None, false),
    }
}

/// The end of a job, or of an attempt that is followed by another one.
pub(super) fn terminal(job: &Job, (state, outcome): (State, Outcome), at: Timestamp) -> Box<Move> {
    if state == State::Failed
        && let Some(again_at) = retry::due_after(job, &outcome, at)
    {
        return retry::attempt_failed(job, &outcome, again_at);
    }
    let mut next = next(job);
    let has_sandbox = has_sandbox(job);
    next.state = state;
    next.operation = has_sandbox.then_some(Operation::Exiting);
    next.intent = None;
    next.finished_at = Some(at);
    next.wake_at = None;
    next.waits_for = None;
    next.locks = Vec::new();
    next.deadline_at = None;
    next.timeout_left_ms = None;
    let mut effects = Vec::new();
    if has_sandbox {
        effects.push(Effect::Destroy {
            generation: job.generation,
        });
    }
    if state != State::Failed && job.generation > 0 {
        // Nothing will be restored from them. Those of a failed job stay, to look into.
        next.checkpoint = None;
        effects.push(Effect::DropCheckpoints { keep: None });
    }
    let event = match state {
        State::Completed => "completed",
        State::Cancelled => "cancelled",
        State::Failed
        | State::Pending
        | State::Running
        | State::Suspended
        | State::PendingRetry
        | State::Stopped
        | State::Error => "failed",
    };
    let detail = said(&outcome);
    next.outcome = Some(outcome);
    let mut movement = movement(next, event, effects);
    movement.detail = detail;
    movement
}

/// A job that never had a sandbox, or none any more, has nothing to clean up.
fn has_sandbox(job: &Job) -> bool {
    let rests = match job.state {
        State::Pending | State::Suspended | State::PendingRetry => job.operation.is_none(),
        State::Running
        | State::Completed
        | State::Failed
        | State::Cancelled
        | State::Stopped
        | State::Error => false,
    };
    job.generation > 0 && !rests
}

/// An outcome in a line, where there is more to it than the state.
pub(super) fn said(outcome: &Outcome) -> Option<String> {
    match (&outcome.reason, &outcome.message) {
        (Some(reason), Some(message)) => Some(format!("{}: {message}", reason.name())),
        (Some(reason), None) => Some(reason.name().to_owned()),
        (None, message) => message.clone(),
    }
}

fn lost(job: &Job, out_of_memory: bool, rebooted: bool, at: Timestamp) -> Verdict {
    let failed = |reason, message: &str| {
        let outcome = Outcome {
            reason: Some(reason),
            message: Some(message.to_owned()),
            ..Outcome::default()
        };
        Verdict::Move(terminal(job, (State::Failed, outcome), at))
    };
    if out_of_memory {
        return failed(
            Reason::OutOfMemory,
            "its sandbox was killed at the memory limit",
        );
    }
    if job.operation == Some(Operation::Waking) {
        // It was safe on disk and still is.
        return restore_failed(job, "its sandbox vanished while it was waking", false, at);
    }
    let Some(checkpoint) = job.checkpoint.clone() else {
        return failed(
            Reason::Lost,
            "its sandbox vanished and there was no checkpoint",
        );
    };
    if job.restores_in_a_row >= RESTORES_IN_A_ROW_MAX && !rebooted {
        return failed(
            Reason::Lost,
            "its sandbox vanished again and again without reaching another checkpoint",
        );
    }
    let mut next = next(job);
    next.operation = Some(Operation::Restarting);
    next.intent = None;
    // The image was taken while none was held.
    next.locks = Vec::new();
    next.generation += 1;
    next.restores += 1;
    if !rebooted {
        next.attempt += 1;
        next.restores_in_a_row += 1;
    }
    next.timeout_left_ms = job
        .deadline_at
        .map_or(job.timeout_left_ms, |deadline| Some(deadline.since(at)));
    next.deadline_at = None;
    let effects = vec![
        Effect::Destroy {
            generation: job.generation,
        },
        Effect::Restore {
            checkpoint: checkpoint.clone(),
            after_loss: true,
        },
    ];
    let mut movement = movement(next, "lost", effects);
    movement.detail = Some(format!("restoring checkpoint {checkpoint}"));
    movement.forget_tokens = Forget::Requested;
    movement.kept = vec![Kept::SignalsFreed];
    Verdict::Move(movement)
}

fn restore_failed(job: &Job, message: &str, bad_image: bool, at: Timestamp) -> Verdict {
    let asked = matches!(job.intent, Some(Intent::Wake { asked: true }));
    let was_suspended = job.operation == Some(Operation::Waking);
    if was_suspended && (asked || !bad_image) {
        // Nothing is lost: it stays suspended. Who asked is told; otherwise it is tried again later.
        let mut next = next(job);
        next.intent = None;
        next.operation = Some(Operation::Suspending);
        next.wake_at = if asked {
            job.wake_at
        } else {
            Some(at.plus_ms(WAKE_RETRY_MS))
        };
        next.last_error = Some(message.to_owned());
        let mut movement = movement(
            next,
            "wake_failed",
            vec![Effect::Destroy {
                generation: job.generation,
            }],
        );
        movement.detail = Some(message.to_owned());
        return Verdict::Move(movement);
    }
    let outcome = Outcome {
        reason: Some(Reason::RestoreFailed),
        message: Some(message.to_owned()),
        ..Outcome::default()
    };
    Verdict::Move(terminal(job, (State::Failed, outcome), at))
}
