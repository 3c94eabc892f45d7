//! Being ended: somebody, or the clock, wants a job to end.

use super::ended::{ended_by, terminal};
use super::retry::attempt_over;
use super::verdict::{Effect, Refusal, Verdict, Why};
use super::{KILL_RETRY_MS, Now, movement, next};
use crate::job::{End, Intent, Job};
use crate::{Operation, State, Timestamp, timeout};

pub(super) fn end_asked(job: &Job, end: End, grace_ms: Option<u64>, now: Now) -> Verdict {
    if job.state.is_terminal() {
        return Verdict::Refuse(Refusal::HasEnded(job.state));
    }
    let grace_ms = if end == End::Kill {
        0
    } else {
        grace_ms.unwrap_or(job.spec.stop_grace_ms)
    };
    match (job.state, job.operation) {
        // Nothing lives: it ends here. A frozen sandbox that is being destroyed goes on being destroyed.
        (State::Pending | State::PendingRetry, _)
        | (State::Suspended, None | Some(Operation::Suspending)) => {
            let signal = if grace_ms == 0 { 9 } else { 15 };
            Verdict::Move(match end {
                End::Stop | End::Kill | End::Exit { .. } => {
                    terminal(job, ended_by(job, end, None, Some(signal)), now.at)
                }
                End::JobTimeout | End::QueueTimeout => {
                    terminal(job, ended_by(job, end, None, None), now.at)
                }
                // Of one that sleeps while its time goes on.
                End::Timeout => attempt_over(job, ended_by(job, end, None, None), now),
            })
        }
        (State::Running | State::Suspended, operation) => {
            ending(job, operation, end, grace_ms, now.at)
        }
        (State::Stopped | State::Error, _) => Verdict::Refuse(Refusal::WrongState {
            asked: "end",
            state: job.state,
        }),
        (State::Completed | State::Failed | State::Cancelled, _) => {
            Verdict::Refuse(Refusal::HasEnded(job.state))
        }
    }
}

/// A live job is asked to end, or asked again.
fn ending(
    job: &Job,
    operation: Option<Operation>,
    end: End,
    grace_ms: u64,
    at: Timestamp,
) -> Verdict {
    let kill_at = at.plus_ms(grace_ms);
    let (end, kill_at) = match &job.intent {
        // The first reason stands, except that KILL beats everything; the earlier KILL counts.
        Some(Intent::End {
            end: first,
            kill_at: first_kill_at,
        }) => {
            if end != End::Kill && kill_at >= *first_kill_at {
                return Verdict::Ignore(Why::AlreadyDone);
            }
            let end = match first {
                // What the job said of itself was promised to it.
                End::Exit { .. } => *first,
                End::Stop | End::Kill | End::Timeout | End::JobTimeout | End::QueueTimeout => {
                    if end == End::Kill { end } else { *first }
                }
            };
            (end, kill_at.min(*first_kill_at))
        }
        Some(Intent::Checkpoint { .. } | Intent::Wake { .. }) | None => (end, kill_at),
    };
    let mut next = next(job);
    next.intent = Some(Intent::End { end, kill_at });
    next.operation = Some(Operation::Terminating);
    // A sandbox that stands frozen hears no signal; one that is not yet up is told when it is.
    let deaf = match operation {
        Some(Operation::Suspending) => true,
        Some(
            Operation::Starting
            | Operation::Waking
            | Operation::Restarting
            | Operation::Checkpointing
            | Operation::Terminating
            | Operation::Exiting,
        )
        | None => false,
    };
    let effect = if grace_ms == 0 || deaf {
        Effect::Destroy {
            generation: job.generation,
        }
    } else {
        Effect::Terminate
    };
    Verdict::Move(movement(next, "end_asked", vec![effect]))
}

pub(super) fn grace_over(job: &Job, at: Timestamp) -> Verdict {
    let Some(Intent::End { end, .. }) = &job.intent else {
        return Verdict::Ignore(Why::NoLongerMatters);
    };
    let mut next = next(job);
    if job.operation == Some(Operation::Exiting) {
        // It had its time to leave by itself.
        next.operation = Some(Operation::Terminating);
        next.intent = Some(Intent::End {
            end: *end,
            kill_at: at.plus_ms(job.spec.stop_grace_ms),
        });
        return Verdict::Move(movement(next, "end_asked", vec![Effect::Terminate]));
    }
    // Should even KILL not work at once, it is tried again then.
    next.intent = Some(Intent::End {
        end: *end,
        kill_at: at.plus_ms(KILL_RETRY_MS),
    });
    Verdict::Move(movement(
        next,
        "killing",
        vec![Effect::Destroy {
            generation: job.generation,
        }],
    ))
}

pub(super) fn deadline_reached(job: &Job, now: Now) -> Verdict {
    if matches!(job.intent, Some(Intent::End { .. })) {
        return Verdict::Ignore(Why::NoLongerMatters);
    }
    match timeout::next_limit(job) {
        Some((over_at, limit)) if over_at <= now.at => end_asked(job, limit.end(), None, now),
        Some(_) | None => Verdict::Ignore(Why::NoLongerMatters),
    }
}

pub(super) fn released(job: &Job) -> Verdict {
    match job.operation {
        // A running one is on its way out by its own wish, and ends first.
        Some(Operation::Exiting) if job.state != State::Running => {
            let mut next = next(job);
            next.operation = None;
            Verdict::Move(movement(next, "released", Vec::new()))
        }
        Some(Operation::Suspending) if job.state == State::Suspended => {
            let mut next = next(job);
            next.operation = None;
            Verdict::Move(movement(next, "released", Vec::new()))
        }
        Some(
            Operation::Starting
            | Operation::Checkpointing
            | Operation::Suspending
            | Operation::Waking
            | Operation::Terminating
            | Operation::Exiting
            | Operation::Restarting,
        )
        | None => Verdict::Ignore(Why::NoLongerMatters),
    }
}
