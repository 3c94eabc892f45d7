//! Errors of both APIs.

use serde::{Deserialize, Serialize};

/// An error of either API: RFC 9457 `application/problem+json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Problem {
    /// The page about this kind of error.
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub page: String,
    /// The kind in a few words; always the same for a code.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// For programs, and stable: `not_found`, `name_in_use`, `invalid`, `conflict` … docs/errors has a page for each.
    pub code: String,
    /// For people: what failed, and what to do.
    pub detail: String,
    /// The path of the field that is wrong, such as `config.mounts[0].source`, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The id of the request, as in the header `x-request-id` and in the daemon's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
}
