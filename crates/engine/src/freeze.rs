//! Freezing and thawing, as callers ask for it.

use crate::ask::Ask;
use crate::{Engine, Error};
use dauer_core::{Checkpoint, EventKind, Job, JobId, State, Then};

impl Engine {
    /// Takes a checkpoint of a running job, which goes on. Returns when it is committed.
    ///
    /// # Errors
    /// `Unsupported` where it cannot be frozen; `Conflict` where it does not run; `NoSpace`: nothing was lost.
    pub async fn checkpoint(&self, id: &JobId) -> Result<Checkpoint, Error> {
        self.take(id, Then::Continue).await
    }

    /// Freezes a running job and frees its memory. Returns when nothing of it is left but its image.
    ///
    /// # Errors
    /// As [`Engine::checkpoint`].
    pub async fn suspend(&self, id: &JobId, for_ms: Option<u64>) -> Result<Checkpoint, Error> {
        let wake_at = for_ms.map(|ms| self.now().plus_ms(ms));
        let then = Then::Suspend {
            wake_at,
            waits_for: None,
        };
        let checkpoint = self.take(id, then).await?;
        self.wait_until(id, |job| {
            job.state != State::Suspended || job.operation.is_none()
        })
        .await?;
        Ok(checkpoint)
    }

    async fn take(&self, id: &JobId, then: Then) -> Result<Checkpoint, Error> {
        let job = self.job(id).await?;
        if let Some(why) = self.cannot_freeze(&job.spec) {
            return Err(Error::Unsupported(why));
        }
        let (ask, done) = Ask::by_a_caller(then);
        self.ask_checkpoint(id, ask)?;
        done.await
            .map_err(|_| Error::Conflict("the job ended before its checkpoint was taken".into()))?
    }

    /// Wakes a suspended job. Returns when it runs again.
    ///
    /// # Errors
    /// `Conflict` where it is not suspended; `Failed` where it cannot be restored: it stays suspended then.
    pub async fn resume(&self, id: &JobId) -> Result<Job, Error> {
        self.check_rests_here(id).await?;
        let wake = EventKind::Wake {
            asked: true,
            boot_id: self.boot_id().to_owned(),
        };
        let waking = self.tell(id, wake).await?;
        let job = self
            .wait_until(id, |job| {
                job.generation > waking.generation
                    || (job.operation.is_none() && job.version > waking.version)
            })
            .await?;
        match job.last_error {
            Some(ref error) if job.state == State::Suspended => {
                Err(Error::Failed(format!("{error}; the job stays suspended")))
            }
            _ => Ok(job),
        }
    }

    /// A job's committed checkpoints, oldest first.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn checkpoints(&self, id: &JobId) -> Result<Vec<Checkpoint>, Error> {
        self.job(id).await?;
        Ok(self.store().checkpoints(id).await?)
    }
}
