//! The row in which a job keeps a checkpoint.
//!
//! A job that took it has it under the checkpoint's own id. A job that begins from the checkpoint of another one has a row of its own,
//! named `<checkpoint>@<job>`, with the folder beside it: an older dauer that runs on the same store has each id once.

use super::columns::json;
use dauer_core::{Checkpoint, CheckpointId, Job, JobId};

/// What is written of a checkpoint.
#[derive(Debug)]
pub(crate) struct CheckpointRow {
    /// Unique over all jobs.
    pub(crate) name: String,
    /// Its folder, where another job or a snapshot had it before; else that is its name.
    pub(crate) folder: Option<String>,
    pub(crate) record: String,
}

/// Which row of a job goes.
#[derive(Debug)]
pub(crate) struct Drop {
    pub(crate) job: JobId,
    pub(crate) id: CheckpointId,
}

impl Drop {
    /// The names that the row may have.
    pub(crate) fn names(&self) -> [String; 2] {
        [self.id.0.clone(), shared_name(&self.job, &self.id)]
    }
}

/// The name of the row in which this job has this checkpoint.
pub(crate) fn checkpoint_name(job: &Job, id: &CheckpointId) -> String {
    match &job.spec.from {
        Some(from) if from == id => shared_name(&job.id, id),
        Some(_) | None => id.0.clone(),
    }
}

fn shared_name(job: &JobId, id: &CheckpointId) -> String {
    format!("{id}@{job}")
}

impl CheckpointRow {
    pub(super) fn of(job: &Job, checkpoint: &Checkpoint) -> Self {
        let name = checkpoint_name(job, &checkpoint.id);
        let folder = (name != checkpoint.id.0).then(|| checkpoint.id.0.clone());
        Self {
            record: json(checkpoint),
            name,
            folder,
        }
    }
}
