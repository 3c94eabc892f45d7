//! What can happen to a job.

use crate::job::{Checkpoint, End, Lock, Progress};
use crate::kept::{Json, Signal, Wait};
use crate::ledger::Life;
use crate::{CheckpointId, JobId, SandboxId, State, Timestamp};
use std::collections::BTreeMap;

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The incarnation it is about; absent where a caller or the clock speaks.
    pub generation: Option<u32>,
    /// A number drawn for this event, any as likely as any other: what is decided by chance is decided by it.
    pub chance: u64,
    /// What.
    pub kind: EventKind,
    /// What is known besides of the life of the incarnation it is about, for the ledger.
    pub life: Life,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// The scheduler has room for it.
    Admitted {
        /// For the sandbox to be made.
        sandbox: SandboxId,
        /// This boot of the machine.
        boot_id: String,
        /// Its queue counts how often it gives turns, and remembers them so long.
        counted_ms: Option<u64>,
    },
    /// A job that this one waits for has ended.
    DependencyEnded {
        /// Which.
        job: JobId,
        /// How; absent where it is gone.
        ended: Option<State>,
    },
    /// The sandbox runs the program (again).
    Started,
    /// The incarnation ended.
    Ended(Ended),
    /// Somebody wants a checkpoint.
    CheckpointAsked {
        /// The id it is to have.
        checkpoint: CheckpointId,
        /// The job's own key, where the job asked.
        token: Option<String>,
        /// What comes after it.
        then: Then,
    },
    /// A checkpoint is complete on disk.
    CheckpointPublished(Checkpoint),
    /// A checkpoint could not be taken; the sandbox goes on.
    CheckpointFailed {
        /// Which.
        checkpoint: CheckpointId,
        /// Why.
        message: String,
    },
    /// Wake it up.
    Wake {
        /// A person asks; otherwise it is due.
        asked: bool,
        /// This boot of the machine.
        boot_id: String,
    },
    /// Somebody wants it to end.
    EndAsked {
        /// Why.
        end: End,
        /// From TERM to KILL; the job's own where absent. Zero: KILL at once.
        grace_ms: Option<u64>,
        /// And all jobs below it.
        children: bool,
    },
    /// All jobs below one that has ended are to end too: a job above it is cancelled with them.
    ChildrenEndAsked {
        /// From TERM to KILL; each job's own where absent.
        grace_ms: Option<u64>,
    },
    /// All jobs below it have ended.
    ChildrenEnded,
    /// The job says that it is done.
    ExitAsked {
        /// Its exit code.
        exit_code: i32,
        /// What it leaves as its result.
        output: Option<Json>,
    },
    /// The job wants no checkpoint for a while. Asked again with the same id, the lock is the same.
    LockAsked(Lock),
    /// A lock is given back.
    LockReleased {
        /// Which.
        id: String,
    },
    /// The job says how far it is.
    Progressed(Progress),
    /// Somebody sends a signal.
    SignalSent(Signal),
    /// A wait of the job takes a signal, the oldest of its name that nobody took.
    SignalTaken {
        /// Which.
        signal: String,
        /// Its name.
        name: String,
        /// The wait's key.
        token: String,
    },
    /// A wait of the job has an end, or reached it.
    WaitNoted(Wait),
    /// Somebody describes it anew: tags and fields of its metadata are set, or removed where they are `None`.
    Described {
        /// Its tags.
        tags: BTreeMap<String, Option<String>>,
        /// Its metadata.
        metadata: BTreeMap<String, Option<serde_json::Value>>,
    },
    /// Somebody wants a job that has ended removed: its checkpoint goes first.
    Discarded,
    /// Somebody wants a job that failed or was cancelled tried again, or one that waits for that tried now.
    RetryAsked,
    /// Somebody wants it to go on from an earlier state of its own.
    RollbackAsked {
        /// A checkpoint of it; absent: the state that it was forked from.
        to: Option<Box<Checkpoint>>,
        /// This boot of the machine.
        boot_id: String,
    },
    /// The grace of an ending job is over.
    GraceOver,
    /// One of its times is over, see [`crate::timeout`].
    DeadlineReached,
    /// A daemon finds that the one before went down between deciding to bring it up and doing so.
    Interrupted {
        /// This boot of the machine.
        boot_id: String,
    },
    /// Every process and kernel object of the incarnation is gone.
    Released,

    /// An inline job has its turn: it is called in this process, which has an id of its own.
    Claimed {
        /// The process.
        process: String,
        /// Its turn is counted by its queue's rate, so far back; absent where that has none.
        counted_ms: Option<u64>,
    },
    /// Somebody wants a job that waits for its time, or to be asked for, to have its turn now.
    BeginAsked,
    /// The function of an inline job ended.
    Returned(Returned),
    /// The function of an inline job wants to find this when it is called again.
    Saved(Json),
    /// The process of an inline job ends in order, and the job goes on in the next one.
    GivenBack,
}

/// How the function of an inline job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returned {
    /// It is done, and leaves this.
    Done(Option<Json>),
    /// It returned an error.
    Failed {
        /// One line.
        message: String,
        /// Trying again is useless.
        fatal: bool,
    },
    /// It panicked.
    Panicked {
        /// What it said.
        message: String,
    },
}

/// How an incarnation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The program ended.
    Exited {
        /// What it returned …
        code: Option<i32>,
        /// … or what killed it.
        signal: Option<i32>,
        /// The kernel killed something of it at the memory limit.
        out_of_memory: bool,
    },
    /// The sandbox or the program could not be started.
    StartFailed {
        /// As shells do: 127, 126; 125 where it is Dauer's failure.
        code: i32,
        /// One line.
        message: String,
    },
    /// The checkpoint could not be restored.
    RestoreFailed {
        /// One line.
        message: String,
        /// The image itself is bad: trying again is useless.
        bad_image: bool,
    },
    /// The sandbox vanished.
    Lost {
        /// The kernel killed it at the memory limit.
        out_of_memory: bool,
        /// Because the machine itself went down, which is up again in this boot: not the job's fault.
        rebooted: Option<String>,
    },
    /// Its node was silent for longer than its lease, and another one took over. What that node has of it is not here: the sandbox,
    /// if it lives, and the files of its checkpoints.
    NodeLost {
        /// The node it was on.
        node: String,
    },
}

/// What comes after a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// The job goes on.
    Continue,
    /// The sandbox goes; the job sleeps until then, or until somebody wakes it.
    Suspend {
        /// Until then.
        wake_at: Option<Timestamp>,
        /// Or until a signal of this name comes.
        waits_for: Option<String>,
    },
}

impl Then {
    /// The signal that it sleeps for.
    #[must_use]
    pub fn waits_for(&self) -> Option<&str> {
        match self {
            Self::Continue => None,
            Self::Suspend { waits_for, .. } => waits_for.as_deref(),
        }
    }
}
