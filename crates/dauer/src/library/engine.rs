//! What is asked of an engine.

use crate::{Builder, Entry, Error, Filter, Job, JobId, Spec, Tokens, WhenAbandoned};
use dauer_engine::{RequestKey, Submission};
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::sync::watch;

/// A running engine. Cheap to clone; it runs until [`Engine::shutdown`].
#[derive(Clone)]
pub struct Engine {
    pub(crate) engine: dauer_engine::Engine,
}

impl Engine {
    /// An engine that is to be started.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Accepts a job. On disk when this returns; it begins as soon as it is due and there is room.
    ///
    /// # Errors
    /// `InvalidField` where there is no such handler, `NameInUse`, `KeyInUse`. Nothing was written then.
    pub async fn submit(&self, spec: Spec) -> Result<Job, Error> {
        let submission = submission(spec);
        if let Some(key) = &submission.key
            && let Some(job) = self.engine.submitted(key).await?
        {
            return Ok(job);
        }
        Ok(self.engine.submit(submission).await?.job)
    }

    /// Accepts all of these jobs in one transaction, or none. Their ids, in this order.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub async fn submit_all(
        &self,
        specs: impl IntoIterator<Item = Spec>,
    ) -> Result<Vec<JobId>, Error> {
        let submissions = specs.into_iter().map(submission).collect();
        self.engine.submit_each(submissions).await
    }

    /// Returns the job when it has ended, whichever way.
    ///
    /// # Errors
    /// `NotFound`, also where it is removed meanwhile.
    pub async fn wait(&self, id: &JobId) -> Result<Job, Error> {
        self.engine.wait(id).await
    }

    /// The job as it is now.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn job(&self, id: &JobId) -> Result<Job, Error> {
        self.engine.job(id).await
    }

    /// A page of jobs, newest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn jobs(&self, filter: Filter) -> Result<Vec<Job>, Error> {
        self.engine.list(filter).await
    }

    /// What a completed job returned; `None` where that was nothing.
    ///
    /// # Errors
    /// `Invalid` where it is not a `T`.
    pub async fn output<T: DeserializeOwned>(&self, id: &JobId) -> Result<Option<T>, Error> {
        let Some(output) = self.engine.output(id).await? else {
            return Ok(None);
        };
        serde_json::from_str(&output.0)
            .map(Some)
            .map_err(|error| Error::Invalid(format!("the output of job {id}: {error}")))
    }

    /// Ends a job: one that waits at once, one that runs when its function returns, at the latest after its grace. Cancelling
    /// again is fine.
    ///
    /// # Errors
    /// `Conflict` where it has completed or failed.
    pub async fn cancel(&self, id: &JobId) -> Result<Job, Error> {
        self.engine.cancel(id, None, false).await
    }

    /// Tries a job again that failed or was cancelled, or now one that waits for that.
    ///
    /// # Errors
    /// `Conflict` in any other state.
    pub async fn retry(&self, id: &JobId) -> Result<Job, Error> {
        self.engine.retry(id).await
    }

    /// Removes a job that has ended.
    ///
    /// # Errors
    /// `Conflict` where it has not.
    pub async fn remove(&self, id: &JobId) -> Result<(), Error> {
        self.engine.remove(id, false).await
    }

    /// What happened to a job, oldest first, after the entry of this number.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn history(&self, id: &JobId, after: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        self.engine.journal(Some(id), after, limit).await
    }

    /// Changes with every commit.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.engine.journal_changes()
    }

    /// Begins a job that was submitted and yields what its function emits, then how it ended, once: `[DONE]`, `[ERROR] reason`
    /// or `[CANCELLED]` as text. Dropping the stream leaves nothing behind; the job then goes on, or is cancelled, as chosen.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where somebody streams it already.
    pub async fn execute_and_stream(
        &self,
        id: &JobId,
        when_abandoned: WhenAbandoned,
    ) -> Result<Tokens, Error> {
        self.engine.execute_and_stream(id, when_abandoned).await
    }

    /// How many streams are open.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.engine.listeners()
    }

    /// How many functions run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.engine.inline_running()
    }

    /// Lets nothing begin any more, waits for what runs for so long, and gives back what has not ended then: it is called again by
    /// the next engine with this store.
    pub async fn shutdown(&self, patience: Duration) {
        self.engine.drain(patience).await;
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

fn submission(spec: Spec) -> Submission {
    let Spec { spec, key, after } = spec;
    let key = key.map(|key| RequestKey {
        key,
        // Of an embedded engine the caller is the program itself: the key alone says that it is the same request.
        digest: String::new(),
    });
    Submission { spec, key, after }
}
