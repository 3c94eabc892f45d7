//! The sandbox of one step: whatever becomes of the step, it is destroyed once, and what was not put away of its files goes with it.

use super::{Shared, Slot};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// To be cleared; clears itself where that was forgotten or could not be done.
pub(crate) struct Place {
    shared: Arc<Shared>,
    slot: Slot,
    cleared: bool,
}

/// What becomes of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Files {
    /// They stay: a cache entry or a run has them.
    Stay,
    /// They go.
    Go,
}

impl Place {
    pub(crate) fn new(shared: &Arc<Shared>, slot: Slot) -> Self {
        Self {
            shared: Arc::clone(shared),
            slot,
            cleared: false,
        }
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Returns when it is cleared; goes on where nobody waits for that any more.
    pub(crate) async fn clear(mut self, files: Files) {
        // Only this and dropping it ever do it.
        if let Err(error) = self.begin(files).await {
            tracing::error!(slot = self.slot.id, %error, "clearing the sandbox of a step");
        }
    }

    fn begin(&mut self, files: Files) -> tokio::task::JoinHandle<()> {
        self.cleared = true;
        let (shared, slot) = (Arc::clone(&self.shared), self.slot.clone());
        self.shared.tasks.spawn(clear(shared, slot, files))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.cleared {
            // Not waited for: whoever asked has gone, or panicked.
            drop(self.begin(Files::Go));
        }
    }
}

async fn clear(shared: Arc<Shared>, slot: Slot, files: Files) {
    let destroyed = AssertUnwindSafe(shared.backend.destroy(&slot)).catch_unwind();
    // What is left of it is found at the next start.
    match destroyed.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(slot = slot.id, %error, "destroying the sandbox of a step");
        }
        Err(_panic) => tracing::error!(slot = slot.id, "destroying the sandbox of a step panicked"),
    }
    if files == Files::Go
        && let Err(error) = shared.registry.discard(&slot.snapshot).await
    {
        tracing::warn!(snapshot = %slot.snapshot, %error, "the files of a step stay until the next start");
    }
}
