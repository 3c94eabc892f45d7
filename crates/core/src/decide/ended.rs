//! Having ended: an incarnation is over, and with it the job, or not.

use super::event::Ended;
use super::inline;
use super::interrupted::{crash_loop, crashes};
use super::retry::{attempt_over, attempt_over_anew};
use super::verdict::{Effect, Move, Verdict, Why};
use super::{CRASHES_IN_A_ROW_MAX, Now, RESTORES_IN_A_ROW_MAX, WAKE_RETRY_MS, movement, next};
use crate::job::{End, Forget, Intent, Job, Outcome, Reason};
use crate::kept::Kept;
use crate::{CheckpointId, Limit, Operation, State, Timestamp, timeout};

pub(super) fn incarnation_ended(job: &Job, ended: &Ended, now: Now) -> Verdict {
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
                Some(end) => ended_by(job, end, *code, *signal),
                None => exited(*code, *signal, *out_of_memory),
            };
            Verdict::Move(attempt_over(job, ended, now))
        }
        Ended::StartFailed { code, message } => {
            let code = (*code != 125).then_some(*code);
            let outcome = Outcome {
                exit_code: code,
                signal: None,
                reason: Some(Reason::StartFailed),
                message: Some(message.clone()),
            };
            Verdict::Move(attempt_over(job, (State::Failed, outcome), now))
        }
        Ended::RestoreFailed { message, bad_image } => match end {
            Some(end) => Verdict::Move(attempt_over(job, ended_by(job, end, None, Some(9)), now)),
            None => restore_failed(job, message, *bad_image, now),
        },
        Ended::Lost {
            out_of_memory,
            rebooted,
        } => match end {
            Some(end) => Verdict::Move(attempt_over(job, ended_by(job, end, None, Some(9)), now)),
            None => lost(job, *out_of_memory, rebooted.as_deref(), now),
        },
        Ended::NodeLost { node } => match end {
            Some(end) => Verdict::Move(attempt_over(job, ended_by(job, end, None, Some(9)), now)),
            None => node_lost(job, node, now),
        },
    }
}

/// Its checkpoint cannot be gone on from, but it stays where it is.
fn node_lost(job: &Job, node: &str, now: Now) -> Verdict {
    if job.operation == Some(Operation::Waking) {
        let message = format!("its node {node} was lost while it was waking");
        return restore_failed(job, &message, false, now);
    }
    let message = match job.resume_point() {
        Some(checkpoint) => {
            format!("its node {node} was lost, which has the files of its checkpoint {checkpoint}")
        }
        None => format!("its node {node} was lost, and there was no checkpoint"),
    };
    let outcome = Outcome {
        reason: Some(Reason::Lost),
        message: Some(message),
        ..Outcome::default()
    };
    Verdict::Move(attempt_over_anew(job, (State::Failed, outcome), now))
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
pub(super) fn ended_by(
    job: &Job,
    end: End,
    code: Option<i32>,
    signal: Option<i32>,
) -> (State, Outcome) {
    let outcome = |reason| Outcome {
        exit_code: code,
        signal,
        reason,
        message: None,
    };
    let timed_out = |limit: Limit| {
        let message = Some(limit.said(job));
        let outcome = outcome(Some(Reason::Timeout));
        (State::Failed, Outcome { message, ..outcome })
    };
    match end {
        End::Stop => (State::Cancelled, outcome(None)),
        End::Kill => (State::Failed, outcome(Some(Reason::Killed))),
        End::Timeout => timed_out(Limit::Attempt),
        End::JobTimeout => timed_out(Limit::Job),
        End::QueueTimeout => timed_out(Limit::Queue),
        // What it said counts, not how its program was then ended.
        End::Exit { exit_code } => exited(Some(exit_code), None, false),
    }
}

/// The end of a job.
pub(super) fn terminal(job: &Job, (state, outcome): (State, Outcome), at: Timestamp) -> Box<Move> {
    let mut next = next(job);
    let has_sandbox = has_sandbox(job);
    next.state = state;
    next.operation = has_sandbox.then_some(Operation::Exiting);
    next.intent = None;
    next.finished_at = Some(at);
    next.wake_at = None;
    next.waits_for = None;
    next.locks = Vec::new();
    if state != State::Failed {
        next.saved = None;
    }
    timeout::stop(&mut next);
    let mut effects = Vec::new();
    if has_sandbox {
        effects.push(Effect::Destroy {
            generation: job.generation,
        });
    }
    if state != State::Failed && job.sandbox.is_some() && !job.is_inline() {
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
    let waited_for = std::mem::take(&mut next.blocked_by).into_iter();
    let unblocked = waited_for.map(|by| Kept::Unblocked { by }).collect();
    let mut movement = movement(next, event, effects);
    movement.detail = detail;
    movement.kept = unblocked;
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
    job.sandbox.is_some() && !rests && !job.is_inline()
}

/// An outcome in a line, where there is more to it than the state.
pub(super) fn said(outcome: &Outcome) -> Option<String> {
    match (&outcome.reason, &outcome.message) {
        (Some(reason), Some(message)) => Some(format!("{}: {message}", reason.name())),
        (Some(reason), None) => Some(reason.name().to_owned()),
        (None, message) => message.clone(),
    }
}

fn lost(job: &Job, out_of_memory: bool, rebooted: Option<&str>, now: Now) -> Verdict {
    let failed = |reason, message: &str| {
        let outcome = Outcome {
            reason: Some(reason),
            message: Some(message.to_owned()),
            ..Outcome::default()
        };
        Verdict::Move(attempt_over(job, (State::Failed, outcome), now))
    };
    if out_of_memory {
        return failed(
            Reason::OutOfMemory,
            "its sandbox was killed at the memory limit",
        );
    }
    if job.is_inline() {
        return inline::lost(job, now);
    }
    let crashes = match rebooted {
        Some(_) => crashes(job, now),
        None => job.crashes_in_a_row,
    };
    if crashes > CRASHES_IN_A_ROW_MAX {
        return crash_loop(job, crashes, now.at);
    }
    if job.operation == Some(Operation::Waking) {
        // It was safe on disk and still is.
        let message = "its sandbox vanished while it was waking";
        let mut verdict = restore_failed(job, message, false, now);
        if let Verdict::Move(movement) = &mut verdict {
            movement.job.crashes_in_a_row = crashes;
        }
        return verdict;
    }
    let Some(checkpoint) = job.resume_point().cloned() else {
        let mut verdict = failed(
            Reason::Lost,
            "its sandbox vanished and there was no checkpoint",
        );
        if let Verdict::Move(movement) = &mut verdict {
            // Another attempt may take the node down as this one did.
            movement.job.crashes_in_a_row = crashes;
        }
        return verdict;
    };
    if job.restores_in_a_row >= RESTORES_IN_A_ROW_MAX && rebooted.is_none() {
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
    next.crashes_in_a_row = crashes;
    match rebooted {
        Some(boot_id) => next.boot_id = Some(boot_id.to_owned()),
        None => {
            next.attempt += 1;
            next.restores_in_a_row += 1;
        }
    }
    timeout::pause_attempt(&mut next, now.at);
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

/// A job without a state of its own begins with its program where the template of its definition cannot be restored.
fn cold_instead(job: &Job, template: &CheckpointId, message: &str, at: Timestamp) -> Verdict {
    let because = format!("its template {template} cannot be restored: {message}");
    let mut next = next(job);
    // The spec never changes: it goes on to say what was asked for.
    next.cold = Some(because.clone());
    next.operation = Some(Operation::Starting);
    next.intent = None;
    next.locks = Vec::new();
    next.generation += 1;
    timeout::pause_attempt(&mut next, at);
    let effects = vec![
        Effect::Destroy {
            generation: job.generation,
        },
        // What it shared.
        Effect::DropCheckpoints { keep: None },
        Effect::DropTemplate {
            template: template.clone(),
        },
        Effect::Start,
    ];
    let mut movement = movement(next, "warm_start_failed", effects);
    movement.detail = Some(because);
    movement.forget_tokens = Forget::All;
    movement.kept = vec![Kept::BegunAnew];
    Verdict::Move(movement)
}

fn restore_failed(job: &Job, message: &str, bad_image: bool, now: Now) -> Verdict {
    if job.is_warm()
        && job.checkpoint.is_none()
        && let Some(template) = job.forked_from()
    {
        return cold_instead(job, template, message, now.at);
    }
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
            Some(now.at.plus_ms(WAKE_RETRY_MS))
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
    Verdict::Move(attempt_over(job, (State::Failed, outcome), now))
}
