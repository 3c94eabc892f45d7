//! The scheduler: one task that gives a sandbox to each job that is due (a new one, one that sleeps, one to be tried again), as
//! far as there is room. It sleeps until the next is due, a place becomes free or a job comes; it never polls.

use crate::asker;
use crate::clock::WallTimer;
use crate::{Engine, Error, expiry};
use dauer_core::plan::admission::{self, Due};
use dauer_core::{EventKind, Job, State, Timestamp};
use futures_util::future::join_all;
use std::time::Duration;

/// How many are admitted in one go: their commits share a sync to the disk.
const BATCH: usize = 64;

/// After an error of the store it asks again so much later.
const RETRY_MS: u64 = 1_000;

/// Whether this job waits for its turn or for its time.
pub(crate) fn waits(job: &Job) -> bool {
    let waiting = match job.state {
        State::Pending | State::Suspended | State::PendingRetry => true,
        State::Running
        | State::Completed
        | State::Failed
        | State::Cancelled
        | State::Stopped
        | State::Error => false,
    };
    waiting && job.operation.is_none()
}

/// Runs until the engine is dropped.
pub(crate) async fn run(engine: Engine) {
    let timer = match WallTimer::new() {
        Ok(timer) => timer,
        Err(error) => {
            tracing::error!(%error, "no timer: jobs will not start or wake by themselves");
            return;
        }
    };
    loop {
        // Taken before the store is asked: what is committed meanwhile is not missed.
        let changed = engine.schedule_changed().notified();
        let next = match look(&engine).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "asking for due jobs");
                Some(engine.now().plus_ms(RETRY_MS))
            }
        };
        tokio::select! {
            () = changed => {}
            slept = timer.sleep_until(next) => if let Err(error) = slept {
                tracing::warn!(%error, "sleeping until the next due job");
                tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
            },
        }
    }
}

/// Ends what has waited too long, then admits what is due; returns when to look again where nothing changes before.
async fn look(engine: &Engine) -> Result<Option<Timestamp>, dauer_store::Error> {
    let over = expiry::end_expired(engine).await?;
    let due = admit_due(engine).await?;
    Ok(over.into_iter().chain(due).min())
}

/// Admits what is due while there is room; returns when to look again where nothing changes before.
async fn admit_due(engine: &Engine) -> Result<Option<Timestamp>, dauer_store::Error> {
    loop {
        let room = engine.places().room().min(BATCH);
        if room == 0 {
            // Whoever gives a place back says so.
            engine.places().set_queue(true);
            return Ok(None);
        }
        let now = engine.now();
        let due = admission::choose(engine.store().due(now, room).await?, room);
        if due.is_empty() {
            engine.places().set_queue(false);
            return engine.store().next_wake(now).await;
        }
        let admitted = join_all(due.iter().map(|due| engine.admit(due))).await;
        if !admitted.contains(&true) {
            // None of them could be, for a reason that may pass.
            return Ok(Some(now.plus_ms(RETRY_MS)));
        }
    }
}

impl Engine {
    /// Tells a job that it is its turn. Returns when that is committed, so that the next question does not find it due again;
    /// false where it is due still.
    async fn admit(&self, due: &Due) -> bool {
        let _kept = self.places().promise(&due.job);
        let event = if due.suspended {
            EventKind::Wake {
                asked: false,
                boot_id: self.boot_id().to_owned(),
            }
        } else {
            self.admission()
        };
        match self.tell(&due.job, event).await {
            Ok(job) => !waits(&job),
            // It ended, or somebody else woke it just now.
            Err(Error::Conflict(_) | Error::NotFound(_)) => true,
            Err(error) => {
                tracing::warn!(job = %due.job, %error, "a due job could not be started");
                false
            }
        }
    }

    /// A new job begins at once where it is due, there is room and nobody waits before it; else the scheduler hears of it.
    pub(crate) async fn welcome(&self, job: Job) -> Result<Job, Error> {
        let due = job.wake_at.is_none_or(|at| at <= self.now());
        let promise = self.places().promise_to_newcomer(&job.id).filter(|_| due);
        if promise.is_none() {
            self.schedule_changed().notify_one();
            return Ok(job);
        }
        asker::by_itself(self.tell(&job.id, self.admission())).await
    }
}
