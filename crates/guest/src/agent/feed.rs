//! A session's input: frames put into a queue by the main thread, written by a thread that may block.

use super::Agent;
use dauer_wire::guest::FromGuest;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What a terminal takes for the end of its input.
const END_OF_TRANSMISSION: u8 = 4;

/// Input on its way. Bounded by the shim, which keeps to the window.
#[derive(Default)]
pub(super) struct Input {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    chunks: VecDeque<Vec<u8>>,
    ended: bool,
}

impl Input {
    /// Empty bytes are the end of file.
    pub(super) fn push(&self, bytes: Vec<u8>) {
        let mut queue = self.lock();
        if bytes.is_empty() {
            queue.ended = true;
        } else if !queue.ended {
            queue.chunks.push_back(bytes);
        }
        self.changed.notify_all();
    }

    /// Nobody needs it any more.
    pub(super) fn abandon(&self) {
        let mut queue = self.lock();
        queue.chunks.clear();
        queue.ended = true;
        self.changed.notify_all();
    }

    fn next(&self) -> Option<Vec<u8>> {
        let mut queue = self.lock();
        loop {
            if let Some(chunk) = queue.chunks.pop_front() {
                return Some(chunk);
            }
            if queue.ended {
                return None;
            }
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes until the end of the input. What a program that closed its input would not read is dropped, and still
/// reported as consumed, or its sender would wait for ever.
pub(super) fn run(agent: &Agent, id: u64, input: &Input, file: File, is_terminal: bool) {
    let mut file = Some(file);
    while let Some(chunk) = input.next() {
        if file
            .as_mut()
            .is_some_and(|file| file.write_all(&chunk).is_err())
        {
            file = None;
        }
        let mut turn = agent.outbox.turn();
        if agent.sessions.is_live(id) {
            let bytes =
                u32::try_from(chunk.len()).expect("frames are bounded by PAYLOAD_BYTES_MAX");
            turn.send(FromGuest::Consumed { session: id, bytes });
        }
    }
    if let (true, Some(mut file)) = (is_terminal, file) {
        // A hung-up terminal needs no end of file.
        let _ = file.write_all(&[END_OF_TRANSMISSION]);
    }
}
