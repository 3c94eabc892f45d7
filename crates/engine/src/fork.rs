//! Jobs that go on as another one was, and going back to an earlier state.

use crate::submit::new_job;
use crate::{Engine, Error};
use dauer_core::fork::Taken;
use dauer_core::{CheckpointId, EventKind, Fork, Job, JobId, JobSpec, State};
use dauer_sandbox::snapshot::Manifest;
use serde_json::Value;
use std::collections::BTreeMap;

/// In one request.
pub const FORKS_MAX: u32 = 1_000;

/// How often a state that vanished between being chosen and being shared is chosen anew.
const CHOICES_MAX: u32 = 5;

/// What forks are to be like; what is not said is as of the job they are made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forks {
    /// So many.
    pub count: u32,
    /// The name of the one, or what the names of several begin with.
    pub name: Option<String>,
    /// The `params` of each, or of all where there is one.
    pub params: Vec<Value>,
    /// Added to those of the job.
    pub tags: BTreeMap<String, String>,
    /// Added to that of the job.
    pub metadata: BTreeMap<String, Value>,
    /// They are removed when they end.
    pub remove_on_exit: bool,
}

/// A kept state, and what is known of the job it was taken of.
struct Kept {
    manifest: Manifest,
    spec: JobSpec,
}

impl Engine {
    /// Makes jobs that go on from the state of this one, each with its own identity: all of them or none. A running job is saved
    /// for that, and goes on; of one that sleeps or failed its checkpoint is taken; a checkpoint or a snapshot is one already.
    /// Returns when they are accepted.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where there is no state to go on from; `Unsupported`, `Invalid` as for any job.
    pub async fn fork(&self, source: &str, wish: &Forks) -> Result<Vec<Job>, Error> {
        check_wish(wish)?;
        let mut choices = 1;
        loop {
            let kept = self.chosen(source).await?;
            match self.forks_of(&kept, wish).await {
                // A newer checkpoint of the same job has taken its place.
                Err(Error::Vanished(_)) if choices < CHOICES_MAX => choices += 1,
                made => return made,
            }
        }
    }

    async fn forks_of(&self, kept: &Kept, wish: &Forks) -> Result<Vec<Job>, Error> {
        let id = &kept.manifest.id;
        if !kept.manifest.has_memory() {
            return Err(Error::Conflict(format!(
                "{id} has no memory to go on with: `dauer run --from {id} -- COMMAND` begins a program on its files"
            )));
        }
        let specs = (0..wish.count)
            .map(|index| kept.fork(wish, index))
            .collect();
        let jobs = self.new_jobs(specs).await?;
        let new = |job: Job| {
            let shares = kept.manifest.checkpoint_of(&job.id);
            new_job(job, None, Some(shares))
        };
        if let [job] = jobs.as_slice() {
            return Ok(vec![self.add(new(job.clone())).await?]);
        }
        self.store()
            .create_all(jobs.iter().cloned().map(new).collect())
            .await?;
        self.accepted();
        self.schedule_changed().notify_one();
        Ok(jobs)
    }

    /// The state that is meant: of a job, or a snapshot, or a checkpoint by its id.
    async fn chosen(&self, source: &str) -> Result<Kept, Error> {
        let error = match self.find(source).await {
            Ok(job) => {
                let (job, manifest) = self.state_of(&job).await?;
                let spec = JobSpec::clone(&job.spec);
                return Ok(Kept { manifest, spec });
            }
            Err(error @ Error::NotFound(_)) => error,
            Err(error) => return Err(error),
        };
        let Some(id) = self.kept_by_name(source).await? else {
            return Err(error);
        };
        let manifest = self.manifest(&id).await?;
        let spec = match self.spec_of_snapshot(&id).await? {
            Some(spec) => spec,
            None => match self.job(&manifest.job).await {
                Ok(job) => JobSpec::clone(&job.spec),
                Err(Error::NotFound(_)) => {
                    return Err(Error::Conflict(format!(
                        "the job of checkpoint {id} is gone, and nobody saved the checkpoint as a snapshot"
                    )));
                }
                Err(error) => return Err(error),
            },
        };
        Ok(Kept { manifest, spec })
    }

    /// A job with a state of it: of one that runs the present one, and it goes on; of any other its newest.
    pub(crate) async fn state_of(&self, id: &JobId) -> Result<(Job, Manifest), Error> {
        let job = self.job_here(id).await?;
        let checkpoint = match job.state {
            State::Running => self.checkpoint(id).await?.id,
            State::Suspended | State::Failed | State::PendingRetry => {
                job.resume_point().cloned().ok_or_else(|| {
                    Error::Conflict(format!(
                        "the job is {} and has no checkpoint to go on from",
                        job.state
                    ))
                })?
            }
            State::Pending
            | State::Completed
            | State::Cancelled
            | State::Stopped
            | State::Error => {
                return Err(Error::Conflict(format!(
                    "the job is {}: there is no state to go on from",
                    job.state
                )));
            }
        };
        let manifest = self.manifest(&checkpoint).await?;
        Ok((job, manifest))
    }

    /// What is written beside a kept state. Errors: `Vanished` where it is not here.
    pub(crate) async fn manifest(&self, id: &CheckpointId) -> Result<Manifest, Error> {
        let manifest = self.node().manifest(id).await?;
        manifest.ok_or_else(|| Error::Vanished(id.0.clone()))
    }

    /// Lets a job go on from an earlier state of its own: the newest checkpoint, or the one named; what it did since never was. A
    /// fork without a checkpoint goes back to where it began. Returns when that is committed.
    ///
    /// # Errors
    /// `Conflict` where it has none, or not this one, or has completed or was cancelled; `Busy`.
    pub async fn roll_back(&self, id: &JobId, to: Option<&str>) -> Result<Job, Error> {
        let job = self.job_here(id).await?;
        let mut known = self.store().checkpoints(id).await?;
        let to = match to {
            Some(text) => {
                known.retain(|checkpoint| checkpoint.id.as_str().starts_with(text));
                match known.len() {
                    1 => known.pop(),
                    0 if job.forked_from().is_some_and(|from| from.as_str() == text) => None,
                    0 => {
                        return Err(Error::Conflict(format!(
                            "the job has no checkpoint {text}: `dauer checkpoints` lists those it has"
                        )));
                    }
                    _ => return Err(Error::Ambiguous(text.to_owned())),
                }
            }
            None => known
                .into_iter()
                .find(|known| Some(&known.id) == job.checkpoint.as_ref()),
        };
        // Its own beginning is no checkpoint of the job.
        let to = to.filter(|to| Some(&to.id) != job.forked_from());
        if let Some(checkpoint) = to.as_ref().map(|to| &to.id).or_else(|| job.forked_from()) {
            // Or it would lose what it is for what cannot be brought back.
            self.manifest(checkpoint).await?;
        }
        let rollback = EventKind::RollbackAsked {
            to: to.map(Box::new),
            boot_id: self.boot_id().to_owned(),
        };
        self.tell(id, rollback).await
    }
}

impl Kept {
    fn fork(&self, wish: &Forks, index: u32) -> JobSpec {
        let fork = Fork::of(
            &self.spec,
            Taken {
                job: &self.manifest.job,
                sandbox: &self.manifest.sandbox,
                generation: self.manifest.generation,
                token: self.manifest.token.as_deref(),
            },
            (index, wish.count),
        );
        let mut spec = self.spec.forked(self.manifest.id.clone(), fork);
        spec.name = wish.name.as_ref().map(|name| match wish.count {
            1 => name.clone(),
            _ => format!("{name}-{index}"),
        });
        let own = usize::try_from(index).unwrap_or(usize::MAX);
        if let Some(params) = wish.params.get(own).or(wish.params.first()) {
            spec.params = Some(params.clone());
        }
        spec.tags.extend(wish.tags.clone());
        spec.metadata.extend(wish.metadata.clone());
        spec.remove_on_exit = wish.remove_on_exit;
        spec
    }
}

fn check_wish(wish: &Forks) -> Result<(), Error> {
    if !(1..=FORKS_MAX).contains(&wish.count) {
        let text = format!("{} forks: 1 to {FORKS_MAX} at once", wish.count);
        return Err(Error::invalid("count", text));
    }
    let given = wish.params.len();
    if given > 1 && u32::try_from(given) != Ok(wish.count) {
        let text = format!(
            "params for {given} forks, and {} are to be made: give one for all, or one for each",
            wish.count
        );
        return Err(Error::invalid("params", text));
    }
    Ok(())
}
