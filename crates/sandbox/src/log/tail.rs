//! The reading end of a log: whole frames, as they are in the file, from any place on.

use super::PAYLOAD_BYTES_MAX;
use super::heads::{Found, Heads, look};
use super::watch::Watch;
use crate::Error;
use bytes::Bytes;
use dauer_core::Timestamp;
use dauer_wire::frame::HEAD_BYTES;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Read at once; the longest frame fits.
const CHUNK_BYTES: usize = PAYLOAD_BYTES_MAX + 4096;

/// Reads a log, and waits for more.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    file: Arc<File>,
    offset: u64,
    watch: Watch,
}

impl Tail {
    /// Opens a log at an offset; one inside a frame moves to the next frame, one past the end to the end.
    ///
    /// # Errors
    /// `Io`.
    pub async fn open(path: &Path, from: u64) -> Result<Self, Error> {
        let path = path.to_owned();
        let what = format!("open {}", path.display());
        blocking(what, move || {
            let file = File::open(&path)?;
            // Before anything is read, so that no write between reading and waiting is missed.
            let watch = Watch::new(&path)?;
            let offset = boundary(&file, from)?;
            Ok(Self {
                path,
                file: Arc::new(file),
                offset,
                watch,
            })
        })
        .await
    }

    /// Where the next frame starts.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next whole frames, up to about 1 MiB; `None` where there is nothing more at the moment. Cancel safe.
    ///
    /// # Errors
    /// `Io`; `Invalid` where the log is damaged.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.watch.reset();
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        let what = format!("read {}", self.path.display());
        match blocking(what, move || chunk(&file, offset)).await? {
            Chunk::Frames(bytes) => {
                self.offset += bytes.len() as u64;
                Ok(Some(bytes))
            }
            Chunk::Nothing => Ok(None),
            Chunk::Nonsense => Err(Error::Invalid(format!(
                "{} is damaged at offset {offset}",
                self.path.display()
            ))),
        }
    }

    /// Waits until the log was written to since the last [`Tail::next`]. Cancel safe.
    ///
    /// # Errors
    /// None at present.
    pub async fn changed(&mut self) -> Result<(), Error> {
        self.watch.changed().await;
        Ok(())
    }
}

enum Chunk {
    Frames(Bytes),
    Nothing,
    Nonsense,
}

fn chunk(file: &File, offset: u64) -> io::Result<Chunk> {
    let left = usize::try_from(file.metadata()?.len().saturating_sub(offset)).unwrap_or(usize::MAX);
    if left < HEAD_BYTES {
        return Ok(Chunk::Nothing);
    }
    let mut bytes = vec![0; left.min(CHUNK_BYTES)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    bytes.truncate(filled);
    let mut whole = 0;
    loop {
        match look(&bytes[whole..], offset + whole as u64) {
            Found::Frame { end, .. } if end - offset <= filled as u64 => {
                whole = usize::try_from(end - offset).unwrap_or(filled);
            }
            Found::Nonsense if whole == 0 => return Ok(Chunk::Nonsense),
            Found::Frame { .. } | Found::Unfinished | Found::Nonsense => break,
        }
    }
    bytes.truncate(whole);
    Ok(if whole == 0 {
        Chunk::Nothing
    } else {
        Chunk::Frames(Bytes::from(bytes))
    })
}

/// The first boundary at or after `from`.
pub(super) fn boundary(file: &File, from: u64) -> io::Result<u64> {
    let mut head = [0; HEAD_BYTES];
    // A head names its own place, so one that is right is a boundary; clients ask for these nearly always.
    if from == 0
        || (file.read_exact_at(&mut head, from).is_ok()
            && matches!(look(&head, from), Found::Frame { .. }))
    {
        return Ok(from);
    }
    let mut heads = Heads::from(file, 0)?;
    while heads.offset() < from && heads.next()?.is_some() {}
    Ok(heads.offset())
}

/// The offset of the first output at or after this time; the end of the log where there is none.
///
/// # Errors
/// `Io`.
pub async fn offset_at(path: &Path, at: Timestamp) -> Result<u64, Error> {
    let path = path.to_owned();
    let what = format!("read {}", path.display());
    blocking(what, move || {
        let file = File::open(&path)?;
        let mut heads = Heads::from(&file, 0)?;
        while let Some(head) = heads.next()? {
            if head.at.is_some_and(|time| time >= at.0) {
                return Ok(head.start);
            }
        }
        Ok(heads.offset())
    })
    .await
}

pub(super) async fn blocking<T: Send + 'static>(
    what: String,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Error::io(what)),
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Err(e) => Err(Error::io(what)(io::Error::other(e))),
    }
}
