//! The times of jobs that wait: they have no runner that looks at the clock, so the scheduler does it for all of them.

use crate::scheduler::waits;
use crate::{Engine, Error};
use dauer_core::{EventKind, JobId, Timestamp};
use futures_util::future::join_all;

/// How many are ended in one go: their commits share a sync to the disk.
const BATCH: usize = 64;

/// After an error it looks again so much later.
const RETRY_MS: u64 = 1_000;

/// Ends the jobs that have waited enough. Returns when the next one will have.
pub(crate) async fn end_expired(engine: &Engine) -> Result<Option<Timestamp>, dauer_store::Error> {
    loop {
        let now = engine.now();
        let expiring = engine.store().expiring(BATCH).await?;
        let (over, later): (Vec<_>, Vec<_>) = expiring.into_iter().partition(|(_, at)| *at <= now);
        if over.is_empty() {
            return Ok(later.first().map(|(_, at)| *at));
        }
        let ended = join_all(over.iter().map(|(job, _)| end(engine, job))).await;
        if !ended.contains(&true) {
            return Ok(Some(now.plus_ms(RETRY_MS)));
        }
    }
}

/// Returns when the job's record says so, so that the next question does not find it again; false where it does still.
async fn end(engine: &Engine, job: &JobId) -> bool {
    match engine.tell(job, EventKind::DeadlineReached).await {
        Ok(job) => !waits(&job) || job.expires_at.is_none_or(|at| at > engine.now()),
        // Removed just now.
        Err(Error::Conflict(_) | Error::NotFound(_)) => true,
        Err(error) => {
            tracing::warn!(%job, %error, "a job that waited too long could not be ended");
            false
        }
    }
}
