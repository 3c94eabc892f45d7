//! Freezing and waking: what a checkpoint, asked for, taken or not, does to a job.

use super::verdict::{Effect, Refusal, Verdict, Why};
use super::{Then, movement, next};
use crate::job::{Checkpoint, Forget, Intent, Job, Token, TokenStatus};
use crate::kept::Kept;
use crate::{CheckpointId, Operation, State, Timestamp, timeout};

pub(super) fn checkpoint_asked(
    job: &Job,
    checkpoint: &CheckpointId,
    token: Option<&str>,
    then: &Then,
    at: Timestamp,
) -> Verdict {
    let asked = match then {
        Then::Continue => "checkpoint",
        Then::Suspend { .. } => "suspend",
    };
    match (job.state, job.operation) {
        (State::Running, None) if job.locks_held(at).next().is_some() => {
            return Verdict::Refuse(Refusal::Locked);
        }
        (State::Running, None) => {}
        (State::Running, Some(operation)) => return Verdict::Refuse(Refusal::Busy(operation)),
        (state, _) if state.is_terminal() => return Verdict::Refuse(Refusal::HasEnded(state)),
        (state, _) => return Verdict::Refuse(Refusal::WrongState { asked, state }),
    }
    let mut next = next(job);
    let (operation, wake_at, waits_for, event) = match then {
        Then::Continue => (Operation::Checkpointing, None, None, "checkpoint_asked"),
        Then::Suspend { wake_at, waits_for } => (
            Operation::Suspending,
            *wake_at,
            waits_for.clone(),
            "suspend_asked",
        ),
    };
    next.operation = Some(operation);
    // Those that are left are over by themselves.
    next.locks = Vec::new();
    next.intent = Some(Intent::Checkpoint {
        checkpoint: checkpoint.clone(),
        token: token.map(str::to_owned),
        wake_at,
        waits_for,
    });
    let effect = Effect::TakeCheckpoint {
        checkpoint: checkpoint.clone(),
        token: token.map(str::to_owned),
        freeze: operation == Operation::Suspending,
    };
    let mut movement = movement(next, event, vec![effect]);
    movement.token = token.map(|token| Token {
        job: job.id.clone(),
        token: token.to_owned(),
        generation: job.generation,
        status: TokenStatus::Requested,
    });
    Verdict::Move(movement)
}

/// What a checkpoint in flight was asked with.
struct AskedWith<'a> {
    token: &'a Option<String>,
    wake_at: Option<Timestamp>,
    waits_for: &'a Option<String>,
}

/// The intent of a checkpoint in flight, if it is this one.
fn asked_for<'a>(job: &'a Job, id: &CheckpointId) -> Option<AskedWith<'a>> {
    match &job.intent {
        Some(Intent::Checkpoint {
            checkpoint,
            token,
            wake_at,
            waits_for,
        }) if checkpoint == id => Some(AskedWith {
            token,
            wake_at: *wake_at,
            waits_for,
        }),
        Some(Intent::Checkpoint { .. } | Intent::Wake { .. } | Intent::End { .. }) | None => None,
    }
}

pub(super) fn published(job: &Job, checkpoint: &Checkpoint, at: Timestamp) -> Verdict {
    if job.checkpoint.as_ref() == Some(&checkpoint.id) {
        return Verdict::Ignore(Why::AlreadyDone);
    }
    let Some(asked) = asked_for(job, &checkpoint.id) else {
        return Verdict::Ignore(Why::NoLongerMatters);
    };
    let mut next = next(job);
    next.intent = None;
    next.checkpoint = Some(checkpoint.id.clone());
    next.restores_in_a_row = 0;
    next.crashes_in_a_row = 0;
    next.last_error = None;
    let keep = Effect::DropCheckpoints {
        keep: Some(checkpoint.id.clone()),
    };
    let (event, effects) = if job.operation == Some(Operation::Suspending) {
        next.state = State::Suspended;
        next.wake_at = asked.wake_at;
        next.waits_for = asked.waits_for.clone();
        timeout::suspend(&mut next, at);
        // The operation stays until the frozen sandbox is gone, so that nothing wakes the job beside it.
        (
            "suspended",
            vec![
                Effect::Destroy {
                    generation: job.generation,
                },
                keep,
            ],
        )
    } else {
        next.operation = None;
        ("checkpointed", vec![keep])
    };
    let mut movement = movement(next, event, effects);
    movement.detail = Some(format!("checkpoint {}", checkpoint.id));
    movement.checkpoint = Some(checkpoint.clone());
    // None is taken while a checkpoint is in flight: what was taken is in the image, or asked for there with the same token.
    movement.kept = vec![Kept::SignalsSealed];
    movement.token = asked.token.clone().map(|token| Token {
        job: job.id.clone(),
        token,
        generation: job.generation,
        status: TokenStatus::Done {
            checkpoint: checkpoint.id.clone(),
        },
    });
    Verdict::Move(movement)
}

pub(super) fn checkpoint_failed(job: &Job, checkpoint: &CheckpointId, message: &str) -> Verdict {
    let Some(asked) = asked_for(job, checkpoint) else {
        return Verdict::Ignore(Why::NoLongerMatters);
    };
    let mut next = next(job);
    next.operation = None;
    next.intent = None;
    next.last_error = Some(message.to_owned());
    let mut movement = movement(next, "checkpoint_failed", Vec::new());
    movement.detail = Some(message.to_owned());
    movement.token = asked.token.clone().map(|token| Token {
        job: job.id.clone(),
        token,
        generation: job.generation,
        status: TokenStatus::Failed {
            message: message.to_owned(),
        },
    });
    Verdict::Move(movement)
}

pub(super) fn wake(job: &Job, asked: bool, boot_id: &str) -> Verdict {
    match (job.state, job.operation) {
        (State::Suspended, None) => {}
        (State::Suspended, Some(operation)) => return Verdict::Refuse(Refusal::Busy(operation)),
        (state, _) if state.is_terminal() => return Verdict::Refuse(Refusal::HasEnded(state)),
        (state, _) => {
            return Verdict::Refuse(Refusal::WrongState {
                asked: "resume",
                state,
            });
        }
    }
    let Some(checkpoint) = job.checkpoint.clone() else {
        panic!(
            "invariant: a suspended job has a checkpoint, job {}",
            job.id
        );
    };
    let mut next = next(job);
    next.operation = Some(Operation::Waking);
    next.intent = Some(Intent::Wake { asked });
    next.generation += 1;
    next.boot_id = Some(boot_id.to_owned());
    let mut movement = movement(
        next,
        "waking",
        vec![Effect::Restore {
            checkpoint,
            after_loss: false,
        }],
    );
    movement.forget_tokens = Forget::Requested;
    Verdict::Move(movement)
}
