//! Errors of both APIs.

use serde::{Deserialize, Serialize};

/// An error of either API: RFC 9457 `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// For programs: `not_found`, `name_in_use`, `invalid`, `conflict`, `unsupported`, `no_space`, `internal` …
    pub code: String,
    /// For people: what failed, and what to do.
    pub detail: String,
}
