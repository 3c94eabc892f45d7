//! The only answer to "what now?": from a durable record and what is really there, the steps that bring them together.
//!
//! Used at start-up, in the periodic reconcile, and wherever a record may have drifted. Nothing else guesses.

use crate::decide::beginning;
use crate::{Effect, Ended, Intent, Job, Operation, State, Timestamp};

/// What was found of the incarnation that a record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Its shim lives (it holds the lock of its spec). The shim tells the rest when it is connected to.
    Alive,
    /// Its shim is gone and left a record of how the incarnation ended.
    Recorded(Ended),
    /// Neither shim nor record: whatever there was is dead, and what it held is to be cleaned up.
    Gone {
        /// The machine was booted since, and this is its boot: not the job's fault.
        rebooted: Option<String>,
        /// Its shim was never launched, or had not begun: the program has not run.
        never_launched: bool,
    },
    /// It was on this other node, which was silent for longer than its lease; nothing of it is here.
    Elsewhere {
        /// Which.
        node: String,
    },
}

/// What to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The node went down while the job was to be brought up: count that, before it is tried again.
    NoteInterruption,
    /// Cancel the jobs below it: somebody asked for that.
    EndChildren,
    /// It waits for its turn: tell the scheduler.
    Schedule,
    /// Reconnect to its shim and go on; the shim repeats what was not heard.
    Adopt,
    /// Carry out the effect of the operation in flight again, after [`Step::Adopt`] where the sandbox lives.
    RepeatOperation,
    /// Apply that end exactly as if it had just happened.
    Apply(Ended),
    /// The image of the checkpoint in flight is whole: commit its pointer as if it had just been published.
    CommitPublished,
    /// Throw the partial image of the checkpoint in flight away.
    DiscardPartial,
    /// Kill what is left and remove what the kernel holds for it; then it is released.
    DestroyLeftover,
}

/// The steps for this record. `image_published`: the image of the checkpoint in flight lies complete on disk.
#[must_use]
pub fn recovery(job: &Job, observed: &Observed, image_published: bool) -> Vec<Step> {
    let mut steps = of_the_sandbox(job, observed, image_published);
    if job.is_ending_children() {
        steps.push(Step::EndChildren);
    }
    steps
}

fn of_the_sandbox(job: &Job, observed: &Observed, image_published: bool) -> Vec<Step> {
    match job.state {
        State::Pending => vec![Step::Schedule],
        State::Running => running(job, observed, image_published),
        State::Suspended => suspended(job, observed),
        State::PendingRetry => match job.operation {
            None => vec![Step::Schedule],
            Some(_) => vec![Step::DestroyLeftover],
        },
        State::Completed | State::Failed | State::Cancelled => match (job.operation, observed) {
            (None, Observed::Gone { .. } | Observed::Recorded(_) | Observed::Elsewhere { .. }) => {
                Vec::new()
            }
            (None, Observed::Alive) | (Some(_), _) => vec![Step::DestroyLeftover],
        },
        // Machines come with their own rows; a job never has these states.
        State::Stopped | State::Error => match observed {
            Observed::Alive => vec![Step::Adopt],
            Observed::Recorded(_) | Observed::Gone { .. } | Observed::Elsewhere { .. } => {
                Vec::new()
            }
        },
    }
}

fn running(job: &Job, observed: &Observed, image_published: bool) -> Vec<Step> {
    let checkpoint_in_flight = matches!(job.intent, Some(Intent::Checkpoint { .. }));
    match observed {
        Observed::Alive if checkpoint_in_flight && image_published => {
            vec![Step::Adopt, Step::CommitPublished]
        }
        Observed::Alive => match job.operation {
            // The shim works on by itself; these effects are repeated because the daemon may have died before asking for them.
            Some(Operation::Checkpointing | Operation::Suspending | Operation::Terminating) => {
                vec![Step::Adopt, Step::RepeatOperation]
            }
            Some(
                Operation::Starting
                | Operation::Waking
                | Operation::Restarting
                | Operation::Exiting,
            )
            | None => vec![Step::Adopt],
        },
        Observed::Recorded(_) | Observed::Gone { .. }
            if checkpoint_in_flight && image_published =>
        {
            // Suspending: this finishes it. Checkpointing: then the loss is applied, and the restore uses this very image.
            match job.operation {
                Some(Operation::Suspending) => vec![Step::CommitPublished],
                Some(
                    Operation::Checkpointing
                    | Operation::Starting
                    | Operation::Waking
                    | Operation::Restarting
                    | Operation::Terminating
                    | Operation::Exiting,
                )
                | None => vec![Step::CommitPublished, apply(observed)],
            }
        }
        Observed::Gone {
            never_launched: true,
            ..
        } => match job.operation {
            Some(Operation::Starting | Operation::Restarting) => {
                vec![Step::NoteInterruption, Step::RepeatOperation]
            }
            Some(
                Operation::Checkpointing
                | Operation::Suspending
                | Operation::Waking
                | Operation::Terminating
                | Operation::Exiting,
            )
            | None => vec![apply(observed)],
        },
        // What it left half done is not here.
        Observed::Elsewhere { .. } => vec![apply(observed)],
        Observed::Recorded(_) | Observed::Gone { .. } => {
            let mut steps = Vec::new();
            if checkpoint_in_flight {
                steps.push(Step::DiscardPartial);
            }
            steps.push(apply(observed));
            steps
        }
    }
}

fn suspended(job: &Job, observed: &Observed) -> Vec<Step> {
    match (job.operation, observed) {
        (Some(Operation::Waking), Observed::Alive) => vec![Step::Adopt],
        (
            Some(Operation::Waking),
            Observed::Gone {
                never_launched: true,
                ..
            },
        ) => vec![Step::NoteInterruption, Step::RepeatOperation],
        (
            Some(Operation::Waking | Operation::Terminating),
            Observed::Recorded(_) | Observed::Gone { .. } | Observed::Elsewhere { .. },
        ) => vec![apply(observed)],
        (Some(Operation::Terminating), Observed::Alive) => vec![Step::Adopt, Step::RepeatOperation],
        (None, Observed::Recorded(_) | Observed::Gone { .. } | Observed::Elsewhere { .. }) => {
            Vec::new()
        }
        (
            None
            | Some(
                Operation::Starting
                | Operation::Checkpointing
                | Operation::Suspending
                | Operation::Exiting
                | Operation::Restarting,
            ),
            _,
        ) => vec![Step::DestroyLeftover],
    }
}

fn apply(observed: &Observed) -> Step {
    match observed {
        Observed::Recorded(ended) => Step::Apply(ended.clone()),
        Observed::Gone { rebooted, .. } => Step::Apply(Ended::Lost {
            out_of_memory: false,
            rebooted: rebooted.clone(),
        }),
        Observed::Elsewhere { node } => Step::Apply(Ended::NodeLost { node: node.clone() }),
        Observed::Alive => panic!("invariant: what lives has not ended"),
    }
}

/// The effects that the record's operation stands for: what the commit that set it ordered.
#[must_use]
pub fn pending_effects(job: &Job, now: Timestamp) -> Vec<Effect> {
    let destroy = |generation| Effect::Destroy { generation };
    let restore = |after_loss| match job.resume_point() {
        Some(checkpoint) => vec![Effect::Restore {
            checkpoint: checkpoint.clone(),
            after_loss,
        }],
        None => Vec::new(),
    };
    let take = |freeze| match &job.intent {
        Some(Intent::Checkpoint {
            checkpoint, token, ..
        }) => {
            vec![Effect::TakeCheckpoint {
                checkpoint: checkpoint.clone(),
                token: token.clone(),
                freeze,
            }]
        }
        Some(Intent::Wake { .. } | Intent::End { .. }) | None => Vec::new(),
    };
    match job.operation {
        // What a shim that died half way left of this incarnation goes first.
        Some(Operation::Starting) => vec![destroy(job.generation), beginning(job)],
        Some(Operation::Waking) => [vec![destroy(job.generation)], restore(false)].concat(),
        Some(Operation::Restarting) => {
            let leftovers = vec![
                destroy(job.generation.saturating_sub(1)),
                destroy(job.generation),
            ];
            [leftovers, restore(true)].concat()
        }
        Some(Operation::Checkpointing) => take(false),
        Some(Operation::Suspending) => take(true),
        Some(Operation::Terminating) => match &job.intent {
            Some(Intent::End { kill_at, .. }) if *kill_at <= now => vec![destroy(job.generation)],
            Some(Intent::End { .. } | Intent::Checkpoint { .. } | Intent::Wake { .. }) | None => {
                vec![Effect::Terminate]
            }
        },
        Some(Operation::Exiting) if job.state != State::Running => vec![destroy(job.generation)],
        // The program leaves by itself, or is asked to when its time is over.
        Some(Operation::Exiting) => Vec::new(),
        None => Vec::new(),
    }
}
