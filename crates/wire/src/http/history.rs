//! The history as callers see it: what was done, by whom, when and why.

use serde::{Deserialize, Serialize};

/// A record of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecordView {
    /// When.
    pub at: i64,
    /// What was done, as a word: of a job as in its events; else `definition_added`, `token_removed`, `job_removed` …
    pub event: String,
    /// Who asked for it: `uid:0`, `token:ci`, `job:<id>`, `schedule:<name>`, or `node` where nobody did; absent in records of
    /// older builds.
    pub by: Option<String>,
    /// What they asked it for, in their words: the header `dauer-why` of the request.
    pub why: Option<String>,
    /// The job it is about …
    pub job: Option<String>,
    /// … or what else: `definition resize@1.2.0`, `token 0123456789ab`, `schedule nightly`, or `job <id>` that was removed.
    pub subject: Option<String>,
    /// Of a job: state before; absent for the first.
    pub from: Option<String>,
    /// Of a job: state after.
    pub to: Option<String>,
    /// Of a job: operation after.
    pub operation: Option<String>,
    /// Of a job: the incarnation it is about.
    pub generation: Option<u32>,
    /// One line more, if there is more to say.
    pub detail: Option<String>,
}

/// `GET /v1/history`, `GET /v1/jobs/{id}/history`: oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryView {
    /// At most as many as asked for; there may be fewer, also none, and more behind them.
    pub records: Vec<RecordView>,
    /// Pass as `cursor` for the next page; absent on the last one.
    pub next_cursor: Option<String>,
}
