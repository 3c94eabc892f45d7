//! Going back: a job goes on from an earlier state of its own, and what it did since never was.

use super::retry::waiting_again;
use super::verdict::{Effect, Refusal, Verdict};
use super::{movement, next};
use crate::job::{Checkpoint, Forget, Intent, Job, Token, TokenStatus};
use crate::kept::Kept;
use crate::{CheckpointId, Operation, State, Timestamp, timeout};

pub(super) fn rollback_asked(
    job: &Job,
    to: Option<&Checkpoint>,
    boot_id: &str,
    at: Timestamp,
) -> Verdict {
    if job.is_ending_children() {
        return Verdict::Refuse(Refusal::ChildrenEnding);
    }
    let Some(point) = to.map(|to| &to.id).or_else(|| job.forked_from()) else {
        return Verdict::Refuse(Refusal::NothingToGoBackTo);
    };
    if let Some(operation) = job.operation {
        return Verdict::Refuse(Refusal::Busy(operation));
    }
    let (mut next, effects) = match job.state {
        State::Running => at_once(job, point, at),
        State::Suspended => awake(job, to, point, boot_id),
        State::Failed | State::PendingRetry => in_its_turn(job, at),
        // Nothing is kept of what ended well, or as somebody wanted it.
        State::Completed | State::Cancelled => {
            return Verdict::Refuse(Refusal::HasEnded(job.state));
        }
        State::Pending | State::Stopped | State::Error => {
            return Verdict::Refuse(Refusal::WrongState {
                asked: "roll back",
                state: job.state,
            });
        }
    };
    next.checkpoint = to.map(|to| to.id.clone());
    // The image was taken while none was held.
    next.locks = Vec::new();
    next.restores_in_a_row = 0;
    let mut movement = movement(next, "rolled_back", effects);
    movement.detail = Some(format!("to checkpoint {point}"));
    movement.kept = vec![Kept::SignalsFreed];
    if job.checkpoint.as_ref() == Some(point) {
        movement.forget_tokens = Forget::Requested;
    } else {
        // Later checkpoints never were: asked for with the same keys, they are taken again. Its own is answered as restored.
        movement.forget_tokens = Forget::All;
        movement.token = to.and_then(|to| own_token(job, to));
    }
    Verdict::Move(movement)
}

fn own_token(job: &Job, to: &Checkpoint) -> Option<Token> {
    Some(Token {
        job: job.id.clone(),
        token: to.token.clone()?,
        generation: to.generation,
        status: TokenStatus::Done {
            checkpoint: to.id.clone(),
        },
    })
}

fn restore(point: &CheckpointId) -> Effect {
    Effect::Restore {
        checkpoint: point.clone(),
        after_loss: true,
    }
}

/// Its sandbox goes, and another one takes its place.
fn at_once(job: &Job, point: &CheckpointId, at: Timestamp) -> (Job, Vec<Effect>) {
    let mut next = next(job);
    next.operation = Some(Operation::Restarting);
    next.intent = None;
    next.generation += 1;
    timeout::pause_attempt(&mut next, at);
    let generation = job.generation;
    (next, vec![Effect::Destroy { generation }, restore(point)])
}

/// It wakes there.
fn awake(
    job: &Job,
    to: Option<&Checkpoint>,
    point: &CheckpointId,
    boot_id: &str,
) -> (Job, Vec<Effect>) {
    let mut next = next(job);
    if to.is_some() {
        next.operation = Some(Operation::Waking);
        next.intent = Some(Intent::Wake { asked: true });
    } else {
        // Without a checkpoint of its own it could not stay asleep where this fails.
        next.state = State::Running;
        next.operation = Some(Operation::Restarting);
        next.wake_at = None;
        next.waits_for = None;
    }
    next.generation += 1;
    next.boot_id = Some(boot_id.to_owned());
    (next, vec![restore(point)])
}

/// It has a turn again, as after a retry.
fn in_its_turn(job: &Job, at: Timestamp) -> (Job, Vec<Effect>) {
    let mut next = waiting_again(job, at);
    if job.state == State::Failed {
        timeout::renew(&mut next);
        // It may have children again.
        next.ends_children = None;
    }
    let generation = job.generation;
    let left = job
        .sandbox
        .is_some()
        .then_some(Effect::Destroy { generation });
    (next, left.into_iter().collect())
}
