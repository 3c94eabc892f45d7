//! A job that goes on from a state which another one was in.

use crate::{CheckpointId, Job, JobId, JobSpec, SandboxId};
use serde::{Deserialize, Serialize};

/// Which of several copies a job is. Its program was begun as another job: what that one knew of itself holds here too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The job whose state it goes on from; it may be gone.
    pub source: JobId,
    /// Which of those that were made together, from 0.
    pub index: u32,
    /// So many were made together.
    pub of: u32,
    /// The ids by which its program may know itself: of the jobs whose state it went on from, the latest first.
    #[serde(default)]
    pub known_as: Vec<JobId>,
    /// The incarnation that its state was taken of: its own are counted on from there, so that the program sees another one.
    #[serde(default)]
    pub generation: u32,
    /// The key with which its state was asked for: asked with again in here, it is answered as restored.
    #[serde(default)]
    pub token: Option<String>,
    /// The sandbox under which its agent began to count requests: keys made from their numbers stay what they are.
    #[serde(default)]
    pub numbered_by: Option<SandboxId>,
    /// It is no copy that somebody asked for: it begins where the template of its definition was ready.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub template: bool,
}

/// What a state was taken of.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'a> {
    /// This job.
    pub job: &'a JobId,
    /// In this sandbox.
    pub sandbox: &'a SandboxId,
    /// Which was this incarnation of it.
    pub generation: u32,
    /// Asked for with this key.
    pub token: Option<&'a str>,
}

impl Job {
    /// The state with memory that it goes on from when its present incarnation is lost.
    #[must_use]
    pub fn resume_point(&self) -> Option<&CheckpointId> {
        self.checkpoint.as_ref().or_else(|| self.forked_from())
    }

    /// The state with memory that each of its attempts begins from, where that is not the start of its program.
    #[must_use]
    pub fn forked_from(&self) -> Option<&CheckpointId> {
        self.begins_from().filter(|_| !self.spec.from_disk)
    }

    /// The state that each of its attempts begins from, or on whose files.
    #[must_use]
    pub fn begins_from(&self) -> Option<&CheckpointId> {
        self.spec.from.as_ref().filter(|_| self.cold.is_none())
    }

    /// The sandbox that keys made from the numbers of its requests name.
    #[must_use]
    pub fn numbered_by(&self) -> Option<&SandboxId> {
        let before = self.spec.fork.as_ref();
        before
            .and_then(|fork| fork.numbered_by.as_ref())
            .or(self.sandbox.as_ref())
    }
}

impl Fork {
    /// One of several copies (this one of so many) of a job of this spec, which was like this when its state was taken.
    #[must_use]
    pub fn of(spec: &JobSpec, taken: Taken<'_>, (index, of): (u32, u32)) -> Self {
        let before = spec.fork.as_ref();
        let known_as = before.map_or(&[][..], |fork| &fork.known_as);
        let numbered_by = before.and_then(|fork| fork.numbered_by.as_ref());
        Self {
            source: taken.job.clone(),
            index,
            of,
            known_as: std::iter::once(taken.job)
                .chain(known_as)
                .cloned()
                .collect(),
            generation: taken.generation,
            token: taken.token.map(str::to_owned),
            numbered_by: Some(numbered_by.unwrap_or(taken.sandbox).clone()),
            template: false,
        }
    }
}

impl JobSpec {
    /// What is asked for with a job that goes on as one of this spec was: nothing that belongs to one job alone.
    #[must_use]
    pub fn forked(&self, from: CheckpointId, fork: Fork) -> Self {
        Self {
            name: None,
            // One port of the host leads to one job.
            publish: Vec::new(),
            // It is among its files.
            inject: None,
            remove_on_exit: false,
            run_at: None,
            schedule: None,
            scheduled_at: None,
            parent: None,
            unique: None,
            after: Vec::new(),
            batch: None,
            from: Some(from),
            from_disk: false,
            fork: Some(fork),
            // It is not begun as its definition says; what that job had added to its environment it has.
            env: self.whole_env(),
            warm: None,
            ..self.clone()
        }
    }
}
