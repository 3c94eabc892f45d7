//! The engine: one runner task for each live job, recovery, the resume poller, housekeeping. Knows no HTTP and no
//! names of back ends.
//!
//! Reading order: [`Engine`] (what callers ask), `runner` (the actor), `commit` (decide, commit, then act), `perform`
//! (effects), `recover` (start-up and drift), `poller` (waking what is due).

mod ask;
mod at_rest;
mod clock;
mod commit;
mod engine;
mod error;
mod files;
mod housekeeping;
mod input;
mod logs;
mod own;
mod perform;
mod poller;
mod reach;
mod recover;
mod runner;
mod runtime;
mod signals;
mod stream;
mod submit;
mod watchers;

pub use engine::{Config, Engine};
pub use error::Error;
pub use files::ByteStream;
pub use input::StdinSink;
pub use logs::{LogChunk, LogTail};
pub use runtime::{Caller, REQUEST_HEADER, RuntimeApi};
pub use signals::{WaitCall, Waited};
pub use stream::{JobStream, Position, StreamItem, StreamPart, Streamed};

// What the engine hands out of the crates below it, for callers that must not know those.
pub use dauer_sandbox::ExecSession;
pub use dauer_sandbox::disk::{ChangeKind, Changed};
pub use dauer_sandbox::log::Place;
pub use dauer_store::{Entry, Filter};
