//! Sandboxes: drivers that make them, the shim that owns one, images, checkpoints. Knows no jobs' states, no
//! store and no HTTP.
//!
//! Two processes meet here. The **daemon** uses [`Node`] and [`Link`]: asynchronous, it launches a shim, talks
//! to it over `shim.sock`, adopts it again after its own death. The **shim** ([`shim::run`]) uses [`driver`]:
//! blocking threads, it owns one incarnation of one sandbox from the start to the end.
//!
//! ```text
//! daemon ── Node::launch ──► shim process ── Driver::start / Checkpointer::restore ──► sandbox
//!        ◄─ Link (events) ──     │ channel (frames over the agent's stdio)          └─ guest agent, pid 1
//!        ── Link (commands) ─►   └ log, handles.json, exit.json                           └─ the job
//! ```

pub mod chunks;
mod dial;
pub mod disk;
pub mod driver;
mod error;
mod files;
mod frames;
pub mod host;
pub mod image;
pub mod layout;
mod link;
pub mod log;
mod node;
pub mod protocol;
pub mod shim;
pub mod snapshot;
pub mod spec;
pub mod stream;
mod streams;
pub mod view;

/// Where the daemon, which takes more, says how many open files it was given; its shims go back to that.
pub const OPEN_FILES_VARIABLE: &str = "DAUER_OPEN_FILES";

pub use error::Error;
pub use layout::Layout;
pub use link::{Link, LinkEvent, LinkEvents};
pub use node::{Node, Observed, Stored};
pub use spec::{HOST_NAME, Origin, SandboxSpec};
pub use streams::{ExecInput, ExecOutput, ExecSession, StdinSink};
