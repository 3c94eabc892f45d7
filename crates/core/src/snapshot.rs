//! A kept state: what forks, clones and cached steps begin from. Outlives the job that it was taken of.

use crate::kept::Json;
use crate::{CheckpointId, Image, JobId, Template, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What of a sandbox a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotKind {
    /// Memory and disk: what begins from it goes on in the middle of the program.
    #[default]
    Memory,
    /// Only the disk: what begins from it begins its program anew.
    Disk,
}

impl SnapshotKind {
    /// The serialized name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }
}

/// A kept state. Its folder is `snapshots/<id>`, as that of a checkpoint, and may be a checkpoint's of a job as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its id and folder.
    pub id: CheckpointId,
    /// Grows by one with each change; a writer that expected another one loses.
    #[serde(default)]
    pub version: u64,
    /// A unique name among snapshots.
    #[serde(default)]
    pub name: Option<String>,
    /// What it holds.
    pub kind: SnapshotKind,
    /// The job it was taken of, which may be gone.
    #[serde(default)]
    pub job: Option<JobId>,
    /// The kept state that job had begun from, which may be gone: it needs nothing of it.
    #[serde(default)]
    pub parent: Option<CheckpointId>,
    /// What made the sandbox, and can make one of it again.
    pub driver: String,
    /// The root below it.
    #[serde(default)]
    pub image: Image,
    /// The spec of that job, so that a fork after the job is gone still knows it.
    #[serde(default)]
    pub spec: Option<Json>,
    /// When it was taken.
    pub created_at: Timestamp,
    /// Bytes of memory.
    #[serde(default)]
    pub memory_bytes: u64,
    /// Bytes of files.
    #[serde(default)]
    pub disk_bytes: u64,
    /// Bytes of the blocks that it takes on disk.
    #[serde(default)]
    pub blocks_bytes: u64,
    /// It stays until somebody removes it by name.
    #[serde(default)]
    pub pinned: bool,
    /// The job of the run it belongs to: it goes when that has ended.
    #[serde(default)]
    pub ephemeral_of: Option<String>,
    /// What it is searched by.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Jobs of a definition begin from it; it goes with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
}

impl Snapshot {
    /// One that was just taken, of version 1; nothing else is known of it.
    #[must_use]
    pub fn new(
        id: CheckpointId,
        kind: SnapshotKind,
        driver: impl Into<String>,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            version: 1,
            name: None,
            kind,
            job: None,
            parent: None,
            driver: driver.into(),
            image: Image::default(),
            spec: None,
            created_at,
            memory_bytes: 0,
            disk_bytes: 0,
            blocks_bytes: 0,
            pinned: false,
            ephemeral_of: None,
            labels: BTreeMap::new(),
            template: None,
        }
    }
}
