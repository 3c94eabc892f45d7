//! Freezing and waking: what a checkpoint, asked for, taken or not, does to a job.

use super::verdict::{Effect, Refusal, Verdict, Why};
use super::{Then, movement, next};
use crate::job::{Checkpoint, Forget, Intent, Job, Token, TokenStatus};
use crate::{CheckpointId, Operation, State, Timestamp};

pub(super) fn checkpoint_asked(
    job: &Job,
    checkpoint: &CheckpointId,
    token: Option<&str>,
    then: Then,
) -> Verdict {
    let asked = match then {
        Then::Continue => "checkpoint",
        Then::Suspend { .. } => "suspend",
    };
    match (job.state, job.operation) {
        (State::Running, None) => {}
        (State::Running, Some(operation)) => return Verdict::Refuse(Refusal::Busy(operation)),
        (state, _) if state.is_terminal() => return Verdict::Refuse(Refusal::HasEnded(state)),
        (state, _) => return Verdict::Refuse(Refusal::WrongState { asked, state }),
    }
    let mut next = next(job);
    let (operation, wake_at, event) = match then {
        Then::Continue => (Operation::Checkpointing, None, "checkpoint_asked"),
        Then::Suspend { wake_at } => (Operation::Suspending, wake_at, "suspend_asked"),
    };
    next.operation = Some(operation);
    next.intent = Some(Intent::Checkpoint {
        checkpoint: checkpoint.clone(),
        token: token.map(str::to_owned),
        wake_at,
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

/// The intent of a checkpoint in flight, if it is this one.
fn asked_for<'a>(
    job: &'a Job,
    id: &CheckpointId,
) -> Option<(&'a Option<String>, Option<Timestamp>)> {
    match &job.intent {
        Some(Intent::Checkpoint {
            checkpoint,
            token,
            wake_at,
        }) if checkpoint == id => Some((token, *wake_at)),
        Some(Intent::Checkpoint { .. } | Intent::Wake { .. } | Intent::End { .. }) | None => None,
    }
}

pub(super) fn published(job: &Job, checkpoint: &Checkpoint, at: Timestamp) -> Verdict {
    if job.checkpoint.as_ref() == Some(&checkpoint.id) {
        return Verdict::Ignore(Why::AlreadyDone);
    }
    let Some((token, wake_at)) = asked_for(job, &checkpoint.id) else {
        return Verdict::Ignore(Why::NoLongerMatters);
    };
    let mut next = next(job);
    next.intent = None;
    next.checkpoint = Some(checkpoint.id.clone());
    next.restores_in_a_row = 0;
    next.last_error = None;
    let keep = Effect::DropCheckpoints {
        keep: Some(checkpoint.id.clone()),
    };
    let (event, effects) = if job.operation == Some(Operation::Suspending) {
        next.state = State::Suspended;
        next.wake_at = wake_at;
        next.timeout_left_ms = job.deadline_at.map(|deadline| deadline.since(at));
        next.deadline_at = None;
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
    movement.token = token.clone().map(|token| Token {
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
    let Some((token, _)) = asked_for(job, checkpoint) else {
        return Verdict::Ignore(Why::NoLongerMatters);
    };
    let mut next = next(job);
    next.operation = None;
    next.intent = None;
    next.last_error = Some(message.to_owned());
    let mut movement = movement(next, "checkpoint_failed", Vec::new());
    movement.detail = Some(message.to_owned());
    movement.token = token.clone().map(|token| Token {
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
