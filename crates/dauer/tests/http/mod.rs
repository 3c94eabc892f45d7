//! HTTP by hand on a daemon's unix socket, and server-sent events out of it: the tests see every byte.

// Each test file uses its part of this.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// An answer whose body is still being read. Version 1.0 of HTTP, so that the body ends with the connection.
pub(crate) struct Answer<S> {
    pub(crate) status: u16,
    pub(crate) head: String,
    /// Where `location` points to, letter by letter.
    pub(crate) place: Option<String>,
    stream: S,
    buffer: Vec<u8>,
}

impl Answer<UnixStream> {
    /// Asks a daemon on its socket; headers are lines.
    pub(crate) fn get(socket: &Path, target: &str, headers: &str) -> Self {
        Self::ask(
            UnixStream::connect(socket).unwrap(),
            "GET",
            target,
            headers,
            b"",
        )
    }
}

impl<S: Read + Write> Answer<S> {
    /// Sends a request on a connection.
    pub(crate) fn ask(
        mut stream: S,
        method: &str,
        target: &str,
        headers: &str,
        body: &[u8],
    ) -> Self {
        let length = body.len();
        write!(
            stream,
            "{method} {target} HTTP/1.0\r\nhost: dauer\r\ncontent-length: {length}\r\n{headers}\r\n"
        )
        .unwrap();
        // A daemon that has read enough to say no closes the connection before the end of a long body.
        let _ = stream.write_all(body);
        let mut buffer = Vec::new();
        let end = loop {
            if let Some(end) = find(&buffer, b"\r\n\r\n") {
                break end;
            }
            assert!(
                fill(&mut stream, &mut buffer, 4096),
                "no answer to {method} {target}"
            );
        };
        let head = String::from_utf8(buffer.drain(..end + 4).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            status,
            head: head.to_ascii_lowercase(),
            place: place(&head),
            stream,
            buffer,
        }
    }

    /// The rest of the body.
    pub(crate) fn body(mut self) -> Vec<u8> {
        while fill(&mut self.stream, &mut self.buffer, 1 << 16) {}
        self.buffer
    }

    /// The rest of the body as JSON.
    pub(crate) fn json(self) -> serde_json::Value {
        let body = self.body();
        serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body)))
    }

    /// The next whole event, reading at most so many bytes more from the connection; `None` where those, or the stream, end first.
    pub(crate) fn event(&mut self, room: &mut usize) -> Option<Event> {
        loop {
            if let Some(end) = find(&self.buffer, b"\n\n") {
                let text = String::from_utf8(self.buffer.drain(..end + 2).collect()).unwrap();
                match Event::parse(&text) {
                    Some(event) => return Some(event),
                    // A comment, or the time to wait before coming back.
                    None => continue,
                }
            }
            let before = self.buffer.len();
            if *room == 0 || !fill(&mut self.stream, &mut self.buffer, (*room).min(1 << 16)) {
                return None;
            }
            *room -= self.buffer.len() - before;
        }
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
}

/// Reads more; false at the end, also where the connection was cut.
fn fill(stream: &mut impl Read, buffer: &mut Vec<u8>, most: usize) -> bool {
    let start = buffer.len();
    buffer.resize(start + most, 0);
    let read = stream.read(&mut buffer[start..]).unwrap_or(0);
    buffer.truncate(start + read);
    read > 0
}

/// A server-sent event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: String,
}

impl Event {
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim_start_matches(' ').to_owned())
        };
        Some(Self {
            id: field("id:")?,
            name: field("event:")?,
            data: field("data:")?,
        })
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.data).unwrap()
    }

    /// The bytes of an output event.
    pub(crate) fn output(&self) -> Vec<u8> {
        let data: dauer_wire::http::OutputEvent = serde_json::from_str(&self.data).unwrap();
        match (data.text, data.base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(text)) => unbase64(&text),
            both => panic!("{both:?}"),
        }
    }
}

fn unbase64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other} is not base64"),
    };
    let mut out = Vec::new();
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = group.iter().enumerate().fold(0_u32, |bits, (at, byte)| {
            bits | u32::from(value(*byte)) << (18 - 6 * at)
        });
        out.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    out
}

fn place(head: &str) -> Option<String> {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let (_, place) = fields.find(|(name, _)| name.eq_ignore_ascii_case("location"))?;
    Some(place.to_owned())
}
