//! Bodies of the caller API (`/v1`, for clients) and of the runtime API (for the job itself). JSON; times are
//! milliseconds since the epoch in fields ending in `_at`, durations in `_ms`, sizes in `_bytes`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `POST /v1/jobs`: a job to accept and start. Answer: 201 with a [`JobView`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CreateJob {
    /// Unique among the jobs that are kept.
    pub name: Option<String>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment beside the image's defaults.
    pub env: BTreeMap<String, String>,
    /// Where it starts.
    pub workdir: Option<String>,
    /// `auto` (default), `gvisor`, `runc`, `crun`, `native`.
    pub driver: Option<String>,
    /// `host` (default), an absolute folder, or an absolute tar file.
    pub image: Option<String>,
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
}

/// A bind mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct PublishView {
    /// On the host.
    pub host_port: u16,
    /// Inside.
    pub guest_port: u16,
}

/// A job as clients see it: `GET /v1/jobs/{id}`, and an element of `GET /v1/jobs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// `host`, a folder or a tar file.
    pub image: String,
    /// Tries so far.
    pub attempt: u32,
    /// Incarnations of its sandbox so far.
    pub generation: u32,
    /// How often it was restored after its sandbox was lost.
    pub restores: u32,
    /// When it was accepted.
    pub created_at: i64,
    /// When its first sandbox ran.
    pub started_at: Option<i64>,
    /// When it ended.
    pub finished_at: Option<i64>,
    /// When it wakes by itself.
    pub wake_at: Option<i64>,
    /// The newest checkpoint.
    pub checkpoint: Option<String>,
    /// What `dauer wait` exits with; present once it ended.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why it failed: `exit_code`, `signal`, `timeout`, `out_of_memory`, `start_failed`, `restore_failed`, `lost`, `killed`.
    pub reason: Option<String>,
    /// One line about how it ended.
    pub message: Option<String>,
    /// The last thing that went wrong without ending it.
    pub last_error: Option<String>,
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
pub struct JobPage {
    /// At most as many as asked for.
    pub jobs: Vec<JobView>,
    /// Pass as `cursor` for the next page; absent on the last one.
    pub next_cursor: Option<String>,
}

/// `POST /v1/jobs/{id}/checkpoint` and `/suspend` of the caller API. Answer: 200 with a [`CheckpointView`] once it is committed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointCall {
    /// Suspend: wake after so long. Absent: until resumed.
    pub for_ms: Option<u64>,
}

/// A committed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointView {
    /// Its id.
    pub id: String,
    /// The incarnation it was taken of.
    pub generation: u32,
    /// When.
    pub taken_at: i64,
    /// How long the sandbox stood still.
    pub frozen_ms: u64,
    /// Memory image.
    pub memory_bytes: u64,
    /// Changed files.
    pub disk_bytes: u64,
    /// Output after this offset of the log is produced again by a restore.
    pub log_offset: u64,
    /// The job's own token, if it asked.
    pub token: Option<String>,
    /// It is the one a restore would use.
    pub newest: bool,
}

/// `POST /v1/jobs/{id}/stop` and `/cancel`. Answer: 200 with a [`JobView`] once it has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StopCall {
    /// From TERM to KILL; the job's own where absent.
    pub grace_ms: Option<u64>,
}

/// `POST /v1/jobs/{id}/kill`. Answer: 200 with a [`JobView`]. SIGKILL ends the job, any other signal is only delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillCall {
    /// Linux number; 9 where absent.
    #[serde(default = "sigkill")]
    pub signal: i32,
}

fn sigkill() -> i32 {
    9
}

/// `POST /v1/jobs/{id}/resize`: the terminal of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResizeCall {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// `POST /v1/jobs/{id}/exec`, upgraded to the frames of [`exec_kind`]. The JSON goes in the body.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecCall {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment beside the job's.
    pub env: BTreeMap<String, String>,
    /// Where it starts; the job's where absent.
    pub workdir: Option<String>,
    /// Who it runs as; the job's where absent.
    pub user: Option<String>,
    /// A terminal of this size: rows, columns.
    pub tty: Option<(u16, u16)>,
    /// Input follows.
    pub stdin: bool,
}

/// Kinds of [`crate::frame::Frame`] in the streams of the caller API. `id` is what the kind says.
pub mod stream_kind {
    /// Server → client in `logs?format=frames`: output. `id`: offset of the log after this frame. Payload: time (i64 le, ms),
    /// stream number (u8: 1 stdout, 2 stderr, 3 terminal), bytes.
    pub const OUTPUT: u8 = 1;
    /// Server → client: a [`super::Marker`] in JSON. `id`: offset of the log after it.
    pub const MARKER: u8 = 2;
    /// Server → client: the last frame of a followed log, a [`super::JobView`] in JSON. `id`: end of the log.
    pub const END: u8 = 3;
    /// Server → client, every 15 s without output, empty: the connection lives.
    pub const KEEPALIVE: u8 = 4;
}

/// Kinds of frames after the upgrade of `exec`.
pub mod exec_kind {
    /// Client → server: input; empty: end of file.
    pub const INPUT: u8 = 1;
    /// Client → server: [`super::ResizeCall`] in JSON.
    pub const RESIZE: u8 = 2;
    /// Client → server: a signal number in JSON.
    pub const SIGNAL: u8 = 3;
    /// Server → client: output; `id` is the stream number.
    pub const OUTPUT: u8 = 4;
    /// Server → client: `{"code":…,"signal":…}`, the last frame.
    pub const EXITED: u8 = 5;
    /// Server → client: `{"code":127,"message":…}`, the last frame: it could not be started.
    pub const FAILED: u8 = 6;
}

/// A place in the log where output may repeat or was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Marker {
    /// The job was restored from a checkpoint after its sandbox was lost: output after `log_offset` may follow again.
    Restored {
        /// From this checkpoint.
        checkpoint: String,
        /// The new incarnation.
        generation: u32,
        /// Where in the log that checkpoint was taken.
        log_offset: u64,
    },
    /// The job was suspended and goes on.
    Woken {
        /// The new incarnation.
        generation: u32,
    },
}

/// An entry of the journal: `GET /v1/jobs/{id}/events`, `GET /v1/events` (JSON lines with `?follow=true`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// Grows by one over all jobs.
    pub seq: u64,
    /// Whose.
    pub job: String,
    /// When.
    pub at: i64,
    /// What happened: `submitted`, `started`, `exited` …
    pub event: String,
    /// State before; absent for the first.
    pub from: Option<String>,
    /// State after.
    pub to: String,
    /// Operation after.
    pub operation: Option<String>,
    /// The incarnation it is about.
    pub generation: u32,
    /// One line more, if there is more to say.
    pub detail: Option<String>,
}

/// A file that the job changed: `GET /v1/jobs/{id}/diff`, sorted by path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeView {
    /// `added`, `modified` or `deleted`.
    pub kind: String,
    /// Inside the sandbox.
    pub path: String,
}

/// An error of either API: RFC 9457 `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// For programs: `not_found`, `name_in_use`, `invalid`, `conflict`, `unsupported`, `no_space`, `internal` …
    pub code: String,
    /// For people: what failed, and what to do.
    pub detail: String,
}

/// `GET /v1/info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Of the daemon.
    pub version: String,
    /// Of the daemon.
    pub pid: u32,
    /// Its data folder.
    pub data_dir: String,
    /// Its socket folder.
    pub run_dir: String,
    /// What `auto` means here.
    pub default_driver: String,
    /// Each driver.
    pub drivers: Vec<DriverView>,
}

/// What a driver can do here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverView {
    /// Its name.
    pub name: String,
    /// It runs programs here.
    pub usable: bool,
    /// It freezes and thaws with memory here.
    pub checkpoints: bool,
    /// Version of its tool.
    pub version: Option<String>,
    /// What is missing, one line each.
    pub missing: Vec<String>,
    /// The command that installs it.
    pub install: Option<String>,
}

/// `GET /v1/self` of the runtime API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfView {
    /// The job's id.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Its state.
    pub state: String,
    /// Tries so far.
    pub attempt: u32,
    /// Incarnations so far: grows with each thaw and restore.
    pub generation: u32,
    /// The newest checkpoint.
    pub checkpoint: Option<String>,
}

/// `POST /v1/self/checkpoint`: 202 with a [`CheckpointStatus`] at once. `POST /jobs/{id}/checkpoint`: the same body (with
/// `suspend_duration` for `suspend`), answered when done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SelfCheckpoint {
    /// The idempotency key; generated where absent.
    pub token: Option<String>,
    /// Sleep so long at no cost after the checkpoint, as `4s` or `3d`.
    #[serde(alias = "suspend_duration")]
    pub suspend: Option<String>,
}

/// `GET /v1/self/checkpoint/{token}`: long poll, answers when the status is no longer `pending`, or after 20 s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointStatus {
    /// The key.
    pub token: String,
    /// `pending`, `taken` (this incarnation asked), `restored` (this incarnation came out of it), `failed`.
    pub status: String,
    /// The checkpoint.
    pub checkpoint: Option<String>,
    /// Why it failed.
    pub message: Option<String>,
    /// The present incarnation.
    pub generation: u32,
}
