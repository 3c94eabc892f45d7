//! What a caller asks for: an immutable description of a job, complete once it is accepted.

use crate::plan::retention::KeepCheckpoints;
use crate::{
    After, CheckpointId, DEFAULT_QUEUE, DefinitionRef, Fork, JobId, RetryPolicy, Timestamp, Unique,
    WarmStart,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The driver of jobs that are functions of the program which the engine is part of. `argv` names the function.
pub const INLINE: &str = "inline";

/// A job as asked for. Paths are absolute, the driver is resolved (never `auto`), durations in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// A unique name among the jobs that are kept.
    pub name: Option<String>,
    /// The program and its arguments; at least one element.
    #[serde(default)]
    pub argv: Vec<String>,
    /// The environment the job gets beside the image's defaults. `DAUER_*` names cannot be set here.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where the program starts, inside the sandbox.
    pub workdir: Option<String>,
    /// `gvisor`, `runc`, `crun` or `native`; or [`INLINE`].
    pub driver: String,
    /// The read-only root.
    #[serde(default)]
    pub image: Image,
    /// Host paths made visible inside.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// A folder of the host that is copied into the working directory before the program starts.
    pub inject: Option<String>,
    /// Thousandths of a CPU.
    pub cpu_millis: Option<u32>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// How long an attempt may run, counted while it runs.
    pub timeout_ms: Option<u64>,
    /// What it can reach beside the runtime API.
    #[serde(default)]
    pub network: Network,
    /// Ports of the host forwarded to it; only with [`Network::Nat`].
    #[serde(default)]
    pub publish: Vec<Publish>,
    /// `uid[:gid]` or a user name of the image; the image's root where absent.
    pub user: Option<String>,
    /// It gets a terminal.
    #[serde(default)]
    pub tty: bool,
    /// Its standard input is kept open for a client; otherwise it reads end of file.
    #[serde(default)]
    pub stdin: bool,
    /// The record and everything on disk are removed when it ends.
    #[serde(default)]
    pub remove_on_exit: bool,
    /// From TERM to KILL when it is stopped.
    #[serde(default)]
    pub stop_grace_ms: u64,
    /// What it was made from.
    #[serde(default)]
    pub definition: Option<DefinitionRef>,
    /// What the job asks for with `GET /v1/self/params`. Lists of jobs leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<serde_json::Value>,
    /// Whatever the caller wants to find with the job.
    #[serde(default)]
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// What jobs are searched by.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Which of the jobs that wait begins first.
    #[serde(default)]
    pub priority: Priority,
    /// What follows a failed attempt.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// It does not begin before.
    #[serde(default)]
    pub run_at: Option<Timestamp>,

    /// The schedule that fired it.
    #[serde(default)]
    pub schedule: Option<String>,
    /// The moment of that schedule it was made for.
    #[serde(default)]
    pub scheduled_at: Option<Timestamp>,
    /// How long it may take from when its first attempt begins until it has ended, over all attempts and the waits between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_timeout_ms: Option<u64>,
    /// How long it may wait for its turn, each time it is due to begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_timeout_ms: Option<u64>,
    /// The timeouts of the attempt and of the job go on while it is suspended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timeouts_while_suspended: bool,
    /// The job that this one belongs to: it is cancelled with that one when somebody asks for both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<JobId>,

    /// The queue it waits in; [`DEFAULT_QUEUE`] where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Jobs of a queue with the same key share the limits that it has for a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// Which other job stands for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<Unique>,
    /// What has to end before it begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<After>,
    /// Which jobs it was handed over with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// Its files become this snapshot when it exits with 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_disk: Option<CheckpointId>,

    /// The kept state that each of its attempts begins from; the start of its program where absent. Its folder stays as long as
    /// the job is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<CheckpointId>,
    /// Only the files of that state are below it: its program begins anew on them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_disk: bool,
    /// Which of several copies it is, where it goes on as another job was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<Fork>,
    /// Which of its checkpoints are kept; absent: only the one it would go on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_checkpoints: Option<KeepCheckpoints>,
    /// How it begins, where its definition says that its jobs begin warm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<WarmStart>,
}

impl JobSpec {
    /// The queue it waits in.
    #[must_use]
    pub fn queue(&self) -> &str {
        self.queue.as_deref().unwrap_or(DEFAULT_QUEUE)
    }
}

/// Which of the jobs that wait begins first. Ordered from the least urgent.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// When nothing else waits.
    Low,
    /// In its turn.
    #[default]
    Normal,
    /// Before those.
    High,
    /// Before everything.
    Critical,
}

impl Priority {
    /// Each, the least urgent first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    /// The serialized name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The priority of this serialized name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|priority| priority.name() == name)
    }
}

/// A read-only root file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "path", rename_all = "snake_case")]
pub enum Image {
    /// This machine's own root.
    #[default]
    Host,
    /// A folder, used in place.
    Directory(String),
    /// A tar file (plain, gzip or zstd), unpacked once by digest.
    Tar(String),
    /// An image of this node's own, pulled or imported.
    Oci {
        /// As it was asked for: a name, or the beginning of a digest.
        reference: String,
        /// Of its manifest, `sha256:…`. Empty until the job is accepted: then the image's defaults are part of the job.
        #[serde(default)]
        digest: String,
        /// What is put before the command in the place of what the image says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entrypoint: Option<Vec<String>>,
    },
}

/// A bind mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// An existing absolute path of the host.
    pub source: String,
    /// An absolute path inside.
    pub target: String,
    /// Mounted read-only.
    pub read_only: bool,
}

/// What a sandbox can reach beside the runtime API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Only its own loopback.
    #[default]
    None,
    /// Outbound through address translation; inbound through [`Publish`].
    Nat,
    /// The host's own network. Cannot be frozen.
    Host,
}

/// A TCP port of the host forwarded to one of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// Port on the host (all addresses).
    pub host_port: u16,
    /// Port inside.
    pub guest_port: u16,
}

/// A spec for tests of this crate.
#[cfg(test)]
pub(crate) fn sample() -> JobSpec {
    serde_json::from_value(serde_json::json!({
        "name": null, "argv": ["true"], "env": {}, "workdir": null, "driver": "runc", "image": {"kind": "host"},
        "mounts": [], "inject": null, "cpu_millis": null, "memory_bytes": null, "timeout_ms": null, "network": "none",
        "publish": [], "user": null, "tty": false, "stdin": false, "remove_on_exit": false, "stop_grace_ms": 10
    }))
    .expect("a record of the first version is read")
}
