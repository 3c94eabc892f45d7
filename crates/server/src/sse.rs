//! Server-sent events: how they are written, and a body of them that holds little memory however slowly it is read.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};
use std::fmt::Display;
use std::future::Future;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The media type.
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// Where a client that comes back says how far it was.
const LAST_EVENT_ID: &str = "last-event-id";

/// A stream says something at least this often, so that a dead connection is noticed at both ends.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// A comment: clients leave it out.
const KEEPALIVE_BYTES: Bytes = Bytes::from_static(b":\n\n");

/// How long a client that was cut off waits before it comes back.
const BEGINNING: Bytes = Bytes::from_static(b"retry: 1000\n\n");

/// Pieces that are made and not yet written to the connection.
const PIECES_MAX: usize = 2;

/// What a client that comes back gives as its last event, if it does.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(LAST_EVENT_ID)?.to_str().ok()
}

/// Whether the client asks for events rather than for what else there is.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|kind| {
            kind.split(';')
                .next()
                .is_some_and(|kind| kind.trim() == EVENT_STREAM)
        })
}

/// Appends one event; `data` is one line.
pub(crate) fn event(out: &mut Vec<u8>, id: impl Display, name: &str, data: &[u8]) {
    begin(out, id, name);
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

/// Appends an event whose data is `{"at":…,"text":…}`, or with `base64` where the bytes are no text or that is much shorter.
pub(crate) fn output_event(out: &mut Vec<u8>, id: impl Display, name: &str, at: i64, bytes: &[u8]) {
    begin(out, id, name);
    write!(out, "{{\"at\":{at},").expect("writing to memory");
    let data_start = out.len();
    let base64_bytes = bytes.len().div_ceil(3) * 4 + 4;
    let as_text = std::str::from_utf8(bytes).is_ok_and(|text| {
        out.extend_from_slice(b"\"text\":");
        let text_start = out.len();
        serde_json::to_writer(&mut *out, text).expect("text serializes");
        out.len() - text_start <= base64_bytes.max(bytes.len() * 2) + 2
    });
    if !as_text {
        out.truncate(data_start);
        out.extend_from_slice(b"\"base64\":\"");
        let start = out.len();
        out.resize(start + base64_bytes, 0);
        let written = BASE64_STANDARD
            .encode_slice(bytes, &mut out[start..])
            .expect("the room was counted");
        out.truncate(start + written);
        out.push(b'"');
    }
    out.extend_from_slice(b"}\n\n");
}

fn begin(out: &mut Vec<u8>, id: impl Display, name: &str) {
    write!(out, "id: {id}\nevent: {name}\ndata: ").expect("writing to memory");
}

/// A source of pieces of whole events.
pub(crate) trait Source: Send + 'static {
    /// The next piece; `None` at the end. Cancel safe: a future that is dropped has lost nothing.
    ///
    /// An error cuts the connection: the client comes back with the id of its last event.
    fn next(&mut self) -> impl Future<Output = io::Result<Option<Vec<u8>>>> + Send;
}

/// A piece that counts as made until the connection has taken it.
struct Piece {
    bytes: Vec<u8>,
    _counted: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The answer whose body are the events of a source, with comments where there are none for long.
pub(crate) fn answer(source: impl Source) -> Response {
    let room = Arc::new(Semaphore::new(PIECES_MAX));
    let pieces = stream::try_unfold((source, room), |(mut source, room)| async move {
        // HTTP takes as many pieces as it is given; a slow reader must not pile them up.
        let counted = Arc::clone(&room)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let bytes = match tokio::time::timeout(KEEPALIVE, source.next()).await {
            Ok(next) => match next? {
                Some(bytes) => Bytes::from_owner(Piece {
                    bytes,
                    _counted: counted,
                }),
                None => return Ok(None),
            },
            Err(_) => KEEPALIVE_BYTES,
        };
        Ok::<_, io::Error>(Some((bytes, (source, room))))
    });
    let beginning = stream::iter([Ok(BEGINNING)]);
    let body = Body::from_stream(futures_util::StreamExt::chain(beginning, pieces));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Proxies that collect answers would hold the events back.
        (
            http::HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dauer_wire::http::OutputEvent;

    fn data(bytes: &[u8]) -> (String, OutputEvent) {
        let mut out = Vec::new();
        output_event(&mut out, "7", "stdout", 5, bytes);
        let text = String::from_utf8(out).unwrap();
        let data = text
            .strip_prefix("id: 7\nevent: stdout\ndata: ")
            .and_then(|rest| rest.strip_suffix("\n\n"))
            .unwrap();
        assert!(!data.contains('\n'));
        (data.to_owned(), serde_json::from_str(data).unwrap())
    }

    #[test]
    fn any_bytes_come_back_as_they_were_and_nothing_grows_beyond_base64() {
        let all: Vec<u8> = (0..=255).collect();
        let zeros = [0_u8; 4000];
        for bytes in [
            &b"line\n\"quoted\" \\ \r\n"[..],
            "ä€\u{1F600}".as_bytes(),
            &all,
            &zeros,
            b"\xff",
            b"x",
        ] {
            let (data, event) = data(bytes);
            let back = match (event.text, event.base64) {
                (Some(text), None) => text.into_bytes(),
                (None, Some(text)) => BASE64_STANDARD.decode(text).unwrap(),
                both => panic!("{both:?}"),
            };
            assert_eq!(back, bytes);
            assert!(
                data.len() < 64 + bytes.len() * 2,
                "{} bytes became {}",
                bytes.len(),
                data.len()
            );
        }
        assert!(data(b"plain\n").0.contains(r#""text":"plain\n""#));
    }

    #[test]
    fn events_are_wanted_by_those_who_name_them() {
        let accept = |value: &'static str| {
            is_wanted(&HeaderMap::from_iter([(
                header::ACCEPT,
                HeaderValue::from_static(value),
            )]))
        };
        assert!(accept("text/event-stream"));
        assert!(accept("application/json, text/event-stream;q=0.9"));
        assert!(!accept("*/*"));
        assert!(!is_wanted(&HeaderMap::new()));
    }
}
