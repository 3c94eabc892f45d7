//! Queues, batches, and what jobs say of each other.

use super::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Another job of the same key stands for this one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UniqueView {
    /// Chosen by the caller.
    pub key: String,
    /// In which states another job counts; all that have not ended where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<String>,
    /// `existing` (default): it is answered with that job. `refuse`: it is refused with `not_unique`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_conflict: Option<String>,
}

/// A job that has to end before this one begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AfterView {
    /// Its id, its name, or a beginning of its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Instead: its place in the same request, from 0; one before this job's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// `completed` (default): where it ends otherwise, this one fails as `dependency_failed`. `ended`: in whatever way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// So many in any span of so long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RateView {
    /// From 1 to 10,000.
    pub count: u32,
    /// Such as `1m`, or milliseconds.
    #[serde(alias = "per_ms")]
    pub per: Span,
}

/// `PUT /v1/queues/{name}`: all that the queue holds back; what is not said is without a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SetQueue {
    /// So many of its jobs have a sandbox at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// So many of its jobs begin, or are tried again, in any span of so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateView>,
    /// As `max_running`, of the jobs that share a concurrency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_max_running: Option<u32>,
    /// As `rate`, of the jobs that share a concurrency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_rate: Option<RateView>,
    /// None of its jobs begins or is tried again. Those that began go on, and wake.
    pub paused: bool,
    /// A job that sleeps keeps its place.
    pub hold_while_suspended: bool,
}

/// A queue as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueueView {
    /// Its name.
    pub name: String,
    /// What it holds back, as `PUT` takes it.
    pub settings: SetQueue,
    /// Its jobs that have a place.
    pub running: u64,
    /// Its jobs that are due and wait for their turn.
    pub waiting: u64,
    /// Its jobs whose time has not come.
    pub later: u64,
}

/// `GET /v1/queues`: those with settings or with jobs that wait or run, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QueueList {
    /// The queues.
    pub queues: Vec<QueueView>,
    /// Why nothing begins in any queue, where that is so: until `POST /v1/queues:resume`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_paused: Option<String>,
}

/// `GET /v1/batches/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchView {
    /// Its handle.
    pub batch_id: String,
    /// How many jobs it has.
    pub total: u64,
    /// How many of them have ended.
    pub ended: u64,
    /// How many are in each state that some are in.
    pub states: BTreeMap<String, u64>,
}
