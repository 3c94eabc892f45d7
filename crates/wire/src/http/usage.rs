//! What jobs have used, and describing them anew.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `GET /v1/usage`: sums of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageReport {
    /// What the rows stand for: `total`, `job`, `day`, `definition`, `queue`, `tag:KEY`.
    pub by: String,
    /// Only what lies after it.
    pub since: Option<i64>,
    /// Only what lies before it.
    pub until: Option<i64>,
    /// When it was asked: what still runs counts up to here.
    pub at: i64,
    /// In the order of their groups.
    pub rows: Vec<UsageRow>,
    /// All of them together.
    pub total: UsageRow,
}

/// What one group has used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageRow {
    /// A job's id, a day in UTC such as `2026-01-31`, a definition, a queue, a tag's value; absent where there is none.
    pub group: Option<String>,
    /// Hours in which sandboxes ran.
    pub run_hours: f64,
    /// CPUs that they were allotted × hours: the limit of each job, or 1 CPU where it has none.
    pub cpu_hours: f64,
    /// Hours of CPU time that they really used, as far as they have ended and it was counted.
    pub cpu_used_hours: f64,
    /// GiB of memory that they were allotted × hours: the limit of each job, or 0.5 GiB where it has none.
    pub memory_gib_hours: f64,
    /// GiB of disk that their checkpoints took × days.
    pub storage_gib_days: f64,
}

/// `PATCH /v1/jobs/{id}`: what is named is set, or removed where it is null; everything else stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct DescribeCall {
    /// What it can be found by.
    pub tags: BTreeMap<String, Option<String>>,
    /// Whatever else is to be kept with it.
    pub metadata: BTreeMap<String, Option<serde_json::Value>>,
}
