//! Reads a log in small slices, also of large frames, so that any number of slow readers needs little memory.

use super::heads::{Found, look};
use super::tail::{blocking, boundary};
use super::watch::Watch;
use super::{PAYLOAD_BYTES_MAX, PREFIX_BYTES};
use crate::Error;
use bytes::Bytes;
use dauer_wire::frame::HEAD_BYTES;
use dauer_wire::http::stream_kind;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is before the bytes of an output frame.
const START_BYTES: usize = HEAD_BYTES + PREFIX_BYTES;

/// A place in a log: where a frame starts, and so many bytes into its output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Where the frame starts.
    pub offset: u64,
    /// Bytes of its output that are passed.
    pub inside: u64,
}

/// What is at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slice {
    /// Whole frames, verbatim.
    Frames(Bytes),
    /// Bytes out of the output of a frame that is too long for one slice, or that the place is inside of.
    Part {
        /// When the frame was written.
        at: i64,
        /// Its stream number.
        stream: u8,
        /// The bytes; none where the place was at the end of the frame.
        bytes: Bytes,
        /// Where the frame ends, if these are its last bytes.
        ends_at: Option<u64>,
    },
}

/// Reads slices of one log.
#[derive(Debug)]
pub struct Slices {
    path: PathBuf,
    file: Arc<File>,
    watch: Watch,
}

impl Slices {
    /// Opens a log.
    ///
    /// # Errors
    /// `Io`.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        blocking(format!("open {}", path.display()), move || {
            let file = Arc::new(File::open(&path)?);
            let watch = Watch::new(&path)?;
            Ok(Self { path, file, watch })
        })
        .await
    }

    /// The place itself where a frame starts there or may come to, else the next frame; past the end it is the end.
    ///
    /// # Errors
    /// `Io`.
    pub async fn settle(&self, place: Place) -> Result<Place, Error> {
        let file = Arc::clone(&self.file);
        blocking(format!("read {}", self.path.display()), move || {
            // The end of what is there is where nearly all who come back go on.
            if file.metadata()?.len() == place.offset {
                return Ok(place);
            }
            let offset = boundary(&file, place.offset)?;
            let inside = if offset == place.offset {
                place.inside
            } else {
                0
            };
            Ok(Place { offset, inside })
        })
        .await
    }

    /// The slice at a place, of about `limit` bytes (at least 64); `None` where there is nothing yet. Cancel safe, and costs no change of
    /// threads where the log is in memory.
    ///
    /// # Errors
    /// `Io`; `Invalid` where the log is damaged, or no frame starts at the place.
    pub async fn at(&mut self, place: Place, limit: usize) -> Result<Option<Slice>, Error> {
        self.watch.reset();
        let what = || format!("read {}", self.path.display());
        let present = slice(&self.file, place, limit, Reading::FromMemory);
        let read = match present {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let file = Arc::clone(&self.file);
                let read = move || slice(&file, place, limit, Reading::FromDisk);
                blocking(what(), read).await?
            }
            other => other.map_err(Error::io(what()))?,
        };
        match read {
            Read::Slice(slice) => Ok(Some(slice)),
            Read::Nothing => Ok(None),
            Read::Nonsense => Err(Error::Invalid(format!(
                "{}: no frame starts at offset {}",
                self.path.display(),
                place.offset
            ))),
        }
    }

    /// Waits until the log was written to since the last [`Slices::at`]. Cancel safe.
    pub async fn changed(&mut self) {
        self.watch.changed().await;
    }
}

enum Read {
    Slice(Slice),
    Nothing,
    Nonsense,
}

#[derive(Clone, Copy)]
enum Reading {
    /// `WouldBlock` for what is not in the page cache.
    FromMemory,
    FromDisk,
}

fn slice(file: &File, place: Place, limit: usize, reading: Reading) -> io::Result<Read> {
    let length = file.metadata()?.len();
    let first = if place.inside == 0 {
        limit.max(64)
    } else {
        START_BYTES
    };
    let window = read(file, place.offset, first, reading)?;
    let (end, kind) = match look(&window, place.offset) {
        Found::Frame { end, kind } if end <= length => (end, kind),
        Found::Frame { .. } | Found::Unfinished => return Ok(Read::Nothing),
        Found::Nonsense => return Ok(Read::Nonsense),
    };
    let frame_bytes = usize::try_from(end - place.offset).unwrap_or(usize::MAX);
    if place.inside == 0 && frame_bytes <= window.len() {
        return Ok(Read::Slice(Slice::Frames(whole_frames(
            window,
            place.offset,
        ))));
    }
    if kind != stream_kind::OUTPUT {
        let frame = read(file, place.offset, frame_bytes, reading)?;
        return Ok(Read::Slice(Slice::Frames(frame.into())));
    }
    part(file, place, limit, frame_bytes, &window, reading)
}

/// As many whole frames as are in the window; the first one is.
fn whole_frames(mut window: Vec<u8>, start: u64) -> Bytes {
    let mut whole = 0;
    while let Found::Frame { end, .. } = look(&window[whole..], start + whole as u64) {
        match usize::try_from(end - start) {
            Ok(end) if end <= window.len() => whole = end,
            Ok(_) | Err(_) => break,
        }
    }
    window.truncate(whole);
    window.into()
}

/// Bytes out of the output of the frame whose head is in `window`.
fn part(
    file: &File,
    place: Place,
    limit: usize,
    frame_bytes: usize,
    window: &[u8],
    reading: Reading,
) -> io::Result<Read> {
    let Some((time, rest)) = window
        .get(HEAD_BYTES..)
        .and_then(|rest| rest.split_first_chunk::<8>())
    else {
        return Ok(Read::Nonsense);
    };
    let Some(&stream) = rest.first() else {
        return Ok(Read::Nonsense);
    };
    let output_bytes = frame_bytes
        .saturating_sub(START_BYTES)
        .min(PAYLOAD_BYTES_MAX);
    let inside = usize::try_from(place.inside)
        .unwrap_or(usize::MAX)
        .min(output_bytes);
    let wanted = (output_bytes - inside).min(limit);
    let bytes = read(
        file,
        place.offset + (START_BYTES + inside) as u64,
        wanted,
        reading,
    )?;
    let ends = inside + bytes.len() == output_bytes;
    Ok(Read::Slice(Slice::Part {
        at: i64::from_le_bytes(*time),
        stream,
        bytes: bytes.into(),
        ends_at: ends.then_some(place.offset + frame_bytes as u64),
    }))
}

/// Up to so many bytes; fewer only at the end of the file.
fn read(file: &File, offset: u64, wanted: usize, reading: Reading) -> io::Result<Vec<u8>> {
    let flags = match reading {
        Reading::FromMemory => libc::RWF_NOWAIT,
        Reading::FromDisk => 0,
    };
    let mut bytes = vec![0; wanted];
    let mut filled = 0;
    while filled < wanted {
        let rest = &mut bytes[filled..];
        let part = libc::iovec {
            iov_base: rest.as_mut_ptr().cast(),
            iov_len: rest.len(),
        };
        let at = (offset + filled as u64).cast_signed();
        // SAFETY: one buffer of the length given, which lives during the call.
        let got = unsafe { libc::preadv2(file.as_raw_fd(), &raw const part, 1, at, flags) };
        match usize::try_from(got) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                // A file system that cannot say what it has in memory is read on another thread.
                error if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                error => return Err(error),
            },
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
