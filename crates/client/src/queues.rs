//! Queues and batches.

use crate::calls::escape;
use crate::connection::{self, whole};
use crate::{Client, Error};
use bytes::Bytes;
use dauer_wire::http::{
    BatchView, CreateJobs, CreatedJobs, QueueList, QueueView, SetQueue, StopCall,
};
use http::Method;

impl Client {
    /// The queues with settings or with jobs, and whether all of them are paused.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Lost`].
    pub async fn queues(&self) -> Result<QueueList, Error> {
        self.get("/v1/queues").await
    }

    /// One queue.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Lost`].
    pub async fn queue(&self, name: &str) -> Result<QueueView, Error> {
        self.get(&queue(name, "")).await
    }

    /// Sets all that a queue holds back.
    ///
    /// # Errors
    /// [`Error::Refused`] with `invalid` and the field's path.
    pub async fn set_queue(&self, name: &str, settings: &SetQueue) -> Result<QueueView, Error> {
        self.put(&queue(name, ""), settings).await
    }

    /// Forgets what is set for a queue.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn remove_queue(&self, name: &str) -> Result<(), Error> {
        let request = self.request(Method::DELETE, &queue(name, ""), whole(Bytes::new()))?;
        connection::call(&self.host, request).await.map(drop)
    }

    /// Lets none of a queue's jobs begin.
    ///
    /// # Errors
    /// [`Error::Refused`] with `invalid`.
    pub async fn pause_queue(&self, name: &str) -> Result<QueueView, Error> {
        self.post(&queue(name, "/pause"), &()).await
    }

    /// Lets them begin again.
    ///
    /// # Errors
    /// [`Error::Refused`] with `invalid`.
    pub async fn resume_queue(&self, name: &str) -> Result<QueueView, Error> {
        self.post(&queue(name, "/resume"), &()).await
    }

    /// Lets nothing begin, in no queue.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Lost`].
    pub async fn pause_all_queues(&self) -> Result<QueueList, Error> {
        self.post("/v1/queues:pause", &()).await
    }

    /// Lets jobs begin again in every queue.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Lost`].
    pub async fn resume_all_queues(&self) -> Result<QueueList, Error> {
        self.post("/v1/queues:resume", &()).await
    }

    /// Hands many jobs over as a batch, all or none.
    ///
    /// # Errors
    /// As [`Client::create_all`].
    pub async fn create_batch(&self, jobs: &CreateJobs) -> Result<CreatedJobs, Error> {
        self.post("/v1/jobs:batch", jobs).await
    }

    /// How the jobs of a batch stand.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn batch(&self, batch: &str) -> Result<BatchView, Error> {
        self.get(&batch_path(batch, "")).await
    }

    /// Returns when all jobs of a batch have ended; with `seen` also when another number of them has. [`Error::Lost`]: ask again.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`; [`Error::Lost`].
    pub async fn wait_for_batch(&self, batch: &str, seen: Option<u64>) -> Result<BatchView, Error> {
        let seen = seen.map_or_else(String::new, |seen| format!("&seen={seen}"));
        self.get(&batch_path(batch, &format!("?wait=true{seen}")))
            .await
    }

    /// Ends all jobs of a batch that have not ended; returns when they have.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn cancel_batch(
        &self,
        batch: &str,
        grace_ms: Option<u64>,
    ) -> Result<BatchView, Error> {
        self.post(&batch_path(batch, "/cancel"), &StopCall { grace_ms })
            .await
    }
}

fn queue(name: &str, rest: &str) -> String {
    format!("/v1/queues/{}{rest}", escape(name))
}

fn batch_path(batch: &str, rest: &str) -> String {
    format!("/v1/batches/{}{rest}", escape(batch))
}
