//! Records as clients see them.

use dauer_core::{Checkpoint, Image, Job, Progress, timeout};
use dauer_engine::{ChangeKind, Changed, Entry};
use dauer_wire::http::{
    ChangeView, CheckpointView, DefinitionRefView, EventView, ForkView, Handles, JobView,
    ProgressView, SelfView,
};

/// A job as an element of a list.
pub(crate) fn job(job: &Job) -> JobView {
    let outcome = job.outcome.as_ref();
    let (start, cold_because) = start(job);
    JobView {
        id: job.id.0.clone(),
        name: job.spec.name.clone(),
        state: job.state.name().to_owned(),
        operation: job.operation.map(|operation| operation.name().to_owned()),
        argv: job.spec.argv.clone(),
        driver: job.spec.driver.clone(),
        image: match &job.spec.image {
            Image::Host => "host".to_owned(),
            Image::Directory(path) | Image::Tar(path) => path.clone(),
            Image::Oci { reference, .. } => reference.clone(),
        },
        image_digest: match &job.spec.image {
            Image::Oci { digest, .. } => Some(digest.clone()),
            Image::Host | Image::Directory(_) | Image::Tar(_) => None,
        },
        attempt: job.attempt,
        generation: job.generation,
        restores: job.restores,
        retries: job.retries,
        definition: definition(job),
        schedule: job.spec.schedule.clone(),
        scheduled_at: job.spec.scheduled_at.map(|at| at.0),
        start,
        cold_because,
        tags: job.spec.tags.clone(),
        priority: job.spec.priority.name().to_owned(),
        created_at: job.created_at.0,
        started_at: job.started_at.map(|at| at.0),
        finished_at: job.finished_at.map(|at| at.0),
        // One that may begin at once waits for its turn, not for a moment.
        wake_at: job.wake_at.filter(|at| *at > job.created_at).map(|at| at.0),
        waits_for: job.waits_for.clone(),
        progress: job.progress.as_ref().map(progress),
        locks: job.locks.len(),
        checkpoint: job
            .checkpoint
            .as_ref()
            .map(|checkpoint| checkpoint.0.clone()),
        exit_code: job.exit_code(),
        signal: outcome.and_then(|outcome| outcome.signal),
        reason: outcome
            .and_then(|outcome| outcome.reason)
            .map(|reason| reason.name().to_owned()),
        message: outcome.and_then(|outcome| outcome.message.clone()),
        last_error: job.last_error.clone(),
        parent: job.spec.parent.as_ref().map(|parent| parent.0.clone()),
        times_out_at: timeout::next_limit(job).map(|(at, _)| at.0),

        queue: job.spec.queue().to_owned(),
        concurrency_key: job.spec.concurrency_key.clone(),
        blocked_by: job.blocked_by.iter().map(|by| by.0.clone()).collect(),
        batch: job.spec.batch.clone(),

        cannot_freeze: None,
        spec: None,
        handles: None,
    }
}

fn definition(job: &Job) -> Option<DefinitionRefView> {
    let definition = job.spec.definition.as_ref()?;
    Some(DefinitionRefView {
        name: definition.name.clone(),
        version: definition.version.clone(),
    })
}

fn progress(progress: &Progress) -> ProgressView {
    ProgressView {
        done: progress.done,
        total: progress.total,
        message: progress.message.clone(),
        at: Some(progress.at.0),
    }
}

/// A job with everything there is to know.
pub(crate) fn whole_job(
    record: &Job,
    handles: Option<Handles>,
    cannot_freeze: Option<String>,
) -> JobView {
    let spec = serde_json::to_value(&record.spec).expect("a spec has only text for keys");
    let handles = handles.filter(|_| !record.state.is_terminal());
    JobView {
        cannot_freeze,
        spec: Some(spec),
        handles,
        ..job(record)
    }
}

fn fork(job: &Job) -> Option<ForkView> {
    let fork = job.spec.fork.as_ref().filter(|fork| !fork.template)?;
    Some(ForkView {
        index: fork.index,
        of: fork.of,
        source: fork.source.0.clone(),
    })
}

/// The job as it sees itself.
pub(crate) fn own_job(job: &Job) -> SelfView {
    SelfView {
        id: job.id.0.clone(),
        name: job.spec.name.clone(),
        state: job.state.name().to_owned(),
        attempt: job.attempt,
        generation: job.generation,
        checkpoint: job
            .checkpoint
            .as_ref()
            .map(|checkpoint| checkpoint.0.clone()),
        retries: job.retries,
        definition: definition(job),
        fork: fork(job),
        locks: job.locks.len(),
        warm: job.is_warm(),
        env: job
            .spec
            .warm
            .iter()
            .flat_map(|warm| warm.env.clone())
            .collect(),
    }
}

/// How a job begins whose definition says that they begin warm, and why it is cold.
fn start(job: &Job) -> (Option<String>, Option<String>) {
    let Some(warm) = &job.spec.warm else {
        return (None, None);
    };
    if job.is_warm() {
        return (Some("warm".to_owned()), None);
    }
    let differs = warm.differs.as_ref();
    let differs = differs.map(|field| format!("its {field} is not that of its definition"));
    (
        Some("cold".to_owned()),
        differs.or(job.cold.clone()).or(warm.cold.clone()),
    )
}

/// A checkpoint; `newest` is the one the job's record points to.
pub(crate) fn checkpoint(checkpoint: &Checkpoint, newest: bool) -> CheckpointView {
    CheckpointView {
        id: checkpoint.id.0.clone(),
        generation: checkpoint.generation,
        taken_at: checkpoint.taken_at.0,
        frozen_ms: checkpoint.frozen_ms,
        memory_bytes: checkpoint.memory_bytes,
        disk_bytes: checkpoint.disk_bytes,
        log_offset: checkpoint.log_offset,
        token: checkpoint.token.clone(),
        newest,
    }
}

/// A journal entry.
pub(crate) fn event(entry: &Entry) -> EventView {
    EventView {
        seq: entry.seq,
        job: entry.job.0.clone(),
        at: entry.at.0,
        event: entry.event.clone(),
        from: entry.from.map(|state| state.name().to_owned()),
        to: entry.to.name().to_owned(),
        operation: entry.operation.clone(),
        generation: entry.generation,
        detail: entry.detail.clone(),

        by: entry.by.clone(),
        why: entry.why.clone(),
    }
}

/// A changed file.
pub(crate) fn change(change: &Changed) -> ChangeView {
    let kind = match change.kind {
        ChangeKind::Added => "added",
        ChangeKind::Modified => "modified",
        ChangeKind::Deleted => "deleted",
    };
    ChangeView {
        kind: kind.to_owned(),
        path: change.path.clone(),
    }
}
