//! Answers without an end of their own: logs and events.

use crate::error::Refusal;
use crate::extract::{self, Params};
use crate::routes::Shared;
use crate::sse::{self, Source};
use crate::view;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dauer_core::JobId;
use dauer_engine::{Engine, Entry, Error, LogChunk, LogTail};
use dauer_wire::frame::{Frame, HEAD_BYTES, parse_head};
use dauer_wire::http::{EventView, ServerEvent, stream_kind};
use http::{HeaderMap, header};
use serde::Deserialize;
use std::io;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use utoipa::IntoParams;

/// A followed stream says something at least this often, so that a dead connection is noticed at both ends.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Pieces read ahead of the connection.
const PIECES_MAX: usize = 2;

/// Journal entries of one read.
const ENTRIES: usize = 500;

/// The query of `GET /v1/jobs/{job}/logs`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogParams {
    /// Wait for more until the job has ended.
    #[param(required = false)]
    follow: bool,
    /// Only what comes after this offset.
    #[param(required = false)]
    #[serde(deserialize_with = "extract::place")]
    since: u64,
    /// Only `frames` so far.
    format: Option<String>,
}

type Piece = io::Result<Bytes>;

/// A job's log, as the frames it is kept in
///
/// With `follow` until the job has ended; the last frame is the job as it ended then.
#[utoipa::path(get, path = "/v1/jobs/{job}/logs", tag = "streams", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id."), LogParams),
    responses((status = 200, description = "Frames, verbatim.", content_type = "application/x-dauer-frames", body = [u8])))]
pub(crate) async fn logs(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Params(params): Params<LogParams>,
) -> Result<Response, Refusal> {
    if let Some(other) = params.format.filter(|format| format != "frames") {
        return Err(Refusal::malformed(format!(
            "unknown format {other:?}: use frames"
        )));
    }
    let id = shared.engine.find(&job).await?;
    let tail = shared.engine.log_tail(&id, params.since).await?;
    let keepalive = Frame::head(stream_kind::KEEPALIVE, 0, 0).to_vec().into();
    let body = stream(keepalive, move |pieces| {
        copy_log(shared.engine, id, tail, params.since, params.follow, pieces)
    });
    Ok(([(header::CONTENT_TYPE, "application/x-dauer-frames")], body).into_response())
}

/// A body made by a task of its own, which ends when the client goes. Reading ahead in a task also means that a read is never
/// given up half way for a keep-alive.
fn stream<F, W>(keepalive: Bytes, work: F) -> Body
where
    F: FnOnce(mpsc::Sender<Piece>) -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let (pieces, receiver) = mpsc::channel(PIECES_MAX);
    let gone = pieces.clone();
    tokio::spawn(async move {
        let work = work(pieces);
        tokio::select! {
            () = work => {}
            () = gone.closed() => {}
        }
    });
    Body::from_stream(futures_util::stream::unfold(
        (receiver, keepalive),
        |(mut receiver, keepalive)| async move {
            let piece = match tokio::time::timeout(KEEPALIVE, receiver.recv()).await {
                Ok(piece) => piece?,
                Err(_) => Ok(keepalive.clone()),
            };
            Some((piece, (receiver, keepalive)))
        },
    ))
}

async fn copy_log(
    engine: Engine,
    id: JobId,
    mut tail: LogTail,
    since: u64,
    follow: bool,
    pieces: mpsc::Sender<Piece>,
) {
    let mut last = Bytes::new();
    loop {
        match tail.next(follow).await {
            Ok(LogChunk::Frames(frames)) => {
                last = frames.clone();
                if pieces.send(Ok(frames)).await.is_err() {
                    return;
                }
            }
            Ok(LogChunk::Ended) if follow => {
                let end = end_frame(&engine, &id, end_of(&last).unwrap_or(since)).await;
                // The client may be gone: then nobody needs the end.
                let _ = pieces.send(end).await;
                return;
            }
            Ok(LogChunk::Ended) => return,
            Err(error) => {
                tracing::warn!(job = %id, %error, "reading a log");
                // As above. The client sees a cut connection, asks again and is told why.
                let _ = pieces.send(Err(io::Error::other(error.to_string()))).await;
                return;
            }
        }
    }
}

async fn end_frame(engine: &Engine, id: &JobId, offset: u64) -> Piece {
    let job = engine
        .job(id)
        .await
        .map_err(|error| io::Error::other(error.to_string()))?;
    let frame = Frame::json(stream_kind::END, offset, &view::job(&job));
    let mut bytes = Vec::new();
    frame.write_to(&mut bytes)?;
    Ok(bytes.into())
}

/// The id of the last of these whole frames.
fn end_of(mut frames: &[u8]) -> Option<u64> {
    let mut end = None;
    while let Some((head, rest)) = frames.split_first_chunk::<HEAD_BYTES>() {
        let (length, _, id) = parse_head(head).ok()?;
        end = Some(id);
        frames = rest.get(length..)?;
    }
    end
}

/// The query of both event streams.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EventParams {
    /// Only what came after this entry.
    #[param(required = false)]
    #[serde(deserialize_with = "extract::place")]
    after: u64,
    /// Wait for more.
    #[param(required = false)]
    follow: bool,
}

/// What happened to jobs, oldest first: a line of JSON for each entry
///
/// With `accept: text/event-stream` as events, each with its `seq` as id, and always followed.
#[utoipa::path(get, path = "/v1/events", tag = "streams",
    params(EventParams, ("last-event-id" = Option<String>, Header, description = "The id of the last event that came.")),
    responses((status = 200, description = "Entries.", content((EventView = "application/x-ndjson"), (ServerEvent = "text/event-stream")))))]
pub(crate) async fn events(
    State(shared): State<Shared>,
    Params(params): Params<EventParams>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    entries(shared.engine, None, params, &headers)
}

/// What happened to a job: a line of JSON for each entry
///
/// Ends when the job is removed. With `accept: text/event-stream` as events, each with its `seq` as id, and always followed.
#[utoipa::path(get, path = "/v1/jobs/{job}/events", tag = "streams",
    params(("job" = String, Path, description = "Its id, its name, or the beginning of its id."), EventParams,
        ("last-event-id" = Option<String>, Header, description = "The id of the last event that came.")),
    responses((status = 200, description = "Entries.", content((EventView = "application/x-ndjson"), (ServerEvent = "text/event-stream")))))]
pub(crate) async fn job_events(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Params(params): Params<EventParams>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let id = shared.engine.find(&job).await?;
    entries(shared.engine, Some(id), params, &headers)
}

fn entries(
    engine: Engine,
    job: Option<JobId>,
    mut params: EventParams,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    if !sse::is_wanted(headers) {
        let journal = Journal::new(engine, job, params);
        return Ok(event_lines(journal));
    }
    params.follow = true;
    if let Some(text) = sse::last_event_id(headers) {
        params.after = text.parse().map_err(|_| {
            Refusal::malformed(format!(
                "{text:?} is not the id of an event: it is a number"
            ))
        })?;
    }
    Ok(sse::answer(JournalEvents(Journal::new(
        engine, job, params,
    ))))
}

/// A reader of the journal.
struct Journal {
    engine: Engine,
    job: Option<JobId>,
    after: u64,
    follow: bool,
    changes: watch::Receiver<u64>,
}

impl Journal {
    fn new(engine: Engine, job: Option<JobId>, params: EventParams) -> Self {
        Self {
            changes: engine.journal_changes(),
            engine,
            job,
            after: params.after,
            follow: params.follow,
        }
    }

    /// The next entries; none at the end. Cancel safe.
    async fn next(&mut self) -> Result<Vec<Entry>, Error> {
        loop {
            self.changes.mark_unchanged();
            let job = self.job.as_ref();
            let entries = self.engine.journal(job, self.after, ENTRIES).await?;
            if let Some(last) = entries.last() {
                self.after = last.seq;
                return Ok(entries);
            }
            let removed = match job {
                Some(id) => matches!(self.engine.job(id).await, Err(Error::NotFound(_))),
                None => false,
            };
            if !self.follow || removed || self.changes.changed().await.is_err() {
                return Ok(Vec::new());
            }
        }
    }
}

fn event_lines(mut journal: Journal) -> Response {
    let keepalive = Bytes::from_static(b"\n");
    let body = stream(keepalive, move |pieces| async move {
        loop {
            let piece = match journal.next().await {
                Ok(entries) if entries.is_empty() => return,
                Ok(entries) => Ok(lines(&entries)),
                // The client sees a cut connection and asks again.
                Err(error) => Err(io::Error::other(error.to_string())),
            };
            let cut = piece.is_err();
            if pieces.send(piece).await.is_err() || cut {
                return;
            }
        }
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

fn lines(entries: &[Entry]) -> Bytes {
    let mut lines = Vec::new();
    for entry in entries {
        serde_json::to_writer(&mut lines, &view::event(entry)).expect("events serialize");
        lines.push(b'\n');
    }
    lines.into()
}

/// The journal as server-sent events.
struct JournalEvents(Journal);

impl Source for JournalEvents {
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let entries = self.0.next().await.map_err(io::Error::other)?;
        if entries.is_empty() {
            return Ok(None);
        }
        let mut out = Vec::new();
        for entry in entries {
            let json = serde_json::to_vec(&view::event(&entry)).expect("events serialize");
            sse::event(&mut out, entry.seq, "event", &json);
        }
        Ok(Some(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_the_id_of_its_last_frame() {
        let mut bytes = Vec::new();
        Frame::new(stream_kind::OUTPUT, 40, vec![0; 24])
            .write_to(&mut bytes)
            .unwrap();
        Frame::new(stream_kind::OUTPUT, 66, vec![0; 10])
            .write_to(&mut bytes)
            .unwrap();
        assert_eq!(end_of(&bytes), Some(66));
        assert_eq!(end_of(&[]), None);
    }
}
