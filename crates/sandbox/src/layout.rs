//! Where everything of a node lies on disk. The only place that joins these paths.

use dauer_core::{CheckpointId, SandboxId};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The two folders of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// `$DATA`: what must survive.
    pub data: PathBuf,
    /// `$RUN`: sockets; gone after a boot.
    pub run: PathBuf,
}

impl Layout {
    /// The SQLite store.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data.join("dauer.db")
    }

    /// Held by the one daemon of this data folder.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.data.join("dauer.lock")
    }

    /// The caller API.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run.join("dauer.sock")
    }

    /// Locked by one of those that are restored at the same time.
    #[must_use]
    pub fn restore_turn(&self, place: u32) -> PathBuf {
        self.run.join(format!("restore.{place}"))
    }

    /// Images and their layers.
    #[must_use]
    pub fn images(&self) -> ImagesDir {
        ImagesDir {
            path: self.data.join("images"),
        }
    }

    /// All checkpoints, `snapshots/<id>/`.
    #[must_use]
    pub fn snapshots(&self) -> PathBuf {
        self.data.join("snapshots")
    }

    /// One checkpoint, published by rename.
    #[must_use]
    pub fn snapshot(&self, id: &CheckpointId) -> PathBuf {
        self.snapshots().join(id.as_str())
    }

    /// Where a checkpoint is written before it is published.
    #[must_use]
    pub fn partial_snapshot(&self, id: &CheckpointId) -> PathBuf {
        self.snapshots().join(format!(".partial-{id}"))
    }

    /// Copies of folders that are put into sandboxes of steps, `steps/<process>/<step>/`.
    #[must_use]
    pub fn steps(&self) -> PathBuf {
        self.data.join("steps")
    }

    /// All sandboxes.
    #[must_use]
    pub fn sandboxes(&self) -> PathBuf {
        self.data.join("sandboxes")
    }

    /// One sandbox.
    #[must_use]
    pub fn sandbox(&self, id: &SandboxId) -> SandboxDir {
        SandboxDir {
            path: self.sandboxes().join(id.as_str()),
        }
    }
}

/// The folder of all images. What is in it was published by rename: it is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagesDir {
    /// `images`.
    pub path: PathBuf,
}

impl ImagesDir {
    /// Unpacked layers, by the digest of their tar.
    #[must_use]
    pub fn layers(&self) -> PathBuf {
        self.path.join("layers")
    }

    /// Manifests and configurations as they came, by digest.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.path.join("blobs")
    }

    /// What there is to know of each image, by the digest of its manifest.
    #[must_use]
    pub fn records(&self) -> PathBuf {
        self.path.join("records")
    }

    /// Which image a name stands for, by the digest of the name.
    #[must_use]
    pub fn names(&self) -> PathBuf {
        self.path.join("names")
    }

    /// Images as one file for virtual machines, by the digest of the manifest.
    #[must_use]
    pub fn disks(&self) -> PathBuf {
        self.path.join("disks")
    }

    /// What a registry sent so far, by digest: a pull goes on there.
    #[must_use]
    pub fn partial(&self) -> PathBuf {
        self.path.join("partial")
    }

    /// What is being made; of nobody after a start.
    #[must_use]
    pub fn staging(&self) -> PathBuf {
        self.path.join("staging")
    }
}

/// The folder of one sandbox. Files that belong to one incarnation carry its generation in their name, so
/// that a late writer of an earlier one cannot be mistaken for the present one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxDir {
    /// `sandboxes/<id>`.
    pub path: PathBuf,
}

impl SandboxDir {
    fn of(&self, name: &str, generation: u32) -> PathBuf {
        self.path.join(format!("{name}.{generation}"))
    }

    /// What the shim is to run, written before it is launched.
    #[must_use]
    pub fn spec(&self, generation: u32) -> PathBuf {
        self.of("spec.json", generation)
    }

    /// What is true while the sandbox lives; written whole by rename. Only a hint: everything works without it.
    #[must_use]
    pub fn handles(&self, generation: u32) -> PathBuf {
        self.of("handles.json", generation)
    }

    /// How it ended; written once, fsynced.
    #[must_use]
    pub fn exit(&self, generation: u32) -> PathBuf {
        self.of("exit.json", generation)
    }

    /// The shim's socket. (Connect through `/proc/self/fd` of the folder: the path may exceed 108 bytes.)
    #[must_use]
    pub fn socket(&self, generation: u32) -> PathBuf {
        self.of("shim.sock", generation)
    }

    /// What the shim and the runtime's tools had to say, for `dauer inspect` after a failure.
    #[must_use]
    pub fn diagnostics(&self) -> PathBuf {
        self.path.join("shim.log")
    }

    /// The job's framed output over all incarnations.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.path.join("log").join("stream")
    }

    /// Scratch of one incarnation: overlay upper and work folders, the runtime's bundle and state.
    #[must_use]
    pub fn incarnation(&self, generation: u32) -> PathBuf {
        self.path.join(format!("run.{generation}"))
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
