//! The daemon's end of a shim's socket: commands, events, exec sessions and the job's input.
//!
//! A [`Link`] is the command half of one control connection and [`LinkEvents`] its event half. The end of the
//! shim is the end of the connection, so its death is noticed at once and without asking.

use crate::dial::connect;
use crate::protocol::{Call, Event, Open, Phase, Reply, kind};
use crate::streams::{ExecSession, StdinSink};
use crate::{Error, frames};
use dauer_core::ledger::Life;
use dauer_core::{Checkpoint, CheckpointId};
use dauer_wire::frame::Frame;
use dauer_wire::guest::{ApiRequest, ApiResponse, Command, FromGuest, ToGuest};
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

/// What a shim has to say.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkEvent {
    /// The first of each connection, and after each change.
    State {
        /// Where the incarnation is.
        phase: Phase,
        /// The shim, as the host numbers it.
        shim_pid: i32,
        /// The process whose death is the sandbox's.
        sandbox_pid: Option<i32>,
        /// The job's first process, as numbered inside.
        job_pid: Option<i32>,
        /// What is known of the incarnation besides.
        life: Life,
    },
    /// The job asks the runtime API; answer with [`Link::respond`]. Said again to each new connection until answered.
    Request {
        /// Its number.
        id: u64,
        /// What it asks.
        request: ApiRequest,
    },
    /// The shim is gone, or a newer connection took over. Ask [`crate::Node::observe`] which.
    Closed,
}

/// The event half of a control connection.
#[derive(Debug)]
pub struct LinkEvents {
    events: mpsc::UnboundedReceiver<LinkEvent>,
}

impl LinkEvents {
    /// The next event; [`LinkEvent::Closed`] for ever once the connection ended. Cancel safe.
    pub async fn recv(&mut self) -> LinkEvent {
        self.events.recv().await.unwrap_or(LinkEvent::Closed)
    }
}

/// Replies that callers wait for; `None` once the connection ended, so that no call can wait for ever.
type Waiting = Mutex<Option<HashMap<u64, oneshot::Sender<Reply>>>>;

#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    waiting: Waiting,
    calls: std::sync::atomic::AtomicU64,
}

impl Shared {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Reply>>>> {
        // The map is whole between any two statements, so a panic elsewhere does not spoil it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The command half of a control connection. After the connection ended every call answers [`Error::Gone`].
/// Dropping the last clone closes the connection; the sandbox lives on.
#[derive(Clone, Debug)]
pub struct Link {
    shared: Arc<Shared>,
    outgoing: mpsc::UnboundedSender<Frame>,
}

impl Link {
    /// Opens a control connection on a connected socket.
    pub(crate) fn open(socket: PathBuf, stream: UnixStream) -> (Self, LinkEvents) {
        let (reader, writer) = stream.into_split();
        let (outgoing, queue) = mpsc::unbounded_channel();
        let (sender, events) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            socket,
            waiting: Mutex::new(Some(HashMap::new())),
            calls: std::sync::atomic::AtomicU64::new(1),
        });
        tokio::spawn(write_all(writer, queue));
        tokio::spawn(read_all(reader, Arc::clone(&shared), sender));
        let link = Self { shared, outgoing };
        link.say(Frame::json(kind::OPEN, 0, &Open::Control));
        (link, LinkEvents { events })
    }

    /// Delivers a signal to the job's first process, or to `all`.
    ///
    /// # Errors
    /// `Gone`; `Invalid`.
    pub async fn signal(&self, signal: i32, all: bool) -> Result<(), Error> {
        self.done(Call::Signal { signal, all }).await
    }

    /// Gives the job's terminal another size.
    ///
    /// # Errors
    /// `Gone`; `Invalid` where it has none.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<(), Error> {
        self.done(Call::Resize { rows, columns }).await
    }

    /// Takes and publishes a checkpoint under this id; with `freeze` the sandbox stays frozen afterwards. Repeating it with an
    /// id that is published already answers with that one.
    ///
    /// # Errors
    /// `Gone`, `Unsupported`, `NoSpace`, `Invalid`, `Tool`, `Io`: but for `Gone`, the job goes on as before and nothing is left on disk.
    pub async fn checkpoint(
        &self,
        id: &CheckpointId,
        freeze: bool,
        token: Option<String>,
    ) -> Result<Checkpoint, Error> {
        match self
            .call(Call::Checkpoint {
                checkpoint: id.clone(),
                freeze,
                token,
            })
            .await?
        {
            Reply::Published { checkpoint } => Ok(*checkpoint),
            Reply::Done => Err(Error::Invalid(
                "the shim answered a checkpoint without a checkpoint".into(),
            )),
            Reply::Refused {
                code,
                message,
                room,
            } => Err(refusal(&code, message, room)),
        }
    }

    /// A frozen sandbox whose checkpoint was not wanted goes on; that checkpoint is deleted first.
    ///
    /// # Errors
    /// `Gone`; `Invalid` where it is not frozen.
    pub async fn unfreeze(&self) -> Result<(), Error> {
        self.done(Call::Unfreeze).await
    }

    /// Gives a restored sandbox that waits for a job ([`crate::SandboxSpec::waits_for_a_job`]) to this one: from now on what it asks
    /// is asked by this job. One that is this job's already stays as it is.
    ///
    /// # Errors
    /// `Gone`; `Invalid` where it is another job's.
    pub async fn assign(&self, job: &str, host_name: &str) -> Result<(), Error> {
        self.done(Call::Assign {
            job: job.to_owned(),
            host_name: host_name.to_owned(),
        })
        .await
    }

    /// Ends the sandbox. Returns when `exit.json` is written and the kernel holds nothing of it any more.
    ///
    /// # Errors
    /// `Gone`; `Tool` or `Io` where something could not be removed.
    pub async fn destroy(&self) -> Result<(), Error> {
        self.done(Call::Destroy).await
    }

    /// Answers a request of the job. What is lost with the connection is said again to the next one.
    pub fn respond(&self, request: u64, response: ApiResponse) {
        let frame = ToGuest::Response {
            id: request,
            response,
        }
        .into_frame();
        self.say(Frame {
            kind: kind::RESPONSE,
            ..frame
        });
    }

    /// Runs another program beside the job.
    ///
    /// # Errors
    /// `Gone`. That it could not be started is the session's last frame.
    pub async fn exec(&self, command: Command) -> Result<ExecSession, Error> {
        Ok(ExecSession::over(self.side(&Open::Exec { command }).await?))
    }

    /// Opens the job's standard input.
    ///
    /// # Errors
    /// `Gone`.
    pub async fn stdin(&self) -> Result<StdinSink, Error> {
        Ok(StdinSink::over(self.side(&Open::Stdin).await?))
    }

    async fn side(&self, open: &Open) -> Result<UnixStream, Error> {
        let mut stream = connect(&self.shared.socket).await?.ok_or(Error::Gone)?;
        let frame = Frame::json(kind::OPEN, 0, open);
        frames::write(&mut stream, &frame)
            .await
            .map_err(|_| Error::Gone)?;
        Ok(stream)
    }

    fn say(&self, frame: Frame) {
        // A closed queue means that the shim is gone, which the event half reports.
        let _ = self.outgoing.send(frame);
    }

    async fn done(&self, call: Call) -> Result<(), Error> {
        match self.call(call).await? {
            Reply::Done | Reply::Published { .. } => Ok(()),
            Reply::Refused {
                code,
                message,
                room,
            } => Err(refusal(&code, message, room)),
        }
    }

    async fn call(&self, call: Call) -> Result<Reply, Error> {
        let id = self
            .shared
            .calls
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        match self.shared.waiting().as_mut() {
            Some(waiting) => waiting.insert(id, sender),
            None => return Err(Error::Gone),
        };
        self.say(Frame::json(kind::CALL, id, &call));
        reply.await.map_err(|_| Error::Gone)
    }
}

async fn write_all(mut writer: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Frame>) {
    while let Some(frame) = queue.recv().await {
        if frames::write(&mut writer, &frame).await.is_err() {
            // The reading half sees the same end and reports it.
            return;
        }
    }
}

async fn read_all(
    mut reader: OwnedReadHalf,
    shared: Arc<Shared>,
    events: mpsc::UnboundedSender<LinkEvent>,
) {
    while let Ok(Some(frame)) = frames::read(&mut reader).await {
        if let Err(e) = dispatch(frame, &shared, &events) {
            tracing::warn!(socket = %shared.socket.display(), "the shim said something unknown: {e}");
        }
    }
    // Dropping the senders wakes every caller with `Gone`.
    drop(shared.waiting().take());
    let _ = events.send(LinkEvent::Closed);
}

fn dispatch(
    frame: Frame,
    shared: &Shared,
    events: &mpsc::UnboundedSender<LinkEvent>,
) -> io::Result<()> {
    let event = match frame.kind {
        kind::EVENT => match frame.parse::<Event>()? {
            Event::State {
                phase,
                shim_pid,
                sandbox_pid,
                job_pid,
                life,
            } => LinkEvent::State {
                phase,
                shim_pid,
                sandbox_pid,
                job_pid,
                life,
            },
        },
        kind::REQUEST => {
            let (id, request) = request_of(&frame)?;
            LinkEvent::Request { id, request }
        }
        kind::REPLY => {
            let reply = frame.parse()?;
            if let Some(caller) = shared
                .waiting()
                .as_mut()
                .and_then(|waiting| waiting.remove(&frame.id))
            {
                // A caller that gave up needs no reply.
                let _ = caller.send(reply);
            }
            return Ok(());
        }
        other => return Err(io::Error::other(format!("frame kind {other}"))),
    };
    // Nobody listens to events any more: commands may still be in use.
    let _ = events.send(event);
    Ok(())
}

/// The request in a [`kind::REQUEST`] frame.
fn request_of(frame: &Frame) -> io::Result<(u64, ApiRequest)> {
    let (mut request, body) = dauer_wire::guest::unpack::<ApiRequest>(&frame.payload)?;
    request.body = body;
    Ok((frame.id, request))
}

/// A [`kind::REQUEST`] frame for the daemon.
pub(crate) fn request_frame(id: u64, request: ApiRequest) -> Frame {
    Frame {
        kind: kind::REQUEST,
        ..FromGuest::Request { id, request }.into_frame()
    }
}

fn refusal(code: &str, message: String, room: Option<crate::protocol::Room>) -> Error {
    match (code, room) {
        ("no_space", Some(room)) => Error::NoSpace {
            path: room.path,
            needed_bytes: room.needed_bytes,
            free_bytes: room.free_bytes,
        },
        ("invalid", _) => Error::Invalid(message),
        ("unsupported", _) => Error::Unsupported(message),
        ("bad_image", _) => Error::BadImage(message),
        ("gone", _) => Error::Gone,
        (_, _) => Error::Refused(message),
    }
}
