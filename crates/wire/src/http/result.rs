//! What a job leaves: bodies of both APIs.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// `POST /v1/self/exit` of the runtime API: the job is done. Answer: 204; then the program is ended. Asked again, also by a restored
/// copy: 204 again, and the first one counts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SelfExit {
    /// As of a program.
    pub exit_code: i32,
    /// Any JSON, kept as the result; at most 1 MiB.
    pub output: Option<Box<RawValue>>,
}

/// `GET /v1/jobs/{id}/result`; with `?wait=true` answered when the job has ended, or after 20 s.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResultView {
    /// Its id.
    pub job_id: String,
    /// Where it is: the rest is there once it ended.
    pub state: String,
    /// What `dauer wait` exits with.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why it failed.
    pub reason: Option<String>,
    /// One line about how it ended.
    pub message: Option<String>,
    /// What it left with `POST /v1/self/exit`, byte for byte; null where it left nothing.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub output: Option<Box<RawValue>>,
}
