//! A job's output, resumed exactly where it was cut.
//!
//! Output comes in pieces of frames as they arrive, without waiting for whole frames and without copying. Where a connection
//! breaks inside a frame, the stream opens again at the last whole frame and drops what was handed out already.

use crate::Error;
use crate::calls::{Client, path};
use crate::connection::{self, whole};
use bytes::{Buf, Bytes};
use dauer_wire::frame::{HEAD_BYTES, parse_head};
use dauer_wire::guest::Stream;
use dauer_wire::http::{JobView, Marker, stream_kind};
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::Duration;

/// Time (8 bytes) and stream number (1 byte) before the bytes of an output frame.
const OUTPUT_HEAD_BYTES: usize = 9;

/// A followed log says something at least every 15 seconds; after this long the connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(50);

/// Output of the job, a whole frame or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// When it was written, in milliseconds since the epoch.
    pub at: i64,
    /// Which stream.
    pub stream: Stream,
    /// What was written.
    pub bytes: Bytes,
}

/// An item of a log.
#[derive(Clone, Debug, PartialEq)]
pub enum LogItem {
    /// Output.
    Output(Output),
    /// A place where output may repeat.
    Marker {
        /// Which.
        marker: Marker,
        /// The log's offset after it.
        offset: u64,
    },
    /// The end of a followed log: nothing follows.
    End {
        /// The job as it ended.
        job: Box<JobView>,
        /// The end of the log.
        offset: u64,
    },
}

/// A job's output. After an error that [`Error::is_disconnect`], calling [`LogStream::next`] again connects again and
/// goes on: nothing is lost and nothing comes twice.
#[derive(Debug)]
pub struct LogStream {
    client: Client,
    job: String,
    follow: bool,
    /// After the last whole frame that was handed out.
    offset: u64,
    /// Bytes of the frame after `offset` that were handed out already.
    handed_out: usize,
    connection: Option<Connection>,
    done: bool,
}

#[derive(Debug)]
struct Connection {
    body: Incoming,
    parser: Parser,
}

impl LogStream {
    pub(crate) fn new(client: Client, job: String, from: u64, follow: bool) -> Self {
        Self {
            client,
            job,
            follow,
            offset: from,
            handed_out: 0,
            connection: None,
            done: false,
        }
    }

    /// Where the log was handed out to, up to whole frames.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next item; `None` after the last. A cut connection is opened again once; where that fails the error says why.
    /// Dropping the future before it is ready loses nothing.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Lost`]: call again once the daemon is back. [`Error::Refused`] with `not_found`.
    pub async fn next(&mut self) -> Result<Option<LogItem>, Error> {
        let mut reopened = false;
        loop {
            if self.done {
                return Ok(None);
            }
            if self.connection.is_none() {
                self.open().await?;
            }
            match self.read().await {
                Err(error @ (Error::Lost(_) | Error::Unreachable { .. })) => {
                    self.connection = None;
                    if reopened {
                        return Err(error);
                    }
                    reopened = true;
                }
                other => return other,
            }
        }
    }

    async fn open(&mut self) -> Result<(), Error> {
        let target = path(
            &self.job,
            &format!("/logs?follow={}&since={}", self.follow, self.offset),
        );
        let request = self
            .client
            .request(Method::GET, &target, whole(Bytes::new()))?;
        let response = connection::call(&self.client.host, request).await?;
        let parser = Parser {
            skip: self.handed_out,
            ..Parser::default()
        };
        self.connection = Some(Connection {
            body: response.into_body(),
            parser,
        });
        Ok(())
    }

    async fn read(&mut self) -> Result<Option<LogItem>, Error> {
        loop {
            let Some(connection) = &mut self.connection else {
                return Err(Error::lost("not connected"));
            };
            match connection.parser.next()? {
                Parsed::Piece { output, ended_at } => {
                    match ended_at {
                        Some(offset) => (self.offset, self.handed_out) = (offset, 0),
                        None => self.handed_out += output.bytes.len(),
                    }
                    return Ok(Some(LogItem::Output(output)));
                }
                Parsed::Passed { offset } => (self.offset, self.handed_out) = (offset, 0),
                Parsed::Whole(item) => {
                    match &item {
                        LogItem::Marker { offset, .. } => {
                            (self.offset, self.handed_out) = (*offset, 0)
                        }
                        LogItem::End { .. } => self.done = true,
                        LogItem::Output(_) => {}
                    }
                    return Ok(Some(item));
                }
                Parsed::Nothing => {
                    match tokio::time::timeout(SILENCE_MAX, connection.body.frame()).await {
                        Err(_) => return Err(Error::lost("nothing came for too long")),
                        Ok(Some(Err(error))) => return Err(Error::lost(error)),
                        Ok(Some(Ok(frame))) => {
                            if let Ok(data) = frame.into_data() {
                                connection.parser.input = data;
                            }
                        }
                        // A followed log ends with an END frame and nothing else.
                        Ok(None) if self.follow => return Err(Error::lost("the log ended early")),
                        Ok(None) => {
                            self.done = true;
                            return Ok(None);
                        }
                    }
                }
            }
        }
    }
}

/// Cuts the byte stream into items. Keeps only what is left of the last piece, and small frames in the making.
#[derive(Debug, Default)]
struct Parser {
    input: Bytes,
    /// Head of the frame in the making.
    head: Vec<u8>,
    state: FrameState,
    /// Bytes of the first output frame to leave out.
    skip: usize,
}

#[derive(Debug, Default)]
enum FrameState {
    #[default]
    Head,
    OutputHead {
        length: usize,
        offset: u64,
    },
    Output {
        at: i64,
        stream: Stream,
        left: usize,
        offset: u64,
    },
    Small {
        kind: u8,
        offset: u64,
        length: usize,
    },
}

#[derive(Debug)]
enum Parsed {
    /// More input is needed.
    Nothing,
    /// A piece of output; `ended_at` where its frame is complete.
    Piece {
        output: Output,
        ended_at: Option<u64>,
    },
    /// A frame without output is behind us.
    Passed { offset: u64 },
    /// Something else.
    Whole(LogItem),
}

impl Parser {
    fn next(&mut self) -> Result<Parsed, Error> {
        loop {
            match self.state {
                FrameState::Head => {
                    if !self.fill(HEAD_BYTES) {
                        return Ok(Parsed::Nothing);
                    }
                    self.start_frame()?;
                }
                FrameState::OutputHead { length, offset } => {
                    if !self.fill(OUTPUT_HEAD_BYTES) {
                        return Ok(Parsed::Nothing);
                    }
                    let (at, stream) = self.output_head()?;
                    self.head.clear();
                    let left = length - OUTPUT_HEAD_BYTES;
                    self.state = FrameState::Output {
                        at,
                        stream,
                        left,
                        offset,
                    };
                    if left == 0 {
                        self.state = FrameState::Head;
                        return Ok(Parsed::Passed { offset });
                    }
                }
                FrameState::Output {
                    at,
                    stream,
                    left,
                    offset,
                } => {
                    if self.input.is_empty() {
                        return Ok(Parsed::Nothing);
                    }
                    if let Some(piece) = self.output(at, stream, left, offset) {
                        return Ok(piece);
                    }
                }
                FrameState::Small {
                    kind,
                    offset,
                    length,
                } => {
                    if !self.fill(length) {
                        return Ok(Parsed::Nothing);
                    }
                    let payload = std::mem::take(&mut self.head);
                    self.state = FrameState::Head;
                    if let Some(item) = small(kind, offset, &payload)? {
                        return Ok(Parsed::Whole(item));
                    }
                }
            }
        }
    }

    /// Takes input until `head` has this many bytes.
    fn fill(&mut self, bytes: usize) -> bool {
        let missing = bytes.saturating_sub(self.head.len()).min(self.input.len());
        self.head.extend_from_slice(&self.input[..missing]);
        self.input.advance(missing);
        self.head.len() >= bytes
    }

    fn start_frame(&mut self) -> Result<(), Error> {
        let head: [u8; HEAD_BYTES] = self.head[..].try_into().map_err(|_| torn("frame head"))?;
        self.head.clear();
        let (length, kind, offset) =
            parse_head(&head).map_err(|e| Error::Protocol(e.to_string()))?;
        self.state = match kind {
            stream_kind::OUTPUT if length < OUTPUT_HEAD_BYTES => return Err(torn("output frame")),
            stream_kind::OUTPUT => FrameState::OutputHead { length, offset },
            kind => FrameState::Small {
                kind,
                offset,
                length,
            },
        };
        Ok(())
    }

    fn output_head(&self) -> Result<(i64, Stream), Error> {
        let (time, stream) = self
            .head
            .split_first_chunk::<8>()
            .ok_or_else(|| torn("output frame"))?;
        let stream = stream.first().copied().and_then(Stream::from_number);
        Ok((
            i64::from_le_bytes(*time),
            stream.ok_or_else(|| torn("output stream"))?,
        ))
    }

    /// Cuts the next piece off; `None` where all of it was handed out before.
    fn output(&mut self, at: i64, stream: Stream, left: usize, offset: u64) -> Option<Parsed> {
        let mut bytes = self.input.split_to(left.min(self.input.len()));
        let left = left - bytes.len();
        self.state = if left == 0 {
            FrameState::Head
        } else {
            FrameState::Output {
                at,
                stream,
                left,
                offset,
            }
        };
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        bytes.advance(skipped);
        let ended_at = (left == 0).then_some(offset);
        if bytes.is_empty() {
            return ended_at.map(|offset| Parsed::Passed { offset });
        }
        Some(Parsed::Piece {
            output: Output { at, stream, bytes },
            ended_at,
        })
    }
}

fn small(kind: u8, offset: u64, payload: &[u8]) -> Result<Option<LogItem>, Error> {
    let item = match kind {
        stream_kind::MARKER => {
            serde_json::from_slice(payload).map(|marker| Some(LogItem::Marker { marker, offset }))
        }
        stream_kind::END => serde_json::from_slice(payload).map(|job| {
            Some(LogItem::End {
                job: Box::new(job),
                offset,
            })
        }),
        // A kind of a later version is left out as a keep-alive is: the daemon may be newer than this client.
        _ => Ok(None),
    };
    item.map_err(|error| Error::Protocol(error.to_string()))
}

fn torn(what: &str) -> Error {
    Error::Protocol(format!("a torn {what}"))
}
