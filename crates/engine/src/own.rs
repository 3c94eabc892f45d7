//! What a job asks for itself beside checkpoints: its end, locks, and telling how far it is.

use crate::runner::{Message, Runner};
use crate::{Engine, Error};
use dauer_core::{EventKind, JobId, Json, Lock, Progress};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Progress is written at most so often; what comes between waits for the next time.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Progress on its way into the record.
#[derive(Default)]
pub(crate) struct Unwritten {
    /// The newest that waits.
    held: Option<Progress>,
    /// Not before.
    next_at: Option<Instant>,
}

impl Unwritten {
    /// When the one that waits is to be written.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.next_at.filter(|_| self.held.is_some())
    }
}

impl Engine {
    /// The job says that it is done. Returns when that is on disk; then its program is given a moment to leave, and ended.
    /// Saying so again changes nothing.
    ///
    /// # Errors
    /// `Conflict` where it is not running.
    pub async fn self_exit(
        &self,
        job: &JobId,
        generation: u32,
        exit_code: i32,
        output: Option<Json>,
    ) -> Result<(), Error> {
        let exit = EventKind::ExitAsked { exit_code, output };
        self.tell_own(job, generation, exit).await
    }

    /// Takes a lock under this id, for so long or until it is released. Waits while a checkpoint is in flight: then it is
    /// for whichever copy goes on to ask.
    ///
    /// # Errors
    /// `Conflict` where the job is ending, or holds too many.
    pub async fn self_lock(
        &self,
        job: &JobId,
        generation: u32,
        id: &str,
        ttl_ms: Option<u64>,
    ) -> Result<(), Error> {
        let mut changes = self.subscribe(job);
        loop {
            changes.mark_unchanged();
            let lock = Lock {
                id: id.to_owned(),
                expires_at: ttl_ms.map(|ms| self.now().plus_ms(ms)),
            };
            match self
                .tell_own(job, generation, EventKind::LockAsked(lock))
                .await
            {
                Err(Error::Busy(_)) => {}
                other => return other,
            }
            if changes.changed().await.is_err() {
                changes = self.subscribe(job);
            }
        }
    }

    /// Gives a lock back; fine where it is not held (any more).
    ///
    /// # Errors
    /// Those of the store.
    pub async fn self_unlock(&self, job: &JobId, generation: u32, id: &str) -> Result<(), Error> {
        let id = id.to_owned();
        self.tell_own(job, generation, EventKind::LockReleased { id })
            .await
    }

    /// Notes how far the job is. On disk when this returns, or a fraction of a second later where it is told often.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn self_progress(
        &self,
        job: &JobId,
        generation: u32,
        progress: Progress,
    ) -> Result<(), Error> {
        let (answer, noted) = oneshot::channel();
        let message = Message::Progress {
            generation,
            progress,
            answer,
        };
        self.send(job, message);
        noted
            .await
            .map_err(|_| Error::Failed("the engine is shutting down".into()))?
    }

    /// Gives an event of the job itself to its runner.
    pub(crate) async fn tell_own(
        &self,
        job: &JobId,
        generation: u32,
        event: EventKind,
    ) -> Result<(), Error> {
        self.tell_about(job, Some(generation), event)
            .await
            .map(drop)
    }
}

impl Runner {
    pub(crate) async fn note_progress(&mut self, generation: u32, progress: Progress) {
        if generation != self.job.generation {
            return;
        }
        self.unwritten.held = Some(progress);
        if self
            .unwritten
            .next_at
            .is_none_or(|next_at| next_at <= Instant::now())
        {
            self.write_progress().await;
        }
    }

    /// Writes what waits. Called before anything that may end or freeze the job, so that its record has the last word.
    pub(crate) async fn write_progress(&mut self) {
        if let Some(progress) = self.unwritten.held.take() {
            self.apply(None, EventKind::Progressed(progress)).await;
            self.unwritten.next_at = Some(Instant::now() + PROGRESS_EVERY);
        }
    }
}
