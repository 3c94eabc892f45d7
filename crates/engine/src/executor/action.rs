//! What a step is, and what comes of it.

use async_trait::async_trait;
use bytes::Bytes;
use dauer_core::{CheckpointId, Image, Mount, Network};
use dauer_wire::guest::Stream;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A program that is to run in a sandbox of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Action {
    /// What it begins from.
    pub source: Source,
    /// The program and its arguments.
    pub cmd: Vec<String>,
    /// Its environment beside the image's.
    pub env: BTreeMap<String, String>,
    /// Where it starts, inside; absolute.
    pub working_dir: Option<String>,
    /// How long it may run.
    pub timeout: Option<Duration>,
    /// A folder of the host whose content is put into the working directory before; what its `.gitignore` names is left out.
    pub inject: Option<PathBuf>,
    /// The rest of the sandbox.
    pub around: Surroundings,
}

/// What a step begins from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A read-only root.
    Image(Image),
    /// What another step left.
    Snapshot(CheckpointId),
}

impl Default for Source {
    fn default() -> Self {
        Self::Image(Image::default())
    }
}

/// What is around the program of a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surroundings {
    /// What makes the sandbox; the best there is where absent.
    pub driver: Option<String>,
    /// `uid[:gid]` or a name.
    pub user: Option<String>,
    /// What it reaches.
    pub network: Network,
    /// Paths of the host made visible inside.
    pub mounts: Vec<Mount>,
    /// Thousandths of a CPU.
    pub cpu_millis: Option<u32>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
}

/// What is to become of a step's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// They are there as long as the run.
    #[default]
    None,
    /// They are kept under this key, and a step of the same key is not run again.
    Cache {
        /// Chosen by the caller: it says all that the result depends on.
        key: String,
    },
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// As a shell has it.
    pub exit_code: i32,
    /// Its files, where it ended with 0.
    pub snapshot: Option<CheckpointId>,
    /// It was not run: its files are those of an earlier step of this key.
    pub cached: bool,
    /// The key has them now; false too where the cache had no room.
    pub kept: bool,
}

/// How the program of a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this code, or 128 + signal.
    Code(i32),
    /// It took longer than its timeout.
    TimedOut,
}

/// Hears what a step writes, while it does.
#[async_trait]
pub trait Sink: Send {
    /// The next piece. The program waits once this has not returned for a while.
    async fn output(&mut self, stream: Stream, bytes: Bytes);
}

/// For those who do not care.
#[async_trait]
impl Sink for () {
    async fn output(&mut self, _: Stream, _: Bytes) {}
}
