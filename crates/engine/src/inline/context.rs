//! What a function is given beside its parameters.

use crate::{Engine, Error};
use dauer_core::{EventKind, Job, JobId, Json, Progress};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;

/// What a job saves is written with its record each time: large things belong into files of its own.
pub const SAVED_BYTES_MAX: usize = 256 << 10;

/// What a function is given beside its parameters. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    job: Arc<Job>,
    cancelled: CancellationToken,
    saved: Mutex<Option<Json>>,
}

impl Context {
    pub(super) fn new(engine: Engine, job: Arc<Job>, cancelled: CancellationToken) -> Self {
        let saved = Mutex::new(job.saved.clone());
        let shared = Shared {
            engine,
            job,
            cancelled,
            saved,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The job's id.
    #[must_use]
    pub fn id(&self) -> &JobId {
        &self.shared.job.id
    }

    /// The number of this try, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.shared.job.attempt
    }

    /// What the job was submitted with.
    #[must_use]
    pub fn params(&self) -> Option<&Value> {
        self.shared.job.spec.params.as_ref()
    }

    /// The job's tags.
    #[must_use]
    pub fn tags(&self) -> &BTreeMap<String, String> {
        &self.shared.job.spec.tags
    }

    /// The job's metadata.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.shared.job.spec.metadata
    }

    /// Fires when the job is to end: somebody cancelled it, or one of its times is over. The function then has the job's
    /// `stop_grace_ms` to return; after that it is dropped where it next awaits.
    #[must_use]
    pub fn cancelled(&self) -> &CancellationToken {
        &self.shared.cancelled
    }

    /// Keeps `state` for the next call of this function for this job: after a crash of the process, and after a failed attempt
    /// where the job's retries go on from it (`from: checkpoint`, which is the default here). On disk when this returns.
    ///
    /// # Errors
    /// `Invalid` where it is more than [`SAVED_BYTES_MAX`] as JSON; `Conflict` where the job was ended meanwhile.
    pub async fn save<T: Serialize + Sync>(&self, state: &T) -> Result<(), Error> {
        let text = serde_json::to_string(state)
            .map_err(|error| Error::Invalid(format!("what is to be saved: {error}")))?;
        if text.len() > SAVED_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "what is to be saved has {} bytes: at most {SAVED_BYTES_MAX}",
                text.len()
            )));
        }
        let state = Json(text);
        let job = self.tell(EventKind::Saved(state.clone())).await?;
        if job.saved.as_ref() != Some(&state) {
            return Err(Error::Conflict("the job was ended meanwhile".into()));
        }
        *self.saved_now() = Some(state);
        Ok(())
    }

    /// What was saved last, in this call or one before.
    ///
    /// # Errors
    /// `Invalid` where it is not a `T`.
    pub fn saved<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        let saved = self.saved_now();
        let read = saved.as_ref().map(|Json(text)| serde_json::from_str(text));
        read.transpose()
            .map_err(|error| Error::Invalid(format!("what was saved: {error}")))
    }

    fn saved_now(&self) -> std::sync::MutexGuard<'_, Option<Json>> {
        self.shared.saved.lock().expect("no panic while held")
    }

    /// Gives a token to whoever streams this job, and waits while they are busy with earlier ones. Nobody may be listening.
    pub async fn emit<T: Display>(&self, token: T) {
        if let Some(host) = self.shared.engine.inline() {
            host.listeners.emit(self.id(), token.to_string()).await;
        }
    }

    /// Notes how far it is, for lists and whoever waits.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn progress(
        &self,
        done: f64,
        total: Option<f64>,
        message: Option<String>,
    ) -> Result<(), Error> {
        let progress = Progress {
            done,
            total,
            message,
            at: self.shared.engine.now(),
        };
        self.tell(EventKind::Progressed(progress)).await.map(drop)
    }

    async fn tell(&self, event: EventKind) -> Result<Job, Error> {
        let generation = Some(self.shared.job.generation);
        let told = self.shared.engine.tell_about(self.id(), generation, event);
        told.await
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("id", self.id())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}
