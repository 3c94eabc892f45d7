//! What is kept beside the record of a job and committed with it: its output, its signals, and how long it waits for one.

use crate::ledger::{Closing, Interval, Relabelling};
use crate::{JobId, Timestamp, Turn};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A JSON document as text, kept byte for byte: numbers keep their digits and objects their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(pub String);

/// A named message to a job. Kept in the order of arrival until one wait takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Whose it is.
    pub job: JobId,
    /// Unique within the job; the sender's own key where it gave one, so that sending can be repeated.
    pub id: String,
    /// What waits ask for.
    pub name: String,
    /// What comes with it.
    pub payload: Json,
    /// When it was accepted.
    pub sent_at: Timestamp,
}

/// A wait for a signal that has an end, by the job's idempotency key: asked again, it ends at the same moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Whose it is.
    pub job: JobId,
    /// The key, chosen by the job.
    pub token: String,
    /// No signal is waited for after this.
    pub give_up_at: Timestamp,
    /// It was told that no signal came, and is told so again.
    pub timed_out: bool,
}

/// One thing that a change of a job writes beside the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The job's output; it replaces an earlier one.
    Output(Json),
    /// A signal that arrived. One of the same id that is there already stays as it is.
    Signal(Signal),
    /// A wait took this signal: the same token gets it again, no other one does.
    SignalTaken {
        /// Which.
        signal: String,
        /// The wait's key.
        token: String,
    },
    /// Signals taken so far are behind a checkpoint: code that is rolled back never comes before their taking again.
    SignalsSealed,
    /// Code that took signals since the last checkpoint was rolled back: they wait again, in their old places.
    SignalsFreed,
    /// A wait with an end.
    Wait(Wait),
    /// The program begins anew: every signal waits again, and its output and waits are forgotten.
    BegunAnew,
    /// The job's tags and metadata are these from now on.
    Described {
        /// What it is searched by.
        tags: BTreeMap<String, String>,
        /// Whatever else is said of it.
        metadata: BTreeMap<String, serde_json::Value>,
    },
    /// An interval of the ledger begins. Where one of this kind is open for its owner, that goes on instead.
    Opened(Box<Interval>),
    /// One ends.
    Closed(Closing),
    /// Those that are open go on under other labels.
    Relabelled(Relabelling),
    /// It waits for this job no longer.
    Unblocked {
        /// Which.
        by: JobId,
    },
    /// It was given its turn by a queue that counts them.
    Turn {
        /// What is counted.
        turn: Turn,
        /// What its queue counted before may be forgotten.
        forget_before: Timestamp,
    },
}

impl Kept {
    /// Whose it says that it is, where it says so.
    #[must_use]
    pub fn job(&self) -> Option<&JobId> {
        match self {
            Self::Signal(signal) => Some(&signal.job),
            Self::Wait(wait) => Some(&wait.job),
            Self::Output(_)
            | Self::SignalTaken { .. }
            | Self::SignalsSealed
            | Self::SignalsFreed
            | Self::BegunAnew
            | Self::Described { .. }
            | Self::Opened(_)
            | Self::Closed(_)
            | Self::Relabelled(_)
            | Self::Unblocked { .. }
            | Self::Turn { .. } => None,
        }
    }
}
