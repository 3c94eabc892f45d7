//! What a caller asks of a job that there is.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `POST /v1/jobs/{id}/checkpoint` and `/suspend` of the caller API. Answer: 200 with a `CheckpointView` once it is committed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointCall {
    /// Suspend: wake after so long. Absent: until resumed.
    pub for_ms: Option<u64>,
}

/// `POST /v1/jobs/{id}/stop`. Answer: 200 with a `JobView` once it has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct StopCall {
    /// From TERM to KILL; the job's own where absent.
    pub grace_ms: Option<u64>,
}

/// `POST /v1/jobs/{id}/cancel`. Answer: 200 with a `JobView` once it has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CancelCall {
    /// From TERM to KILL; the job's own where absent.
    pub grace_ms: Option<u64>,
    /// And all jobs below it: its children, and theirs. Then the answer comes once all have ended.
    pub children: bool,
}

/// `POST /v1/jobs/{id}/kill`. Answer: 200 with a `JobView`. SIGKILL ends the job, any other signal is only delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KillCall {
    /// Linux number; 9 where absent.
    #[serde(default = "sigkill")]
    pub signal: i32,
}

fn sigkill() -> i32 {
    9
}

/// `POST /v1/jobs/{id}/resize`: the terminal of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResizeCall {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// `POST /v1/jobs/{id}/exec`, upgraded to the frames of `exec_kind`. The JSON goes in the body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ExecCall {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment beside the job's.
    pub env: BTreeMap<String, String>,
    /// Where it starts; the job's where absent.
    pub workdir: Option<String>,
    /// Who it runs as; the job's where absent.
    pub user: Option<String>,
    /// A terminal of this size: rows, columns.
    pub tty: Option<(u16, u16)>,
    /// Input follows.
    pub stdin: bool,
}
