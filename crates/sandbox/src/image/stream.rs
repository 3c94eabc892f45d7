//! The bytes of a tar on their way: read and unpacked in one thread, digested in another, used in a third.
//!
//! ```text
//! source ─ read, digest of what is packed, unpack ─┬─► pieces ─► whoever uses them
//!                                                  └─► pieces ─► digest of what is not packed
//! ```

use super::digest::{Digest, Sum};
use crate::Error;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

const PIECE_BYTES: usize = 512 << 10;

/// Pieces on their way to each of the two.
const PIECES_AHEAD: usize = 4;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digests {
    /// As it came.
    pub(super) packed: Digest,
    /// As it was used.
    pub(super) plain: Digest,
}

/// Memory that goes back to where it came from when the last of its users is done: fresh memory costs more than what is written into it.
struct Piece {
    bytes: Vec<u8>,
    home: Sender<Vec<u8>>,
}

impl Drop for Piece {
    fn drop(&mut self) {
        // Whoever made pieces may be gone: then nobody needs the memory.
        let _ = self.home.send(std::mem::take(&mut self.bytes));
    }
}

/// Has `work` read what is in `source` (a tar, plain or packed with gzip or zstd), and returns the digests of all of it where `work` read to
/// the end. An error of the source reaches `work` as an error of reading.
pub(super) fn through<S: Read + Send, T>(
    source: S,
    work: impl FnOnce(&mut dyn BufRead) -> Result<T, Error>,
) -> Result<(T, Digests), Error> {
    std::thread::scope(|scope| {
        let (to_work, pieces) = sync_channel(PIECES_AHEAD);
        let (to_digest, digested) = sync_channel::<Arc<Piece>>(PIECES_AHEAD);
        let spawn = |name: &str| std::thread::Builder::new().name(name.into());
        let reading = spawn("image-read")
            .spawn_scoped(scope, move || {
                let end = read(source, &to_work, &to_digest);
                end.unwrap_or_else(|error| {
                    // Whoever used the pieces may have stopped.
                    let _ = to_work.send(Err(error));
                    None
                })
            })
            .map_err(Error::io("start a thread"))?;
        let digesting = spawn("image-digest")
            .spawn_scoped(scope, move || {
                let mut sum = Sum::new();
                for piece in digested {
                    sum.update(&piece.bytes);
                }
                sum.finish()
            })
            .map_err(Error::io("start a thread"))?;
        let mut pieces = Pieces {
            pieces,
            present: None,
            place: 0,
        };
        let done = work(&mut pieces);
        drop(pieces);
        let packed = reading
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let plain = digesting
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let done = done?;
        let packed = match packed {
            Some(Packed::Otherwise(packed)) => packed,
            Some(Packed::Not) => plain.clone(),
            None => return Err(Error::Invalid("the image was not read to its end".into())),
        };
        Ok((done, Digests { packed, plain }))
    })
}

enum Packed {
    /// It has no other form.
    Not,
    Otherwise(Digest),
}

/// `None`: nobody wants to read on.
fn read(
    mut source: impl Read,
    to_work: &SyncSender<io::Result<Arc<Piece>>>,
    to_digest: &SyncSender<Arc<Piece>>,
) -> io::Result<Option<Packed>> {
    let mut head = Vec::new();
    source.by_ref().take(6).read_to_end(&mut head)?;
    let kind = kind_of(&head)?;
    let source = io::Cursor::new(head).chain(source);
    if kind == PackedWith::Nothing {
        let all = send_all(source, to_work, to_digest)?;
        return Ok(all.then_some(Packed::Not));
    }
    let mut summed = Summed {
        source,
        sum: Sum::new(),
    };
    let input = io::BufReader::with_capacity(PIECE_BYTES, &mut summed);
    let all = match kind {
        PackedWith::Zstd => send_all(zstd::Decoder::with_buffer(input)?, to_work, to_digest)?,
        PackedWith::Gzip => send_all(
            flate2::bufread::MultiGzDecoder::new(input),
            to_work,
            to_digest,
        )?,
        PackedWith::Nothing => false,
    };
    if !all {
        return Ok(None);
    }
    // What follows the packed part belongs to the digest too.
    io::copy(&mut summed, &mut io::sink())?;
    Ok(Some(Packed::Otherwise(summed.sum.finish())))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PackedWith {
    Nothing,
    Gzip,
    Zstd,
}

/// By the first bytes.
fn kind_of(head: &[u8]) -> io::Result<PackedWith> {
    let other = |name: &str| {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is packed with {name}: unpack it first, or pack it with gzip or zstd"),
        ))
    };
    match head {
        [0x1f, 0x8b, ..] => Ok(PackedWith::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(PackedWith::Zstd),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => other("xz"),
        [b'B', b'Z', b'h', ..] => other("bzip2"),
        _ => Ok(PackedWith::Nothing),
    }
}

/// Whether everything was wanted.
fn send_all(
    mut source: impl Read,
    to_work: &SyncSender<io::Result<Arc<Piece>>>,
    to_digest: &SyncSender<Arc<Piece>>,
) -> io::Result<bool> {
    let (home, back) = channel();
    loop {
        let mut bytes: Vec<u8> = back.try_recv().unwrap_or_else(|_| vec![0; PIECE_BYTES]);
        bytes.resize(PIECE_BYTES, 0);
        let mut filled = 0;
        while filled < bytes.len() {
            match source.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if filled == 0 {
            return Ok(true);
        }
        bytes.truncate(filled);
        let piece = Arc::new(Piece {
            bytes,
            home: home.clone(),
        });
        if to_work.send(Ok(Arc::clone(&piece))).is_err() || to_digest.send(piece).is_err() {
            return Ok(false);
        }
    }
}

struct Summed<S> {
    source: S,
    sum: Sum,
}

impl<S: Read> Read for Summed<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(into)?;
        self.sum.update(&into[..length]);
        Ok(length)
    }
}

/// The reading end.
struct Pieces {
    pieces: Receiver<io::Result<Arc<Piece>>>,
    present: Option<Arc<Piece>>,
    place: usize,
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self
            .present
            .as_ref()
            .is_none_or(|piece| self.place == piece.bytes.len())
        {
            self.place = 0;
            // Gone before the next is waited for: its memory may be wanted for that one.
            self.present = None;
            self.present = self.pieces.recv().ok().transpose()?;
        }
        Ok(self
            .present
            .as_ref()
            .map_or(&[][..], |piece| &piece.bytes[self.place..]))
    }

    fn consume(&mut self, bytes: usize) {
        self.place += bytes;
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(into)?;
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn all(bytes: &[u8]) -> Result<(Vec<u8>, Digests), Error> {
        through(bytes, |pieces| {
            let mut all = Vec::new();
            pieces.read_to_end(&mut all).map_err(Error::io("read"))?;
            Ok(all)
        })
    }

    #[test]
    fn however_it_is_packed_the_same_comes_out_with_both_digests() {
        let plain: Vec<u8> = (0..3_000_000_u32)
            .map(|n| (n.wrapping_mul(n) >> 7) as u8)
            .collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
        for packed in [plain.clone(), gzip.finish().unwrap(), zstd] {
            let (read, digests) = all(&packed).unwrap();
            assert!(read == plain);
            assert_eq!(digests.packed, Digest::of(&packed));
            assert_eq!(digests.plain, Digest::of(&plain));
        }
    }

    #[test]
    fn what_is_torn_or_packed_otherwise_is_an_error_of_reading() {
        let zstd = zstd::encode_all(&[7; 100_000][..], 1).unwrap();
        for torn in [
            &zstd[..zstd.len() / 2],
            &[0x1f, 0x8b, 8, 0, 0],
            &[0xfd, b'7', b'z', b'X', b'Z', 0],
        ] {
            assert!(matches!(all(torn), Err(Error::Io { .. })));
        }
    }

    #[test]
    fn whoever_stops_reading_ends_it() {
        let stopped = through(io::repeat(1), |_| Err::<(), _>(Error::Gone));
        assert!(matches!(stopped, Err(Error::Gone)));
    }
}
