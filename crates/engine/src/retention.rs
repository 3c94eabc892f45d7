//! Forgetting: the history, and the records of jobs that have ended, each after a set time, in pieces that no other write waits
//! long for. One task, which sleeps until the oldest is due.

use crate::clock::WallTimer;
use crate::{Engine, Error};
use dauer_core::{JobId, Timestamp};
use std::time::{Duration, Instant};

/// How long things are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// The history; absent: for ever.
    pub history: Option<Duration>,
    /// Jobs that have ended, with their logs and files; absent: until somebody removes them.
    pub jobs: Option<Duration>,
}

/// Records of one write: a few milliseconds of the only writer.
const PIECE: usize = 200;

/// Jobs that are looked at in one go.
const PAGE: usize = 100;

/// What is due within a hundredth of the time it is kept goes together, and within this at most.
const TOGETHER_MS_MAX: u64 = 60_000;

/// After an error of the store it is tried again so much later.
const RETRY_MS: u64 = 10_000;

/// Runs until the engine is dropped.
pub(crate) async fn run(engine: Engine) {
    let keep = engine.config().keep;
    if keep == Keep::default() {
        return;
    }
    let timer = match WallTimer::new() {
        Ok(timer) => timer,
        Err(error) => {
            tracing::error!(%error, "no timer: nothing old will be removed");
            return;
        }
    };
    loop {
        let next = match forget_due(&engine, keep).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "removing what is old");
                Some(engine.now().plus_ms(RETRY_MS))
            }
        };
        if let Err(error) = timer.sleep_until(next).await {
            tracing::warn!(%error, "sleeping until something is old");
            tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
        }
    }
}

async fn forget_due(engine: &Engine, keep: Keep) -> Result<Option<Timestamp>, Error> {
    let history = match keep.history {
        Some(keep) => Some(forget_history(engine, ms(keep)).await?),
        None => None,
    };
    let jobs = match keep.jobs {
        Some(keep) => Some(remove_jobs(engine, ms(keep)).await?),
        None => None,
    };
    Ok([history, jobs].into_iter().flatten().min())
}

/// Until when something that is due at `due` may wait for more to come.
fn together(due: Timestamp, now: Timestamp, keep_ms: u64) -> Timestamp {
    due.max(now.plus_ms((keep_ms / 100).clamp(1, TOGETHER_MS_MAX)))
}

fn ms(keep: Duration) -> u64 {
    u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)
}

fn before(now: Timestamp, ms: u64) -> Timestamp {
    Timestamp(now.0.saturating_sub_unsigned(ms))
}

/// Forgets what is due of the history; returns when there is more.
async fn forget_history(engine: &Engine, keep_ms: u64) -> Result<Timestamp, Error> {
    loop {
        let now = engine.now();
        let Some(oldest) = engine.store().oldest_record().await? else {
            // Whatever is recorded from now on is kept so long.
            return Ok(now.plus_ms(keep_ms));
        };
        let due = oldest.plus_ms(keep_ms);
        if due > now {
            return Ok(together(due, now, keep_ms));
        }
        let began = Instant::now();
        let forgotten = engine.store().forget_records(before(now, keep_ms), PIECE);
        forgotten.await?;
        // Half of the writer's time at most, so that nobody else notices.
        tokio::time::sleep(began.elapsed()).await;
    }
}

/// Removes the jobs that are due; returns when there are more.
async fn remove_jobs(engine: &Engine, keep_ms: u64) -> Result<Timestamp, Error> {
    let now = engine.now();
    let mut next = now.plus_ms(keep_ms);
    let mut after: Option<JobId> = None;
    loop {
        let page = engine.store().ended(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        for job in page {
            let born = job.created_at.plus_ms(keep_ms);
            if born > now {
                // Nor has any that comes after it ended longer ago than it was made.
                return Ok(together(next.min(born), now, keep_ms));
            }
            let due = job.finished_at.unwrap_or(job.created_at).plus_ms(keep_ms);
            if due > now {
                next = next.min(due);
                continue;
            }
            match engine.remove(&job.id, false).await {
                // Somebody removed it, or has it tried again.
                Ok(()) | Err(Error::NotFound(_) | Error::Conflict(_)) => {}
                Err(error) => {
                    tracing::warn!(job = %job.id, %error, "an old job stays");
                    next = next.min(now.plus_ms(RETRY_MS));
                }
            }
        }
    }
    Ok(together(next, now, keep_ms))
}
