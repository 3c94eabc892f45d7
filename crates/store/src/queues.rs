//! What the store says of queues and of the daemons of its node.

use dauer_core::{JobId, Timestamp};
use serde::{Deserialize, Serialize};

/// The jobs that wait in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its name.
    pub queue: String,
    /// That are due.
    pub due: u64,
    /// Whose time has not come.
    pub later: u64,
}

/// A job that sleeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sleeper {
    /// Which.
    pub job: JobId,
    /// Its concurrency key.
    pub key: Option<String>,
}

/// A daemon that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonRun {
    /// When it began.
    pub started_at: Timestamp,
    /// A job completed under it.
    pub completed: bool,
    /// It was asked to end, and did.
    pub ended_well: bool,
}
