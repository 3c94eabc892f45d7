//! Copies of jobs: forks, going back, and states that are kept.

use crate::calls::{escape, path};
use crate::connection::{self, whole};
use crate::{Client, Error};
use bytes::Bytes;
use dauer_wire::http::{
    ChangeSnapshot, ForkCall, ForkedJobs, JobView, RollbackCall, SaveSnapshot, SnapshotPage,
    SnapshotView,
};
use http::Method;

impl Client {
    /// Makes jobs that go on as a job is, or as a snapshot or checkpoint was; returns when they are accepted.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `conflict` where there is no state to go on from, `unsupported`, `name_in_use`.
    pub async fn fork(&self, source: &str, call: &ForkCall) -> Result<ForkedJobs, Error> {
        self.post(&path(source, "/fork"), call).await
    }

    /// Lets a job go on from an earlier state of its own: the newest checkpoint, or this one.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `conflict` where it has no such state.
    pub async fn roll_back(&self, job: &str, to: Option<&str>) -> Result<JobView, Error> {
        let to = to.map(str::to_owned);
        self.post(&path(job, "/rollback"), &RollbackCall { to })
            .await
    }

    /// Keeps the state of a job beyond its end.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `conflict` where there is none to keep, `name_in_use`.
    pub async fn save_snapshot(&self, call: &SaveSnapshot) -> Result<SnapshotView, Error> {
        self.post("/v1/snapshots", call).await
    }

    /// One page of the states that are kept, by their ids.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Lost`].
    pub async fn snapshots(&self, cursor: Option<&str>) -> Result<SnapshotPage, Error> {
        let cursor = cursor.map(|cursor| format!("&cursor={}", escape(cursor)));
        let target = format!("/v1/snapshots?limit=1000{}", cursor.unwrap_or_default());
        self.get(&target).await
    }

    /// A kept state.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `ambiguous`.
    pub async fn snapshot(&self, name: &str) -> Result<SnapshotView, Error> {
        self.get(&snapshot(name, "")).await
    }

    /// Whether a kept state stays until somebody insists on its removal.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn pin_snapshot(&self, name: &str, pinned: bool) -> Result<SnapshotView, Error> {
        self.patch(&snapshot(name, ""), &ChangeSnapshot { pinned })
            .await
    }

    /// Removes a kept state; with `force` also one that is pinned.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `conflict` where it is pinned, or the cache leads to it.
    pub async fn remove_snapshot(&self, name: &str, force: bool) -> Result<(), Error> {
        let target = snapshot(name, &format!("?force={force}"));
        let request = self.request(Method::DELETE, &target, whole(Bytes::new()))?;
        connection::call(&self.host, request).await.map(drop)
    }
}

fn snapshot(name: &str, rest: &str) -> String {
    format!("/v1/snapshots/{}{rest}", escape(name))
}
