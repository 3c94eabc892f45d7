//! A checkpoint as one stream of bytes: written to a pipe or a file, read on this machine or another.
//!
//! ```text
//! "dauer snapshot\n"  u32 length of the head  head (JSON: format, manifest, agent)  BLAKE3 of all of it
//! one zstd stream:    u32 length  record (MessagePack)  its bytes, for `Data` and `Agent` …  the last one is `End`
//! BLAKE3 of every byte before it
//! ```
//!
//! The head is not compressed, so that whoever cannot run it knows before the first page has come.

mod entry;
mod export;
mod import;
#[cfg(test)]
mod tests;

pub use export::export;
pub use import::{Head, head, import};

use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 15] = b"dauer snapshot\n";

/// The version of the stream that this program writes and reads.
pub const STREAM_VERSION: u32 = 1;

/// A head or a record that says it is longer was not made by us. A manifest names each file.
const LENGTH_MAX: u32 = 256 << 20;

/// Bytes of a file travel in portions of so many at most.
const DATA_BYTES_MAX: u32 = 1 << 20;

/// No agent is larger.
const AGENT_BYTES_MAX: u64 = 64 << 20;

/// What of a stream is not the content of a file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Record {
    /// Something with a name. Parents come before what is in them.
    Entry(entry::Entry),
    /// So many bytes of the file named last follow; they belong at this offset. What no portion covers is a hole.
    Data { offset: u64, bytes: u32 },
    /// The program that is pid 1 in there follows: a frozen agent's code is not in its memory image.
    Agent { digest: String, bytes: u64 },
    /// There is no more.
    End,
}
