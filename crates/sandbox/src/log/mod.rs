//! The log of a sandbox over all its incarnations: frames as they travel to clients, appended by its shim, read by the daemon.
//!
//! ```text
//! | head: kind OUTPUT, id = offset of the log after this frame | time (i64 le, ms) | stream (u8) | bytes |
//! | head: kind MARKER, id = offset of the log after this frame | JSON of a Marker                          |
//! ```
//!
//! These are the frames of [`dauer_wire::http::stream_kind`], so the server sends bytes of the file as they are. The file only grows: a restore
//! appends a marker and repeats. A frame is there once its kind is not zero and the file is long enough; what is shorter is being written, or
//! was when a shim died, and the next shim cuts it off.

mod heads;
mod slice;
mod tail;
mod watch;
mod writer;

pub use slice::{Place, Slice, Slices};
pub use tail::{Tail, offset_at};
pub use writer::LogWriter;
pub(crate) use writer::waiting_in;

/// The longest payload of a frame in a log.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Bytes of time and stream number before the bytes of an output frame.
const PREFIX_BYTES: usize = 9;
