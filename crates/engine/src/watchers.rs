//! The one signal of a job: whoever waits for a change of it waits here. Nothing accumulates per waiter, and a job
//! nobody waits for costs nothing.

use dauer_core::JobId;
use std::collections::HashMap;
use std::sync::Mutex;
use tokio::sync::watch;

/// A watch channel for each job that somebody waits for, carrying the version last committed.
#[derive(Default)]
pub(crate) struct Watchers {
    channels: Mutex<HashMap<JobId, watch::Sender<u64>>>,
}

impl Watchers {
    /// Changes with every commit of this job from now on.
    pub(crate) fn subscribe(&self, job: &JobId) -> watch::Receiver<u64> {
        let mut channels = self.channels.lock().expect("no panic while held");
        // Channels whose waiters are gone are dropped here, where new ones come, so that the map never outgrows the waiters by much.
        if channels.len() > 64 {
            channels.retain(|_, sender| sender.receiver_count() > 0);
        }
        channels
            .entry(job.clone())
            .or_insert_with(|| watch::channel(0).0)
            .subscribe()
    }

    /// Whoever waits looks again.
    pub(crate) fn publish_all(&self) {
        let channels = self.channels.lock().expect("no panic while held");
        for sender in channels.values() {
            sender.send_modify(|_| {});
        }
    }

    /// A version was committed.
    pub(crate) fn publish(&self, job: &JobId, version: u64) {
        let mut channels = self.channels.lock().expect("no panic while held");
        if let Some(sender) = channels.get(job)
            && sender.send(version).is_err()
        {
            channels.remove(job);
        }
    }
}
