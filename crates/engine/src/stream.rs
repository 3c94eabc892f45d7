//! A job as one stream: its output as it is written and its journal entries as they are committed, from any place on.

use crate::logs::Follower;
use crate::{Engine, Error};
use bytes::Bytes;
use dauer_core::{Job, JobId};
use dauer_sandbox::log::{Place, Slice, Slices};
use dauer_store::Entry;
use dauer_wire::frame::{HEAD_BYTES, parse_head};
use dauer_wire::http::stream_kind;
use std::collections::VecDeque;
use tokio::sync::watch;

/// Log bytes of one read: small, because thousands may read at once.
const SLICE_BYTES: usize = 16 << 10;

/// Journal entries of one read.
const ENTRIES: usize = 500;

/// How far a reader of a stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// In the log.
    pub place: Place,
    /// The last journal entry passed on.
    pub seq: u64,
}

/// One thing in a stream, and the position after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamItem {
    /// What it is.
    pub what: Streamed,
    /// Where to go on.
    pub after: Position,
}

/// What a stream carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Streamed {
    /// Output; never empty.
    Output {
        /// When it was written.
        at: i64,
        /// 1 stdout, 2 stderr, 3 terminal.
        stream: u8,
        /// What was written, or a part of it.
        bytes: Bytes,
    },
    /// A `dauer_wire::http::Marker` in JSON: output may repeat from here on.
    Marker(Bytes),
    /// A journal entry.
    Entry(Box<Entry>),
}

/// What comes next in a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamPart {
    /// In this order.
    Items(Vec<StreamItem>),
    /// Nothing follows: the job as it ended, or nothing where it was removed.
    Ended(Option<Box<Job>>),
}

/// A reader of one job's stream. It reads what is on disk: nobody waits for it.
pub struct JobStream {
    engine: Engine,
    job: JobId,
    position: Position,
    slices: Option<Slices>,
    /// Read from the journal and not passed on yet.
    entries: VecDeque<Entry>,
    /// Of the record, when the journal was last read.
    seen_version: u64,
    changes: watch::Receiver<u64>,
    _follower: Option<Follower>,
}

impl Engine {
    /// A stream of a job from a position on; a place inside a frame's head moves to the next frame.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn job_stream(&self, id: &JobId, from: Position) -> Result<JobStream, Error> {
        let changes = self.subscribe(id);
        let job = self.job_here(id).await?;
        Ok(JobStream {
            engine: self.clone(),
            job: id.clone(),
            position: from,
            slices: None,
            entries: VecDeque::new(),
            seen_version: 0,
            changes,
            _follower: Follower::of(self, &job),
        })
    }
}

impl JobStream {
    /// How far this reader is.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next items; waits for them until the job has ended. Cancel safe.
    ///
    /// # Errors
    /// `Failed` where the log or the journal cannot be read.
    pub async fn next(&mut self) -> Result<StreamPart, Error> {
        loop {
            self.changes.mark_unchanged();
            // Looked at before the log is read: output of an ended job is complete, so what is read after this is all.
            let job = match self.engine.job(&self.job).await {
                Ok(job) => job,
                Err(Error::NotFound(_)) => return Ok(StreamPart::Ended(None)),
                Err(error) => return Err(error),
            };
            if job.version != self.seen_version {
                self.read_journal().await?;
                self.seen_version = job.version;
            }
            if self.slices.is_none() {
                self.open(&job).await?;
            }
            loop {
                if let Some(slice) = self.slice().await? {
                    return Ok(StreamPart::Items(self.items_of(slice)?));
                }
                if !self.entries.is_empty() {
                    let mut items = Vec::new();
                    self.pass_entries(i64::MAX, &mut items);
                    return Ok(StreamPart::Items(items));
                }
                if job.state.is_terminal() {
                    return Ok(StreamPart::Ended(Some(Box::new(job))));
                }
                let grown = async {
                    match &mut self.slices {
                        Some(slices) => slices.changed().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = grown => {}
                    changed = self.changes.changed() => {
                        if changed.is_err() {
                            self.changes = self.engine.subscribe(&self.job);
                        }
                        break;
                    }
                }
            }
        }
    }

    async fn open(&mut self, job: &Job) -> Result<(), Error> {
        let Some(sandbox) = &job.sandbox else {
            return Ok(());
        };
        let path = self.engine.node().layout().sandbox(sandbox).log();
        if path.exists() {
            let slices = Slices::open(&path).await?;
            self.position.place = slices.settle(self.position.place).await?;
            self.slices = Some(slices);
        }
        Ok(())
    }

    async fn read_journal(&mut self) -> Result<(), Error> {
        loop {
            let last = self
                .entries
                .back()
                .map_or(self.position.seq, |last| last.seq);
            let more = self.engine.journal(Some(&self.job), last, ENTRIES).await?;
            let whole = more.len() < ENTRIES;
            self.entries.extend(more);
            if whole {
                return Ok(());
            }
        }
    }

    async fn slice(&mut self) -> Result<Option<Slice>, Error> {
        match &mut self.slices {
            Some(slices) => Ok(slices.at(self.position.place, SLICE_BYTES).await?),
            None => Ok(None),
        }
    }

    fn items_of(&mut self, slice: Slice) -> Result<Vec<StreamItem>, Error> {
        let mut items = Vec::new();
        match slice {
            Slice::Frames(frames) => self.frames(&frames, &mut items)?,
            Slice::Part {
                at,
                stream,
                bytes,
                ends_at,
            } => {
                self.pass_entries(at, &mut items);
                let bytes = match ends_at {
                    Some(_) => bytes,
                    None => bytes.slice(..whole_characters(&bytes)),
                };
                match ends_at {
                    Some(offset) => self.position.place = Place { offset, inside: 0 },
                    None => self.position.place.inside += bytes.len() as u64,
                }
                self.pass_output(at, stream, bytes, &mut items);
            }
        }
        Ok(items)
    }

    fn frames(&mut self, frames: &Bytes, items: &mut Vec<StreamItem>) -> Result<(), Error> {
        let torn = || Error::Failed("the log of the job is damaged".into());
        let mut rest = frames.clone();
        while !rest.is_empty() {
            let head = rest.first_chunk::<HEAD_BYTES>().ok_or_else(torn)?;
            let (length, kind, end) = parse_head(head).map_err(|_| torn())?;
            if rest.len() < HEAD_BYTES + length {
                return Err(torn());
            }
            let payload = rest.split_to(HEAD_BYTES + length).slice(HEAD_BYTES..);
            let place = Place {
                offset: end,
                inside: 0,
            };
            if kind == stream_kind::OUTPUT {
                let (time, more) = payload.split_first_chunk::<8>().ok_or_else(torn)?;
                let (at, stream) = (i64::from_le_bytes(*time), *more.first().ok_or_else(torn)?);
                self.pass_entries(at, items);
                self.position.place = place;
                self.pass_output(at, stream, payload.slice(9..), items);
            } else {
                self.position.place = place;
                let after = self.position;
                items.push(StreamItem {
                    what: Streamed::Marker(payload),
                    after,
                });
            }
        }
        Ok(())
    }

    fn pass_output(&self, at: i64, stream: u8, bytes: Bytes, items: &mut Vec<StreamItem>) {
        if !bytes.is_empty() {
            let what = Streamed::Output { at, stream, bytes };
            items.push(StreamItem {
                what,
                after: self.position,
            });
        }
    }

    /// Passes the entries on that were committed up to a moment.
    fn pass_entries(&mut self, at: i64, items: &mut Vec<StreamItem>) {
        while self.entries.front().is_some_and(|entry| entry.at.0 <= at) {
            let Some(entry) = self.entries.pop_front() else {
                return;
            };
            self.position.seq = entry.seq;
            let what = Streamed::Entry(Box::new(entry));
            items.push(StreamItem {
                what,
                after: self.position,
            });
        }
    }
}

/// Up to here no character is cut; all of it where it is no text.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        Ok(_) | Err(_) => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_falls_between_characters_and_binary_is_cut_anywhere() {
        assert_eq!(whole_characters("aä".as_bytes()), 3);
        assert_eq!(whole_characters(&"aä".as_bytes()[..2]), 1);
        assert_eq!(whole_characters(&"ä".as_bytes()[..1]), 1);
        assert_eq!(whole_characters(b"\xff\xfe"), 2);
    }
}
