//! Steps in sandboxes of this machine, without a daemon.

use crate::{Error, Executor, Sqlite, Store};
use dauer_engine::{Capacity, Workshop};
use std::path::PathBuf;
use std::sync::Arc;

/// Where steps are run. Cheap to clone.
#[derive(Clone)]
pub struct Steps {
    engine: dauer_engine::Engine,
}

/// [`Steps`] that are to be opened.
pub struct StepsBuilder {
    data_dir: PathBuf,
    program: PathBuf,
    guest: Option<PathBuf>,
    store: Option<Arc<dyn Store>>,
    capacity: Capacity,
}

impl Steps {
    /// Steps whose sandboxes, snapshots and cache are in this folder, which one process has at a time. `program` is the installed
    /// `dauer`, which each sandbox has as its guardian.
    #[must_use]
    pub fn builder(data_dir: impl Into<PathBuf>, program: impl Into<PathBuf>) -> StepsBuilder {
        StepsBuilder {
            data_dir: data_dir.into(),
            program: program.into(),
            guest: None,
            store: None,
            capacity: Capacity::default(),
        }
    }

    /// A run of steps: what they leave that no key has is there until the last clone of it is dropped.
    ///
    /// # Errors
    /// `Unsupported` after [`Steps::close`].
    pub fn executor(&self) -> Result<Executor, Error> {
        self.engine.executor()
    }

    /// Lets go of everything. What is running is ended by the next process with this folder.
    pub async fn close(&self) {
        self.engine.shutdown().await;
    }
}

impl StepsBuilder {
    /// The agent in each sandbox; `dauer-guest` beside the program where nothing is said.
    #[must_use]
    pub fn guest(mut self, guest: impl Into<PathBuf>) -> Self {
        self.guest = Some(guest.into());
        self
    }

    /// What is kept under which key; a file in the folder where nothing is said.
    #[must_use]
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// How much is kept; without a limit where nothing is said.
    #[must_use]
    pub fn capacity(mut self, capacity: Capacity) -> Self {
        self.capacity = capacity;
        self
    }

    /// Opens them; what an earlier process left half done is cleared away.
    ///
    /// # Errors
    /// Those of the store; `Failed` where the folder cannot be made.
    pub async fn open(self) -> Result<Steps, Error> {
        let failed = |error: std::io::Error| {
            Error::Failed(format!("make {}: {error}", self.data_dir.display()))
        };
        std::fs::create_dir_all(&self.data_dir).map_err(failed)?;
        let store = match self.store {
            Some(store) => store,
            None => Arc::new(Sqlite::open(self.data_dir.join("dauer.db"))?),
        };
        let beside = || self.program.with_file_name("dauer-guest");
        let workshop = Workshop {
            guest: self.guest.clone().unwrap_or_else(beside),
            data_dir: self.data_dir,
            program: self.program,
            cache: self.capacity,
        };
        let engine = dauer_engine::Engine::for_steps(workshop, store).await?;
        Ok(Steps { engine })
    }
}

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steps").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for StepsBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StepsBuilder")
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}
