//! Walks over the heads of a log without reading what is between them.

use super::{PAYLOAD_BYTES_MAX, PREFIX_BYTES};
use dauer_wire::frame::{HEAD_BYTES, parse_head};
use dauer_wire::http::stream_kind;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Small frames come many to a read; large ones are skipped without being read.
const WINDOW_BYTES: usize = 64 << 10;

/// One whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) start: u64,
    /// Where the next one starts.
    pub(super) end: u64,
    /// When it was written; a marker has none.
    pub(super) at: Option<i64>,
}

/// What is at a place in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The head of a frame that ends there and is of this kind.
    Frame { end: u64, kind: u8 },
    /// Nothing whole yet.
    Unfinished,
    /// No head.
    Nonsense,
}

/// Looks at the bytes at `start` of a log.
pub(super) fn look(bytes: &[u8], start: u64) -> Found {
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
        return Found::Unfinished;
    };
    if head[4] == 0 {
        return Found::Unfinished;
    }
    match parse_head(head) {
        Ok((length, kind @ (stream_kind::OUTPUT | stream_kind::MARKER), id))
            if length <= PAYLOAD_BYTES_MAX && id == start + (HEAD_BYTES + length) as u64 =>
        {
            Found::Frame { end: id, kind }
        }
        Ok(_) | Err(_) => Found::Nonsense,
    }
}

/// The heads of a log from a boundary on.
pub(super) struct Heads<'a> {
    file: &'a File,
    length: u64,
    next: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl<'a> Heads<'a> {
    pub(super) fn from(file: &'a File, boundary: u64) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self {
            file,
            length,
            next: boundary,
            window: Vec::new(),
            window_start: 0,
        })
    }

    /// Where the last whole frame seen so far ended.
    pub(super) fn offset(&self) -> u64 {
        self.next
    }

    /// The next whole frame; `None` at the end or before anything torn.
    pub(super) fn next(&mut self) -> io::Result<Option<Head>> {
        let start = self.next;
        let (end, kind) = match look(self.bytes(HEAD_BYTES + PREFIX_BYTES)?, start) {
            Found::Frame { end, kind } if end <= self.length => (end, kind),
            Found::Frame { .. } | Found::Unfinished | Found::Nonsense => return Ok(None),
        };
        let at = match kind {
            stream_kind::OUTPUT => {
                let bytes = self.bytes(HEAD_BYTES + PREFIX_BYTES)?;
                bytes
                    .get(HEAD_BYTES..)
                    .and_then(|rest| rest.first_chunk())
                    .map(|time| i64::from_le_bytes(*time))
            }
            _ => None,
        };
        self.next = end;
        Ok(Some(Head { start, end, at }))
    }

    /// Up to so many bytes at the present place.
    fn bytes(&mut self, wanted: usize) -> io::Result<&[u8]> {
        let window_end = self.window_start + self.window.len() as u64;
        let inside = self.next >= self.window_start && self.next + wanted as u64 <= window_end;
        if !inside {
            self.window.resize(WINDOW_BYTES, 0);
            let mut filled = 0;
            while filled < wanted {
                match self
                    .file
                    .read_at(&mut self.window[filled..], self.next + filled as u64)?
                {
                    0 => break,
                    n => filled += n,
                }
            }
            self.window.truncate(filled);
            self.window_start = self.next;
        }
        let from = usize::try_from(self.next - self.window_start).unwrap_or(usize::MAX);
        let rest = self.window.get(from..).unwrap_or_default();
        Ok(&rest[..rest.len().min(wanted)])
    }
}
