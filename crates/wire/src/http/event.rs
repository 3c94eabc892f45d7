//! The journal as callers see it.

use serde::{Deserialize, Serialize};

/// An entry of the journal: `GET /v1/jobs/{id}/events`, `GET /v1/events` (JSON lines with `?follow=true`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventView {
    /// Grows by one over all jobs.
    pub seq: u64,
    /// Whose.
    pub job: String,
    /// When.
    pub at: i64,
    /// What happened: `submitted`, `started`, `exited` …
    pub event: String,
    /// State before; absent for the first.
    pub from: Option<String>,
    /// State after.
    pub to: String,
    /// Operation after.
    pub operation: Option<String>,
    /// The incarnation it is about.
    pub generation: u32,
    /// One line more, if there is more to say.
    pub detail: Option<String>,

    /// Who asked for it: `uid:0`, `token:ci`, `job:<id>`, `schedule:<name>`, or `node` where nobody did.
    #[serde(default)]
    pub by: Option<String>,
    /// What they asked it for, in their words: the header `dauer-why` of the request.
    #[serde(default)]
    pub why: Option<String>,
}
