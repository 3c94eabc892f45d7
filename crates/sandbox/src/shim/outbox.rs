//! Frames on their way to one reader: a queue and the thread that writes it out, so that nobody who has something to say waits for a
//! reader that is slow or stopped.

use dauer_wire::frame::Frame;
use std::collections::VecDeque;
use std::io::Write;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The queue. Unbounded: what goes in is bounded by windows, or by the requests of one job.
#[derive(Default)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// Entries that still go out before the rest is held back.
    hold_after: Option<usize>,
    writing: bool,
    closed: bool,
}

struct Entry {
    frame: Frame,
    /// Told once the frame is written; dropped untold where it never will be.
    written: Option<SyncSender<()>>,
}

impl Outbox {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole between any two statements, so a panic elsewhere does not spoil it.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a frame. After the end of the reader it goes nowhere.
    pub(super) fn push(&self, frame: Frame) {
        self.add(frame, None);
    }

    /// Adds a frame; the receiver yields once it is written, or fails once it cannot be.
    pub(super) fn push_told(&self, frame: Frame) -> Receiver<()> {
        let (told, receiver) = sync_channel(1);
        self.add(frame, Some(told));
        receiver
    }

    fn add(&self, frame: Frame, written: Option<SyncSender<()>>) {
        let mut queue = self.queue();
        if !queue.closed {
            queue.entries.push_back(Entry { frame, written });
            self.changed.notify_all();
        }
    }

    /// Adds a frame and holds back all that follows it.
    pub(super) fn push_and_hold(&self, frame: Frame) {
        let mut queue = self.queue();
        if !queue.closed {
            queue.entries.push_back(Entry {
                frame,
                written: None,
            });
            queue.hold_after = Some(queue.entries.len());
            self.changed.notify_all();
        }
    }

    /// Goes on with this frame, then with what was held back.
    pub(super) fn release(&self, frame: Frame) {
        let mut queue = self.queue();
        // What was to go out before the hold and has not yet stays in front.
        let place = queue.hold_after.take().unwrap_or(queue.entries.len());
        if !queue.closed {
            queue.entries.insert(
                place,
                Entry {
                    frame,
                    written: None,
                },
            );
            self.changed.notify_all();
        }
    }

    /// Ends the writer; what waits is dropped.
    pub(super) fn close(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        queue.entries.clear();
        self.changed.notify_all();
    }

    /// Waits until everything is written; false at the deadline.
    pub(super) fn flush(&self, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        let mut queue = self.queue();
        while !queue.closed && (queue.writing || !queue.entries.is_empty()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            queue = self
                .changed
                .wait_timeout(queue, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Writes frames until the outbox is closed or the reader is gone; `after` hears of each that was written.
    pub(super) fn run(&self, mut writer: impl Write, after: impl Fn(&Frame)) {
        while let Some(entry) = self.take() {
            if entry.frame.write_to(&mut writer).is_err() {
                self.close();
                return;
            }
            after(&entry.frame);
            if let Some(written) = entry.written {
                // Nobody waits for it any more.
                let _ = written.try_send(());
            }
        }
    }

    fn take(&self) -> Option<Entry> {
        let mut queue = self.queue();
        if queue.writing {
            queue.writing = false;
            self.changed.notify_all();
        }
        loop {
            if queue.closed {
                return None;
            }
            if queue.hold_after != Some(0)
                && let Some(entry) = queue.entries.pop_front()
            {
                queue.hold_after = queue.hold_after.map(|left| left - 1);
                queue.writing = true;
                return Some(entry);
            }
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn frame(id: u64) -> Frame {
        Frame::new(1, id, Vec::new())
    }

    fn ids(mut bytes: &[u8]) -> Vec<u64> {
        std::iter::from_fn(|| Frame::read_from(&mut bytes).unwrap())
            .map(|frame| frame.id)
            .collect()
    }

    #[test]
    fn what_follows_a_hold_waits_and_the_releasing_frame_goes_first() {
        let outbox = Arc::new(Outbox::default());
        let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let thread = std::thread::spawn({
            let outbox = Arc::clone(&outbox);
            move || outbox.run(writer, |_| {})
        });
        outbox.push(frame(1));
        outbox.push_and_hold(frame(2));
        let held = outbox.push_told(frame(3));
        let mut reader = std::io::BufReader::new(reader);
        for id in [1, 2] {
            assert_eq!(Frame::read_from(&mut reader).unwrap().unwrap().id, id);
        }
        assert!(
            !outbox.flush(Duration::from_millis(20)),
            "the held frame is still there"
        );
        assert!(held.try_recv().is_err());
        outbox.release(frame(9));
        for id in [9, 3] {
            assert_eq!(Frame::read_from(&mut reader).unwrap().unwrap().id, id);
        }
        held.recv().unwrap();
        outbox.close();
        thread.join().unwrap();
    }

    #[test]
    fn a_reader_that_is_gone_fails_who_waits_to_be_told() {
        let outbox = Outbox::default();
        outbox.push(frame(1));
        let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(reader);
        outbox.run(writer, |_| {});
        assert!(outbox.push_told(frame(2)).recv().is_err());
        assert!(outbox.flush(Duration::ZERO));
    }

    #[test]
    fn frames_are_written_whole_and_in_order() {
        let outbox = Outbox::default();
        (0..5).for_each(|id| outbox.push(frame(id)));
        let bytes = Mutex::new(Vec::new());
        struct Sink<'a>(&'a Mutex<Vec<u8>>);
        impl Write for Sink<'_> {
            fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(part);
                Ok(part.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        outbox.run(Sink(&bytes), |frame| {
            if frame.id == 4 {
                outbox.close();
            }
        });
        assert_eq!(ids(&bytes.into_inner().unwrap()), [0, 1, 2, 3, 4]);
    }
}
