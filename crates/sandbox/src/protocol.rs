//! What daemon and shim say over `shim.sock`, in frames ([`dauer_wire::frame`]).
//!
//! A connection opens with one [`Open`]. `Control`: commands and events; a newer control connection takes over from
//! an older one (a new daemon adopts). `Exec`: one session, [`dauer_wire::http::exec_kind`] frames until it ends.
//! `Stdin`: raw input frames for the job (`exec_kind::INPUT`), each answered when consumed, so that the sender is
//! slowed down by the job.
//!
//! Events that the daemon may have missed are said again on each control connection: the shim keeps API requests
//! without an answer and its own state, and opens with [`Event::State`].

use dauer_core::ledger::Life;
use dauer_core::{Checkpoint, CheckpointId};
use dauer_wire::guest::{Command, ExitStatus, StartFailure};
use serde::{Deserialize, Serialize};

/// The first frame of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Open {
    /// Commands and events.
    Control,
    /// Another program in the sandbox.
    Exec {
        /// Which.
        command: Command,
    },
    /// Input of the job.
    Stdin,
    /// Nothing but the question whether a shim lives: one [`Event::State`] and the end.
    Look,
}

/// Where an incarnation is, as its shim sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// The sandbox is being made or restored.
    Starting,
    /// The job runs.
    Running,
    /// It stands still with a published checkpoint, and waits for [`Call::Destroy`].
    Frozen {
        /// Which.
        checkpoint: Box<Checkpoint>,
    },
    /// It ended; `exit.json` says the same.
    Ended {
        /// How.
        exit: ExitRecord,
    },
}

/// `exit.json`: how an incarnation ended. Written once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum ExitRecord {
    /// The program ended.
    Exited {
        /// How.
        status: ExitStatus,
        /// The kernel killed something of it at the memory limit.
        out_of_memory: bool,
        /// Milliseconds since the epoch.
        at: i64,
        /// What is known of it besides.
        #[serde(default)]
        life: Life,
        /// Why its files were not kept, where they were to be and could not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unkept: Option<String>,
    },
    /// The sandbox or the program could not be started.
    StartFailed {
        /// What a shell would exit with.
        failure: StartFailure,
        /// Milliseconds since the epoch.
        at: i64,
    },
    /// The checkpoint could not be restored.
    RestoreFailed {
        /// Why.
        message: String,
        /// The image itself is bad: trying again is useless.
        bad_image: bool,
        /// Milliseconds since the epoch.
        at: i64,
    },
    /// The sandbox vanished under the shim (somebody killed it).
    Lost {
        /// Milliseconds since the epoch.
        at: i64,
        /// The kernel killed it at the memory limit.
        out_of_memory: bool,
        /// What is known of it besides.
        #[serde(default)]
        life: Life,
    },
    /// It was destroyed after a published checkpoint, as asked.
    Suspended {
        /// Which.
        checkpoint: CheckpointId,
        /// Milliseconds since the epoch.
        at: i64,
    },
}

/// Daemon → shim on a control connection. The frame id is the number of the call; its reply carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    /// Deliver a signal.
    Signal {
        /// Linux number.
        signal: i32,
        /// To every process rather than the first.
        all: bool,
    },
    /// The terminal of the job has another size.
    Resize {
        /// Lines.
        rows: u16,
        /// Characters a line.
        columns: u16,
    },
    /// Take and publish a checkpoint: write aside, verify, fsync, rename. Repeating it with an id that is published already
    /// answers with that one. Reply: a [`Checkpoint`] in JSON.
    Checkpoint {
        /// Under this id.
        checkpoint: CheckpointId,
        /// Stay frozen afterwards (phase `Frozen`), to be destroyed once the pointer is committed.
        freeze: bool,
        /// Goes into the record.
        token: Option<String>,
    },
    /// A frozen sandbox whose checkpoint was not wanted after all goes on.
    Unfreeze,
    /// A restored sandbox that waits for a job is this one's from now on. Said again, it changes nothing.
    Assign {
        /// For `DAUER_JOB_ID` of what is started in it, and the manifests of its checkpoints.
        job: String,
        /// What its programs are told is the host's name.
        host_name: String,
    },
    /// End it: kill everything, remove what the kernel holds, write `exit.json`, exit.
    Destroy,
}

/// Shim → daemon: the answer to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// Done.
    Done,
    /// A checkpoint is published.
    Published {
        /// Its record.
        checkpoint: Box<Checkpoint>,
    },
    /// It could not be done; the sandbox goes on as before.
    Refused {
        /// `invalid`, `unsupported`, `no_space`, `bad_image`, `gone`, `failed`.
        code: String,
        /// One line.
        message: String,
        /// With `no_space`: the figures.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room: Option<Room>,
    },
}

/// What is missing on a full disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// A path on the file system that is full.
    pub path: std::path::PathBuf,
    /// An estimate.
    pub needed_bytes: u64,
    /// What there is.
    pub free_bytes: u64,
}

/// Shim → daemon: what happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first on each control connection, and after each change of phase.
    State {
        /// Where it is.
        phase: Phase,
        /// Of the shim.
        shim_pid: i32,
        /// The process whose death is the sandbox's.
        sandbox_pid: Option<i32>,
        /// The job's first process, as numbered inside.
        job_pid: Option<i32>,
        /// What is known of the incarnation besides.
        #[serde(default)]
        life: Life,
    },
}

/// Kinds of frames on a control connection.
pub mod kind {
    /// Either way, first frame of a connection: [`super::Open`].
    pub const OPEN: u8 = 10;
    /// Daemon → shim: [`super::Call`]; id: the call.
    pub const CALL: u8 = 11;
    /// Shim → daemon: [`super::Reply`]; id: the call.
    pub const REPLY: u8 = 12;
    /// Shim → daemon: [`super::Event`].
    pub const EVENT: u8 = 13;
    /// Shim → daemon: an API request of the job; payload as `FromGuest::Request`; id: the request.
    pub const REQUEST: u8 = 14;
    /// Daemon → shim: its answer, payload as `ToGuest::Response`; id: the request.
    pub const RESPONSE: u8 = 15;
    /// Shim → daemon on a `Stdin` connection: the last input frame was consumed.
    pub const CONSUMED: u8 = 16;
}
