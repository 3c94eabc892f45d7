//! A session's output, from its pipes or terminal into frames; and the session's end.

use super::Agent;
use super::window::Window;
use dauer_wire::guest::{FromGuest, Stream};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

/// Read at once.
const CHUNK_BYTES: usize = 32 << 10;

/// The most that can be left in a terminal or in a pipe whose content cannot be measured.
const LEFT_BYTES_MAX: usize = 1 << 20;

/// The thread of a session.
pub(super) struct Pump {
    pub(super) agent: &'static Agent,
    pub(super) id: u64,
    pub(super) outputs: Vec<(Stream, File)>,
    /// Hangs up when the session's first process has ended, or the session was closed.
    pub(super) ended: OwnedFd,
    pub(super) window: Arc<Window>,
}

/// What a read brought.
enum Taken {
    Bytes(usize),
    Nothing,
    End,
    /// The session was closed.
    Closed,
}

impl Pump {
    /// From after Started to Exited.
    pub(super) fn run(mut self) {
        self.pump_until_end();
        if self.id == 0 {
            // The rest goes first, so that nobody writes any more and the drain is complete.
            self.agent.sessions.end_everything();
        }
        self.drain();
        let status = self.agent.sessions.status(self.id);
        match (self.id, status) {
            (0, status) => self.agent.job_ended(status.unwrap_or_default()),
            (session, Some(status)) => {
                self.send(FromGuest::Exited { session, status });
                self.agent.sessions.remove(session);
            }
            // Closed: its number means nothing to the shim any more.
            (_, None) => {}
        }
    }

    fn pump_until_end(&mut self) {
        while self.window.room().is_some() {
            let (ready, ended) = self.wait();
            if ended {
                return;
            }
            for index in ready.into_iter().rev() {
                match self.take(index, CHUNK_BYTES) {
                    Taken::Bytes(_) | Taken::Nothing => {}
                    Taken::End => drop(self.outputs.remove(index)),
                    Taken::Closed => return,
                }
            }
        }
    }

    /// Waits for output or the end. Indices of the outputs that have something, and whether the session ended.
    fn wait(&self) -> (Vec<usize>, bool) {
        let mut fds: Vec<PollFd> = self
            .outputs
            .iter()
            .map(|(_, file)| PollFd::new(file.as_fd(), PollFlags::POLLIN))
            .collect();
        fds.push(PollFd::new(self.ended.as_fd(), PollFlags::POLLIN));
        // An interrupted poll is repeated, and so is one that lacked memory: the end of a session must be seen.
        while poll(&mut fds, PollTimeout::NONE).is_err() {}
        let is_ready = |fd: &PollFd| fd.any().unwrap_or(true);
        let ready = (0..self.outputs.len())
            .filter(|index| is_ready(&fds[*index]))
            .collect();
        (ready, fds.last().is_some_and(is_ready))
    }

    /// Sends what was written before the end. Not until the end of file: something in the background may keep the pipe
    /// open, and write to it, for ever.
    fn drain(&mut self) {
        for index in 0..self.outputs.len() {
            let mut left = bytes_left(&self.outputs[index]);
            while left > 0 && self.has_output(index) {
                match self.take(index, left) {
                    Taken::Bytes(bytes) => left -= bytes,
                    Taken::Nothing | Taken::End => break,
                    Taken::Closed => return,
                }
            }
        }
    }

    fn has_output(&self, index: usize) -> bool {
        let mut fds = [PollFd::new(
            self.outputs[index].1.as_fd(),
            PollFlags::POLLIN,
        )];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Reads once, as much as the window and `bytes_max` allow, and sends it.
    fn take(&mut self, index: usize, bytes_max: usize) -> Taken {
        let Some(room) = self.window.room() else {
            return Taken::Closed;
        };
        let limit = room.min(bytes_max).min(CHUNK_BYTES);
        // One more than is read: the frame puts the stream's number there.
        let mut bytes = Vec::with_capacity(limit + 1);
        bytes.resize(limit, 0);
        let (stream, file) = &mut self.outputs[index];
        let (stream, count) = match file.read(&mut bytes) {
            Ok(0) => return Taken::End,
            Ok(count) => (*stream, count),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Taken::Nothing,
            // EIO is how a terminal says that its last user has gone.
            Err(_) => return Taken::End,
        };
        bytes.truncate(count);
        self.window.sent(count);
        if self.send(FromGuest::Output {
            session: self.id,
            stream,
            bytes,
        }) {
            Taken::Bytes(count)
        } else {
            Taken::Closed
        }
    }

    /// Sends unless the session was closed meanwhile.
    fn send(&self, message: FromGuest) -> bool {
        let mut turn = self.agent.outbox.turn();
        if self.window.is_closed() {
            return false;
        }
        turn.send(message);
        true
    }
}

/// What a pipe holds now.
fn bytes_left((stream, file): &(Stream, File)) -> usize {
    let mut left: libc::c_int = 0;
    // SAFETY: the request takes a pointer to an int, which lives through the call.
    let known = unsafe { libc::ioctl(file.as_raw_fd(), libc::FIONREAD, &raw mut left) } == 0;
    match stream {
        // A terminal passes its output on with a delay: what is readable now may not be all.
        Stream::Tty => LEFT_BYTES_MAX,
        Stream::Stdout | Stream::Stderr if known => usize::try_from(left).unwrap_or_default(),
        Stream::Stdout | Stream::Stderr => LEFT_BYTES_MAX,
    }
}
