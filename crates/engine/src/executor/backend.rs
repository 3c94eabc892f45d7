//! What the rules ask of whoever makes sandboxes.

use super::{Action, Exit, Sink};
use crate::Error;
use async_trait::async_trait;
use dauer_core::{CheckpointId, Image, JobId, Json};
use std::path::Path;

/// One sandbox of one step: named before it is made, so that it can be destroyed whatever became of its making.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Unique.
    pub id: String,
    /// What its files will be kept as.
    pub snapshot: CheckpointId,
}

/// What is known of files that were kept.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// What they take on disk.
    pub bytes: u64,
    /// Their lengths.
    pub disk_bytes: u64,
    /// What made the sandbox.
    pub driver: String,
    /// The root below them.
    pub image: Image,
    /// The job that it was.
    pub job: Option<JobId>,
    /// Its spec.
    pub spec: Option<Json>,
}

/// Makes sandboxes for steps, and keeps their files. For each slot: `create` or `restore`, then `inject` where there is something, `exec`,
/// `snapshot` after an exit of 0, and `destroy` in any case.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// A sandbox on an image.
    async fn create(&self, slot: &Slot, action: &Action) -> Result<(), Error>;

    /// A sandbox on what another step left. Errors: `NoSnapshot`.
    async fn restore(
        &self,
        slot: &Slot,
        action: &Action,
        snapshot: &CheckpointId,
    ) -> Result<(), Error>;

    /// Puts the content of a folder into its working directory.
    async fn inject(&self, slot: &Slot, folder: &Path) -> Result<(), Error>;

    /// Runs the program, for its timeout at most, and returns when it has ended. Cancelled by being dropped.
    async fn exec(&self, slot: &Slot, action: &Action, sink: &mut dyn Sink) -> Result<Exit, Error>;

    /// Its files are there as `slot.snapshot` from now on, durably.
    async fn snapshot(&self, slot: &Slot) -> Result<Taken, Error>;

    /// Nothing of the sandbox is left, but its snapshot. Fine where it was never made.
    async fn destroy(&self, slot: &Slot) -> Result<(), Error>;

    /// Whether a snapshot is there to begin from.
    async fn has(&self, snapshot: &CheckpointId) -> Result<bool, Error>;

    /// Nothing of a snapshot is left. Fine where there is none.
    async fn delete(&self, snapshot: &CheckpointId) -> Result<(), Error>;
}
