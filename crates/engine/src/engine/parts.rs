//! What an engine consists of, as its own modules reach it.

use super::{Config, Engine};
use crate::access::Access;
use crate::images::Keeper;
use crate::inline::Host;
use crate::lease::Nodes;
use crate::places::Places;
use crate::pool::Pools;
use crate::queues::Queues;
use crate::steps::Steps;
use crate::storage::Storage;
use crate::{Error, clock};
use dauer_core::Timestamp;
use dauer_sandbox::Node;
use dauer_store::Store;
use std::sync::Arc;
use tokio::sync::Notify;

impl Engine {
    pub(crate) fn seen_alive_before(&self) -> Option<Timestamp> {
        self.inner.seen_alive_before.get().copied().flatten()
    }

    pub(crate) fn nodes(&self) -> &Nodes {
        &self.inner.nodes
    }

    pub(crate) fn access(&self) -> &Access {
        &self.inner.access
    }

    pub(crate) fn inline(&self) -> Option<&Host> {
        self.inner.inline.as_ref()
    }

    pub(super) fn lock_steps(&self) -> std::sync::MutexGuard<'_, Option<Arc<Steps>>> {
        self.inner.steps.lock().expect("no panic while held")
    }

    pub(crate) fn steps(&self) -> Result<Arc<Steps>, Error> {
        let steps = self.lock_steps().clone();
        steps.ok_or_else(|| Error::Unsupported("this engine takes no steps".into()))
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    pub(crate) fn pools(&self) -> &Pools {
        &self.inner.pools
    }

    pub(crate) fn keeper(&self) -> &Keeper {
        &self.inner.keeper
    }

    pub(crate) fn node(&self) -> &Node {
        &self.inner.node
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.inner.storage
    }

    pub(crate) fn config(&self) -> &Config {
        &self.inner.config
    }

    /// This boot of the machine, and where others write to the store too, this node.
    pub(crate) fn boot_id(&self) -> &str {
        &self.inner.boot_id
    }

    /// Notified when a place became free, and when a job came to wait.
    pub(crate) fn schedule_changed(&self) -> &Notify {
        &self.inner.schedule_changed
    }

    pub(crate) fn places(&self) -> &Places {
        &self.inner.places
    }

    pub(crate) fn queue_settings(&self) -> &Queues {
        &self.inner.queue_settings
    }

    /// The wall clock that everything of this engine goes by.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        clock::now()
    }
}
