//! Who hears of what: of each commit, of places that become free, of the engine's end.

use super::Engine;
use crate::scheduler;
use dauer_core::{Job, JobId};
use std::borrow::Borrow;
use tokio::sync::watch;

impl Engine {
    /// A commit of this job was made.
    pub(crate) fn committed(&self, job: &Job) {
        self.inner.watchers.publish(&job.id, job.version);
        self.inner.commits.send_modify(|count| *count += 1);
        self.nodes().elsewhere().remove(&job.id);
        let less = self.inner.places.note(job);
        self.inner.pools.look_again();
        if less || scheduler::waits(job) {
            self.inner.schedule_changed.notify_one();
        }
        if job.state.is_terminal() {
            self.has_ended(job);
        }
    }

    /// Commits of these jobs were made in one go.
    pub(crate) fn committed_all(&self, jobs: &[impl Borrow<Job>]) {
        let mut news = false;
        let jobs = jobs.iter().map(Borrow::borrow);
        for job in jobs.clone() {
            self.inner.watchers.publish(&job.id, job.version);
            news |= self.inner.places.note(job) || scheduler::waits(job);
        }
        if jobs.len() > 0 {
            self.inner.commits.send_modify(|count| *count += 1);
            self.inner.pools.look_again();
        }
        if news {
            self.inner.schedule_changed.notify_one();
        }
        for job in jobs.filter(|job: &&Job| job.state.is_terminal()) {
            self.has_ended(job);
        }
    }

    /// Jobs were accepted. Nothing of them lives yet.
    pub(crate) fn accepted(&self) {
        self.inner.commits.send_modify(|count| *count += 1);
    }

    /// Nothing of a job's sandbox is left, although its record still has the operation.
    pub(crate) fn let_go(&self, id: &JobId) {
        if self.inner.places.forget(id) {
            self.inner.schedule_changed.notify_one();
        }
    }

    /// A job was removed: whoever waits for it looks and finds nothing.
    pub(crate) fn removed(&self, id: &JobId) {
        self.let_go(id);
        self.inner.watchers.publish(id, u64::MAX);
        self.inner.commits.send_modify(|count| *count += 1);
    }

    /// Another node changed this job.
    pub(crate) fn changed_by_others(&self, id: &JobId) {
        self.nodes().elsewhere().remove(id);
        self.inner.watchers.publish(id, 0);
        self.inner.commits.send_modify(|count| *count += 1);
    }

    /// Another node may have changed anything.
    pub(crate) fn any_changed_by_others(&self) {
        self.inner.watchers.publish_all();
        self.inner.commits.send_modify(|count| *count += 1);
        self.inner.schedule_changed.notify_one();
    }

    /// Settings of queues and tokens may be others than they were: they are read again.
    pub(crate) fn settings_changed_by_others(&self) {
        let engine = self.clone();
        tokio::spawn(async move {
            let read = async {
                engine.load_access().await?;
                engine.read_queues_again().await
            };
            if let Err(error) = read.await {
                tracing::warn!(%error, "what another daemon set is not known here yet");
            }
        });
    }

    pub(crate) fn subscribe(&self, id: &JobId) -> watch::Receiver<u64> {
        self.inner.watchers.subscribe(id)
    }

    /// Returns when the engine's tasks are to end.
    pub(crate) async fn stopped(&self) {
        let mut stop = self.inner.stop.subscribe();
        // Its sender lives as long as this engine.
        let _stopped = stop.wait_for(|stop| *stop).await;
    }

    pub(crate) fn stop_tasks(&self) {
        self.inner.stop.send_replace(true);
    }
}
