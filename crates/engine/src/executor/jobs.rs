//! The backend of a daemon: a job for each step.
//!
//! The job's program is the step's, so that making the sandbox and running the program are one start. What it leaves is published by
//! its shim before the job has ended.

use super::backend::Taken;
use super::{Action, Backend, Exit, Owner, Sink, Slot, Source, inject};
use crate::stream::{Position, StreamPart, Streamed};
use crate::{Engine, Error, Submission};
use async_trait::async_trait;
use dauer_core::{CheckpointId, Image, Job, JobId, JobSpec, Json, Reason};
use dauer_sandbox::Observed;
use dauer_sandbox::protocol::ExitRecord;
use dauer_wire::guest::Stream;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// By these tags a daemon finds the jobs of steps that an earlier one of its node left.
pub(super) const NODE_TAG: &str = "dauer.step.node";
pub(super) const PROCESS_TAG: &str = "dauer.step.process";

/// Nobody is asked to end in good order: what it would still write is thrown away.
const STOP_GRACE_MS: u64 = 0;

/// Steps as jobs of this engine.
pub(crate) struct Jobs {
    engine: Engine,
    owner: Owner,
    prepared: Mutex<HashMap<String, Prepared>>,
}

/// A step between its first and its last call.
#[derive(Clone)]
struct Prepared {
    spec: JobSpec,
    staged: Option<PathBuf>,
    /// Held while the job is being accepted.
    job: Arc<tokio::sync::Mutex<Option<JobId>>>,
}

impl Jobs {
    pub(crate) fn new(engine: Engine, owner: Owner) -> Self {
        Self {
            engine,
            owner,
            prepared: Mutex::default(),
        }
    }

    fn prepared(&self) -> MutexGuard<'_, HashMap<String, Prepared>> {
        self.prepared.lock().expect("no panic while held")
    }

    fn of(&self, slot: &Slot) -> Result<Prepared, Error> {
        let prepared = self.prepared().get(&slot.id).cloned();
        prepared.ok_or_else(|| Error::Failed("the step was cleared away".into()))
    }

    fn prepare(&self, slot: &Slot, spec: JobSpec) {
        let prepared = Prepared {
            spec,
            staged: None,
            job: Arc::default(),
        };
        self.prepared().insert(slot.id.clone(), prepared);
    }

    fn spec(&self, slot: &Slot, action: &Action, image: Image) -> Result<JobSpec, Error> {
        let around = &action.around;
        let spec = serde_json::from_value::<JobSpec>(serde_json::json!({
            "driver": around.driver.as_deref().unwrap_or("auto"),
            "image": image,
            "network": around.network,
            "stop_grace_ms": STOP_GRACE_MS,
        }));
        let mut spec =
            spec.map_err(|error| Error::Failed(format!("the spec of a step: {error}")))?;
        spec.argv.clone_from(&action.cmd);
        spec.env.clone_from(&action.env);
        spec.workdir.clone_from(&action.working_dir);
        spec.timeout_ms = action
            .timeout
            .map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        spec.user.clone_from(&around.user);
        spec.mounts.clone_from(&around.mounts);
        spec.cpu_millis = around.cpu_millis;
        spec.memory_bytes = around.memory_bytes;
        spec.keep_disk = Some(slot.snapshot.clone());
        spec.tags = [
            (NODE_TAG.to_owned(), self.owner.node.0.clone()),
            (PROCESS_TAG.to_owned(), self.owner.process.clone()),
        ]
        .into();
        Ok(spec)
    }

    /// Accepts the job, also where nobody waits for that any more: whoever destroys the slot finds it.
    async fn submit(&self, prepared: &Prepared) -> Result<JobId, Error> {
        let mut slot = Arc::clone(&prepared.job).lock_owned().await;
        let (engine, spec) = (self.engine.clone(), prepared.spec.clone());
        let submitting = crate::asker::still_asked(|()| async move {
            let submission = Submission {
                spec,
                key: None,
                after: Vec::new(),
            };
            let accepted = engine.submit(submission).await?;
            *slot = Some(accepted.job.id.clone());
            Ok(accepted.job.id)
        });
        match tokio::spawn(submitting(())).await {
            Ok(submitted) => submitted,
            Err(error) => Err(Error::Failed(format!(
                "accepting the job of a step: {error}"
            ))),
        }
    }

    /// Passes the output on until the job has ended.
    async fn follow(&self, job: &JobId, sink: &mut dyn Sink) -> Result<Job, Error> {
        let mut stream = self.engine.job_stream(job, Position::default()).await?;
        loop {
            match stream.next().await? {
                StreamPart::Items(items) => {
                    for item in items {
                        match item.what {
                            Streamed::Output { stream, bytes, .. } => {
                                let stream = Stream::from_number(stream).unwrap_or(Stream::Stdout);
                                sink.output(stream, bytes).await;
                            }
                            Streamed::Marker(_) | Streamed::Entry(_) => {}
                        }
                    }
                }
                StreamPart::Ended(Some(job)) => return Ok(*job),
                StreamPart::Ended(None) => return Err(Error::NotFound(job.0.clone())),
            }
        }
    }

    /// Why there is no snapshot although the program ended well.
    async fn why_unkept(&self, job: Option<&JobId>) -> Result<Error, Error> {
        let unknown = || Error::Failed("what the step left was not kept".into());
        let Some(job) = job else {
            return Ok(unknown());
        };
        let job = self.engine.job(job).await?;
        let Some(sandbox) = &job.sandbox else {
            return Ok(unknown());
        };
        match self.engine.node().observe(sandbox, job.generation).await? {
            Observed::Ended(ExitRecord::Exited {
                unkept: Some(why), ..
            }) => Ok(Error::Failed(format!(
                "what the step left was not kept: {why}"
            ))),
            Observed::Ended(_) | Observed::Alive | Observed::Gone => Ok(unknown()),
        }
    }
}

/// How the program of an ended job ended; an error where it was not the program that ended it.
fn exit(job: &Job) -> Result<Exit, Error> {
    let outcome = job.outcome.clone().unwrap_or_default();
    let failed = || {
        let message = outcome.message.clone();
        Error::Failed(message.unwrap_or_else(|| "the job of the step was ended".into()))
    };
    match (outcome.reason, outcome.exit_code, outcome.signal) {
        (Some(Reason::Timeout), ..) => Ok(Exit::TimedOut),
        (None | Some(Reason::ExitCode), Some(code), _) => Ok(Exit::Code(code)),
        (Some(Reason::Signal | Reason::OutOfMemory), _, Some(signal)) => {
            Ok(Exit::Code(128 + signal))
        }
        (Some(Reason::OutOfMemory), Some(code), None) => Ok(Exit::Code(code)),
        // No such program, or one that cannot be executed: as a shell tells it.
        (Some(Reason::StartFailed), Some(code @ (126 | 127)), _) => Ok(Exit::Code(code)),
        (
            None
            | Some(
                Reason::ExitCode
                | Reason::Signal
                | Reason::OutOfMemory
                | Reason::StartFailed
                | Reason::RestoreFailed
                | Reason::Lost
                | Reason::Killed
                | Reason::CrashLoop
                | Reason::DependencyFailed
                | Reason::Error
                | Reason::Panic,
            ),
            ..,
        ) => Err(failed()),
    }
}

#[async_trait]
impl Backend for Jobs {
    async fn create(&self, slot: &Slot, action: &Action) -> Result<(), Error> {
        let image = match &action.source {
            Source::Image(image) => image.clone(),
            Source::Snapshot(_) => Image::default(),
        };
        self.prepare(slot, self.spec(slot, action, image)?);
        Ok(())
    }

    async fn restore(
        &self,
        slot: &Slot,
        action: &Action,
        snapshot: &CheckpointId,
    ) -> Result<(), Error> {
        let row = self.engine.store().snapshot(snapshot).await?;
        let row = row.ok_or_else(|| Error::NoSnapshot(snapshot.0.clone()))?;
        let mut spec = self.spec(slot, action, row.image)?;
        spec.from = Some(snapshot.clone());
        spec.from_disk = true;
        self.prepare(slot, spec);
        Ok(())
    }

    async fn inject(&self, slot: &Slot, folder: &Path) -> Result<(), Error> {
        let steps = self.engine.node().layout().steps();
        let staged = steps.join(&self.owner.process).join(&slot.id);
        {
            let mut all = self.prepared();
            let prepared = all.get_mut(&slot.id);
            let prepared =
                prepared.ok_or_else(|| Error::Failed("the step was cleared away".into()))?;
            prepared.staged = Some(staged.clone());
            prepared.spec.inject = Some(staged.to_string_lossy().into_owned());
        }
        let folder = folder.to_owned();
        blocking(move || inject::stage(&folder, &staged)).await
    }

    async fn exec(&self, slot: &Slot, _: &Action, sink: &mut dyn Sink) -> Result<Exit, Error> {
        let prepared = self.of(slot)?;
        let job = self.submit(&prepared).await?;
        let ended = self.follow(&job, sink).await?;
        let exit = exit(&ended)?;
        if let (Some(Reason::StartFailed), Some(message)) = ended
            .outcome
            .map_or((None, None), |outcome| (outcome.reason, outcome.message))
        {
            sink.output(Stream::Stderr, format!("dauer: {message}\n").into())
                .await;
        }
        Ok(exit)
    }

    async fn snapshot(&self, slot: &Slot) -> Result<Taken, Error> {
        let prepared = self.of(slot)?;
        let job = prepared.job.lock().await.clone();
        let Some(published) = self.engine.node().published(&slot.snapshot).await? else {
            return Err(self.why_unkept(job.as_ref()).await?);
        };
        let record = match &job {
            Some(job) => Some(self.engine.job(job).await?),
            None => None,
        };
        let spec = record.as_ref().map_or(&prepared.spec, |job| &job.spec);
        Ok(Taken {
            bytes: published.bytes_on_disk(),
            disk_bytes: published.disk_bytes,
            driver: spec.driver.clone(),
            image: spec.image.clone(),
            spec: serde_json::to_string(spec).ok().map(Json),
            job,
        })
    }

    async fn destroy(&self, slot: &Slot) -> Result<(), Error> {
        let Some(prepared) = self.prepared().remove(&slot.id) else {
            return Ok(());
        };
        let job = prepared.job.lock().await.clone();
        if let Some(job) = job {
            match self.engine.remove(&job, true).await {
                // Somebody else removed it.
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        match prepared.staged {
            Some(staged) => remove_folder(staged).await,
            None => Ok(()),
        }
    }

    async fn has(&self, snapshot: &CheckpointId) -> Result<bool, Error> {
        Ok(self.engine.node().has_snapshot(snapshot).await?)
    }

    async fn delete(&self, snapshot: &CheckpointId) -> Result<(), Error> {
        Ok(self.engine.node().remove_snapshot(snapshot).await?)
    }
}

/// Deletes a folder; fine where there is none.
async fn remove_folder(path: PathBuf) -> Result<(), Error> {
    blocking(move || match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Failed(format!("delete {}: {error}", path.display())))
        }
        Ok(()) | Err(_) => Ok(()),
    })
    .await
}

/// Runs file work where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Failed(format!("file work of a step: {error}"))),
    }
}
