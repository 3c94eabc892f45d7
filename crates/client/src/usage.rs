//! What jobs have used, and what they are found by.

use crate::calls::{escape, path};
use crate::{Client, Error};
use dauer_wire::http::{DescribeCall, JobView, UsageReport};

/// What [`Client::usage`] adds up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// One row for each: `total`, `job`, `day`, `definition`, `queue`, `tag:KEY`; all together where absent.
    pub by: Option<String>,
    /// Only what was used from then on, in milliseconds since the epoch.
    pub since: Option<i64>,
    /// Only what was used until then.
    pub until: Option<i64>,
    /// Only of this job.
    pub job: Option<String>,
    /// Only what had every one of these tags while it ran, as `key:value`.
    pub tags: Vec<String>,
}

impl Client {
    /// Adds up what jobs have used; what still runs counts up to now.
    ///
    /// # Errors
    /// [`Error::Refused`] with `invalid`, `not_found`.
    pub async fn usage(&self, filter: &UsageFilter) -> Result<UsageReport, Error> {
        let mut query = vec![];
        query.extend(filter.by.as_ref().map(|by| format!("by={}", escape(by))));
        query.extend(filter.since.map(|since| format!("since={since}")));
        query.extend(filter.until.map(|until| format!("until={until}")));
        query.extend(
            filter
                .job
                .as_ref()
                .map(|job| format!("job={}", escape(job))),
        );
        let tags = filter.tags.iter();
        query.extend(tags.map(|tag| format!("tag={}", escape(tag))));
        self.get(&format!("/v1/usage?{}", query.join("&"))).await
    }

    /// Sets or removes tags and metadata of a job in any state.
    ///
    /// # Errors
    /// [`Error::Refused`] with `invalid`, `not_found`.
    pub async fn describe(&self, job: &str, call: &DescribeCall) -> Result<JobView, Error> {
        self.patch(&path(job, ""), call).await
    }
}
