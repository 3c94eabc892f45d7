//! A run: the steps of one caller. What they leave that no key has is there for as long as it.

use super::held::Hold;
use super::registry::Registry;
use super::{Executed, Shared};
use dauer_core::CheckpointId;
use std::sync::{Arc, Mutex, PoisonError};

/// Runs steps, or answers with what earlier ones left. Its clones are one run, which ends with the last of them, or by [`Executor::end`].
#[derive(Clone)]
pub struct Executor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) run: Arc<Run>,
}

/// What a run has.
pub(crate) struct Run {
    shared: Arc<Shared>,
    /// As in the rows of its snapshots.
    pub(crate) name: String,
    had: Mutex<Had>,
}

#[derive(Default)]
struct Had {
    /// Of cache entries that it was answered with: they are not evicted while it may begin from them.
    holds: Vec<Hold>,
    /// Nobody else's.
    files: Vec<CheckpointId>,
}

impl Executor {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let name = shared.registry.owner().run(&crate::submit::random_id());
        let run = Run {
            shared: Arc::clone(&shared),
            name,
            had: Mutex::default(),
        };
        Self {
            shared,
            run: Arc::new(run),
        }
    }

    /// Another run.
    #[must_use]
    pub fn another(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }

    /// Ends the run: returns when nothing is left of what only it had.
    pub async fn end(self) {
        let files = self.run.give_up();
        reap(&self.shared.registry, files).await;
    }

    /// What is kept under which key.
    pub(crate) fn registry(&self) -> &Registry {
        &self.shared.registry
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor")
            .field("run", &self.run.name)
            .finish_non_exhaustive()
    }
}

impl Run {
    fn had(&self) -> std::sync::MutexGuard<'_, Had> {
        self.had.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cache entry's snapshot: it may be begun from until the run ends.
    pub(crate) fn answered(&self, hold: Hold) {
        let mut had = self.had();
        if !had
            .holds
            .iter()
            .any(|held| held.snapshot() == hold.snapshot())
        {
            had.holds.push(hold);
        }
    }

    /// A snapshot that no key has.
    pub(crate) fn left(&self, executed: &Executed) {
        self.had().files.extend(executed.snapshot.clone());
    }

    fn give_up(&self) -> Vec<CheckpointId> {
        let mut had = self.had();
        had.holds.clear();
        std::mem::take(&mut had.files)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let files = self.give_up();
        if files.is_empty() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let tasks = shared.tasks.clone();
        tasks.spawn(async move { reap(&shared.registry, files).await });
    }
}

async fn reap(registry: &Registry, files: Vec<CheckpointId>) {
    for snapshot in files {
        if let Err(error) = registry.discard(&snapshot).await {
            tracing::warn!(%snapshot, %error, "what a run left stays until the next start");
        }
    }
}
