//! Steps and their cache, as callers ask for them.

use crate::executor::{
    Action, Backend, Executed, Executor, Owner, Policy, Shared, Sink, Source, blocking, derive,
    jobs::Jobs, sweep,
};
use crate::{Engine, Error, submit};
use dauer_core::plan::eviction::Capacity;
use dauer_core::{CacheEntry, CacheTotals, Snapshot, SnapshotKind};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A step as a caller asks for it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// What to run.
    pub action: Action,
    /// The snapshot it begins from, as a person names it; instead of the action's image.
    pub from: Option<String>,
    /// What its files are kept under.
    pub key: StepKey,
    /// The run it belongs to, by a name of the caller's: what its steps leave is there until [`Engine::end_run`]. Without one it is a
    /// run of its own.
    pub run: Option<String>,
}

/// What the files of a step are kept under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StepKey {
    /// Nothing.
    #[default]
    None,
    /// This.
    Named(String),
    /// A digest of all that it depends on.
    Derived,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepResult {
    /// Without a snapshot where that has gone with the step already.
    pub executed: Executed,
    /// The key that was derived, or named.
    pub key: Option<String>,
}

/// What there is in the cache, and how much there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheState {
    /// What there is.
    pub totals: CacheTotals,
    /// What there may be.
    pub capacity: Capacity,
}

/// What an engine has for steps.
pub(crate) struct Steps {
    executor: Executor,
    /// Those that callers named.
    runs: Mutex<HashMap<String, Executor>>,
}

impl Steps {
    /// The run of this name, which begins where there is none.
    fn run(&self, name: &str) -> Executor {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let run = runs.entry(name.to_owned());
        run.or_insert_with(|| self.executor.another()).clone()
    }
}

/// Makes the engine take steps, and clears what steps of an earlier process left.
pub(crate) fn begin(engine: &Engine) -> Arc<Steps> {
    let member = &engine.config().member;
    let owner = Owner {
        scope: engine.nodes().is_shared().then(|| member.node.clone()),
        node: member.node.clone(),
        process: submit::random_id(),
    };
    let backend: Arc<dyn Backend> = Arc::new(Jobs::new(engine.clone(), owner.clone()));
    let store = Arc::clone(engine.store());
    let shared = Shared::new(backend, store, owner, engine.config().cache);
    tokio::spawn(sweep::at_start(engine.clone(), Arc::clone(&shared)));
    Arc::new(Steps {
        executor: Executor::new(shared),
        runs: Mutex::default(),
    })
}

impl Engine {
    /// A run of steps: what they leave that no key has is there until it is dropped.
    ///
    /// # Errors
    /// `Unsupported` where this engine makes no sandboxes; `Failed` where it is shutting down.
    pub fn executor(&self) -> Result<Executor, Error> {
        Ok(self.steps()?.executor.another())
    }

    /// Runs a step, or answers with what an earlier one of its key left. Dropping this ends the step.
    ///
    /// # Errors
    /// As [`Executor::execute`]; `Unsupported` where no key can be derived, or it would begin from memory.
    pub async fn step(&self, step: Step, sink: &mut dyn Sink) -> Result<StepResult, Error> {
        let steps = self.steps()?;
        let executor = match &step.run {
            Some(name) => steps.run(name),
            None => steps.executor.another(),
        };
        let (mut action, from) = (step.action, self.begins_from(step.from.as_deref()).await?);
        if let Some(snapshot) = &from {
            action.source = Source::Snapshot(snapshot.id.clone());
        }
        if let Some(folder) = action.inject.as_ref().filter(|folder| !folder.is_dir()) {
            let text = format!("the folder to inject, {}, does not exist", folder.display());
            return Err(Error::invalid("inject", text));
        }
        let key = match step.key {
            StepKey::None => None,
            StepKey::Named(key) => Some(key),
            StepKey::Derived => Some(self.derived(&action, from).await?),
        };
        let policy = match &key {
            Some(key) => Policy::Cache { key: key.clone() },
            None => Policy::None,
        };
        let mut executed = executor.execute(action, policy, sink).await?;
        if step.run.is_none() && !executed.kept {
            executed.snapshot = None;
        }
        Ok(StepResult { executed, key })
    }

    async fn begins_from(&self, from: Option<&str>) -> Result<Option<Snapshot>, Error> {
        let Some(text) = from else { return Ok(None) };
        let snapshot = self.store().find_snapshot(text).await?;
        match snapshot.kind {
            SnapshotKind::Disk => Ok(Some(snapshot)),
            SnapshotKind::Memory => Err(Error::Unsupported(format!(
                "snapshot {text} holds a running program, and a step begins one anew: go on with it by `dauer fork {text}`"
            ))),
        }
    }

    async fn derived(&self, action: &Action, from: Option<Snapshot>) -> Result<String, Error> {
        let (action, layout) = (action.clone(), self.node().layout().clone());
        blocking(move || derive(&action, from.as_ref(), &layout)).await
    }

    /// Ends a run that callers named: what its steps left and no key has is gone when this returns. Fine where there is none.
    ///
    /// # Errors
    /// As [`Engine::executor`].
    pub async fn end_run(&self, name: &str) -> Result<(), Error> {
        let steps = self.steps()?;
        let run = {
            let mut runs = steps.runs.lock().unwrap_or_else(PoisonError::into_inner);
            runs.remove(name)
        };
        if let Some(run) = run {
            run.end().await;
        }
        Ok(())
    }

    /// What is kept under which key, by keys.
    ///
    /// # Errors
    /// As [`Engine::executor`]; those of the store.
    pub async fn cache_entries(&self) -> Result<Vec<CacheEntry>, Error> {
        self.steps()?.executor.registry().entries().await
    }

    /// How much of it there is, and may be.
    ///
    /// # Errors
    /// As [`Engine::cache_entries`].
    pub async fn cache_state(&self) -> Result<CacheState, Error> {
        let steps = self.steps()?;
        let registry = steps.executor.registry();
        Ok(CacheState {
            totals: registry.totals().await?,
            capacity: registry.capacity(),
        })
    }

    /// An entry.
    ///
    /// # Errors
    /// `NotCached`.
    pub async fn cache_entry(&self, key: &str) -> Result<CacheEntry, Error> {
        self.steps()?.executor.registry().show(key).await
    }

    /// Whether an entry may be evicted to make room.
    ///
    /// # Errors
    /// `NotCached`.
    pub async fn pin_cache_entry(&self, key: &str, pinned: bool) -> Result<CacheEntry, Error> {
        self.steps()?.executor.registry().pin(key, pinned).await
    }

    /// Removes an entry with its snapshot, also a pinned one.
    ///
    /// # Errors
    /// `NotCached`; `Conflict` where a step works with it.
    pub async fn remove_cache_entry(&self, key: &str) -> Result<CacheEntry, Error> {
        self.steps()?.executor.registry().remove(key).await
    }

    /// Removes all entries that are neither pinned nor worked with. Returns those.
    ///
    /// # Errors
    /// Those of the store and of removing files.
    pub async fn clean_cache(&self) -> Result<Vec<CacheEntry>, Error> {
        self.steps()?.executor.registry().clean().await
    }
}
