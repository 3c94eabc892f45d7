//! What was done, by whom, when and why.

use crate::calls::{escape, path};
use crate::{Client, Error};
use dauer_wire::http::HistoryView;

/// Which records [`Client::history`] returns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only of this job.
    pub job: Option<String>,
    /// Only from then on, in milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// Only before then.
    pub until_ms: Option<i64>,
    /// Only what this one asked for, such as `uid:0`; or all of a kind, such as `token`.
    pub by: Option<String>,
    /// Only this event.
    pub event: Option<String>,
    /// [`HistoryView::next_cursor`] of the page before.
    pub cursor: Option<String>,
}

impl Client {
    /// One page of the history, oldest first. There may be no record in it and more behind it.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found` for a job that there is not.
    pub async fn history(&self, query: &HistoryQuery) -> Result<HistoryView, Error> {
        let base = match &query.job {
            Some(job) => path(job, "/history"),
            None => "/v1/history".to_owned(),
        };
        let said = |name: &str, value: Option<String>| {
            value.map(|value| format!("&{name}={}", escape(&value)))
        };
        let conditions = [
            said("since", query.since_ms.map(|ms| ms.to_string())),
            said("until", query.until_ms.map(|ms| ms.to_string())),
            said("by", query.by.clone()),
            said("event", query.event.clone()),
            said("cursor", query.cursor.clone()),
        ];
        let conditions: String = conditions.into_iter().flatten().collect();
        self.get(&format!("{base}?limit=1000{conditions}")).await
    }
}
