//! Which daemon acts for which jobs: a lease that runs out, and a number that makes an older holder harmless.

use crate::{NodeId, Timestamp};
use serde::{Deserialize, Serialize};

/// A node's claim on the jobs it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Whose.
    pub node: NodeId,
    /// Grows with each daemon of the node, and when another node takes over: who writes under an older one writes nothing.
    pub epoch: u64,
    /// Nobody else takes over before then.
    pub until: Timestamp,
    /// Where its daemon can be asked.
    #[serde(default)]
    pub address: Option<String>,
}

impl Lease {
    /// Whether others may take over what it holds.
    #[must_use]
    pub fn has_run_out(&self, now: Timestamp) -> bool {
        self.until <= now
    }
}
