//! Frames between the guest agent (pid 1 of every sandbox) and its shim.
//!
//! The transport is the agent's own standard input and output: two pipes that only this sandbox and its
//! shim hold, which is what makes the channel an identity, and which both gVisor and CRIU can replace by
//! new ones when they restore. The agent's standard error is the job's raw standard output: it costs no copy.
//!
//! Around a freeze: the shim sends [`ToGuest::Quiesce`]; the agent stops sending at a frame boundary, answers
//! [`FromGuest::Quiesced`] as its last frame and waits. After the freeze, in the original and in every restored
//! copy, it goes on when it reads [`ToGuest::Resume`]; where `generation` is a new one it then sends every
//! request again that has no answer yet, under its old number.
//!
//! Standard input and session output are bounded by windows, so that one slow reader never blocks the channel:
//! a sender may have [`WINDOW_BYTES`] under way that the receiver has not reported as consumed. The job's own output
//! (session 0) has no window and needs no [`ToGuest::Consumed`]: the shim writes all of it to the log.
//!
//! The agent's last frame is [`FromGuest::Exited`] or [`FromGuest::StartFailed`] of session 0; then it ends with code 0, and
//! the sandbox with it. It ends with another code where its channel broke.

use crate::frame::Frame;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;

/// The version of this protocol. The agent is taken from the daemon's own folder at each start, so the
/// two differ only for sandboxes that outlive an upgrade; a shim stays with its agent.
pub const PROTOCOL: u32 = 1;

/// Bytes one stream may have under way.
pub const WINDOW_BYTES: usize = 256 << 10;

/// The folder of the agent inside every sandbox: `dauer` (the agent, also the in-sandbox command).
pub const GUEST_DIR: &str = "/run/dauer";

/// The agent and command inside every sandbox.
pub const GUEST_BINARY: &str = "/run/dauer/dauer";

/// The port of the runtime API on the sandbox's own loopback.
pub const API_PORT: u16 = 4717;

/// The first words of a command inside: what to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment but `DAUER_API` and `DAUER_JOB_ID`, which the agent sets last.
    pub env: BTreeMap<String, String>,
    /// Where it starts. Absent: `/`.
    pub workdir: Option<String>,
    /// `uid[:gid]` or a name in the sandbox's `/etc/passwd`. Absent: 0:0.
    pub user: Option<String>,
    /// It gets a terminal of this size.
    pub tty: Option<WindowSize>,
    /// Its standard input follows in frames; otherwise it reads end of file.
    pub stdin: bool,
}

/// Of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

impl Default for WindowSize {
    fn default() -> Self {
        Self {
            rows: 24,
            columns: 80,
        }
    }
}

/// The first frame to a fresh agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// For `DAUER_JOB_ID`.
    pub job: String,
    /// The incarnation, from 1.
    pub generation: u32,
    /// The sandbox shares the host's network: the agent takes a free port instead of [`API_PORT`] and serves
    /// only connections of processes inside its own pid namespace.
    pub shared_network: bool,
    /// The job.
    pub command: Command,
}

/// How a process ended: exactly one of the two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// What it returned.
    pub code: Option<i32>,
    /// What killed it.
    pub signal: Option<i32>,
}

/// A program that could not be started, as shells report it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFailure {
    /// 127 not found, 126 found but not executable, 125 anything else (workdir, user).
    pub code: i32,
    /// One line.
    pub message: String,
}

/// A request of the job to the runtime API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiRequest {
    /// `GET`, `POST` …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers that matter to the server (`content-type`, `accept`), names in lower case.
    pub headers: BTreeMap<String, String>,
    /// At most 2 MiB.
    #[serde(skip)]
    pub body: Vec<u8>,
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiResponse {
    /// HTTP status.
    pub status: u16,
    /// Headers to send; length and connection headers are the agent's business.
    pub headers: BTreeMap<String, String>,
    /// The body.
    #[serde(skip)]
    pub body: Vec<u8>,
}

/// After a freeze.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The incarnation that goes on: the same as before where the original goes on.
    pub generation: u32,
    /// Milliseconds since the epoch on the host, for agents in VMs that must step their clock.
    pub wall_clock_ms: i64,
    /// Hexadecimal, for agents in VMs that must reseed.
    pub entropy: String,
    /// The job that goes on, for `DAUER_JOB_ID` of what is started from now on: another one than before in a fork.
    #[serde(default)]
    pub job: Option<String>,
    /// The name of the host, where the agent is the one who can set it.
    #[serde(default)]
    pub host_name: Option<String>,
}

/// What the agent found when it was asked to hold still.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiesced {
    /// Open files that no longer have a name, as `pid 7: /var/tmp/x`, on file systems that are not in memory.
    /// A checkpoint with such a file cannot be restored by every driver.
    pub unlinked_files: Vec<String>,
}

/// Whom a signal goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The job's first process.
    Main,
    /// Its whole process group (what a terminal does).
    Group,
    /// Every process but the agent.
    All,
}

/// A signal to the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Its Linux number.
    pub signal: i32,
    /// Whom it goes to.
    pub scope: Scope,
}

/// An output stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
    /// The one stream of a terminal.
    Tty = 3,
}

impl Stream {
    /// The stream of this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Stdout),
            2 => Some(Self::Stderr),
            3 => Some(Self::Tty),
            _ => None,
        }
    }
}

/// What the agent says. Session 0 is the job itself, others are `exec` sessions, numbered by the shim.
#[allow(
    missing_docs,
    reason = "the fields are named by the words of the module's text"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromGuest {
    /// The first frame of a fresh agent: its protocol version.
    Hello(u32),
    /// A session's program runs, with this pid inside.
    Started { session: u64, pid: i32 },
    /// It could not be started.
    StartFailed { session: u64, failure: StartFailure },
    /// It ended, and all its output was sent before this frame.
    Exited { session: u64, status: ExitStatus },
    /// Output. Of session 0 only standard error and the terminal come this way; standard output is raw.
    Output {
        session: u64,
        stream: Stream,
        bytes: Vec<u8>,
    },
    /// So many bytes of the session's input were consumed.
    Consumed { session: u64, bytes: u32 },
    /// The job asks the runtime API.
    Request { id: u64, request: ApiRequest },
    /// Nothing more follows until [`ToGuest::Resume`].
    Quiesced(Quiesced),
}

/// What the shim says.
#[allow(
    missing_docs,
    reason = "the fields are named by the words of the module's text"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToGuest {
    /// Start the job.
    Start(Start),
    /// Signal a session's program.
    Signal { session: u64, signal: Signal },
    /// Input of a session; empty: end of file.
    Input { session: u64, bytes: Vec<u8> },
    /// The session's terminal has another size.
    Resize { session: u64, size: WindowSize },
    /// So many bytes of the session's output were consumed.
    Consumed { session: u64, bytes: u32 },
    /// Run another program beside the job.
    Exec { session: u64, command: Command },
    /// Whoever asked for the session is gone: hang up (HUP, then KILL), send nothing more of it.
    Close { session: u64 },
    /// Answer to a request.
    Response { id: u64, response: ApiResponse },
    /// Hold still.
    Quiesce,
    /// Go on.
    Resume(Resume),
}

mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const STARTED: u8 = 2;
    pub(super) const START_FAILED: u8 = 3;
    pub(super) const EXITED: u8 = 4;
    pub(super) const OUTPUT: u8 = 5;
    pub(super) const CONSUMED: u8 = 6;
    pub(super) const REQUEST: u8 = 7;
    pub(super) const QUIESCED: u8 = 8;

    pub(super) const START: u8 = 65;
    pub(super) const SIGNAL: u8 = 66;
    pub(super) const INPUT: u8 = 67;
    pub(super) const RESIZE: u8 = 68;
    pub(super) const EXEC: u8 = 69;
    pub(super) const CLOSE: u8 = 70;
    pub(super) const RESPONSE: u8 = 71;
    pub(super) const QUIESCE: u8 = 72;
    pub(super) const RESUME: u8 = 73;
}

fn unknown(kind: u8) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("unknown frame kind {kind}"),
    )
}

/// Packs a JSON head and a raw body into one payload: length of the head (u32 le), head, body.
#[must_use]
pub fn pack<T: Serialize>(head: &T, body: &[u8]) -> Vec<u8> {
    let head = serde_json::to_vec(head).expect("message types serialize");
    let mut payload = Vec::with_capacity(4 + head.len() + body.len());
    payload.extend_from_slice(
        &u32::try_from(head.len())
            .expect("heads are short")
            .to_le_bytes(),
    );
    payload.extend_from_slice(&head);
    payload.extend_from_slice(body);
    payload
}

/// The opposite of [`pack`].
///
/// # Errors
/// `InvalidData` where the payload is too short or the head is no such JSON.
pub fn unpack<T: serde::de::DeserializeOwned>(payload: &[u8]) -> io::Result<(T, Vec<u8>)> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "short frame");
    let (length, rest) = payload.split_first_chunk::<4>().ok_or_else(short)?;
    let length = u32::from_le_bytes(*length) as usize;
    let head = rest.get(..length).ok_or_else(short)?;
    let head =
        serde_json::from_slice(head).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    Ok((head, rest[length..].to_vec()))
}

impl FromGuest {
    /// As it travels.
    #[must_use]
    pub fn into_frame(self) -> Frame {
        match self {
            Self::Hello(protocol) => Frame::json(kind::HELLO, 0, &protocol),
            Self::Started { session, pid } => Frame::json(kind::STARTED, session, &pid),
            Self::StartFailed { session, failure } => {
                Frame::json(kind::START_FAILED, session, &failure)
            }
            Self::Exited { session, status } => Frame::json(kind::EXITED, session, &status),
            Self::Output {
                session,
                stream,
                mut bytes,
            } => {
                // The stream number goes last, where adding it moves nothing.
                bytes.push(stream as u8);
                Frame::new(kind::OUTPUT, session, bytes)
            }
            Self::Consumed { session, bytes } => Frame::json(kind::CONSUMED, session, &bytes),
            Self::Request { id, request } => {
                Frame::new(kind::REQUEST, id, pack(&request, &request.body))
            }
            Self::Quiesced(quiesced) => Frame::json(kind::QUIESCED, 0, &quiesced),
        }
    }

    /// Reads a frame of the agent.
    ///
    /// # Errors
    /// `InvalidData` for a kind or payload this version does not know.
    pub fn from_frame(frame: Frame) -> io::Result<Self> {
        let session = frame.id;
        Ok(match frame.kind {
            kind::HELLO => Self::Hello(frame.parse()?),
            kind::STARTED => Self::Started {
                session,
                pid: frame.parse()?,
            },
            kind::START_FAILED => Self::StartFailed {
                session,
                failure: frame.parse()?,
            },
            kind::EXITED => Self::Exited {
                session,
                status: frame.parse()?,
            },
            kind::OUTPUT => {
                let mut bytes = frame.payload;
                let stream = bytes
                    .pop()
                    .and_then(Stream::from_number)
                    .ok_or_else(|| unknown(kind::OUTPUT))?;
                Self::Output {
                    session,
                    stream,
                    bytes,
                }
            }
            kind::CONSUMED => Self::Consumed {
                session,
                bytes: frame.parse()?,
            },
            kind::REQUEST => {
                let (mut request, body) = unpack::<ApiRequest>(&frame.payload)?;
                request.body = body;
                Self::Request {
                    id: frame.id,
                    request,
                }
            }
            kind::QUIESCED => Self::Quiesced(frame.parse()?),
            other => return Err(unknown(other)),
        })
    }
}

impl ToGuest {
    /// As it travels.
    #[must_use]
    pub fn into_frame(self) -> Frame {
        match self {
            Self::Start(start) => Frame::json(kind::START, 0, &start),
            Self::Signal { session, signal } => Frame::json(kind::SIGNAL, session, &signal),
            Self::Input { session, bytes } => Frame::new(kind::INPUT, session, bytes),
            Self::Resize { session, size } => Frame::json(kind::RESIZE, session, &size),
            Self::Consumed { session, bytes } => Frame::json(kind::CONSUMED, session, &bytes),
            Self::Exec { session, command } => Frame::json(kind::EXEC, session, &command),
            Self::Close { session } => Frame::new(kind::CLOSE, session, Vec::new()),
            Self::Response { id, response } => {
                Frame::new(kind::RESPONSE, id, pack(&response, &response.body))
            }
            Self::Quiesce => Frame::new(kind::QUIESCE, 0, Vec::new()),
            Self::Resume(resume) => Frame::json(kind::RESUME, 0, &resume),
        }
    }

    /// Reads a frame of the shim.
    ///
    /// # Errors
    /// `InvalidData` for a kind or payload this version does not know.
    pub fn from_frame(frame: Frame) -> io::Result<Self> {
        let session = frame.id;
        Ok(match frame.kind {
            kind::START => Self::Start(frame.parse()?),
            kind::SIGNAL => Self::Signal {
                session,
                signal: frame.parse()?,
            },
            kind::INPUT => Self::Input {
                session,
                bytes: frame.payload,
            },
            kind::RESIZE => Self::Resize {
                session,
                size: frame.parse()?,
            },
            kind::CONSUMED => Self::Consumed {
                session,
                bytes: frame.parse()?,
            },
            kind::EXEC => Self::Exec {
                session,
                command: frame.parse()?,
            },
            kind::CLOSE => Self::Close { session },
            kind::RESPONSE => {
                let (mut response, body) = unpack::<ApiResponse>(&frame.payload)?;
                response.body = body;
                Self::Response {
                    id: frame.id,
                    response,
                }
            }
            kind::QUIESCE => Self::Quiesce,
            kind::RESUME => Self::Resume(frame.parse()?),
            other => return Err(unknown(other)),
        })
    }
}
