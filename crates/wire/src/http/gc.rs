//! Removing what nothing refers to.

use serde::{Deserialize, Serialize};

/// `POST /v1/gc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct GcCall {
    /// Only say what would be removed.
    pub dry_run: bool,
}

/// Something that is not needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnneededView {
    /// `snapshot`: a checkpoint to which no record points. `partial`: one whose writer died. `sandbox`: files of a sandbox without a job.
    /// `pack`: pages of checkpoints that are gone. `pack_room`: such pages among others.
    pub kind: String,
    /// Its id; empty for room among others.
    pub id: String,
    /// What it takes on disk.
    pub bytes: u64,
}

/// The answer to `POST /v1/gc`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GcReport {
    /// Nothing was removed.
    pub dry_run: bool,
    /// What was removed, or would be.
    pub unneeded: Vec<UnneededView>,
    /// Of all together.
    pub bytes: u64,
}
