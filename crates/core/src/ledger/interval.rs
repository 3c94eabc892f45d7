//! One interval and what opens, closes and relabels it.

use crate::{Job, JobId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What kind of thing has used something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnerKind {
    /// A job.
    Job,
    /// A machine: a job without an end.
    Machine,
}

impl OwnerKind {
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::Job, Self::Machine];

    /// The serialized name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Machine => "machine",
        }
    }
}

/// Who has used something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// What it is.
    pub kind: OwnerKind,
    /// Its id.
    pub id: String,
}

impl Owner {
    /// A job as an owner.
    #[must_use]
    pub fn job(id: &JobId) -> Self {
        Self {
            kind: OwnerKind::Job,
            id: id.0.clone(),
        }
    }
}

/// What was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Processors, while a sandbox runs. Its amount: thousandths of a CPU that it may use.
    Compute,
    /// Memory, while a sandbox runs. Its amount: bytes that it may use.
    Memory,
    /// The disk that a checkpoint takes. Its amount: bytes of the blocks that it really takes.
    Storage,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Compute, Self::Memory, Self::Storage];

    /// The serialized name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Memory => "memory",
            Self::Storage => "storage",
        }
    }
}

/// What an interval is found by, as it was while the interval ran: later changes of its owner change nothing in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// The definition that the owner was made from, `name@version`.
    #[serde(default)]
    pub definition: Option<String>,
    /// The queue that the owner waited in.
    #[serde(default)]
    pub queue: Option<String>,
    /// The owner's tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl Labels {
    /// Those of this job now.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        Self {
            definition: job.spec.definition.as_ref().map(ToString::to_string),
            queue: Some(job.spec.queue().to_owned()),
            tags: job.spec.tags.clone(),
        }
    }
}

/// A use of one kind by one owner. An owner has at most one open interval of each kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// Who.
    pub owner: Owner,
    /// The incarnation that ran, or of which the checkpoint was taken.
    pub generation: u32,
    /// What.
    pub kind: Kind,
    /// So much of it; see [`Kind`] for the unit.
    pub amount: u64,
    /// Since then.
    pub from: Timestamp,
    /// Until then, never before `from`; absent while it is open.
    pub to: Option<Timestamp>,
    /// What was really used, where it is known: milliseconds of CPU time of the whole incarnation, or bytes of memory at their peak.
    pub used: Option<u64>,
    /// The transition that opened it.
    pub cause: String,
    /// The transition that closed it.
    pub closed_by: Option<String>,
    /// What it is found by.
    pub labels: Labels,
}

/// The open interval of this kind ends. Fine where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Whose.
    pub owner: Owner,
    /// Of this kind.
    pub kind: Kind,
    /// Then; at its beginning where that is later.
    pub to: Timestamp,
    /// What was really used of it.
    pub used: Option<u64>,
    /// The transition.
    pub closed_by: String,
}

/// The owner has other labels from now on: each open interval is closed and goes on as a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relabelling {
    /// Whose.
    pub owner: Owner,
    /// From then on.
    pub at: Timestamp,
    /// These.
    pub labels: Labels,
}

/// What is known of the life of an incarnation besides what the events say. All of it may be absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Its program ran from then on.
    #[serde(default)]
    pub began_at: Option<Timestamp>,
    /// It ended then, as was recorded; else it was last seen alive then.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// Milliseconds of CPU time that it used.
    #[serde(default)]
    pub cpu_ms: Option<u64>,
    /// Bytes of memory that it used at its peak.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
}
