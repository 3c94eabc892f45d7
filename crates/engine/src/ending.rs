//! Ending jobs, removing them, and trying them again.

use crate::asker::{self, Asker};
use crate::children::has_ended_with_children;
use crate::runner::{Message, Runner};
use crate::{Engine, Error};
use dauer_core::{End, EventKind, Job, JobId, State};
use tokio::sync::oneshot;

impl Engine {
    /// Asks a job to end: TERM, grace, KILL. Returns when it has ended; one that had ended already is returned as it is.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn stop(&self, id: &JobId, grace_ms: Option<u64>) -> Result<Job, Error> {
        self.end(id, End::Stop, grace_ms, false).await
    }

    /// Delivers a signal. KILL ends the job whatever it is doing, and returns when it has ended.
    ///
    /// # Errors
    /// `Conflict` where there is nothing to signal.
    pub async fn kill(&self, id: &JobId, signal: i32) -> Result<Job, Error> {
        if signal == 9 {
            let job = self.job(id).await?;
            if job.state.is_terminal() {
                return Err(Error::Conflict(format!(
                    "the job has ended ({})",
                    job.state
                )));
            }
            return self.end(id, End::Kill, Some(0), false).await;
        }
        self.link(id).await?.signal(signal, false).await?;
        self.job(id).await
    }

    async fn end(
        &self,
        id: &JobId,
        end: End,
        grace_ms: Option<u64>,
        children: bool,
    ) -> Result<Job, Error> {
        let job = self.job(id).await?;
        if job.state.is_terminal() {
            return Ok(job);
        }
        let asked = EventKind::EndAsked {
            end,
            grace_ms,
            children,
        };
        match self.tell(id, asked).await {
            // It ended by itself just now, or was asked before: both end as wanted.
            Ok(_) | Err(Error::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
        self.wait_until(id, |job| job.state.is_terminal() && job.operation.is_none())
            .await
    }

    /// Removes a job that has ended, with its log, files and checkpoints; with `force` one in any state, which is killed first.
    ///
    /// # Errors
    /// `Conflict` where it has not ended and `force` was not given.
    pub async fn remove(&self, id: &JobId, force: bool) -> Result<(), Error> {
        let job = self.job(id).await?;
        if !job.state.is_terminal() {
            if !force {
                let text = format!(
                    "the job is {}: stop it first, or remove it with --force",
                    job.state
                );
                return Err(Error::Conflict(text));
            }
            self.end(id, End::Kill, Some(0), false).await?;
        }
        let (answer, removed) = oneshot::channel();
        self.send(
            id,
            Message::Remove {
                answer: Some(answer),
            },
        );
        removed.await.unwrap_or(Ok(()))
    }

    /// Ends a job that has not ended, whatever it is doing: TERM, its grace, KILL. Returns when it is cancelled; one that was
    /// cancelled before is returned as it is. With `children` all jobs below it end too, and it returns when they have.
    ///
    /// # Errors
    /// `Conflict` where it has completed or failed, also in the meantime.
    pub async fn cancel(
        &self,
        id: &JobId,
        grace_ms: Option<u64>,
        children: bool,
    ) -> Result<Job, Error> {
        let mut job = self.end(id, End::Stop, grace_ms, children).await?;
        if job.state != State::Cancelled {
            return Err(Error::Conflict(format!(
                "the job has ended ({}): there is nothing to cancel",
                job.state
            )));
        }
        if children && job.ends_children.is_none() {
            // It was cancelled before, without them.
            job = self
                .tell(id, EventKind::ChildrenEndAsked { grace_ms })
                .await?;
        }
        if job.is_ending_children() {
            job = self.wait_until(id, has_ended_with_children).await?;
        }
        Ok(job)
    }

    /// Tries a job again from its start, as a new attempt: one that failed or was cancelled, or now one that waits for that.
    /// Returns when that is committed; it begins when it is its turn.
    ///
    /// # Errors
    /// `Conflict` in any other state.
    pub async fn retry(&self, id: &JobId) -> Result<Job, Error> {
        self.tell(id, EventKind::RetryAsked).await
    }
}

impl Runner {
    /// Everything of the job goes, but not the record of its removal.
    pub(crate) async fn remove(&mut self) -> Result<(), Error> {
        if !self.job.state.is_terminal() {
            return Err(Error::Conflict(format!("the job is {}", self.job.state)));
        }
        if self.engine.queue_settings().are_followed() {
            let (id, state) = (&self.job.id, self.job.state);
            self.engine.tell_followers(id, Some(state)).await?;
        }
        let checkpoints = self.engine.store().checkpoints(&self.job.id).await?;
        self.discard_checkpoint().await;
        // The record goes first: files without a record are found and removed at the next start, a record without files is not.
        let named = self.job.spec.name.as_ref();
        let detail = named.map(|name| format!("named {name}"));
        let mut audit = asker::audit("job_removed", format!("job {}", self.job.id), detail);
        (audit.by, audit.why) = Asker::words(self.asker.as_deref());
        self.engine
            .store()
            .remove(&self.job.id, self.job.version, audit)
            .await?;
        self.gone = Some(Error::NotFound(self.job.id.0.clone()));
        self.engine.removed(&self.job.id);
        for checkpoint in checkpoints {
            self.engine.remove_unreferenced(&checkpoint.id).await?;
        }
        if let Some(sandbox) = &self.job.sandbox {
            self.engine
                .node()
                .destroy(sandbox, self.job.generation, &self.job.spec.driver)
                .await?;
            self.engine.node().remove(sandbox).await?;
        }
        Ok(())
    }
}
