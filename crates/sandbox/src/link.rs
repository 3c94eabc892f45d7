//! The daemon's end of a shim's socket: commands, events, exec sessions and the job's input.
//!
//! A [`Link`] is the command half of one control connection and [`LinkEvents`] its event half. The end of the
//! shim is the end of the connection, so its death is noticed at once and without asking.

use crate::protocol::{Call, Event, Open, Phase, Reply, kind};
use crate::{Error, frames};
use bytes::Bytes;
use dauer_core::{Checkpoint, CheckpointId};
use dauer_wire::frame::Frame;
use dauer_wire::guest::{ApiRequest, ApiResponse, Command, FromGuest, ToGuest, WINDOW_BYTES};
use dauer_wire::http::exec_kind;
use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

/// Between two tries to connect to a shim whose queue of connections is full; the kernel tells nobody when it is not.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// A shim that does not answer within this time is starting, or stopped; it is there in any case.
const LOOK_MAX: Duration = Duration::from_millis(200);

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
        let stream = self.side(&Open::Exec { command }).await?;
        let (reader, writer) = stream.into_split();
        Ok(ExecSession {
            input: ExecInput { writer },
            output: ExecOutput {
                frames: frames_of(reader),
            },
        })
    }

    /// Opens the job's standard input.
    ///
    /// # Errors
    /// `Gone`.
    pub async fn stdin(&self) -> Result<StdinSink, Error> {
        let stream = self.side(&Open::Stdin).await?;
        let (reader, writer) = stream.into_split();
        Ok(StdinSink { reader, writer })
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

/// What listens on a shim's socket.
enum Listener {
    /// Connected.
    Shim(UnixStream),
    /// Somebody does, but cannot take another connection at the moment.
    Busy,
    /// Nobody.
    None,
}

/// Connects to a shim's socket; `None` where nobody listens. Waits for one that is busy, such as one that is verifying a
/// large checkpoint.
pub(crate) async fn connect(socket: &Path) -> Result<Option<UnixStream>, Error> {
    loop {
        match try_connect(socket).await? {
            Listener::Shim(stream) => return Ok(Some(stream)),
            Listener::None => return Ok(None),
            Listener::Busy => tokio::time::sleep(BUSY_PAUSE).await,
        }
    }
}

/// Whether a shim listens. One that is just dying may still let itself be connected to, so it is asked; one that is still starting does not
/// answer yet, but its connections do not break either.
pub(crate) async fn is_alive(socket: &Path) -> Result<bool, Error> {
    let mut stream = match try_connect(socket).await? {
        Listener::Shim(stream) => stream,
        Listener::Busy => return Ok(true),
        Listener::None => return Ok(false),
    };
    if frames::write(&mut stream, &Frame::json(kind::OPEN, 0, &Open::Look))
        .await
        .is_err()
    {
        return Ok(false);
    }
    match tokio::time::timeout(LOOK_MAX, frames::read(&mut stream)).await {
        Ok(Ok(Some(_))) | Err(_) => Ok(true),
        Ok(Ok(None) | Err(_)) => Ok(false),
    }
}

/// Connects to a shim's socket without waiting.
async fn try_connect(socket: &Path) -> Result<Listener, Error> {
    let what = || format!("connect to {}", socket.display());
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(Error::Invalid(format!(
            "{} is no socket path",
            socket.display()
        )));
    };
    // The address of a unix socket holds 108 bytes; the way through the open folder is always short.
    let folder = match std::fs::File::open(folder) {
        Ok(folder) => folder,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Listener::None),
        Err(e) => return Err(Error::io(what())(e)),
    };
    let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Listener::Shim(stream)),
        Err(e) => match e.kind() {
            // Reset: it died while this connection waited to be accepted.
            io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset => Ok(Listener::None),
            io::ErrorKind::WouldBlock => Ok(Listener::Busy),
            _ => Err(Error::io(what())(e)),
        },
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
            } => LinkEvent::State {
                phase,
                shim_pid,
                sandbox_pid,
                job_pid,
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

/// Frames of a connection, read by a task of their own so that receiving is cancel safe. Eight are under way at most; the rest waits in
/// the socket, and behind it the window holds the program back.
fn frames_of(mut reader: OwnedReadHalf) -> mpsc::Receiver<Frame> {
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        loop {
            let frame = tokio::select! {
                frame = frames::read(&mut reader) => frame,
                // Nobody listens any more: the shim must see the connection end though the program is silent.
                () = sender.closed() => return,
            };
            let Ok(Some(frame)) = frame else { return };
            if sender.send(frame).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// Another program in the sandbox: frames of [`exec_kind`]. Dropping both halves hangs up on the program.
#[derive(Debug)]
pub struct ExecSession {
    input: ExecInput,
    output: ExecOutput,
}

impl ExecSession {
    /// Sends input, a size or a signal; waits while the program does not read.
    ///
    /// # Errors
    /// `Gone`.
    pub async fn send(&mut self, frame: Frame) -> Result<(), Error> {
        self.input.send(frame).await
    }

    /// The next frame; the last one is `EXITED` or `FAILED`, then `None`. Cancel safe.
    pub async fn recv(&mut self) -> Option<Frame> {
        self.output.recv().await
    }

    /// The two directions.
    #[must_use]
    pub fn split(self) -> (ExecInput, ExecOutput) {
        (self.input, self.output)
    }
}

/// Towards a program started by [`Link::exec`].
#[derive(Debug)]
pub struct ExecInput {
    writer: OwnedWriteHalf,
}

impl ExecInput {
    /// See [`ExecSession::send`].
    ///
    /// # Errors
    /// `Gone`.
    pub async fn send(&mut self, frame: Frame) -> Result<(), Error> {
        for frame in pieces(frame) {
            frames::write(&mut self.writer, &frame)
                .await
                .map_err(|_| Error::Gone)?;
        }
        Ok(())
    }
}

/// From a program started by [`Link::exec`].
#[derive(Debug)]
pub struct ExecOutput {
    frames: mpsc::Receiver<Frame>,
}

impl ExecOutput {
    /// See [`ExecSession::recv`].
    pub async fn recv(&mut self) -> Option<Frame> {
        self.frames.recv().await
    }
}

/// Input frames no longer than the shim passes on at once.
fn pieces(frame: Frame) -> Vec<Frame> {
    if frame.kind != exec_kind::INPUT || frame.payload.len() <= WINDOW_BYTES / 4 {
        return vec![frame];
    }
    frame
        .payload
        .chunks(WINDOW_BYTES / 4)
        .map(|piece| Frame::new(frame.kind, frame.id, piece.to_vec()))
        .collect()
}

/// The job's standard input, slowed down by the job.
#[derive(Debug)]
pub struct StdinSink {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
}

impl StdinSink {
    /// Hands bytes to the job; returns when its agent has them, so that they are part of any later checkpoint.
    ///
    /// # Errors
    /// `Gone`: the sandbox ended or was frozen. The last [`WINDOW_BYTES`] at most of these bytes may have arrived.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        for piece in bytes.chunks(WINDOW_BYTES / 4) {
            self.pass(piece).await?;
        }
        Ok(())
    }

    /// Lets the job read end of file.
    ///
    /// # Errors
    /// `Gone`.
    pub async fn close(mut self) -> Result<(), Error> {
        self.pass(&[]).await
    }

    async fn pass(&mut self, piece: &[u8]) -> Result<(), Error> {
        let frame = Frame::new(exec_kind::INPUT, 0, piece.to_vec());
        frames::write(&mut self.writer, &frame)
            .await
            .map_err(|_| Error::Gone)?;
        match frames::read(&mut self.reader).await {
            Ok(Some(frame)) if frame.kind == kind::CONSUMED => Ok(()),
            Ok(_) | Err(_) => Err(Error::Gone),
        }
    }
}
