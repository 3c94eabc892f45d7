//! Stopping in order: nothing new begins, what runs may finish, and what does not is given back.

use super::{Host, event};
use crate::Engine;
use crate::commit::change_of;
use dauer_core::{EventKind, Job, Verdict, decide};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Engine {
    /// Lets nothing begin any more, and waits for what runs for so long. What has not ended then is asked to, dropped, and waits
    /// in the store for the next engine, which calls it again without counting this as a failure. Then the engine's tasks end.
    pub async fn drain(&self, patience: Duration) {
        if let Some(host) = self.inline() {
            host.closing.store(true, Ordering::Relaxed);
            let mut count = host.count.subscribe();
            let empty = count.wait_for(|running| *running == 0);
            if tokio::time::timeout(patience, empty).await.is_err() {
                self.give_back(host).await;
            }
        }
        self.stop_tasks();
        self.lock_live().clear();
        self.give_back_lease().await;
    }

    /// Every function ends where it next awaits, and nothing is written of it.
    pub(crate) fn drop_calls(&self) {
        let Some(host) = self.inline() else { return };
        host.closing.store(true, Ordering::Relaxed);
        let running: Vec<_> = host.running().keys().cloned().collect();
        running.iter().for_each(|job| host.drop_call(job));
    }

    async fn give_back(&self, host: &Host) {
        let running: Vec<Arc<Job>> = host
            .running()
            .values()
            .map(|running| running.job.clone())
            .collect();
        let (mut changes, mut records) = (Vec::new(), Vec::new());
        for job in running {
            host.drop_call(&job.id);
            let event = event(self, Some(job.generation), EventKind::GivenBack);
            if let Verdict::Move(movement) = decide(&job, &event) {
                records.push(movement.job.clone());
                changes.push(change_of(*movement, job.state, event.at, None).0);
            }
        }
        let results = self.store().commit_all(changes).await;
        for (job, result) in records.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    host.forget(&job.id);
                    self.committed(&job);
                }
                // It ended just now; or the store does not answer, and the next engine finds it running and takes it for lost.
                Err(error) => {
                    tracing::warn!(job = %job.id, %error, "a job could not be given back");
                }
            }
        }
    }
}
