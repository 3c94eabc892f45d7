//! Checkpoints that came from another machine.

use serde::{Deserialize, Serialize};

/// The answer to `POST /v1/snapshots:import`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImportedSnapshot {
    /// Its id here.
    pub id: String,
    /// Its name here, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `memory` or `disk`.
    pub kind: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of files.
    pub disk_bytes: u64,
}
