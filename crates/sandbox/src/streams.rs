//! Streams through a shim: programs beside the job, and the job's input. Each is a connection of its own.

use crate::protocol::kind;
use crate::{Error, frames};
use bytes::Bytes;
use dauer_wire::frame::Frame;
use dauer_wire::guest::WINDOW_BYTES;
use dauer_wire::http::exec_kind;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

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
    /// A session on a connection that was opened for it.
    pub(crate) fn over(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self {
            input: ExecInput { writer },
            output: ExecOutput {
                frames: frames_of(reader),
            },
        }
    }

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

/// Towards a program started by [`crate::Link::exec`].
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

/// From a program started by [`crate::Link::exec`].
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
    /// The job's input on a connection that was opened for it.
    pub(crate) fn over(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader, writer }
    }

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
