//! Kinds of frames in the streams of the caller API, and what stands between the output.

use serde::{Deserialize, Serialize};

/// Kinds of [`crate::frame::Frame`] in the streams of the caller API. `id` is what the kind says.
pub mod stream_kind {
    /// Server → client in `logs?format=frames`: output. `id`: offset of the log after this frame. Payload: time (i64 le, ms),
    /// stream number (u8: 1 stdout, 2 stderr, 3 terminal), bytes.
    pub const OUTPUT: u8 = 1;
    /// Server → client: a `Marker` in JSON. `id`: offset of the log after it.
    pub const MARKER: u8 = 2;
    /// Server → client: the last frame of a followed log, a `JobView` in JSON. `id`: end of the log.
    pub const END: u8 = 3;
    /// Server → client, every 15 s without output, empty: the connection lives.
    pub const KEEPALIVE: u8 = 4;
}

/// Kinds of frames after the upgrade of `exec`.
pub mod exec_kind {
    /// Client → server: input; empty: end of file.
    pub const INPUT: u8 = 1;
    /// Client → server: `ResizeCall` in JSON.
    pub const RESIZE: u8 = 2;
    /// Client → server: a signal number in JSON.
    pub const SIGNAL: u8 = 3;
    /// Server → client: output; `id` is the stream number.
    pub const OUTPUT: u8 = 4;
    /// Server → client: `{"code":…,"signal":…}`, the last frame.
    pub const EXITED: u8 = 5;
    /// Server → client: `{"code":127,"message":…}`, the last frame: it could not be started.
    pub const FAILED: u8 = 6;
}

/// A server-sent event as its reader has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServerEvent {
    /// Sent back as `last-event-id`, it goes on right behind this event.
    pub id: String,
    /// What it is: `stdout`, `stderr`, `event`, `marker`, `end`.
    pub event: String,
    /// JSON; of `end` a word in brackets.
    pub data: String,
}

/// Data of the events `stdout` and `stderr` of `GET /v1/jobs/{id}/stream`: a piece of output, in exactly one of two forms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OutputEvent {
    /// When it was written.
    pub at: i64,
    /// The bytes, where they are UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes in base64 with padding, where they are not, or where that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// A place in the log where output may repeat or was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Marker {
    /// The job was restored from a checkpoint after its sandbox was lost: output after `log_offset` may follow again.
    Restored {
        /// From this checkpoint.
        checkpoint: String,
        /// The new incarnation.
        generation: u32,
        /// Where in the log that checkpoint was taken.
        log_offset: u64,
    },
    /// The job goes on as another one was.
    Forked {
        /// That one.
        job: String,
        /// From this checkpoint.
        checkpoint: String,
        /// The new incarnation.
        generation: u32,
    },
    /// The job was suspended and goes on.
    Woken {
        /// The new incarnation.
        generation: u32,
    },
}
