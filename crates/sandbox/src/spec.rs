//! What a shim is told: one incarnation of one sandbox, complete, as `spec.json`.

use crate::Layout;
use dauer_core::{CheckpointId, Image, Mount, Network, Publish, SandboxId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One incarnation of a sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Its id.
    pub id: SandboxId,
    /// The incarnation, from 1.
    pub generation: u32,
    /// Fresh or out of a checkpoint.
    pub origin: Origin,
    /// For `DAUER_JOB_ID`. Empty: it is restored and waits for a job, see [`crate::Link::assign`].
    pub job: String,
    /// What its programs are told is the host's name.
    #[serde(default = "unnamed")]
    pub host_name: String,
    /// Who makes it.
    pub driver: String,
    /// The read-only root.
    pub image: Image,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// Where it starts.
    pub workdir: Option<String>,
    /// Who it runs as.
    pub user: Option<String>,
    /// It gets a terminal.
    pub tty: bool,
    /// Its input follows.
    pub stdin: bool,
    /// Bind mounts.
    pub mounts: Vec<Mount>,
    /// Copied into the working directory of a fresh sandbox.
    pub inject: Option<String>,
    /// Thousandths of a CPU.
    pub cpu_millis: Option<u32>,
    /// Bytes.
    pub memory_bytes: Option<u64>,
    /// What it reaches.
    pub network: Network,
    /// Forwarded ports.
    pub publish: Vec<Publish>,
    /// Its files become this snapshot when the program exits with 0.
    #[serde(default)]
    pub keep_disk: Option<CheckpointId>,
    /// Where things lie.
    pub layout: Layout,
    /// The guest agent on the host.
    pub guest_binary: PathBuf,
}

impl SandboxSpec {
    /// It is restored before there is a job for it.
    #[must_use]
    pub fn waits_for_a_job(&self) -> bool {
        self.job.is_empty()
    }
}

/// The name of a sandbox that has none of its own.
pub const HOST_NAME: &str = "dauer";

/// As in the specs of the first builds.
fn unnamed() -> String {
    HOST_NAME.to_owned()
}

/// What an incarnation begins from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// The image and nothing else.
    Fresh,
    /// A published checkpoint.
    Checkpoint {
        /// Which.
        checkpoint: CheckpointId,
        /// It goes on after a loss, so its output may repeat and the log gets a mark.
        after_loss: bool,
    },
    /// The files of a published checkpoint, and a program that begins anew on them.
    Files {
        /// Which.
        checkpoint: CheckpointId,
    },
}

impl Origin {
    /// The checkpoint whose files it begins with.
    #[must_use]
    pub fn checkpoint(&self) -> Option<&CheckpointId> {
        match self {
            Self::Fresh => None,
            Self::Checkpoint { checkpoint, .. } | Self::Files { checkpoint } => Some(checkpoint),
        }
    }
}
