//! Bytes to standard output and error, exactly as they came, at the speed of a pipe.
//!
//! A thread writes, so that a slow reader of ours stops neither signals nor the connection. It takes what has gathered
//! since its last write and writes it with one call.

use bytes::Bytes;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};

/// Pieces under way: bounds the memory where our reader is slower than the job.
const PIECES_MAX: usize = 32;

/// Pieces of one write.
const BATCH_MAX: usize = 16;

/// Where a piece goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Stdout,
    Stderr,
}

/// The sending side.
#[derive(Debug)]
pub(crate) struct Sink {
    pieces: mpsc::Sender<(Target, Bytes)>,
    closed: Arc<Notify>,
    thread: std::thread::JoinHandle<Result<(), io::Error>>,
}

impl Sink {
    /// Starts the writing thread.
    pub(crate) fn start() -> Self {
        let (pieces, receiver) = mpsc::channel(PIECES_MAX);
        let closed = Arc::new(Notify::new());
        let notify = Arc::clone(&closed);
        let thread = std::thread::spawn(move || write_all(receiver, &notify));
        Self {
            pieces,
            closed,
            thread,
        }
    }

    /// Hands a piece over; waits while too much is under way.
    pub(crate) async fn send(&self, target: Target, bytes: Bytes) {
        // The thread takes pieces until the sender is dropped; if it is gone, its error is reported by `finish`.
        let _ = self.pieces.send((target, bytes)).await;
    }

    /// Returns when there is room for a piece. Dropping the future loses nothing.
    pub(crate) async fn room(&self) {
        // As in `send`: a thread that is gone has reported why.
        let _ = self.pieces.reserve().await;
    }

    /// A line of our own, beside the job's output.
    pub(crate) async fn note(&self, line: &str, raw: bool) {
        let end = if raw { "\r\n" } else { "\n" };
        self.send(Target::Stderr, format!("dauer: {line}{end}").into())
            .await;
    }

    /// Notified once when nobody reads our output any more.
    pub(crate) fn closed(&self) -> Arc<Notify> {
        Arc::clone(&self.closed)
    }

    /// Returns when everything is written. Errors: the first of writing; `BrokenPipe` where nobody reads.
    pub(crate) fn finish(self) -> io::Result<()> {
        drop(self.pieces);
        self.thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the writing thread died")))
    }
}

/// Writes until the senders are gone. After an error it goes on taking pieces, so that nobody waits for it, and writes no more.
fn write_all(mut pieces: mpsc::Receiver<(Target, Bytes)>, closed: &Notify) -> io::Result<()> {
    let mut result = Ok(());
    let mut batch: Vec<(Target, Bytes)> = Vec::with_capacity(BATCH_MAX);
    loop {
        batch.clear();
        if pieces.blocking_recv_many(&mut batch, BATCH_MAX) == 0 {
            return result;
        }
        if result.is_ok() {
            result = write_batch(&batch);
            if result.is_err() {
                closed.notify_one();
            }
        }
    }
}

fn write_batch(batch: &[(Target, Bytes)]) -> io::Result<()> {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    batch
        .chunk_by(|one, next| one.0 == next.0)
        .try_for_each(|run| match run[0].0 {
            Target::Stdout => write_pieces(stdout.as_fd(), run),
            Target::Stderr => write_pieces(stderr.as_fd(), run),
        })
}

fn write_pieces(fd: BorrowedFd<'_>, pieces: &[(Target, Bytes)]) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces
        .iter()
        .map(|(_, bytes)| IoSlice::new(bytes))
        .collect();
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        match nix::sys::uio::writev(fd, left) {
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(nix::errno::Errno::EINTR) => {}
            // Somebody made our output non-blocking (it is shared with other processes): wait for room.
            Err(nix::errno::Errno::EAGAIN) => {
                use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
                poll(
                    &mut [PollFd::new(fd, PollFlags::POLLOUT)],
                    PollTimeout::NONE,
                )?;
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
