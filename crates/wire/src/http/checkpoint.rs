//! Checkpoints and changed files as callers see them.

use serde::{Deserialize, Serialize};

/// A committed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CheckpointView {
    /// Its id.
    pub id: String,
    /// The incarnation it was taken of.
    pub generation: u32,
    /// When.
    pub taken_at: i64,
    /// How long the sandbox stood still.
    pub frozen_ms: u64,
    /// Memory image.
    pub memory_bytes: u64,
    /// Changed files.
    pub disk_bytes: u64,
    /// Output after this offset of the log is produced again by a restore.
    pub log_offset: u64,
    /// The job's own token, if it asked.
    pub token: Option<String>,
    /// It is the one a restore would use.
    pub newest: bool,
}

/// A file that the job changed: `GET /v1/jobs/{id}/diff`, sorted by path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeView {
    /// `added`, `modified` or `deleted`.
    pub kind: String,
    /// Inside the sandbox.
    pub path: String,
}
