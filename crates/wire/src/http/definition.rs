//! Definitions: named, versioned templates of jobs.

use super::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `POST /v1/definitions`. Answer: 201 with a [`DefinitionView`]; the same again changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateDefinition {
    /// Up to 63 letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// In the form of semver.org: `1.2.0`.
    pub version: String,
    /// The driver of its jobs: `auto`, `gvisor`, `runc`, `crun`, `native`, `podman`.
    #[serde(default = "auto")]
    pub runtime_type: String,
    /// The fields of a job as in `CreateJob`; at least `argv`.
    pub config: serde_json::Value,
    /// What follows a failed attempt of its jobs.
    #[serde(default)]
    pub retry_policy: Option<RetryView>,
    /// Goes into its jobs' metadata.
    #[serde(default)]
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// Its first run is frozen when it says that it is ready, and later jobs begin there.
    #[serde(default)]
    pub warm: Option<WarmView>,
}

/// How jobs of a definition begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WarmView {
    /// `ready`: when the program says so with `POST /v1/self/ready`.
    pub snapshot_after: String,
    /// So many sandboxes are kept restored and waiting for a job; none where absent.
    #[serde(default)]
    pub pool: u32,
}

/// The state that jobs of a definition begin from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TemplateView {
    /// The definition.
    pub definition: DefinitionRefView,
    /// The snapshot that it is.
    pub snapshot: String,
    /// The job that it was taken of, which may be gone.
    pub job: Option<String>,
    /// What can bring it to life.
    pub driver: String,
    /// When it was taken.
    pub created_at: i64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of changed files.
    pub disk_bytes: u64,
    /// So many sandboxes are to wait for a job.
    pub pool: u32,
    /// So many do.
    pub waiting: usize,
}

/// `GET /v1/templates`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Templates {
    /// Those of this node.
    pub templates: Vec<TemplateView>,
}

fn auto() -> String {
    "auto".to_owned()
}

/// `GET /v1/definitions/{name}/{version}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DefinitionView {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The driver of its jobs.
    pub runtime_type: String,
    /// The fields of its jobs, as registered.
    pub config: serde_json::Value,
    /// What follows a failed attempt of its jobs.
    pub retry_policy: RetryView,
    /// Goes into its jobs' metadata.
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// How its jobs begin; with their program where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<WarmView>,
    /// What they begin from, where there is something yet; only of a single one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateView>,
    /// When it was registered.
    pub created_at: i64,
}

/// `GET /v1/definitions`: by name, then by version, the highest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DefinitionPage {
    /// At most as many as asked for.
    pub definitions: Vec<DefinitionView>,
    /// Pass as `cursor` for the next page; absent on the last one.
    pub next_cursor: Option<String>,
}

/// What a job was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DefinitionRefView {
    /// The definition's name.
    pub name: String,
    /// The version, never `latest`.
    pub version: String,
}

/// When a failed attempt is followed by another one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RetryView {
    /// At most so many attempts after the first; 0 where absent.
    pub max_retries: u32,
    /// Before the first of them; one second where absent.
    #[serde(alias = "retry_delay_ms", skip_serializing_if = "Option::is_none")]
    pub retry_delay: Option<Span>,
    /// Each further delay is longer by this factor, from 1 to 100; 2 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// No delay is longer; an hour where absent.
    #[serde(alias = "max_delay_ms", skip_serializing_if = "Option::is_none")]
    pub max_delay: Option<Span>,
    /// `none` (default), or `full`: a delay is any from none to the computed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<String>,
    /// Which failures are followed by another attempt; all that it may help where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<RetryOnView>,
    /// Where it begins: at the `start` of the program (default), or in its newest `checkpoint`, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// Failures that are followed by another attempt: those with one of these reasons, and those with one of these exit codes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RetryOnView {
    /// `exit_code`, `signal`, `timeout`, `out_of_memory`, `start_failed`, `lost`; with `from: checkpoint` also `restore_failed`.
    pub reasons: Vec<String>,
    /// From 1 to 255.
    pub exit_codes: Vec<i32>,
}
