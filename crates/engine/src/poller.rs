//! The resume poller: one task that sleeps until the next suspended job is due, and wakes it. It asks the store only when
//! something changed or is due.

use crate::Engine;
use crate::clock::WallTimer;
use dauer_core::{EventKind, Timestamp};
use std::time::Duration;

/// How many due jobs are woken in one go.
const BATCH: usize = 32;

/// After an error of the store it asks again so much later.
const RETRY_MS: u64 = 1_000;

/// Runs until the engine is dropped.
pub(crate) async fn run(engine: Engine) {
    let timer = match WallTimer::new() {
        Ok(timer) => timer,
        Err(error) => {
            tracing::error!(%error, "no timer: suspended jobs will not wake by themselves");
            return;
        }
    };
    loop {
        // Taken before the store is asked: a suspension committed meanwhile is not missed.
        let changed = engine.wake_changed().notified();
        let next = match wake_due(&engine).await {
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

/// Wakes what is due; returns when the next one is.
async fn wake_due(engine: &Engine) -> Result<Option<Timestamp>, dauer_store::Error> {
    loop {
        let due = engine.store().due(engine.now(), BATCH).await?;
        let full = due.len() == BATCH;
        for job in &due {
            // Waits for the commit, so that the next question does not find the same job due again.
            let wake = EventKind::Wake {
                asked: false,
                boot_id: engine.boot_id().to_owned(),
            };
            if let Err(error) = engine.tell(job, wake).await {
                tracing::debug!(%job, %error, "due job not woken");
                if matches!(error, crate::Error::Store(_)) {
                    return Ok(Some(engine.now().plus_ms(RETRY_MS)));
                }
            }
        }
        if !full {
            return engine.store().next_wake().await;
        }
    }
}
