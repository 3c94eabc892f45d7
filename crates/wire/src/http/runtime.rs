//! Bodies of the runtime API: what a job asks about itself.

use super::{DefinitionRefView, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `GET /v1/self` of the runtime API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SelfView {
    /// The job's id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Its state.
    pub state: String,
    /// Tries so far.
    pub attempt: u32,
    /// Incarnations so far: grows with each thaw and restore.
    pub generation: u32,
    /// The newest checkpoint.
    pub checkpoint: Option<String>,
    /// How often it was tried again from its start.
    #[serde(default)]
    pub retries: u32,
    /// What it was made from.
    #[serde(default)]
    pub definition: Option<DefinitionRefView>,
    /// Which of several copies it is, where it was forked.
    #[serde(default)]
    pub fork: Option<ForkView>,
    /// Locks it holds.
    #[serde(default)]
    pub locks: usize,
    /// It began where the first run of its definition was ready.
    #[serde(default)]
    pub warm: bool,
    /// What it adds to the environment of its definition. A program of a definition that begins warm finds this here and not in its
    /// environment: it may have begun before there was this job.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// `POST /v1/self/ready`: answered when it is no longer `pending`, or after 20 s; then it is asked again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReadyStatus {
    /// `pending`; `taken` (later jobs of the definition begin here), `restored` (this is one of those), `cold` (nothing was kept).
    pub status: String,
    /// Why it is `cold`.
    #[serde(default)]
    pub message: Option<String>,
    /// The present incarnation.
    #[serde(default)]
    pub generation: u32,
}

/// Which of several copies of another job one is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForkView {
    /// From 0.
    pub index: u32,
    /// So many were made together.
    pub of: u32,
    /// The job whose state they went on from.
    pub source: String,
}

/// `GET /v1/self/metadata`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SelfMetadata {
    /// The job's id.
    pub job_id: String,
    /// What it was made from.
    pub definition_name: Option<String>,
    /// Which version of it.
    pub definition_version: Option<String>,
    /// How often it was tried again from its start.
    pub retry_count: u32,
    /// When the newest checkpoint was taken.
    pub last_checkpoint_at_ms: Option<i64>,
    /// What its caller noted.
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// What it is searched by.
    pub tags: BTreeMap<String, String>,
}

/// `POST /v1/self/locks`: 201 with a [`LockView`]. While a lock is held no checkpoint is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct SelfLock {
    /// Given back by itself after so long.
    pub ttl: Option<Span>,
    /// The idempotency key: repeated with the same one, it is the same lock; generated where absent.
    pub token: Option<String>,
}

/// A lock that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LockView {
    /// For `DELETE /v1/self/locks/{lock_id}`.
    pub lock_id: String,
}

/// How far a job says it is: `POST /v1/self/progress`, and part of a job's view.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct ProgressView {
    /// So much of it is done …
    pub done: f64,
    /// … of so much.
    pub total: Option<f64>,
    /// A line for people.
    pub message: Option<String>,
    /// When it said so; set by the daemon.
    pub at: Option<i64>,
}

/// `POST /v1/self/checkpoint`: 202 with a [`CheckpointStatus`] at once. `POST /jobs/{id}/checkpoint`: the same body (with
/// `suspend_duration` for `suspend`), answered when done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct SelfCheckpoint {
    /// The idempotency key; generated where absent.
    pub token: Option<String>,
    /// Sleep so long at no cost after the checkpoint.
    #[serde(alias = "suspend_duration")]
    pub suspend: Option<Span>,
    /// Sleep at no cost after the checkpoint until a signal of this name comes, or `suspend` is over.
    pub wait_signal: Option<String>,
}

/// `GET /v1/self/checkpoint/{token}`: long poll, answers when the status is no longer `pending`, or after 20 s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckpointStatus {
    /// The key.
    pub token: String,
    /// `pending`, `taken` (this incarnation asked), `restored` (this incarnation came out of it), `failed`.
    pub status: String,
    /// The checkpoint.
    pub checkpoint: Option<String>,
    /// Why it failed.
    pub message: Option<String>,
    /// The present incarnation.
    pub generation: u32,
}
