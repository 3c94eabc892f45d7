//! Programs beside the job, and the job's own input: two streams that must never hold up the channel.

use super::outbox::Outbox;
use super::process;
use super::state::Shim;
use super::window::Window;
use crate::Error;
use crate::protocol::{Phase, kind};
use dauer_wire::frame::Frame;
use dauer_wire::guest::{Command, Scope, Signal, StartFailure, ToGuest, WindowSize};
use dauer_wire::http::{ResizeCall, exec_kind};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One program beside the job.
#[derive(Default)]
pub(super) struct Session {
    /// Frames to whoever asked for it.
    pub(super) outbox: Outbox,
    /// Its input.
    pub(super) input: Window,
    finished: AtomicBool,
}

impl Session {
    /// Sends its last frame, once.
    pub(super) fn finish(&self, frame: Frame) {
        if !self.finished.swap(true, Ordering::SeqCst) {
            self.outbox.push(frame);
        }
        self.input.close();
    }

    fn is_finished(&self) -> bool {
        self.finished.load(Ordering::SeqCst)
    }
}

/// Serves an `Exec` connection to its end. The body of a thread.
pub(super) fn exec(shim: &Arc<Shim>, stream: UnixStream, command: Command) -> Result<(), Error> {
    let mut writer = stream
        .try_clone()
        .map_err(Error::io("duplicate a connection"))?;
    if let Some(why) = refusal(shim) {
        let failure = StartFailure {
            code: 125,
            message: why.to_owned(),
        };
        // Gone already: then nobody wants to know.
        let _ = Frame::json(exec_kind::FAILED, 0, &failure).write_to(&mut writer);
        return Ok(());
    }
    let session = Arc::new(Session::default());
    let number = shim.add_session(&session);
    let body = {
        let (shim, session) = (Arc::clone(shim), Arc::clone(&session));
        move || {
            let socket = writer.try_clone();
            session
                .outbox
                .run(writer, |frame| sent(&shim, &session, number, frame));
            // Ends the reading side too, which then cleans up.
            let _ = socket.map(|socket| socket.shutdown(std::net::Shutdown::Both));
        }
    };
    process::spawn("exec out", body)?;
    shim.agent.push(
        ToGuest::Exec {
            session: number,
            command,
        }
        .into_frame(),
    );
    forward(shim, &session, number, &stream);
    shim.remove_session(number);
    session.outbox.close();
    session.input.close();
    if !session.is_finished() {
        shim.agent
            .push(ToGuest::Close { session: number }.into_frame());
    }
    Ok(())
}

fn refusal(shim: &Shim) -> Option<&'static str> {
    match shim.wait_until_started() {
        Phase::Running => None,
        Phase::Frozen { .. } => Some("the job is frozen: resume it first"),
        Phase::Ended { .. } => Some("the job has ended"),
        Phase::Starting => unreachable!("waited until it is another phase"),
    }
}

/// Output that reached the client makes room for more; the last frame ends the connection.
fn sent(shim: &Shim, session: &Session, number: u64, frame: &Frame) {
    match frame.kind {
        exec_kind::OUTPUT => {
            let bytes = u32::try_from(frame.payload.len()).unwrap_or(u32::MAX);
            shim.agent.push(
                ToGuest::Consumed {
                    session: number,
                    bytes,
                }
                .into_frame(),
            );
        }
        exec_kind::EXITED | exec_kind::FAILED => session.outbox.close(),
        _ => {}
    }
}

/// Client → agent until the client is gone or the session is over.
fn forward(shim: &Shim, session: &Session, number: u64, stream: &UnixStream) {
    let mut reader = stream;
    while let Ok(Some(frame)) = Frame::read_from(&mut reader) {
        let message = match frame.kind {
            exec_kind::INPUT => {
                if !session.input.take(frame.payload.len()) {
                    continue;
                }
                Ok(ToGuest::Input {
                    session: number,
                    bytes: frame.payload,
                })
            }
            exec_kind::RESIZE => frame.parse::<ResizeCall>().map(|size| ToGuest::Resize {
                session: number,
                size: WindowSize {
                    rows: size.rows,
                    columns: size.columns,
                },
            }),
            exec_kind::SIGNAL => frame.parse().map(|signal| ToGuest::Signal {
                session: number,
                signal: Signal {
                    signal,
                    scope: Scope::Group,
                },
            }),
            other => Err(std::io::Error::other(format!("unknown frame kind {other}"))),
        };
        match message {
            Ok(message) => shim.agent.push(message.into_frame()),
            Err(error) => eprintln!("shim: exec session {number}: {error}"),
        }
    }
    if !session.is_finished() {
        // Only half of the connection may be closed: the client still reads.
        shim.agent.push(
            ToGuest::Input {
                session: number,
                bytes: Vec::new(),
            }
            .into_frame(),
        );
        wait_for_hang_up(stream);
    }
}

fn wait_for_hang_up(stream: &UnixStream) {
    loop {
        let mut fds = [PollFd::new(stream.as_fd(), PollFlags::empty())];
        if poll(&mut fds, PollTimeout::NONE).is_ok() && fds[0].any().unwrap_or(true) {
            return;
        }
    }
}

/// Serves a `Stdin` connection to its end. Each frame is answered once the agent has it: what is answered is part of every later checkpoint,
/// what is not is in none.
pub(super) fn stdin(shim: &Shim, stream: &UnixStream) {
    if refusal(shim).is_some() {
        return;
    }
    let (mut reader, mut writer) = (stream, stream);
    while let Ok(Some(frame)) = Frame::read_from(&mut reader) {
        if frame.kind != exec_kind::INPUT {
            eprintln!("shim: unknown frame kind {} on the job's input", frame.kind);
            return;
        }
        if !shim.stdin.take(frame.payload.len()) {
            return;
        }
        let told = shim.agent.push_told(
            ToGuest::Input {
                session: 0,
                bytes: frame.payload,
            }
            .into_frame(),
        );
        if told.recv().is_err()
            || Frame::new(kind::CONSUMED, 0, Vec::new())
                .write_to(&mut writer)
                .is_err()
        {
            return;
        }
    }
}
