//! The durable record of a job. Only [`crate::decide()`] makes a new version of one.

use crate::kept::Json;
use crate::{CheckpointId, JobId, JobSpec, Operation, SandboxId, State, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One job as the store keeps it. Handles (pids, sockets) are never in here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id. Stores have it beside the record.
    #[serde(default)]
    pub id: JobId,
    /// What was asked for; only its tags and metadata ever change. Shared: records are copied often.
    pub spec: Arc<JobSpec>,
    /// Where it is.
    pub state: State,
    /// The effect in flight.
    pub operation: Option<Operation>,
    /// Why the operation in flight is carried out, and what comes after it.
    pub intent: Option<Intent>,
    /// Grows by one with each commit; a writer that expected another one loses.
    #[serde(default)]
    pub version: u64,
    /// Tries so far, from 1 once started.
    #[serde(default)]
    pub attempt: u32,
    /// Incarnations of its sandbox so far: starts, thaws and restores. An event of an earlier one is stale.
    #[serde(default)]
    pub generation: u32,
    /// The sandbox of the present attempt.
    pub sandbox: Option<SandboxId>,
    /// The boot of the machine in which the sandbox was last seen to run; after another boot it cannot live.
    pub boot_id: Option<String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its first sandbox ran.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// It is due then: pending, it may begin; suspended, it wakes (absent: when somebody resumes it); failed, it is tried again.
    pub wake_at: Option<Timestamp>,
    /// Suspended until a signal of this name comes.
    #[serde(default)]
    pub waits_for: Option<String>,
    /// Held by the present incarnation: while there are any, no checkpoint is taken.
    #[serde(default)]
    pub locks: Vec<Lock>,
    /// How far the job says it is.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// The attempt times out then. Absent while suspended: see `timeout_left_ms`.
    pub deadline_at: Option<Timestamp>,
    /// What is left of the attempt's timeout while it does not run.
    pub timeout_left_ms: Option<u64>,
    /// The newest committed checkpoint: the resume point.
    pub checkpoint: Option<CheckpointId>,
    /// How often it was restored after its sandbox was lost.
    #[serde(default)]
    pub restores: u32,
    /// How often in a row it was restored without reaching another checkpoint: a job that kills its sandbox is not tried for ever.
    #[serde(default)]
    pub restores_in_a_row: u32,
    /// How often it was tried again from its start after an attempt failed.
    #[serde(default)]
    pub retries: u32,
    /// Its present incarnation runs since then, as the ledger has it; absent while none runs.
    #[serde(default)]
    pub runs_since: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The last thing that went wrong without ending the job, such as a checkpoint that failed.
    pub last_error: Option<String>,

    /// The whole job times out then. Absent before its first attempt and while its time stands still: see `job_timeout_left_ms`.
    #[serde(default)]
    pub job_deadline_at: Option<Timestamp>,
    /// What was left of the whole job's timeout when its time last stood still.
    #[serde(default)]
    pub job_timeout_left_ms: Option<u64>,
    /// While it waits: the first of its times that is over, see [`crate::timeout`].
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// How often in a row its node went down while the job was on its way up or had hardly run, see
    /// [`crate::decide::CRASHES_IN_A_ROW_MAX`].
    #[serde(default)]
    pub crashes_in_a_row: u32,
    /// The jobs whose parent it is are cancelled with it.
    #[serde(default)]
    pub ends_children: Option<EndsChildren>,

    /// What has to end yet before it has a turn. A job that waits for others has no `wake_at`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_by: Vec<JobId>,

    /// Why it begins with its program although its spec names a template: that could not be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold: Option<String>,

    /// What an inline job wants to find when it is called again.
    #[serde(default)]
    pub saved: Option<Json>,
    /// Since when the function of an inline job was called last.
    #[serde(default)]
    pub called_at: Option<Timestamp>,
}

/// That the children of a job are cancelled with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndsChildren {
    /// From TERM to KILL; each child's own where absent.
    pub grace_ms: Option<u64>,
    /// All of them have ended, and theirs.
    pub done: bool,
}

impl Job {
    /// A job that was just accepted: pending, version 1.
    #[must_use]
    pub fn new(id: JobId, spec: impl Into<Arc<JobSpec>>, at: Timestamp) -> Self {
        let spec = spec.into();
        let (timeout_left_ms, job_timeout_left_ms) = (spec.timeout_ms, spec.job_timeout_ms);
        let generation = spec.fork.as_ref().map_or(0, |fork| fork.generation);
        // Since when it waits, or until when: either way the moment its turn is counted from.
        let wake_at = spec.run_at.filter(|run_at| *run_at > at).unwrap_or(at);
        let mut job = Self {
            id,
            spec,
            state: State::Pending,
            operation: None,
            intent: None,
            version: 1,
            attempt: 0,
            generation,
            sandbox: None,
            boot_id: None,
            created_at: at,
            started_at: None,
            finished_at: None,
            wake_at: Some(wake_at),
            waits_for: None,
            locks: Vec::new(),
            progress: None,
            deadline_at: None,
            timeout_left_ms,
            checkpoint: None,
            restores: 0,
            restores_in_a_row: 0,
            retries: 0,
            runs_since: None,
            outcome: None,
            last_error: None,
            job_deadline_at: None,
            job_timeout_left_ms,
            expires_at: None,
            crashes_in_a_row: 0,
            ends_children: None,

            blocked_by: Vec::new(),
            cold: None,
            saved: None,
            called_at: None,
        };
        job.expires_at = crate::timeout::expires_at(&job);
        job
    }

    /// What was asked for, to be changed; a copy where other records share it.
    pub fn spec_mut(&mut self) -> &mut JobSpec {
        Arc::make_mut(&mut self.spec)
    }

    /// The same job, which has no turn before these have ended.
    #[must_use]
    pub fn blocked_by(mut self, jobs: Vec<JobId>) -> Self {
        if !jobs.is_empty() {
            self.wake_at = None;
        }
        self.blocked_by = jobs;
        self.expires_at = crate::timeout::expires_at(&self);
        self
    }

    /// The locks that are not over by themselves at this moment.
    pub fn locks_held(&self, at: Timestamp) -> impl Iterator<Item = &Lock> {
        self.locks
            .iter()
            .filter(move |lock| lock.expires_at.is_none_or(|expires_at| expires_at > at))
    }

    /// It is a function of the program which the engine is part of: it never has a sandbox.
    #[must_use]
    pub fn is_inline(&self) -> bool {
        self.spec.driver == crate::INLINE
    }

    /// The jobs below it are being cancelled.
    #[must_use]
    pub fn is_ending_children(&self) -> bool {
        self.ends_children.is_some_and(|children| !children.done)
    }

    /// The exit code a shell would see: the job's own, 128 + signal, or 125 where Dauer failed it.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        let outcome = self.outcome.as_ref()?;
        Some(match (outcome.exit_code, outcome.signal) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => 125,
        })
    }
}

/// Why an operation is in flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Intent {
    /// A checkpoint under this id, asked for with this token if the job itself asked.
    Checkpoint {
        /// Where it will be published.
        checkpoint: CheckpointId,
        /// The job's idempotency key.
        token: Option<String>,
        /// When suspending: wake then.
        wake_at: Option<Timestamp>,
        /// When suspending: wake at a signal of this name.
        #[serde(default)]
        waits_for: Option<String>,
    },
    /// It is being woken.
    Wake {
        /// By a person, who is told when it cannot be done; otherwise because it was due.
        asked: bool,
    },
    /// The sandbox is to end.
    End {
        /// What the job becomes when it has ended.
        end: End,
        /// KILL is due then.
        kill_at: Timestamp,
    },
}

/// Why a job is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Asked to stop: becomes cancelled.
    Stop,
    /// Killed outright: fails as `killed`.
    Kill,
    /// The attempt's time is over: fails as `timeout`.
    Timeout,
    /// The whole job's time is over: fails as `timeout`, and is not tried again.
    JobTimeout,
    /// It waited too long for its turn: fails as `timeout`, and is not tried again.
    QueueTimeout,
    /// The job itself said that it is done: it has this exit code, however its program ends.
    Exit {
        /// As of a program.
        exit_code: i32,
    },
}

/// What keeps checkpoints waiting: the job does something that must not be torn apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Unique among those of the job.
    pub id: String,
    /// Over by itself then.
    pub expires_at: Option<Timestamp>,
}

/// How far a job says it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// So much of it is done …
    pub done: f64,
    /// … of so much, where the job knows.
    pub total: Option<f64>,
    /// A line for people.
    pub message: Option<String>,
    /// When it said so.
    pub at: Timestamp,
}

/// How a job ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What the program returned.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why it failed; absent when it completed or was stopped.
    pub reason: Option<Reason>,
    /// One line for a person.
    pub message: Option<String>,
}

/// Why a job failed, for programs to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The program returned another code than 0.
    ExitCode,
    /// A signal ended the program.
    Signal,
    /// It ran, took or waited longer than allowed; the message says which.
    Timeout,
    /// The kernel killed it at its memory limit.
    OutOfMemory,
    /// The sandbox or the program could not be started.
    StartFailed,
    /// No checkpoint could be restored.
    RestoreFailed,
    /// Its sandbox vanished and there was no checkpoint.
    Lost,
    /// Somebody killed it.
    Killed,
    /// Its node went down again and again right after the job was started or restored.
    CrashLoop,
    /// A job that had to complete before did not.
    DependencyFailed,
    /// The function of an inline job returned an error.
    Error,
    /// The function of an inline job panicked.
    Panic,
}

impl Reason {
    /// The serialized name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ExitCode => "exit_code",
            Self::Signal => "signal",
            Self::Timeout => "timeout",
            Self::OutOfMemory => "out_of_memory",
            Self::StartFailed => "start_failed",
            Self::RestoreFailed => "restore_failed",
            Self::Lost => "lost",
            Self::Killed => "killed",
            Self::CrashLoop => "crash_loop",
            Self::DependencyFailed => "dependency_failed",
            Self::Error => "error",
            Self::Panic => "panic",
        }
    }

    /// Each.
    pub const ALL: [Self; 12] = [
        Self::ExitCode,
        Self::Signal,
        Self::Timeout,
        Self::OutOfMemory,
        Self::StartFailed,
        Self::RestoreFailed,
        Self::Lost,
        Self::Killed,
        Self::CrashLoop,
        Self::DependencyFailed,
        Self::Error,
        Self::Panic,
    ];

    /// The reason of this serialized name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// A committed checkpoint. Its folder `snapshots/<id>` holds a manifest with lengths and digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its id and folder.
    pub id: CheckpointId,
    /// Whose it is.
    pub job: JobId,
    /// The incarnation it was taken of.
    pub generation: u32,
    /// When it was published.
    pub taken_at: Timestamp,
    /// How long the sandbox stood still for it.
    pub frozen_ms: u64,
    /// Bytes on disk: memory, and the files changed since the one before.
    pub memory_bytes: u64,
    /// Bytes of changed files.
    pub disk_bytes: u64,
    /// The log up to here belongs to it: output after this offset is produced again after a restore.
    pub log_offset: u64,
    /// The token it was asked for with.
    pub token: Option<String>,
    /// Bytes of the blocks that it takes on disk; absent in records of the first builds.
    #[serde(default)]
    pub blocks_bytes: Option<u64>,
}

impl Checkpoint {
    /// Bytes that it takes on disk: its blocks, or its length where they were not counted.
    #[must_use]
    pub fn bytes_on_disk(&self) -> u64 {
        self.blocks_bytes
            .unwrap_or(self.memory_bytes + self.disk_bytes)
    }

    /// When its sandbox stopped for it.
    #[must_use]
    pub fn frozen_at(&self) -> Timestamp {
        self.taken_at.minus_ms(self.frozen_ms)
    }
}

/// A checkpoint request of the job itself, by its idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Whose it is.
    pub job: JobId,
    /// The key, chosen by the job.
    pub token: String,
    /// The incarnation that first asked.
    pub generation: u32,
    /// What became of it.
    pub status: TokenStatus,
}

/// What became of a checkpoint request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum TokenStatus {
    /// Not decided yet. Forgotten when the job is restored: the code asks again.
    Requested,
    /// Committed.
    Done {
        /// As this checkpoint.
        checkpoint: CheckpointId,
    },
    /// It could not be taken; the job went on without. Asking again tries again.
    Failed {
        /// Why.
        message: String,
    },
}

/// Which of its tokens a job forgets with a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forget {
    /// None of them.
    #[default]
    None,
    /// Those still requested: the code that asked was rolled back and asks again.
    Requested,
    /// Every one: the program begins anew and may use the same keys for other places.
    All,
}
