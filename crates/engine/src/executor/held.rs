//! Which snapshots somebody works with: they are not evicted.

use dauer_core::CheckpointId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// Counts by snapshot.
#[derive(Debug, Default)]
pub(crate) struct Held {
    counts: Mutex<HashMap<CheckpointId, usize>>,
}

/// Holds one until it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    held: Arc<Held>,
    snapshot: CheckpointId,
}

impl Held {
    fn counts(&self) -> MutexGuard<'_, HashMap<CheckpointId, usize>> {
        self.counts.lock().expect("no panic while held")
    }

    pub(crate) fn is_held(&self, snapshot: &CheckpointId) -> bool {
        self.counts().contains_key(snapshot)
    }

    pub(crate) fn hold(self: &Arc<Self>, snapshot: &CheckpointId) -> Hold {
        *self.counts().entry(snapshot.clone()).or_default() += 1;
        Hold {
            held: Arc::clone(self),
            snapshot: snapshot.clone(),
        }
    }
}

impl Hold {
    /// What is held.
    pub(crate) fn snapshot(&self) -> &CheckpointId {
        &self.snapshot
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut counts = self.held.counts();
        if let Some(count) = counts.get_mut(&self.snapshot) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.snapshot);
            }
        }
    }
}
