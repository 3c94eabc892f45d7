//! What a job asks for itself (its end, locks, progress, waiting for signals), and signals sent to it.

use super::verdict::{Effect, Move, Refusal, Verdict, Why};
use super::{LEAVE_MS, LOCKS_MAX, movement, next};
use crate::job::{End, Intent, Job, Lock, Progress};
use crate::kept::{Json, Kept, Signal, Wait};
use crate::{Operation, State, Timestamp};

pub(super) fn exit_asked(
    job: &Job,
    exit_code: i32,
    output: Option<&Json>,
    at: Timestamp,
) -> Verdict {
    if job.state.is_terminal() {
        return Verdict::Ignore(Why::AlreadyDone);
    }
    if job.state != State::Running {
        let state = job.state;
        return Verdict::Refuse(Refusal::WrongState {
            asked: "exit",
            state,
        });
    }
    let mut next = next(job);
    let mut effects = Vec::new();
    match &job.intent {
        Some(Intent::End {
            end: End::Exit { .. },
            ..
        }) => return Verdict::Ignore(Why::AlreadyDone),
        // It ends for a reason of somebody else's, which stands; what it has to say is kept.
        Some(Intent::End {
            end: End::Stop | End::Kill | End::Timeout | End::JobTimeout | End::QueueTimeout,
            ..
        }) => {}
        Some(Intent::Checkpoint { .. } | Intent::Wake { .. }) | None => {
            // One that is about to stand frozen cannot leave.
            let frozen = job.operation == Some(Operation::Suspending);
            next.operation = Some(if frozen {
                Operation::Terminating
            } else {
                Operation::Exiting
            });
            next.intent = Some(Intent::End {
                end: End::Exit { exit_code },
                kill_at: if frozen { at } else { at.plus_ms(LEAVE_MS) },
            });
            if frozen {
                let generation = job.generation;
                effects.push(Effect::Destroy { generation });
            }
        }
    }
    let mut movement = movement(next, "exit_asked", effects);
    movement.detail = Some(format!("exit code {exit_code}"));
    movement.kept = output.cloned().map(Kept::Output).into_iter().collect();
    Verdict::Move(movement)
}

pub(super) fn lock_asked(job: &Job, lock: &Lock, at: Timestamp) -> Verdict {
    if let Some(refusal) = cannot_act(job, "lock") {
        return Verdict::Refuse(refusal);
    }
    let others = job.locks_held(at).filter(|known| known.id != lock.id);
    let mut held: Vec<Lock> = others.cloned().collect();
    if held.len() >= LOCKS_MAX {
        return Verdict::Refuse(Refusal::TooManyLocks);
    }
    held.push(lock.clone());
    with_locks(job, held, "locked")
}

pub(super) fn lock_released(job: &Job, id: &str, at: Timestamp) -> Verdict {
    if !job.locks.iter().any(|lock| lock.id == id) {
        return Verdict::Ignore(Why::AlreadyDone);
    }
    let left = job.locks_held(at).filter(|lock| lock.id != id).cloned();
    with_locks(job, left.collect(), "unlocked")
}

fn with_locks(job: &Job, locks: Vec<Lock>, event: &'static str) -> Verdict {
    let mut next = next(job);
    next.locks = locks;
    Verdict::Move(quietly(next, event))
}

pub(super) fn progressed(job: &Job, progress: &Progress) -> Verdict {
    if job.state != State::Running {
        return Verdict::Ignore(Why::NoLongerMatters);
    }
    let mut next = next(job);
    next.progress = Some(progress.clone());
    Verdict::Move(quietly(next, "progressed"))
}

pub(super) fn signal_sent(job: &Job, signal: &Signal, at: Timestamp) -> Verdict {
    if job.state.is_terminal() {
        return Verdict::Refuse(Refusal::HasEnded(job.state));
    }
    let mut next = next(job);
    if job.state == State::Suspended && job.waits_for.as_ref() == Some(&signal.name) {
        // Due now: that it wakes is on disk with the signal.
        next.wake_at = Some(at);
    }
    if let Some(Intent::Checkpoint {
        wake_at, waits_for, ..
    }) = &mut next.intent
        && waits_for.as_ref() == Some(&signal.name)
    {
        *wake_at = Some(at);
    }
    let mut movement = movement(next, "signal_sent", Vec::new());
    movement.detail = Some(signal.name.clone());
    movement.kept = vec![Kept::Signal(signal.clone())];
    Verdict::Move(movement)
}

pub(super) fn signal_taken(job: &Job, signal: &str, name: &str, token: &str) -> Verdict {
    if let Some(refusal) = cannot_act(job, "take a signal") {
        return Verdict::Refuse(refusal);
    }
    let mut movement = movement(next(job), "signal_taken", Vec::new());
    movement.detail = Some(name.to_owned());
    movement.kept = vec![Kept::SignalTaken {
        signal: signal.to_owned(),
        token: token.to_owned(),
    }];
    Verdict::Move(movement)
}

pub(super) fn wait_noted(job: &Job, wait: &Wait) -> Verdict {
    if let Some(refusal) = cannot_act(job, "wait for a signal") {
        return Verdict::Refuse(refusal);
    }
    let mut movement = quietly(next(job), "wait_noted");
    movement.kept = vec![Kept::Wait(wait.clone())];
    Verdict::Move(movement)
}

/// Why a job that asks for itself cannot have that now. While it is being frozen it may be the image that asked: then the copy
/// asks again, and what the original was given would be lost.
fn cannot_act(job: &Job, asked: &'static str) -> Option<Refusal> {
    match (job.state, job.operation) {
        (State::Running, None | Some(Operation::Terminating | Operation::Exiting)) => None,
        (
            State::Running,
            Some(
                operation @ (Operation::Starting
                | Operation::Checkpointing
                | Operation::Suspending
                | Operation::Waking
                | Operation::Restarting),
            ),
        ) => Some(Refusal::Busy(operation)),
        (state, _) if state.is_terminal() => Some(Refusal::HasEnded(state)),
        (state, _) => Some(Refusal::WrongState { asked, state }),
    }
}

fn quietly(job: Job, event: &'static str) -> Box<Move> {
    let mut movement = movement(job, event, Vec::new());
    movement.quiet = true;
    movement
}
