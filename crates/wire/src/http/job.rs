//! What a caller asks for as a job, and a job as callers see it.

use super::{AfterView, DefinitionRefView, Moment, ProgressView, RetryView, Span, UniqueView};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `POST /v1/jobs`: a job to accept and start, described here or by a definition, over which what is said here wins.
/// Answer: 201 with a [`CreatedJob`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CreateJob {
    /// Made from this definition.
    pub definition_name: Option<String>,
    /// Of this version; the latest where absent.
    pub definition_version: Option<String>,
    /// Unique among the jobs that are kept.
    pub name: Option<String>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment beside the image's defaults.
    pub env: BTreeMap<String, String>,
    /// Where it starts.
    pub workdir: Option<String>,
    /// `auto` (default), `gvisor`, `runc`, `crun`, `native`, `podman`.
    pub driver: Option<String>,
    /// `host` (default), an absolute folder, an absolute tar file, or an image of the node: its name, its digest or a beginning of
    /// that. What such an image says of commands, environment, folder and user is the default of this job.
    pub image: Option<String>,
    /// What the command begins with, in the place of what the image says; only with an image of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Host paths made visible inside.
    pub mounts: Vec<MountView>,
    /// An absolute folder copied into the working directory before the start.
    pub inject: Option<String>,
    /// Thousandths of a CPU.
    pub cpu_millis: Option<u32>,
    /// Bytes.
    pub memory_bytes: Option<u64>,
    /// An attempt may run so long.
    pub timeout_ms: Option<u64>,
    /// `none` (default), `nat`, `host`.
    pub network: Option<String>,
    /// Ports of the host forwarded to the job; network `nat` only.
    pub publish: Vec<PublishView>,
    /// `uid[:gid]` or a name in the image.
    pub user: Option<String>,
    /// A terminal.
    pub tty: bool,
    /// Keep its standard input open for `POST /v1/jobs/{id}/stdin`.
    pub stdin: bool,
    /// Remove the record and all data when it has ended and its log was read to the end by a follower, or at once
    /// where nobody follows.
    pub remove_on_exit: bool,
    /// From TERM to KILL.
    pub stop_grace_ms: Option<u64>,
    /// What the job gets from `GET /v1/self/params`: any JSON, at most 1 MiB.
    pub params: Option<serde_json::Value>,
    /// Kept with the job, for whoever finds it. Added to that of the definition.
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// What jobs are searched by: `GET /v1/jobs?tag=team:blue`. Added to those of the definition.
    pub tags: BTreeMap<String, String>,
    /// `low`, `normal` (default), `high`, `critical`: which of the jobs that wait begins first.
    pub priority: Option<String>,
    /// What follows a failed attempt.
    #[serde(alias = "retry_policy")]
    pub retry: Option<RetryView>,
    /// As `timeout_ms`, also in the form `30s`.
    pub timeout: Option<Span>,
    /// It does not begin before.
    pub run_at: Option<Moment>,
    /// It does not begin before so long from now.
    pub delay: Option<Span>,
    /// The same request with the same key gives the same job, for as long as it is kept; another one with it is refused.
    /// Also as the header `Idempotency-Key`.
    pub idempotency_key: Option<String>,

    /// It may take so long from when its first attempt begins, with all attempts and the waits between them.
    #[serde(alias = "job_timeout_ms")]
    pub job_timeout: Option<Span>,
    /// It may wait so long for its turn, each time it is due to begin.
    #[serde(alias = "queue_timeout_ms")]
    pub queue_timeout: Option<Span>,
    /// The timeouts of the attempt and of the job go on while it is suspended.
    pub timeouts_while_suspended: bool,
    /// The job it belongs to: an id, a name, or the beginning of an id. It is cancelled with that one when somebody asks for both.
    pub parent: Option<String>,

    /// The queue it waits in; `default` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Jobs of a queue with the same key share the limits that it has for a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// Which other job stands for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique: Option<UniqueView>,
    /// What has to end before it begins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<AfterView>,
    /// Which of its checkpoints are kept; only the one it would go on from where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_checkpoints: Option<KeepCheckpointsView>,

    /// It begins on the files of this kept state, a snapshot or a checkpoint, in place of an image; its program begins anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// Which checkpoints of a job are kept, so that it can go back to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct KeepCheckpointsView {
    /// So many of the newest.
    pub last: u32,
    /// None of them longer than this, but for the one it would go on from.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub longest: Option<Span>,
}

/// What a job was accepted as.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedJob {
    /// Its id, once more.
    pub job_id: String,
    /// It was there before: another job of the same unique key.
    #[serde(default)]
    pub existing: bool,
    /// The job.
    #[serde(flatten)]
    pub job: JobView,
}

/// `POST /v1/jobs:batch`: all of them or none. Answer: 201 with [`CreatedJobs`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateJobs {
    /// At most 10,000.
    pub jobs: Vec<CreateJob>,
    /// The batch that they belong to, which may have jobs already; a new one where absent. Up to 63 letters, digits, `-`, `_`, `.`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<String>,
}

/// What a batch was accepted as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedJobs {
    /// One for each, in the order of the request.
    pub job_ids: Vec<String>,
    /// The handle of all of them: `GET /v1/batches/{id}`.
    #[serde(default)]
    pub batch_id: String,
}

/// A bind mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MountView {
    /// On the host.
    pub source: String,
    /// Inside.
    pub target: String,
    /// Read-only.
    #[serde(default)]
    pub read_only: bool,
}

/// A forwarded TCP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PublishView {
    /// On the host.
    pub host_port: u16,
    /// Inside.
    pub guest_port: u16,
}

/// A job as clients see it: `GET /v1/jobs/{id}`, and an element of `GET /v1/jobs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobView {
    /// UUID.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// `pending`, `running`, `suspended`, `pending_retry`, `completed`, `failed`, `cancelled`.
    pub state: String,
    /// The effect in flight: `starting`, `checkpointing`, `suspending`, `waking`, `terminating`, `exiting`, `restarting`.
    pub operation: Option<String>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The driver that runs it.
    pub driver: String,
    /// `host`, a folder, a tar file, or an image of the node as it was asked for.
    pub image: String,
    /// Of that image, which the job keeps whatever its name comes to stand for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// Tries so far.
    pub attempt: u32,
    /// Incarnations of its sandbox so far.
    pub generation: u32,
    /// How often it was restored after its sandbox was lost.
    pub restores: u32,
    /// How often it was tried again from its start.
    #[serde(default)]
    pub retries: u32,
    /// What it was made from.
    #[serde(default)]
    pub definition: Option<DefinitionRefView>,
    /// `warm` or `cold`, where its definition says that jobs begin warm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Why it is `cold`, but for that there was no template yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_because: Option<String>,
    /// The schedule that fired it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The moment of that schedule it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<i64>,
    /// What it is searched by.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// `low`, `normal`, `high`, `critical`.
    #[serde(default)]
    pub priority: String,
    /// When it was accepted.
    pub created_at: i64,
    /// When its first sandbox ran.
    pub started_at: Option<i64>,
    /// When it ended.
    pub finished_at: Option<i64>,
    /// When it begins, wakes or is tried again by itself.
    pub wake_at: Option<i64>,
    /// Suspended, it also wakes when a signal of this name comes.
    #[serde(default)]
    pub waits_for: Option<String>,
    /// How far it says it is.
    #[serde(default)]
    pub progress: Option<ProgressView>,
    /// Locks it holds: while there are any, no checkpoint is taken.
    #[serde(default)]
    pub locks: usize,
    /// The newest checkpoint.
    pub checkpoint: Option<String>,
    /// What `dauer wait` exits with; present once it ended.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why it failed: `exit_code`, `signal`, `timeout`, `out_of_memory`, `start_failed`, `restore_failed`, `lost`, `killed`,
    /// `crash_loop`, `dependency_failed`.
    pub reason: Option<String>,
    /// One line about how it ended.
    pub message: Option<String>,
    /// The last thing that went wrong without ending it.
    pub last_error: Option<String>,
    /// The job it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The first of its timeouts is over then: of the attempt, of the whole job, or of waiting for its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times_out_at: Option<i64>,

    /// The queue it waits in.
    #[serde(default)]
    pub queue: String,
    /// Its key in that queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// The ids of the jobs that have to end yet before it has a turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_by: Vec<String>,
    /// What it was handed over with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,

    /// Why it can never be frozen, where it cannot; told when the job is created and in `GET /v1/jobs/{id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cannot_freeze: Option<String>,
    /// The whole accepted spec; only in `GET /v1/jobs/{id}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<serde_json::Value>,
    /// What is true only now; only in `GET /v1/jobs/{id}` and while it lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handles: Option<Handles>,
}

/// What is true only now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Handles {
    /// Its sandbox.
    pub sandbox: String,
    /// The process whose death is the sandbox's death: gVisor's sentry, or pid 1 of a container, as the host numbers it.
    pub sandbox_pid: Option<i32>,
    /// Its shim.
    pub shim_pid: Option<i32>,
    /// The job's first process as numbered inside.
    pub job_pid: Option<i32>,
}

/// `GET /v1/jobs`: newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobPage {
    /// At most as many as asked for.
    pub jobs: Vec<JobView>,
    /// Pass as `cursor` for the next page; absent on the last one.
    pub next_cursor: Option<String>,
}
