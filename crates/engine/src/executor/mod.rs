//! Steps: an action runs once in a sandbox of its own, and where it ended well its files are kept, so that the same step is not run
//! again.
//!
//! ```text
//! hit   the registry has the key, the backend has the snapshot ─► answered at once, nothing is made
//! miss  row of the snapshot ─► create | restore ─► inject ─► exec ─► (exit 0) snapshot ─► put, with what goes for it ─► destroy
//! ```
//!
//! What is destroyed is destroyed once, whatever happened: an error, a panic, a timeout, a caller who went away. The rules are here
//! and know no sandbox; [`Backend`] does what they say, `jobs` with a job for each action.

mod action;
mod backend;
mod execute;
mod held;
mod inject;
pub(crate) mod jobs;
mod key;
mod place;
mod registry;
mod run;
pub(crate) mod sweep;
mod turns;

pub use action::{Action, Executed, Exit, Policy, Sink, Source, Surroundings};
pub use backend::{Backend, Slot, Taken};
pub use dauer_wire::guest::Stream;
pub(crate) use jobs::blocking;
pub(crate) use key::derive;
pub use run::Executor;

use crate::Error;
use dauer_core::plan::eviction::Capacity;
use dauer_core::{NodeId, Timestamp};
use dauer_store::Store;
use held::Held;
use registry::Registry;
use std::sync::Arc;
use tokio::runtime::Handle;
use turns::Turns;

/// Where labels of snapshots say which key they were made under.
pub(crate) const KEY_LABEL: &str = "dauer.cache.key";

/// What all runs of a process share.
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) registry: Registry,
    held: Arc<Held>,
    turns: Turns,
    /// Cleaning up goes on after whoever asked has gone.
    tasks: Handle,
    clock: fn() -> Timestamp,
}

impl Shared {
    /// Call it where tasks run.
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        store: Arc<dyn Store>,
        owner: Owner,
        capacity: Capacity,
    ) -> Arc<Self> {
        let held = Arc::new(Held::default());
        Arc::new(Self {
            registry: Registry::new(
                store,
                Arc::clone(&backend),
                Arc::clone(&held),
                owner,
                capacity,
            ),
            backend,
            held,
            turns: Turns::default(),
            tasks: Handle::current(),
            clock: crate::clock::now,
        })
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

/// Whose steps these are. Several daemons may have one store, and each has the snapshots that it made.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    /// This node, where others have the store too.
    pub(crate) scope: Option<NodeId>,
    /// The node; with `process` it says whose a run is.
    pub(crate) node: NodeId,
    /// This process: what an earlier one left unfinished is nobody's.
    pub(crate) process: String,
}

impl Owner {
    /// The name of a run of this process, for the rows of what belongs to it.
    pub(crate) fn run(&self, run: &str) -> String {
        format!("{}/{}/{run}", self.node, self.process)
    }

    /// Whether a run of this name was one of an earlier process of this node.
    pub(crate) fn is_over(&self, run: &str) -> bool {
        let Some(rest) = run.strip_prefix(self.node.as_str()) else {
            return false;
        };
        let Some(rest) = rest.strip_prefix('/') else {
            return false;
        };
        rest.split('/').next() != Some(self.process.as_str())
    }

    /// The key as the store has it.
    pub(crate) fn stored(&self, key: &str) -> String {
        match &self.scope {
            Some(node) => format!("{node}\n{key}"),
            None => key.to_owned(),
        }
    }

    /// The key as callers have it; nothing where it is another node's.
    pub(crate) fn shown(&self, stored: &str) -> Option<String> {
        match &self.scope {
            Some(node) => {
                let rest = stored.strip_prefix(node.as_str())?;
                rest.strip_prefix('\n').map(str::to_owned)
            }
            None => Some(stored.to_owned()),
        }
    }
}

/// A key that is too long to be one, or empty.
pub(crate) fn check_key(key: &str) -> Result<(), Error> {
    let good = (1..=KEY_BYTES_MAX).contains(&key.len()) && !key.chars().any(char::is_control);
    if good {
        return Ok(());
    }
    Err(Error::invalid(
        "key",
        format!("a key is a line of 1 to {KEY_BYTES_MAX} bytes: {key:?} is none"),
    ))
}

/// A line.
const KEY_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests;
