//! What an event is answered with: a change to be committed with its effects, or why there is none.

use crate::job::{Checkpoint, Forget, Job, Token};
use crate::kept::Kept;
use crate::{CheckpointId, Operation, State};

/// Something to do, keyed by (job, generation, effect) and safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make a fresh sandbox of the record's generation and start the program.
    Start,
    /// Make a sandbox of the record's generation from this checkpoint.
    Restore {
        /// Which.
        checkpoint: CheckpointId,
        /// Its output may repeat.
        after_loss: bool,
    },
    /// Take and publish a checkpoint.
    TakeCheckpoint {
        /// Under this id.
        checkpoint: CheckpointId,
        /// For the record.
        token: Option<String>,
        /// Stay frozen afterwards.
        freeze: bool,
    },
    /// Ask the program to end.
    Terminate,
    /// Kill everything of this incarnation and remove what the kernel holds for it; then [`crate::EventKind::Released`].
    Destroy {
        /// Which incarnation.
        generation: u32,
    },
    /// Cancel all jobs below this one; then [`crate::EventKind::ChildrenEnded`].
    EndChildren {
        /// From TERM to KILL; each job's own where absent.
        grace_ms: Option<u64>,
    },
    /// Drop checkpoints that are no longer needed: all but the newest, or all.
    DropCheckpoints {
        /// Keep this one.
        keep: Option<CheckpointId>,
    },
    /// Remove the template of the job's definition, where it is still this one: it cannot be begun from.
    DropTemplate {
        /// Which.
        template: CheckpointId,
    },
}

/// What is to become of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Commit this, then carry out its effects.
    Move(Box<Move>),
    /// It changes nothing, rightly.
    Ignore(Why),
    /// It cannot be done: tell whoever asked.
    Refuse(Refusal),
}

/// A change to be committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// The record after it.
    pub job: Job,
    /// For the journal.
    pub event: &'static str,
    /// Too small and too frequent for the journal: only the record is written.
    pub quiet: bool,
    /// For the journal.
    pub detail: Option<String>,
    /// A checkpoint that becomes committed.
    pub checkpoint: Option<Checkpoint>,
    /// A token's new status.
    pub token: Option<Token>,
    /// Tokens of code that was rolled back are forgotten.
    pub forget_tokens: Forget,
    /// What else is written with it, in this order.
    pub kept: Vec<Kept>,
    /// To be carried out after the commit, in this order.
    pub effects: Vec<Effect>,
}

/// Why an event changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is about an earlier incarnation.
    StaleGeneration,
    /// It was applied already.
    AlreadyDone,
    /// The job moved on in the meantime.
    NoLongerMatters,
}

/// Why something cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has ended.
    HasEnded(State),
    /// It is not in the state for it.
    WrongState {
        /// What was asked.
        asked: &'static str,
        /// Where it is.
        state: State,
    },
    /// Another operation is in flight: ask again when it is done.
    Busy(Operation),
    /// The job holds locks: ask again when it has given them back.
    Locked,
    /// More locks than a job can need.
    TooManyLocks,
    /// The jobs below it are being cancelled: ask again when that is done.
    ChildrenEnding,
    /// It has no checkpoint, and was not forked from one.
    NothingToGoBackTo,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::HasEnded(state) => write!(f, "the job has ended ({state})"),
            Self::WrongState { asked, state } => write!(f, "cannot {asked}: the job is {state}"),
            Self::Busy(operation) => write!(
                f,
                "the job is busy ({operation}): try again when that is done"
            ),
            Self::ChildrenEnding => {
                f.write_str("the jobs below it are being cancelled: try again when that is done")
            }
            Self::NothingToGoBackTo => {
                f.write_str("the job has no checkpoint to go back to: `dauer retry` begins it anew")
            }
            Self::Locked => f.write_str("the job holds a lock: try again when it is given back"),
            Self::TooManyLocks => write!(
                f,
                "the job holds {} locks already: give some back first",
                super::LOCKS_MAX
            ),
        }
    }
}
