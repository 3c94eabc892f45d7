//! Signals to a job: bodies of both APIs.

use super::Span;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// `POST /v1/jobs/{id}/signal`: a named message to a job that has not ended. Answer: 202 with a [`SignalSent`] once it is on disk.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SignalCall {
    /// What the job waits for; 1 to 256 characters.
    pub name: String,
    /// Any JSON, at most 1 MiB; null where absent.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub payload: Option<Box<RawValue>>,
    /// The sender's key: a signal with a key that was sent before is that signal, and is not sent again.
    pub token: Option<String>,
}

/// A signal that was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignalSent {
    /// Unique within the job.
    pub signal_id: String,
}

/// `POST /v1/self/signals/wait` of the runtime API: long poll, answered with a [`SignalWaited`] within 20 s.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SignalWait {
    /// Of the signal.
    pub name: String,
    /// No signal is waited for after so long, counted from the first request with the token.
    pub timeout: Option<Span>,
    /// The idempotency key: repeated with the same one, also by a restored copy, the same signal comes; generated where absent.
    pub token: Option<String>,
    /// Sleep at no cost until it comes.
    pub suspend: bool,
}

/// What came of a wait.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignalWaited {
    /// `signalled`, `timeout`, or `pending`: ask again with the same token.
    pub status: String,
    /// The wait's key.
    pub token: String,
    /// Of the signal that came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal_id: Option<String>,
}
