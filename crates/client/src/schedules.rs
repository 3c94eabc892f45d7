//! Schedules: jobs that are submitted at certain moments.

use crate::calls::escape;
use crate::connection::{self, whole};
use crate::{Client, Error};
use bytes::Bytes;
use dauer_wire::http::{CreateSchedule, CreatedJob, NextMoments, SchedulePage, ScheduleView};
use http::Method;

impl Client {
    /// Makes a schedule.
    ///
    /// # Errors
    /// [`Error::Refused`] with `invalid` and the field's path, `schedule_exists`.
    pub async fn add_schedule(&self, schedule: &CreateSchedule) -> Result<ScheduleView, Error> {
        self.post("/v1/schedules", schedule).await
    }

    /// One page of schedules, by name.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Lost`].
    pub async fn schedules(&self, cursor: Option<&str>) -> Result<SchedulePage, Error> {
        let cursor = cursor.map(|cursor| format!("&cursor={}", escape(cursor)));
        let target = format!("/v1/schedules?limit=1000{}", cursor.unwrap_or_default());
        self.get(&target).await
    }

    /// A schedule with the spec of its jobs.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn schedule(&self, name: &str) -> Result<ScheduleView, Error> {
        self.get(&schedule(name, "")).await
    }

    /// Its next moments.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn next_moments(&self, name: &str, count: usize) -> Result<NextMoments, Error> {
        self.get(&schedule(name, &format!("/next?n={count}"))).await
    }

    /// Lets none of its moments count until it is resumed.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn pause_schedule(&self, name: &str) -> Result<ScheduleView, Error> {
        self.post(&schedule(name, "/pause"), &()).await
    }

    /// Lets its moments count again.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn resume_schedule(&self, name: &str) -> Result<ScheduleView, Error> {
        self.post(&schedule(name, "/resume"), &()).await
    }

    /// Makes its job now.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `conflict` where an earlier one has not ended and it skips such moments.
    pub async fn trigger_schedule(&self, name: &str) -> Result<CreatedJob, Error> {
        self.post(&schedule(name, "/trigger"), &()).await
    }

    /// Removes it; the jobs it made stay.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn remove_schedule(&self, name: &str) -> Result<(), Error> {
        let request = self.request(Method::DELETE, &schedule(name, ""), whole(Bytes::new()))?;
        connection::call(&self.host, request).await.map(drop)
    }
}

fn schedule(name: &str, rest: &str) -> String {
    format!("/v1/schedules/{}{rest}", escape(name))
}
