//! The states of a job and the only list of legal moves between them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a job is. Serialized in lower snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Accepted, not started.
    Pending,
    /// Its sandbox runs, or is being made.
    Running,
    /// No process, no memory: a record and an image on disk.
    Suspended,
    /// An attempt failed; the next one waits for its time.
    PendingRetry,
    /// Ended with exit code 0.
    Completed,
    /// Ended otherwise; the outcome has the reason.
    Failed,
    /// Ended because somebody asked.
    Cancelled,
    /// A machine that is switched off.
    Stopped,
    /// A machine that failed; it can be started again.
    Error,
}

impl State {
    /// Every state, in the order of the table in ARCHITECTURE.md.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Running,
        Self::Suspended,
        Self::PendingRetry,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Stopped,
        Self::Error,
    ];

    /// The serialized name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::PendingRetry => "pending_retry",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Stopped => "stopped",
            Self::Error => "error",
        }
    }

    /// The state of this serialized name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Nothing changes a job any more by itself; somebody may ask for another try of one that failed or was cancelled.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Cancelled => true,
            Self::Pending
            | Self::Running
            | Self::Suspended
            | Self::PendingRetry
            | Self::Stopped
            | Self::Error => false,
        }
    }

    /// Whether a record may go from this state to `next`. Staying is always legal: the operation beside it may change.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use State::{
            Cancelled, Completed, Error, Failed, Pending, PendingRetry, Running, Stopped, Suspended,
        };
        let legal: &[Self] = match self {
            Pending => &[Running, Failed, Cancelled],
            Running => &[
                Suspended,
                PendingRetry,
                Completed,
                Failed,
                Cancelled,
                Stopped,
                Error,
            ],
            // Completed, PendingRetry: it woke and ended while no daemon looked.
            Suspended => &[
                Running,
                PendingRetry,
                Completed,
                Failed,
                Cancelled,
                Stopped,
                Error,
            ],
            PendingRetry => &[Pending, Running, Failed, Cancelled],
            Stopped => &[Running, Error],
            Error => &[Running, Stopped],
            Completed => &[],
            // Somebody wants it tried again.
            Failed | Cancelled => &[PendingRetry],
        };
        self == next || legal.contains(&next)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The effect in flight beside a state. Committed before the effect is tried, so that a daemon that died in
/// the middle knows what it was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A fresh sandbox is being made.
    Starting,
    /// A checkpoint is being taken; the job goes on.
    Checkpointing,
    /// A checkpoint is being taken, then the sandbox goes.
    Suspending,
    /// A sandbox is being restored after a suspension.
    Waking,
    /// It was asked to stop: TERM, grace, KILL.
    Terminating,
    /// The job said that it is done and its program is leaving; or it has ended and its sandbox is being cleaned up.
    Exiting,
    /// A sandbox is being restored because the last one was lost.
    Restarting,
}

impl Operation {
    /// The serialized name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Checkpointing => "checkpointing",
            Self::Suspending => "suspending",
            Self::Waking => "waking",
            Self::Terminating => "terminating",
            Self::Exiting => "exiting",
            Self::Restarting => "restarting",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
