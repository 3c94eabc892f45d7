//! The writing end of a log: one per sandbox, in its shim.

use super::heads::Heads;
use super::{PAYLOAD_BYTES_MAX, PREFIX_BYTES};
use crate::Error;
use dauer_core::Timestamp;
use dauer_wire::frame::{Frame, HEAD_BYTES};
use dauer_wire::guest::Stream;
use dauer_wire::http::{Marker, stream_kind};
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes read and written at once where the file system cannot take them straight from a pipe.
const COPY_BYTES: usize = 64 << 10;

/// Where the head of a frame has its kind; zero there means that the frame is not whole yet.
const KIND_PLACE: usize = 4;

/// Appends frames to a log.
#[derive(Debug)]
pub struct LogWriter {
    file: File,
    end: u64,
    synced: u64,
    can_splice: bool,
}

impl LogWriter {
    /// Opens a log to go on where its last whole frame ends; what a dead writer left unfinished is cut off. `boundary` is a place that is
    /// known to be the end of a frame: the search starts there. Errors: `Io`; `Invalid` where the log is shorter than that.
    pub fn open(path: &Path, boundary: u64) -> Result<Self, Error> {
        let what = || format!("open {}", path.display());
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(Error::io(what()))?;
        let length = file.metadata().map_err(Error::io(what()))?.len();
        if length < boundary {
            let path = path.display();
            return Err(Error::Invalid(format!(
                "{path} has {length} bytes, but {boundary} were written: it was cut"
            )));
        }
        let mut heads = Heads::from(&file, boundary).map_err(Error::io(what()))?;
        while heads.next().map_err(Error::io(what()))?.is_some() {}
        let end = heads.offset();
        if end < length {
            file.set_len(end).map_err(Error::io(what()))?;
        }
        Ok(Self {
            file,
            end,
            synced: end,
            can_splice: true,
        })
    }

    /// Where the next frame starts.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Appends output. After an error nothing of it is there.
    ///
    /// # Errors
    /// Those of the file system; `StorageFull` may pass: try again.
    ///
    /// # Panics
    /// Never: pieces are cut to fit.
    pub fn output(&mut self, stream: Stream, bytes: &[u8], at: Timestamp) -> io::Result<()> {
        for piece in bytes.chunks(PAYLOAD_BYTES_MAX - PREFIX_BYTES) {
            let start = prefixed(self.end, stream, piece.len(), at);
            self.append(&start, piece)?;
        }
        Ok(())
    }

    /// Appends a marker.
    ///
    /// # Errors
    /// As [`LogWriter::output`].
    pub fn marker(&mut self, marker: &Marker) -> io::Result<()> {
        let json = serde_json::to_vec(marker)?;
        let head = Frame::head(
            stream_kind::MARKER,
            self.end + (HEAD_BYTES + json.len()) as u64,
            json.len(),
        );
        self.append(&head, &json)
    }

    fn append(&mut self, start: &[u8], rest: &[u8]) -> io::Result<()> {
        let length = start.len() + rest.len();
        match self.write_both(start, rest) {
            Ok(()) => {
                self.end += length as u64;
                Ok(())
            }
            Err(error) => {
                // Readers wait at a frame that is longer than the file. If cutting fails too, the next frame overwrites it from its start.
                let _ = self.file.set_len(self.end);
                Err(error)
            }
        }
    }

    fn write_both(&self, start: &[u8], rest: &[u8]) -> io::Result<()> {
        let written = retry(|| {
            let parts = [IoSlice::new(start), IoSlice::new(rest)];
            let at = self.end.cast_signed();
            // SAFETY: an `IoSlice` is an `iovec`, and both live during the call.
            unsafe { libc::pwritev(self.file.as_raw_fd(), parts.as_ptr().cast(), 2, at) }
        })?;
        if written < start.len() {
            self.file
                .write_all_at(&start[written..], self.end + written as u64)?;
        }
        let done = written.saturating_sub(start.len());
        self.file
            .write_all_at(&rest[done..], self.end + (start.len() + done) as u64)
    }

    /// Appends what is in a pipe now, as one frame, without copying it through this process. Returns its length; 0 where the pipe is empty.
    ///
    /// The bytes go first and the head follows once it is known how many fitted, so that nothing taken out of the pipe can be lost to a full disk.
    ///
    /// # Errors
    /// As [`LogWriter::output`].
    pub fn take_from_pipe(
        &mut self,
        pipe: BorrowedFd<'_>,
        stream: Stream,
        at: Timestamp,
    ) -> io::Result<usize> {
        let waiting = waiting_in(pipe)?.min(PAYLOAD_BYTES_MAX - PREFIX_BYTES);
        if waiting == 0 {
            return Ok(0);
        }
        let start_bytes = HEAD_BYTES + PREFIX_BYTES;
        let taken = self.transfer(pipe, self.end + start_bytes as u64, waiting)?;
        let mut start = prefixed(self.end, stream, taken, at);
        let kind = std::mem::take(&mut start[KIND_PLACE]);
        self.file.write_all_at(&start, self.end)?;
        // The kind last, and alone: a reader at work meanwhile may see any half of a longer write.
        self.file
            .write_all_at(&[kind], self.end + KIND_PLACE as u64)?;
        self.end += (start_bytes + taken) as u64;
        Ok(taken)
    }

    /// Moves up to `length` bytes that are in the pipe to this offset; at least one, or an error.
    fn transfer(&mut self, pipe: BorrowedFd<'_>, offset: u64, length: usize) -> io::Result<usize> {
        let mut taken = 0;
        while taken < length {
            let moved = if self.can_splice {
                self.splice(pipe, offset + taken as u64, length - taken)
            } else {
                self.copy(pipe, offset + taken as u64, length - taken)
            };
            match moved {
                Ok(0) => break,
                Ok(moved) => taken += moved,
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) && self.can_splice => {
                    self.can_splice = false
                }
                Err(e) if taken == 0 => return Err(e),
                // What was moved becomes a frame; the next call meets the same error with nothing in its hands.
                Err(_) => break,
            }
        }
        Ok(taken)
    }

    fn splice(&self, pipe: BorrowedFd<'_>, offset: u64, length: usize) -> io::Result<usize> {
        let mut offset = offset.cast_signed();
        retry(|| {
            let none = std::ptr::null_mut();
            // SAFETY: two valid descriptors and one offset.
            unsafe {
                libc::splice(
                    pipe.as_raw_fd(),
                    none,
                    self.file.as_raw_fd(),
                    &mut offset,
                    length,
                    libc::SPLICE_F_MOVE,
                )
            }
        })
    }

    fn copy(&self, pipe: BorrowedFd<'_>, offset: u64, length: usize) -> io::Result<usize> {
        let mut buffer = vec![0u8; COPY_BYTES.min(length)];
        // Room is made before the bytes leave the pipe.
        let room = i64::try_from(buffer.len()).unwrap_or(i64::MAX);
        // SAFETY: a valid descriptor.
        let result =
            unsafe { libc::fallocate(self.file.as_raw_fd(), 0, offset.cast_signed(), room) };
        if result != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSPC) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        // SAFETY: a buffer of the given length.
        let read = retry(|| unsafe {
            libc::read(pipe.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len())
        })?;
        self.file.write_all_at(&buffer[..read], offset)?;
        Ok(read)
    }

    /// Makes everything so far survive a crash of the machine. Costs nothing where nothing was appended since.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.synced != self.end {
            self.file.sync_data()?;
            self.synced = self.end;
        }
        Ok(())
    }
}

/// Bytes waiting in a pipe.
pub(crate) fn waiting_in(pipe: BorrowedFd<'_>) -> io::Result<usize> {
    let mut waiting: libc::c_int = 0;
    // SAFETY: a valid descriptor and an integer to fill.
    match unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &mut waiting) } {
        0 => Ok(usize::try_from(waiting).unwrap_or(0)),
        _ => Err(io::Error::last_os_error()),
    }
}

fn prefixed(
    end: u64,
    stream: Stream,
    length: usize,
    at: Timestamp,
) -> [u8; HEAD_BYTES + PREFIX_BYTES] {
    let payload = PREFIX_BYTES + length;
    let mut start = [0; HEAD_BYTES + PREFIX_BYTES];
    let id = end + (HEAD_BYTES + payload) as u64;
    start[..HEAD_BYTES].copy_from_slice(&Frame::head(stream_kind::OUTPUT, id, payload));
    start[HEAD_BYTES..HEAD_BYTES + 8].copy_from_slice(&at.0.to_le_bytes());
    start[HEAD_BYTES + 8] = stream as u8;
    start
}

fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        let result = call();
        if let Ok(count) = usize::try_from(result) {
            return Ok(count);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
