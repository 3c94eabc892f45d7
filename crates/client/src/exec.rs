//! A program run beside a job: frames both ways after an upgrade of the connection.

use crate::connection::{self, whole};
use crate::{Client, Error};
use bytes::Bytes;
use dauer_wire::frame::{Frame, HEAD_BYTES, parse_head};
use dauer_wire::guest::{ExitStatus, StartFailure, Stream};
use dauer_wire::http::{ExecCall, ResizeCall, exec_kind};
use http::{Method, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};

/// A running session. Dropping it ends the program.
#[derive(Debug)]
pub struct ExecSession {
    reader: ExecReader,
    writer: ExecWriter,
}

/// What the program says.
#[derive(Debug)]
pub struct ExecReader {
    stream: BufReader<ReadHalf<TokioIo<Upgraded>>>,
}

/// What the program is told.
#[derive(Debug)]
pub struct ExecWriter {
    stream: WriteHalf<TokioIo<Upgraded>>,
}

/// What came of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecEvent {
    /// Output.
    Output {
        /// Which stream.
        stream: Stream,
        /// What it wrote.
        bytes: Bytes,
    },
    /// It ended; nothing follows.
    Exited(ExitStatus),
    /// It could not be started; nothing follows.
    Failed(StartFailure),
}

impl ExecSession {
    pub(crate) async fn open(
        client: &Client,
        target: &str,
        command: &ExecCall,
    ) -> Result<Self, Error> {
        let body =
            serde_json::to_vec(command).map_err(|error| Error::Protocol(error.to_string()))?;
        let mut request = client.request(Method::POST, target, whole(body))?;
        request.headers_mut().insert(
            header::CONNECTION,
            header::HeaderValue::from_static("upgrade"),
        );
        request.headers_mut().insert(
            header::UPGRADE,
            header::HeaderValue::from_static("dauer-exec"),
        );
        let response = connection::call(&client.host, request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::Protocol(format!(
                "{} instead of an upgrade",
                response.status()
            )));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(Error::lost)?;
        let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
        let reader = ExecReader {
            stream: BufReader::with_capacity(256 << 10, reader),
        };
        Ok(Self {
            reader,
            writer: ExecWriter { stream: writer },
        })
    }

    /// The two directions, for two tasks.
    #[must_use]
    pub fn split(self) -> (ExecReader, ExecWriter) {
        (self.reader, self.writer)
    }
}

impl ExecReader {
    /// The next event. The stream ends with [`ExecEvent::Exited`] or [`ExecEvent::Failed`].
    ///
    /// # Errors
    /// [`Error::Lost`] where it was cut before that.
    pub async fn next(&mut self) -> Result<ExecEvent, Error> {
        let frame = self.frame().await.map_err(Error::lost)?;
        let event = match frame.kind {
            exec_kind::OUTPUT => u8::try_from(frame.id)
                .ok()
                .and_then(Stream::from_number)
                .map(|stream| ExecEvent::Output {
                    stream,
                    bytes: frame.payload.into(),
                })
                .ok_or_else(|| io::Error::other("unknown output stream")),
            exec_kind::EXITED => frame.parse().map(ExecEvent::Exited),
            exec_kind::FAILED => frame.parse().map(ExecEvent::Failed),
            other => Err(io::Error::other(format!("unknown frame kind {other}"))),
        };
        event.map_err(|error| Error::Protocol(error.to_string()))
    }

    async fn frame(&mut self) -> io::Result<Frame> {
        let mut head = [0; HEAD_BYTES];
        self.stream.read_exact(&mut head).await?;
        let (length, kind, id) = parse_head(&head)?;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await?;
        Ok(Frame { kind, id, payload })
    }
}

impl ExecWriter {
    /// Feeds input; slowed down by the program.
    ///
    /// # Errors
    /// [`Error::Lost`], also when the program has ended.
    pub async fn input(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for piece in bytes.chunks(64 << 10) {
            self.send(&Frame::new(exec_kind::INPUT, 0, piece.to_vec()))
                .await?;
        }
        Ok(())
    }

    /// The end of the input.
    ///
    /// # Errors
    /// [`Error::Lost`], also when the program has ended.
    pub async fn end_of_input(&mut self) -> Result<(), Error> {
        self.send(&Frame::new(exec_kind::INPUT, 0, Vec::new()))
            .await
    }

    /// Tells its terminal its size.
    ///
    /// # Errors
    /// [`Error::Lost`], also when the program has ended.
    pub async fn resize(&mut self, rows: u16, columns: u16) -> Result<(), Error> {
        self.send(&Frame::json(
            exec_kind::RESIZE,
            0,
            &ResizeCall { rows, columns },
        ))
        .await
    }

    /// Delivers a signal.
    ///
    /// # Errors
    /// [`Error::Lost`], also when the program has ended.
    pub async fn signal(&mut self, signal: i32) -> Result<(), Error> {
        self.send(&Frame::json(exec_kind::SIGNAL, 0, &signal)).await
    }

    async fn send(&mut self, frame: &Frame) -> Result<(), Error> {
        let mut bytes = Frame::head(frame.kind, frame.id, frame.payload.len()).to_vec();
        bytes.extend_from_slice(&frame.payload);
        self.stream.write_all(&bytes).await.map_err(Error::lost)?;
        self.stream.flush().await.map_err(Error::lost)
    }
}
