//! Jobs made from the state of another one, going back, and states that are kept.

use super::{DefinitionRefView, JobView};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `POST /v1/jobs/{job}/fork`: jobs that go on as this one is; what is not said is as of it. Answer: 201 with [`ForkedJobs`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ForkCall {
    /// So many, 1 to 1000; 1 where absent.
    pub count: Option<u32>,
    /// The name of the one; of several the beginning of `NAME-0`, `NAME-1` …
    pub name: Option<String>,
    /// What each gets from `GET /v1/self/params`: one for all, or one for each.
    pub params: Vec<serde_json::Value>,
    /// Added to those of the job.
    pub tags: BTreeMap<String, String>,
    /// Added to that of the job.
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// They are removed when they have ended.
    pub remove_on_exit: bool,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForkedJobs {
    /// As they were accepted, the first with index 0.
    pub jobs: Vec<JobView>,
}

/// `POST /v1/jobs/{job}/rollback`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RollbackCall {
    /// A checkpoint of the job, by its id or the beginning of it; the newest where absent.
    pub to: Option<String>,
}

/// `POST /v1/snapshots`: keeps the state of a job beyond its end. Answer: 201 with a [`SnapshotView`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SaveSnapshot {
    /// The job: an id, a name, or the beginning of an id.
    pub job: String,
    /// Unique among snapshots.
    #[serde(default)]
    pub name: Option<String>,
    /// What it is searched by.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// It stays until somebody insists on its removal.
    #[serde(default)]
    pub pinned: bool,
}

/// `PATCH /v1/snapshots/{snapshot}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangeSnapshot {
    /// Whether it stays until somebody insists on its removal.
    pub pinned: bool,
}

/// A kept state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SnapshotView {
    /// Its id, which is that of a checkpoint.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// `memory`: what is made from it goes on; `disk`: a program begins on its files.
    pub kind: String,
    /// The job it was taken of, which may be gone.
    pub job: Option<String>,
    /// The state that job had begun from.
    pub parent: Option<String>,
    /// What can bring it to life.
    pub driver: String,
    /// When it was taken.
    pub created_at: i64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of changed files.
    pub disk_bytes: u64,
    /// It stays until somebody insists on its removal.
    pub pinned: bool,
    /// What it is searched by.
    pub labels: BTreeMap<String, String>,
    /// Jobs of this definition begin from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_of: Option<DefinitionRefView>,
    /// What its job was asked for as; only of a single one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<serde_json::Value>,
}

/// `GET /v1/snapshots`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SnapshotPage {
    /// By their ids.
    pub snapshots: Vec<SnapshotView>,
    /// For the next page; absent at the end.
    pub next_cursor: Option<String>,
}
