//! The scheduler: one task that gives a sandbox to each job that is due (a new one, one that sleeps, one to be tried again), as
//! far as there is room. It sleeps until the next is due, a place becomes free or a job comes; it never polls.

use crate::clock::WallTimer;
use crate::places::Promise;
use crate::{Engine, Error, expiry, firing};
use dauer_core::plan::turn::Due;
use dauer_core::{EventKind, Job, JobId, SandboxId, State, Timestamp};
use futures_util::future::join_all;
use std::time::Duration;

/// How many of those that are due are looked at in one go; the commits of those admitted share a sync to the disk.
const WINDOW: usize = 64;

/// The same of inline jobs, for which nothing else is done.
const INLINE_WINDOW: usize = 1024;

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
                if engine.heed(&error) {
                    return;
                }
                tracing::warn!(%error, "asking for due jobs");
                Some(engine.now().plus_ms(RETRY_MS))
            }
        };
        tokio::select! {
            () = changed => {}
            () = engine.stopped() => return,
            slept = timer.sleep_until(next) => if let Err(error) = slept {
                tracing::warn!(%error, "sleeping until the next due job");
                tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
            },
        }
    }
}

/// Fires schedules, ends what has waited too long, then admits what is due; returns when to look again where nothing changes before.
async fn look(engine: &Engine) -> Result<Option<Timestamp>, dauer_store::Error> {
    let fired = firing::fire_due(engine).await?;
    let over = expiry::end_expired(engine).await?;
    let due = admit_due(engine).await?;
    Ok([fired, over, due].into_iter().flatten().min())
}

/// Admits what is due while there is room; returns when to look again where nothing changes before.
async fn admit_due(engine: &Engine) -> Result<Option<Timestamp>, dauer_store::Error> {
    loop {
        if engine.places().are_taken() {
            // Whoever gives one back says so.
            return Ok(None);
        }
        let now = engine.now();
        let waiting = engine.due_here(now).await?;
        let (turns, some_wait) = engine.places().choose(waiting, now);
        if turns.is_empty() {
            let opens_at = engine.places().opens_at(now);
            if some_wait {
                // Whoever gives a place back says so.
                return Ok(opens_at);
            }
            let next = engine.store().next_wake(now).await?;
            return Ok(next.into_iter().chain(opens_at).min());
        }
        let claimed = engine.claim(turns).await?;
        let admitted = join_all(claimed.others.into_iter().map(|turn| engine.admit(turn))).await;
        if !claimed.progress && !admitted.contains(&true) {
            // None of them could be, for a reason that may pass.
            return Ok(Some(now.plus_ms(RETRY_MS)));
        }
    }
}

fn window(engine: &Engine) -> usize {
    match engine.inline() {
        Some(_) => INLINE_WINDOW,
        None => WINDOW,
    }
}

impl Engine {
    /// Those that are due, without those that rest on another node.
    async fn due_here(&self, now: Timestamp) -> Result<Vec<Due>, dauer_store::Error> {
        let elsewhere = self.nodes().elsewhere().len();
        let ask = self.places().ask(now, window(self) + elsewhere);
        let mut waiting = self.store().due(now, &ask).await?;
        let known = self.nodes().elsewhere();
        waiting.retain(|due| !known.contains(&due.job));
        Ok(waiting)
    }

    /// A sandbox that waits for a job like this one.
    async fn promised(&self, job: &JobId) -> Option<SandboxId> {
        if !self.pools().any_waits() {
            return None;
        }
        // One that cannot be looked at is told in a moment.
        self.pools().promise(&self.job(job).await.ok()?)
    }

    /// Tells a job that it is its turn. Returns when that is committed, so that the next question does not find it due again;
    /// false where it is due still.
    async fn admit(&self, turn: Promise<'_>) -> bool {
        let job = turn.due().job.clone();
        if self.nodes().is_shared() {
            match self.rests_elsewhere(&job).await {
                Ok(false) => {}
                // It is not asked for again until something changes.
                Ok(true) => return self.nodes().elsewhere().insert(job),
                Err(error) => {
                    tracing::warn!(%job, %error, "a due job could not be looked at");
                    return false;
                }
            }
        }
        let mut promised = None;
        let event = if turn.due().suspended {
            EventKind::Wake {
                asked: false,
                boot_id: self.boot_id().to_owned(),
            }
        } else {
            promised = self.promised(&job).await;
            self.admission(promised.clone(), turn.counted_ms())
        };
        let told = self.tell(&job, event).await;
        if let Some(sandbox) = promised {
            let took = told
                .as_ref()
                .is_ok_and(|job| job.sandbox.as_ref() == Some(&sandbox));
            if !took {
                self.promise_no_longer(&sandbox);
            }
        }
        match told {
            Ok(job) => {
                let admitted = !waits(&job);
                if admitted {
                    turn.kept(self.now());
                }
                admitted
            }
            // It ended, or somebody else woke it just now.
            Err(Error::Conflict(_) | Error::NotFound(_) | Error::HeldElsewhere { .. }) => true,
            Err(error) => {
                tracing::warn!(%job, %error, "a due job could not be started");
                false
            }
        }
    }
}
