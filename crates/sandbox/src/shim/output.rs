//! The job's output on its way into the log: raw standard output from its pipe, the rest from frames of the agent.

use super::clock;
use crate::Error;
use crate::log::{LogWriter, waiting_in};
use dauer_wire::guest::Stream;
use dauer_wire::http::Marker;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two tries on a full disk: nothing tells when there is room again.
const FULL_DISK_PAUSE: Duration = Duration::from_millis(500);

/// Output that follows this soon after the last is a stream rather than a line.
const GATHER_WITHIN: Duration = Duration::from_millis(2);
/// So much is worth a frame at once.
const GATHER_BYTES: usize = 128 << 10;
/// Nobody who reads along notices.
const GATHER_PAUSE: Duration = Duration::from_micros(300);

/// The log and the raw pipe that goes into it.
pub(super) struct Output {
    log: Mutex<Log>,
    raw: OwnedFd,
    tty: bool,
    /// Told when the log is complete, so that nobody waits out a full disk.
    completed: Condvar,
}

struct Log {
    writer: LogWriter,
    /// `exit.json` says that the log is complete: what comes later belongs to nobody.
    complete: bool,
}

impl Output {
    pub(super) fn new(writer: LogWriter, raw: OwnedFd, tty: bool) -> Self {
        Self {
            log: Mutex::new(Log {
                writer,
                complete: false,
            }),
            raw,
            tty,
            completed: Condvar::new(),
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        // The writer keeps itself at a frame boundary, so a panic elsewhere does not spoil it.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the raw pipe into the log until everybody has closed it. The body of a thread.
    pub(super) fn run(&self) {
        let mut taken_at = Instant::now();
        loop {
            let mut fds = [PollFd::new(self.raw.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::NONE).is_err() {
                continue;
            }
            self.gather(taken_at);
            taken_at = Instant::now();
            match self.take() {
                Ok(0)
                    if fds[0]
                        .revents()
                        .is_some_and(|events| events.contains(PollFlags::POLLHUP)) =>
                {
                    return;
                }
                // Another thread has drained the pipe in between.
                Ok(_) => {}
                Err(error) => {
                    if !self.wait_for_room(&error) {
                        return;
                    }
                }
            }
        }
    }

    /// Lets a job that writes much in small pieces fill the pipe a little: each frame costs the shim, the file and every follower
    /// a wake-up, which would take the processor from the job.
    fn gather(&self, taken_at: Instant) {
        if taken_at.elapsed() < GATHER_WITHIN
            && waiting_in(self.raw.as_fd())
                .is_ok_and(|waiting| (1..GATHER_BYTES).contains(&waiting))
        {
            std::thread::sleep(GATHER_PAUSE);
        }
    }

    fn take(&self) -> io::Result<usize> {
        let mut log = self.log();
        if log.complete {
            return discard(&self.raw);
        }
        let stream = if self.tty {
            Stream::Tty
        } else {
            Stream::Stdout
        };
        log.writer
            .take_from_pipe(self.raw.as_fd(), stream, clock::now())
    }

    /// False where there is nothing to wait for.
    fn wait_for_room(&self, error: &io::Error) -> bool {
        if error.kind() != io::ErrorKind::StorageFull
            && error.kind() != io::ErrorKind::QuotaExceeded
        {
            eprintln!("shim: the log cannot be written: {error}");
        }
        let log = self.log();
        let (log, _) = self
            .completed
            .wait_timeout(log, FULL_DISK_PAUSE)
            .unwrap_or_else(PoisonError::into_inner);
        !log.complete
    }

    /// Appends output that came in a frame. Waits while the disk is full: the agent holds back, and behind it the job.
    pub(super) fn append(&self, stream: Stream, bytes: &[u8]) {
        loop {
            let mut log = self.log();
            if log.complete {
                return;
            }
            let Err(error) = log.writer.output(stream, bytes, clock::now()) else {
                return;
            };
            drop(log);
            if !self.wait_for_room(&error) {
                return;
            }
        }
    }

    pub(super) fn mark(&self, marker: &Marker) -> Result<(), Error> {
        self.log()
            .writer
            .marker(marker)
            .map_err(Error::io("write a marker into the log"))
    }

    /// Moves what is in the raw pipe now into the log and returns its end. Once the sandbox stands still nothing can follow, so that offset
    /// belongs to this moment. It is durable after [`Output::write_out`].
    pub(super) fn settle(&self) -> Result<u64, Error> {
        self.drain()?;
        Ok(self.log().writer.end())
    }

    /// Makes the log so far survive a crash of the machine.
    pub(super) fn write_out(&self) -> Result<(), Error> {
        let written = self.log().writer.sync();
        written.map_err(Error::io("write out the log"))
    }

    fn drain(&self) -> Result<(), Error> {
        while waiting_in(self.raw.as_fd()).map_err(Error::io("look into the job's output"))? > 0 {
            self.take().map_err(Error::io("write the log"))?;
        }
        Ok(())
    }

    /// Takes in what the job wrote before its end. After this the log does not change any more.
    pub(super) fn complete(&self) {
        while let Err(error) = self.drain() {
            eprintln!("shim: {error}");
            std::thread::sleep(FULL_DISK_PAUSE);
        }
        self.log().complete = true;
        self.completed.notify_all();
    }

    /// The same where nobody is left to be told of an error.
    pub(super) fn sync(&self) {
        if let Err(error) = self.write_out() {
            eprintln!("shim: {error}");
        }
    }

    /// Text in the raw pipe before any job ran: what the runtime's tool had to complain about.
    pub(super) fn complaint(&self) -> String {
        let mut text = vec![0; 4096];
        let waiting = waiting_in(self.raw.as_fd()).unwrap_or(0).min(text.len());
        let read = nix::unistd::read(&self.raw, &mut text[..waiting]).unwrap_or(0);
        String::from_utf8_lossy(&text[..read]).trim().to_owned()
    }
}

/// Never waits: another thread may have emptied the pipe since it was looked at.
fn discard(raw: &OwnedFd) -> io::Result<usize> {
    let mut bytes = [0; 4096];
    let waiting = waiting_in(raw.as_fd())?.min(bytes.len());
    Ok(nix::unistd::read(raw, &mut bytes[..waiting])?)
}
