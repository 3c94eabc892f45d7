//! Lengths and digests of everything in a checkpoint's folder.

use super::{FileRecord, PIECE_BYTES};
use crate::{Error, disk};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Below this, threads cost more than they bring.
const ONE_THREAD_BYTES_MAX: u64 = 8 << 20;
/// Read at once; small enough to stay in a core's cache.
const READ_BYTES: usize = 128 << 10;

/// What `st_blocks` counts in, on every file system.
const BLOCK_BYTES: u64 = 512;

/// Digests that were made while the files were written, by recorded path.
pub type Digests = BTreeMap<String, Digested>;

/// Regular files by their recorded path (with path and length on this machine), and one digest of all names.
pub(super) struct Contents {
    files: BTreeMap<String, (PathBuf, u64)>,
    pub(super) tree: String,
    /// Of the blocks that it takes, folders and all.
    pub(super) blocks_bytes: u64,
}

impl Contents {
    /// What is in `folder` but the manifest.
    pub(super) fn of(folder: &Path) -> Result<Self, Error> {
        let mut files = BTreeMap::new();
        let mut tree = BTreeMap::new();
        let mut blocks_bytes = 0;
        disk::walk(folder, |path, meta| {
            let within = path.strip_prefix(folder).unwrap_or(path);
            let name = escaped(within.as_os_str().as_bytes());
            if super::OWN_NAMES.contains(&name.as_str()) {
                return Ok(());
            }
            blocks_bytes += meta.blocks() * BLOCK_BYTES;
            if meta.is_file() {
                files.insert(name.clone(), (path.to_owned(), meta.len()));
            }
            if within.starts_with("disk") {
                let target = if meta.is_symlink() {
                    let read = std::fs::read_link(path)
                        .map_err(Error::io(format!("read {}", path.display())))?;
                    escaped(read.as_os_str().as_bytes())
                } else {
                    String::new()
                };
                let (mode, owner, device) = (meta.mode(), (meta.uid(), meta.gid()), meta.rdev());
                tree.insert(name, format!("{mode:o} {owner:?} {device} {target}"));
            }
            Ok(())
        })?;
        let mut digest = Xxh3::new();
        for (name, entry) in &tree {
            digest.update(format!("{name}\n{entry}\n").as_bytes());
        }
        Ok(Self {
            files,
            tree: hex(digest.digest128()),
            blocks_bytes,
        })
    }

    pub(super) fn length(&self, path: &str) -> Option<u64> {
        self.files.get(path).map(|(_, bytes)| *bytes)
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    pub(super) fn bytes_below(&self, folder: &str) -> u64 {
        let below = |path: &str| {
            path.strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        self.files
            .iter()
            .filter(|(path, _)| below(path))
            .map(|(_, (_, bytes))| bytes)
            .sum()
    }

    /// Digests of all files, in the order of their paths; those in `known`, if they have the same length, are taken from there.
    pub(super) fn digested(
        &self,
        folder: &Path,
        known: &Digests,
    ) -> Result<Vec<FileRecord>, Error> {
        let files: Vec<(&String, &PathBuf, u64)> = self
            .files
            .iter()
            .map(|(name, (path, bytes))| (name, path, *bytes))
            .collect();
        let known: Vec<Option<u128>> = files
            .iter()
            .map(|(name, _, bytes)| known.get(*name).filter(|it| it.bytes == *bytes))
            .map(|digested| digested.map(|it| it.digest))
            .collect();
        let mut pieces = Vec::new();
        for (file, (_, _, bytes)) in files.iter().enumerate() {
            if known[file].is_some() {
                continue;
            }
            pieces.extend(
                (0..bytes.div_ceil(PIECE_BYTES).max(1)).map(|piece| (file, piece * PIECE_BYTES)),
            );
        }
        let digest_of = |&(file, offset): &(usize, u64)| {
            let (_, path, bytes) = files[file];
            piece(path, offset, PIECE_BYTES.min(bytes - offset))
                .map_err(Error::io(format!("read {}", path.display())))
        };
        let digests = in_parallel(
            &pieces,
            pieces
                .iter()
                .map(|(file, start)| PIECE_BYTES.min(files[*file].2 - start))
                .sum(),
            digest_of,
            folder,
        )?;
        let mut by_file: Vec<Vec<u128>> = vec![Vec::new(); files.len()];
        for ((file, _), digest) in pieces.iter().zip(digests) {
            by_file[*file].push(digest);
        }
        let record = |(number, (name, _, bytes)): (usize, &(&String, &PathBuf, u64))| FileRecord {
            path: (*name).clone(),
            bytes: *bytes,
            xxh3_128: hex(known[number].unwrap_or_else(|| whole(&by_file[number]))),
        };
        Ok(files.iter().enumerate().map(record).collect())
    }
}

/// Runs `work` on every item, with a thread a core where there is much to do, and returns the results in order.
fn in_parallel<I: Sync>(
    items: &[I],
    bytes: u64,
    work: impl Fn(&I) -> Result<u128, Error> + Sync,
    folder: &Path,
) -> Result<Vec<u128>, Error> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if bytes <= ONE_THREAD_BYTES_MAX || cores == 1 || items.len() < 2 {
        return items.iter().map(&work).collect();
    }
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        while let Some((number, item)) = {
            let number = next.fetch_add(1, Ordering::Relaxed);
            items.get(number).map(|item| (number, item))
        } {
            done.push((number, work(item)?));
        }
        Ok::<_, Error>(done)
    };
    let mut digests = vec![0; items.len()];
    std::thread::scope(|scope| {
        let spawn = || {
            std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn_scoped(scope, worker)
        };
        let helpers = (1..cores.min(4))
            .map(|_| spawn())
            .collect::<std::io::Result<Vec<_>>>();
        let helpers = helpers.map_err(Error::io(format!(
            "start a thread to check {}",
            folder.display()
        )))?;
        let mut results = vec![worker()];
        for helper in helpers {
            results.push(
                helper
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        for result in results {
            for (number, digest) in result? {
                digests[number] = digest;
            }
        }
        Ok(digests)
    })
}

/// Length and digest of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digested {
    /// How many bytes it has.
    pub bytes: u64,
    /// As [`super`] defines it.
    pub digest: u128,
}

/// The digest of a file whose bytes come one after the other.
#[derive(Default)]
pub(crate) struct Running {
    pieces: Vec<u128>,
    piece: Xxh3,
    bytes: u64,
}

impl Running {
    /// How many there were so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next ones.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // A piece ends when the next one begins: a file may end with a whole piece.
            if self.bytes > 0 && self.bytes.is_multiple_of(PIECE_BYTES) {
                self.pieces.push(self.piece.digest128());
                self.piece.reset();
            }
            let room = PIECE_BYTES - self.bytes % PIECE_BYTES;
            let here = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            let (now, later) = bytes.split_at(here);
            self.piece.update(now);
            self.bytes += here as u64;
            bytes = later;
        }
    }

    /// There are no more.
    pub(crate) fn finish(mut self) -> Digested {
        self.pieces.push(self.piece.digest128());
        Digested {
            bytes: self.bytes,
            digest: whole(&self.pieces),
        }
    }
}

/// Reads a whole file.
#[cfg(test)]
pub(super) fn of_file(path: &Path) -> Result<Digested, Error> {
    let folder = path.parent().expect("a file is in a folder");
    let bytes = std::fs::metadata(path).expect("it is there").len();
    let starts = (0..bytes.div_ceil(PIECE_BYTES).max(1)).map(|number| number * PIECE_BYTES);
    let pieces: Result<Vec<u128>, _> = starts
        .map(|start| piece(path, start, PIECE_BYTES.min(bytes - start)))
        .collect();
    let pieces = pieces.map_err(Error::io(format!("read {}", folder.display())))?;
    Ok(Digested {
        bytes,
        digest: whole(&pieces),
    })
}

fn piece(path: &Path, offset: u64, bytes: u64) -> std::io::Result<u128> {
    let file = File::open(path)?;
    // The disk gets all of it at once, and not a little ahead of each read. Where that is refused, the reads bring it.
    // SAFETY: a valid descriptor.
    unsafe {
        libc::posix_fadvise(
            file.as_raw_fd(),
            offset.cast_signed(),
            bytes.cast_signed(),
            libc::POSIX_FADV_WILLNEED,
        )
    };
    let mut digest = Xxh3::new();
    let mut buffer = vec![0; READ_BYTES.min(usize::try_from(bytes).unwrap_or(READ_BYTES))];
    let (mut at, end) = (offset, offset + bytes);
    while at < end {
        let wanted = buffer
            .len()
            .min(usize::try_from(end - at).unwrap_or(usize::MAX));
        match file.read_at(&mut buffer[..wanted], at)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => {
                digest.update(&buffer[..length]);
                at += length as u64;
            }
        }
    }
    Ok(digest.digest128())
}

/// The digest of a file from those of its pieces.
fn whole(pieces: &[u128]) -> u128 {
    match pieces {
        [one] => *one,
        several => xxh3_128(
            &several
                .iter()
                .flat_map(|digest| digest.to_be_bytes())
                .collect::<Vec<u8>>(),
        ),
    }
}

pub(super) fn hex(digest: u128) -> String {
    format!("{digest:032x}")
}

/// Any file name as text, so that it can be read back.
pub(super) fn escaped(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        for byte in chunk.invalid() {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
