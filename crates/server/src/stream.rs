//! `GET /v1/jobs/{job}/stream`: a job's output and journal entries as server-sent events, resumed exactly by their ids.
//!
//! ```text
//! id of an event   OFFSET[+INSIDE]:SEQ[:end]
//!   OFFSET         of the log: where a frame starts
//!   INSIDE         bytes of that frame's output that were sent, where a frame is cut
//!   SEQ            the last journal entry that was sent
//!   end            the final event was sent
//! ```
//!
//! The id says all there is to know about how far a client is, so nothing is kept here between two of its connections.

use crate::error::Refusal;
use crate::extract::Params;
use crate::routes::Shared;
use crate::sse::{self, Source};
use crate::view;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use dauer_core::{Job, State as JobState};
use dauer_engine::{JobStream, Place, Position, StreamPart, Streamed};
use dauer_wire::http::ServerEvent;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use std::fmt;
use std::io;
use utoipa::IntoParams;

/// The query of `GET /v1/jobs/{job}/stream`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StreamParams {
    /// Only what comes after the event with this id, or after this offset of the log. The header `last-event-id` wins.
    since: Option<String>,
}

/// A job's output and what happens to it, as server-sent events
///
/// Events `stdout` and `stderr` carry an `OutputEvent`, `event` an `EventView`, `marker` a `Marker` (output may repeat from there on).
/// The header `last-event-id` with the id of any event goes on right behind it, also after the daemon was killed. The stream ends with
/// one event `end`, whose data is `[DONE]`, `[ERROR] reason` or `[CANCELLED]`; who comes back after it gets 204.
#[utoipa::path(get, path = "/v1/jobs/{job}/stream", tag = "streams",
    params(("job" = String, Path, description = "Its id, its name, or the beginning of its id."), StreamParams,
        ("last-event-id" = Option<String>, Header, description = "The id of the last event that came.")),
    responses((status = 200, description = "Events.", content_type = "text/event-stream", body = ServerEvent),
        (status = 204, description = "The end was sent already.")))]
pub(crate) async fn stream(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Params(params): Params<StreamParams>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let since = sse::last_event_id(&headers).or(params.since.as_deref());
    let from = since.map_or(Ok(EventId::default()), |text| {
        EventId::parse(text).ok_or_else(|| {
            Refusal::malformed(format!(
                "{text:?} is no place in a stream: give the id of an event, or an offset of the log"
            ))
        })
    })?;
    let id = shared.engine.find(&job).await?;
    if from.ended && shared.engine.job(&id).await?.state.is_terminal() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let stream = shared.engine.job_stream(&id, from.position).await?;
    Ok(sse::answer(JobEvents {
        stream,
        ended: false,
    }))
}

/// The id of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct EventId {
    position: Position,
    ended: bool,
}

impl EventId {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split(':');
        let place = parts.next()?;
        let (offset, inside) = place.split_once('+').unwrap_or((place, "0"));
        let seq = parts.next().unwrap_or("0");
        let ended = match parts.next() {
            None => false,
            Some("end") => true,
            Some(_) => return None,
        };
        if parts.next().is_some() {
            return None;
        }
        let place = Place {
            offset: number(offset)?,
            inside: number(inside)?,
        };
        let position = Position {
            place,
            seq: number(seq)?,
        };
        Some(Self { position, ended })
    }
}

/// Digits only, and never beyond what a file or the store can count to.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|number| digits && *number <= i64::MAX as u64)
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { place, seq } = self.position;
        write!(f, "{}", place.offset)?;
        if place.inside > 0 {
            write!(f, "+{}", place.inside)?;
        }
        write!(f, ":{seq}")?;
        if self.ended {
            f.write_str(":end")?;
        }
        Ok(())
    }
}

/// The events of one job.
struct JobEvents {
    stream: JobStream,
    ended: bool,
}

impl Source for JobEvents {
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.ended {
            return Ok(None);
        }
        let part = self.stream.next().await.map_err(|error| {
            tracing::warn!(%error, "reading a job's stream");
            io::Error::other(error.to_string())
        })?;
        let mut out = Vec::new();
        match part {
            StreamPart::Items(items) => {
                for item in items {
                    let id = EventId {
                        position: item.after,
                        ended: false,
                    };
                    write(&mut out, id, &item.what);
                }
            }
            StreamPart::Ended(job) => {
                self.ended = true;
                let id = EventId {
                    position: self.stream.position(),
                    ended: true,
                };
                sse::event(&mut out, id, "end", ending(job.as_deref()).as_bytes());
            }
        }
        Ok(Some(out))
    }
}

fn write(out: &mut Vec<u8>, id: EventId, what: &Streamed) {
    match what {
        Streamed::Output { at, stream, bytes } => {
            // Both outputs of a terminal are one, and come as the first.
            let name = if *stream == 2 { "stderr" } else { "stdout" };
            sse::output_event(out, id, name, *at, bytes);
        }
        Streamed::Marker(json) => sse::event(out, id, "marker", json),
        Streamed::Entry(entry) => {
            let json = serde_json::to_vec(&view::event(entry)).expect("events serialize");
            sse::event(out, id, "event", &json);
        }
    }
}

/// The data of the final event.
fn ending(job: Option<&Job>) -> String {
    let Some(job) = job else {
        return "[ERROR] removed".to_owned();
    };
    match job.state {
        JobState::Completed => "[DONE]".to_owned(),
        JobState::Cancelled => "[CANCELLED]".to_owned(),
        JobState::Pending
        | JobState::Running
        | JobState::Suspended
        | JobState::PendingRetry
        | JobState::Failed
        | JobState::Stopped
        | JobState::Error => {
            let outcome = job.outcome.as_ref();
            let reason = outcome.and_then(|outcome| outcome.reason);
            let reason = reason.map_or("failed", |reason| reason.name());
            match outcome.and_then(|outcome| outcome.message.as_deref()) {
                // A line break would end the event's data.
                Some(message) => {
                    format!("[ERROR] {reason}: {}", message.replace(['\r', '\n'], " "))
                }
                None => format!("[ERROR] {reason}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written_and_a_plain_offset_is_one() {
        let id = |offset, inside, seq, ended| EventId {
            position: Position {
                place: Place { offset, inside },
                seq,
            },
            ended,
        };
        for one in [
            id(0, 0, 0, false),
            id(81_920, 16_384, 57, false),
            id(9, 0, 1, true),
        ] {
            assert_eq!(EventId::parse(&one.to_string()), Some(one));
        }
        assert_eq!(EventId::parse("4096"), Some(id(4096, 0, 0, false)));
        for wrong in [
            "",
            "x",
            "1:",
            "-1",
            "+1:2",
            "1:2:3",
            "1:2:end:",
            "1+:2",
            "9223372036854775808",
        ] {
            assert_eq!(EventId::parse(wrong), None, "{wrong}");
        }
    }
}
