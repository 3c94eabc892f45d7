//! Bodies of the runtime API: what a job asks about itself.

use serde::{Deserialize, Serialize};

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
}

/// `POST /v1/self/checkpoint`: 202 with a [`CheckpointStatus`] at once. `POST /jobs/{id}/checkpoint`: the same body (with
/// `suspend_duration` for `suspend`), answered when done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct SelfCheckpoint {
    /// The idempotency key; generated where absent.
    pub token: Option<String>,
    /// Sleep so long at no cost after the checkpoint, as `4s` or `3d`.
    #[serde(alias = "suspend_duration")]
    pub suspend: Option<String>,
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
