//! Reading a job's log while it grows.

use crate::{Engine, Error};
use bytes::Bytes;
use dauer_core::{Job, JobId, Timestamp};
use dauer_sandbox::log::{self, Tail};
use std::sync::Arc;
use tokio::sync::Notify;

/// A piece of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogChunk {
    /// Whole frames, as in `dauer_wire::http::stream_kind`, verbatim from the log.
    Frames(Bytes),
    /// Nothing more now, or, where it is followed, nothing more at all: the job has ended.
    Ended,
}

/// A reader of one job's log.
pub struct LogTail {
    engine: Engine,
    job: JobId,
    from: u64,
    tail: Option<Tail>,
    changes: tokio::sync::watch::Receiver<u64>,
    _follower: Option<Follower>,
}

impl Engine {
    /// Reads the log from an offset on; one inside a frame moves to the next frame.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn log_tail(&self, id: &JobId, from: u64) -> Result<LogTail, Error> {
        let changes = self.subscribe(id);
        let job = self.job_here(id).await?;
        Ok(LogTail {
            engine: self.clone(),
            job: id.clone(),
            from,
            tail: None,
            changes,
            _follower: Follower::of(self, &job),
        })
    }

    /// The offset of the first output at or after a moment.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn log_offset_at(&self, id: &JobId, at: Timestamp) -> Result<u64, Error> {
        match self.job_here(id).await?.sandbox {
            Some(sandbox) => {
                Ok(log::offset_at(&self.node().layout().sandbox(&sandbox).log(), at).await?)
            }
            None => Ok(0),
        }
    }

    /// How many follow a job, whether any did, and the signal of a change.
    pub(crate) fn followers_of(&self, id: &JobId) -> (usize, bool, Arc<Notify>) {
        let mut followers = self.followers();
        let entry = followers.entry(id.clone()).or_default();
        (entry.present, entry.had_some, Arc::clone(&entry.changed))
    }

    pub(crate) fn forget_followers(&self, id: &JobId) {
        self.followers().remove(id);
    }
}

impl LogTail {
    /// The next frames. With `follow` it waits for more until the job has ended.
    ///
    /// # Errors
    /// `NotFound` where the job is removed meanwhile; `Failed` where the log cannot be read.
    pub async fn next(&mut self, follow: bool) -> Result<LogChunk, Error> {
        loop {
            self.changes.mark_unchanged();
            // Looked at before the log is read: output of an ended job is complete, so what is read after this is all.
            let job = self.engine.job_here(&self.job).await?;
            let ended = job.state.is_terminal() || !follow;
            if self.tail.is_none()
                && let Some(sandbox) = &job.sandbox
            {
                self.tail = self.open(sandbox).await?;
            }
            let Some(tail) = &mut self.tail else {
                if ended {
                    return Ok(LogChunk::Ended);
                }
                self.wait_for_change().await;
                continue;
            };
            loop {
                if let Some(frames) = tail.next().await? {
                    return Ok(LogChunk::Frames(frames));
                }
                if ended {
                    return Ok(LogChunk::Ended);
                }
                tokio::select! {
                    grown = tail.changed() => grown?,
                    _ = self.changes.changed() => break,
                }
            }
        }
    }

    async fn open(&self, sandbox: &dauer_core::SandboxId) -> Result<Option<Tail>, Error> {
        let path = self.engine.node().layout().sandbox(sandbox).log();
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(Tail::open(&path, self.from).await?))
    }

    async fn wait_for_change(&mut self) {
        if self.changes.changed().await.is_err() {
            self.changes = self.engine.subscribe(&self.job);
        }
    }
}

/// Counts among a job's followers while it exists.
pub(crate) struct Follower {
    engine: Engine,
    job: JobId,
}

impl Follower {
    /// Counts where it matters: for a job that is removed when it has ended and was read.
    pub(crate) fn of(engine: &Engine, job: &Job) -> Option<Self> {
        job.spec
            .remove_on_exit
            .then(|| Self::new(engine.clone(), job.id.clone()))
    }

    fn new(engine: Engine, job: JobId) -> Self {
        {
            let mut followers = engine.followers();
            let entry = followers.entry(job.clone()).or_default();
            entry.present += 1;
            entry.had_some = true;
        }
        Self { engine, job }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut followers = self.engine.followers();
        if let Some(entry) = followers.get_mut(&self.job) {
            entry.present -= 1;
            entry.changed.notify_one();
        }
    }
}
