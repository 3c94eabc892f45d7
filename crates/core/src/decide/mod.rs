//! What an event does to a job. Pure: the time, new ids and everything else arrive in the event.
//!
//! A verdict of [`Verdict::Move`] is committed whole (record, journal entry, checkpoint, token) before any of its
//! effects is tried; results of effects come back as events. An event of an earlier incarnation changes nothing.
//!
//! `event` and `verdict` are the words; `freeze` decides about checkpoints and waking, `ending` about being ended, `ended` about
//! incarnations that are over, `own` about what a job asks for itself and signals to it, `retry` about trying again, `interrupted` about
//! nodes that go down, `children` about the jobs below, `after` about those that others wait for, `describe` about tags and metadata,
//! `inline` about functions of the program itself;
//! `rollback` about going back to an earlier state; `meter` adds what each move means for the ledger.

mod after;
mod children;
mod describe;
mod ended;
mod ending;
mod event;
mod freeze;
mod inline;
mod interrupted;
mod meter;
mod own;
mod retry;
mod rollback;
mod verdict;

pub use describe::merge;
pub use event::{Ended, Event, EventKind, Returned, Then};
pub use verdict::{Effect, Move, Refusal, Verdict, Why};

use crate::job::{Forget, Job};
use crate::kept::Kept;
use crate::{Operation, SandboxId, State, Timestamp, Turn, timeout};
use after::dependency_ended;
use children::{children_end_asked, children_ended, with_children};
use describe::{described, discarded};
use ended::incarnation_ended;
use ending::{deadline_reached, end_asked, grace_over, released};
use freeze::{checkpoint_asked, checkpoint_failed, published, wake};
use interrupted::interrupted;
use own::{
    exit_asked, lock_asked, lock_released, progressed, signal_sent, signal_taken, wait_noted,
};
use retry::retry_asked;
use rollback::rollback_asked;

/// A job that killed its sandbox so often without reaching another checkpoint is not tried again.
pub const RESTORES_IN_A_ROW_MAX: u32 = 5;

/// A job that was on its way up, or had hardly run, so often in a row when its node went down is not brought up again: it fails
/// as `crash_loop`. A checkpoint, or having run for [`CALM_MS`], ends the row.
pub const CRASHES_IN_A_ROW_MAX: u32 = 5;

/// A job that ran so long before its node went down did not take it down. Longer than most machines need to boot: when exactly
/// the node went down is not always known.
pub const CALM_MS: u64 = 600_000;

/// A wake that could not be carried out for a passing reason is tried again after so long.
pub const WAKE_RETRY_MS: u64 = 30_000;

/// A KILL that did not end the sandbox is tried again after so long.
pub const KILL_RETRY_MS: u64 = 10_000;

/// A program that said it is done has so long to leave by itself before it is asked to.
pub const LEAVE_MS: u64 = 1_000;

/// So many locks a job holds at most: each is written with every change of its record.
pub const LOCKS_MAX: usize = 256;

/// When an event happened, and what chance says to it.
#[derive(Clone, Copy)]
struct Now {
    at: Timestamp,
    chance: u64,
    /// What it is about was last known to live then.
    seen_at: Timestamp,
}

/// What this event does to this job.
#[must_use]
pub fn decide(job: &Job, event: &Event) -> Verdict {
    if event
        .generation
        .is_some_and(|generation| generation != job.generation)
    {
        return Verdict::Ignore(Why::StaleGeneration);
    }
    let mut verdict = meter::settle(job, event, verdict(job, event));
    if let Verdict::Move(movement) = &mut verdict {
        // Whatever it was that changed: a record that waits names the moment at which it has waited enough.
        movement.job.expires_at = timeout::expires_at(&movement.job);
    }
    verdict
}

fn verdict(job: &Job, event: &Event) -> Verdict {
    let at = event.at;
    let now = Now {
        at,
        chance: event.chance,
        seen_at: event.life.ended_at.unwrap_or(at).min(at),
    };
    match &event.kind {
        EventKind::Admitted {
            sandbox,
            boot_id,
            counted_ms,
        } => admitted(job, sandbox, boot_id, *counted_ms, now),
        EventKind::DependencyEnded {
            job: dependency,
            ended,
        } => dependency_ended(job, dependency, *ended, at),
        EventKind::Started => started(job, at),
        EventKind::Ended(ended) => incarnation_ended(job, ended, now),
        EventKind::CheckpointAsked {
            checkpoint,
            token,
            then,
        } => checkpoint_asked(job, checkpoint, token.as_deref(), then, at),
        EventKind::CheckpointPublished(checkpoint) => published(job, checkpoint, at),
        EventKind::CheckpointFailed {
            checkpoint,
            message,
        } => checkpoint_failed(job, checkpoint, message),
        EventKind::Wake { asked, boot_id } => wake(job, *asked, boot_id),
        EventKind::EndAsked {
            end,
            grace_ms,
            children,
        } => {
            let ending = end_asked(job, *end, *grace_ms, now);
            if *children {
                with_children(job, ending, *grace_ms)
            } else {
                ending
            }
        }
        EventKind::ChildrenEndAsked { grace_ms } => children_end_asked(job, *grace_ms),
        EventKind::ChildrenEnded => children_ended(job),
        EventKind::ExitAsked { exit_code, output } => {
            exit_asked(job, *exit_code, output.as_ref(), at)
        }
        EventKind::LockAsked(lock) => lock_asked(job, lock, at),
        EventKind::LockReleased { id } => lock_released(job, id, at),
        EventKind::Progressed(progress) => progressed(job, progress),
        EventKind::SignalSent(signal) => signal_sent(job, signal, at),
        EventKind::SignalTaken {
            signal,
            name,
            token,
        } => signal_taken(job, signal, name, token),
        EventKind::WaitNoted(wait) => wait_noted(job, wait),
        EventKind::Described { tags, metadata } => described(job, tags, metadata, at),
        EventKind::Discarded => discarded(job),
        EventKind::RetryAsked => retry_asked(job, at),
        EventKind::RollbackAsked { to, boot_id } => rollback_asked(job, to.as_deref(), boot_id, at),
        EventKind::GraceOver => grace_over(job, at),
        EventKind::DeadlineReached => deadline_reached(job, now),
        EventKind::Interrupted { boot_id } => interrupted(job, boot_id, now),
        EventKind::Released => released(job),
        EventKind::Claimed {
            process,
            counted_ms,
        } => inline::claimed(job, process, *counted_ms, now),
        EventKind::BeginAsked => inline::begin_asked(job, at),
        EventKind::Returned(returned) => inline::returned(job, returned, now),
        EventKind::Saved(state) => inline::saved(job, state),
        EventKind::GivenBack => inline::given_back(job, now),
    }
}

fn next(job: &Job) -> Job {
    let mut next = job.clone();
    next.version += 1;
    next
}

fn movement(job: Job, event: &'static str, effects: Vec<Effect>) -> Box<Move> {
    Box::new(Move {
        job,
        event,
        quiet: false,
        detail: None,
        checkpoint: None,
        token: None,
        forget_tokens: Forget::None,
        kept: Vec::new(),
        effects,
    })
}

fn admitted(
    job: &Job,
    sandbox: &SandboxId,
    boot_id: &str,
    counted_ms: Option<u64>,
    now: Now,
) -> Verdict {
    let waits = matches!(job.state, State::Pending | State::PendingRetry);
    let is_due = job.wake_at.is_none_or(|due| due <= now.at) && job.blocked_by.is_empty();
    // A function is called by the process that has it.
    if !waits || job.operation.is_some() || !is_due || job.is_inline() {
        return Verdict::Ignore(Why::NoLongerMatters);
    }
    if job
        .expires_at
        .is_some_and(|expires_at| expires_at <= now.at)
    {
        return deadline_reached(job, now);
    }
    let mut next = next(job);
    next.state = State::Running;
    // Only a retry that goes on where it was has a checkpoint.
    let (operation, effect) = match &job.checkpoint {
        None => (Operation::Starting, beginning(job)),
        Some(checkpoint) => {
            let restore = Effect::Restore {
                checkpoint: checkpoint.clone(),
                after_loss: true,
            };
            (Operation::Restarting, restore)
        }
    };
    next.operation = Some(operation);
    next.attempt += 1;
    next.generation += 1;
    // Another attempt goes on in the same place, so that the log of all attempts is one; its generation is its own.
    next.sandbox = Some(job.sandbox.clone().unwrap_or_else(|| sandbox.clone()));
    next.boot_id = Some(boot_id.to_owned());
    next.wake_at = None;
    timeout::start_of_job(&mut next, now.at);
    let mut movement = movement(next, "admitted", vec![effect]);
    movement.kept = counted_ms
        .map(|ms| counted(job, ms, now.at))
        .into_iter()
        .collect();
    Verdict::Move(movement)
}

/// What an attempt without a checkpoint begins with.
pub(crate) fn beginning(job: &Job) -> Effect {
    match job.forked_from() {
        None => Effect::Start,
        Some(from) => Effect::Restore {
            checkpoint: from.clone(),
            after_loss: false,
        },
    }
}

fn counted(job: &Job, ms: u64, at: Timestamp) -> Kept {
    Kept::Turn {
        turn: Turn {
            queue: job.spec.queue().to_owned(),
            key: job.spec.concurrency_key.clone(),
            at,
        },
        forget_before: at.minus_ms(ms),
    }
}

fn started(job: &Job, at: Timestamp) -> Verdict {
    let event = match job.operation {
        Some(Operation::Starting) => "started",
        Some(Operation::Waking) => "woken",
        Some(Operation::Restarting) => "restored",
        Some(Operation::Checkpointing | Operation::Suspending) | None => {
            return Verdict::Ignore(Why::AlreadyDone);
        }
        Some(Operation::Terminating | Operation::Exiting) => {
            return Verdict::Ignore(Why::NoLongerMatters);
        }
    };
    let mut next = next(job);
    next.state = State::Running;
    next.operation = None;
    next.intent = None;
    next.wake_at = None;
    next.waits_for = None;
    next.started_at = job.started_at.or(Some(at));
    timeout::start(&mut next, at);
    Verdict::Move(movement(next, event, Vec::new()))
}
