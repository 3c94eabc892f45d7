//! A pack: the pages that were new when one checkpoint was packed. Written once; later only its room is given back.
//!
//! ```text
//! frames        up to sixteen pages each, zstd or plain, whichever is shorter
//! digests       sixteen bytes for each page
//! table         MessagePack: frames, short pages
//! footer        lengths, digests of digests and table, magic
//! ```

use super::{FRAME_PAGES, PAGE_BYTES, PageDigest, damaged};
use crate::{Error, Layout, disk, files};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

const MAGIC: &[u8; 8] = b"dauerpk1";
const FOOTER_BYTES: u64 = 48;

/// Little is to be gained beyond it, and much time to be lost.
const LEVEL: i32 = 3;

/// What a page that is not worth compressing saves at least, in percent, to be worth unpacking.
const GAIN_PERCENT_MIN: usize = 5;

/// Sixteen pages or fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Frame {
    pub(super) offset: u64,
    /// As it lies there; as long as its pages where it is not compressed.
    pub(super) stored_bytes: u32,
    pub(super) first_page: u32,
    /// XXH3-64 of what lies there.
    check: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Table {
    frames: Vec<Frame>,
    pages: u32,
    /// Pages at the ends of files: number and length.
    short: Vec<(u32, u16)>,
}

/// Where the packs are.
pub(super) fn folder(layout: &Layout) -> PathBuf {
    layout.data.join("chunks")
}

pub(super) fn path(layout: &Layout, id: &str) -> PathBuf {
    folder(layout).join(format!("{id}.pack"))
}

/// The pages that nothing refers to any more, as ranges.
pub(super) fn dead_path(layout: &Layout, id: &str) -> PathBuf {
    folder(layout).join(format!("{id}.dead"))
}

/// The ids of all packs, oldest first.
pub(super) fn list(layout: &Layout) -> Result<Vec<String>, Error> {
    let names = files::names(&folder(layout))?;
    let ids = names.iter().filter_map(|name| name.strip_suffix(".pack"));
    Ok(ids
        .filter(|id| !id.starts_with('.'))
        .map(str::to_owned)
        .collect())
}

/// A pack that is being written.
pub(super) struct Writer {
    pub(super) id: String,
    aside: PathBuf,
    to: BufWriter<File>,
    compressor: zstd::bulk::Compressor<'static>,
    /// Of the frame that is being filled.
    buffer: Vec<u8>,
    at: u64,
    table: Table,
    digests: Vec<PageDigest>,
}

impl Writer {
    pub(super) fn begin(layout: &Layout) -> Result<Self, Error> {
        // In the order of their making.
        let id = uuid::Uuid::now_v7().simple().to_string();
        let folder = folder(layout);
        let what = || Error::io(format!("write a pack in {}", folder.display()));
        fs::create_dir_all(&folder).map_err(what())?;
        let aside = folder.join(format!(".{id}.pack"));
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&aside)
            .map_err(what())?;
        Ok(Self {
            id,
            aside,
            to: BufWriter::with_capacity(1 << 20, file),
            compressor: zstd::bulk::Compressor::new(LEVEL).map_err(what())?,
            buffer: Vec::with_capacity(FRAME_PAGES * PAGE_BYTES),
            at: 0,
            table: Table::default(),
            digests: Vec::new(),
        })
    }

    /// Adds a page; returns its number.
    pub(super) fn add(&mut self, page: &[u8], digest: PageDigest) -> Result<u32, Error> {
        let number = self.table.pages;
        self.table.pages = number.checked_add(1).ok_or_else(|| {
            Error::Unsupported("a checkpoint of 16 TiB or more cannot be packed".into())
        })?;
        if page.len() < PAGE_BYTES {
            let length = u16::try_from(page.len()).expect("shorter than a page");
            self.table.short.push((number, length));
        }
        if self.buffer.is_empty() {
            self.table.frames.push(Frame {
                offset: self.at,
                stored_bytes: 0,
                first_page: number,
                check: 0,
            });
        }
        self.buffer.extend_from_slice(page);
        self.digests.push(digest);
        let first = self.table.frames.last().map_or(0, |frame| frame.first_page);
        if (number + 1 - first) as usize == FRAME_PAGES {
            self.end_frame()?;
        }
        Ok(number)
    }

    fn end_frame(&mut self) -> Result<(), Error> {
        let Some(frame) = self
            .table
            .frames
            .last_mut()
            .filter(|_| !self.buffer.is_empty())
        else {
            return Ok(());
        };
        let packed = self.compressor.compress(&self.buffer);
        let packed = packed.map_err(Error::io(format!("compress for {}", self.aside.display())))?;
        let worth_it = packed.len() * 100 <= self.buffer.len() * (100 - GAIN_PERCENT_MIN);
        let stored = if worth_it { &packed } else { &self.buffer };
        frame.stored_bytes = u32::try_from(stored.len()).expect("a frame is small");
        frame.check = xxh3_64(stored);
        self.at += stored.len() as u64;
        let written = self.to.write_all(stored);
        self.buffer.clear();
        written.map_err(|e| self.failed(e))
    }

    fn failed(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                disk::no_space(&self.aside, self.at)
            }
            _ => Error::io(format!("write {}", self.aside.display()))(error),
        }
    }

    /// Makes it durable and gives it its name. `None` where there was no new page. Returns its bytes.
    pub(super) fn finish(mut self, layout: &Layout) -> Result<Option<u64>, Error> {
        if self.digests.is_empty() {
            return Ok(None);
        }
        self.end_frame()?;
        let bytes = self.write_index().map_err(|e| self.failed(e))?;
        let to = path(layout, &self.id);
        let rename = || {
            fs::rename(&self.aside, &to)?;
            files::sync_folder(&folder(layout))
        };
        rename().map_err(Error::io(format!("publish {}", to.display())))?;
        Ok(Some(bytes))
    }

    fn write_index(&mut self) -> io::Result<u64> {
        let digests = self.digests.concat();
        let table = rmp_serde::to_vec(&self.table).map_err(io::Error::other)?;
        let mut footer = Vec::new();
        footer.extend(self.at.to_le_bytes());
        footer.extend((digests.len() as u64).to_le_bytes());
        footer.extend((table.len() as u64).to_le_bytes());
        footer.extend(xxh3_64(&digests).to_le_bytes());
        footer.extend(table_check(&table, &footer).to_le_bytes());
        footer.extend(MAGIC);
        for part in [&digests, &table, &footer] {
            self.to.write_all(part)?;
        }
        self.to.flush()?;
        self.to.get_ref().sync_all()?;
        Ok(self.at + (digests.len() + table.len() + footer.len()) as u64)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Not there any more where it was published; otherwise it was given up, and the next sweep finds what stays.
        let _ = fs::remove_file(&self.aside);
    }
}

/// Covers the lengths before it too.
fn table_check(table: &[u8], lengths: &[u8]) -> u64 {
    let mut check = Xxh3::new();
    check.update(table);
    check.update(lengths);
    check.digest()
}

/// A pack to read from; for any number of threads.
pub(super) struct Pack {
    path: PathBuf,
    file: File,
    table: Table,
    digests_at: u64,
    digests_bytes: u64,
    digests_check: u64,
}

impl Pack {
    /// Errors: `BadImage` naming the pack where it is missing, cut or changed.
    pub(super) fn open(layout: &Layout, id: &str) -> Result<Self, Error> {
        let path = path(layout, id);
        let file = File::open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => damaged(&path, "the file is missing"),
            _ => Error::io(format!("read {}", path.display()))(e),
        })?;
        Self::read(file, &path).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                damaged(&path, "it is torn or changed")
            }
            _ => Error::io(format!("read {}", path.display()))(e),
        })
    }

    fn read(file: File, path: &Path) -> io::Result<Self> {
        let torn = || io::Error::from(io::ErrorKind::InvalidData);
        let length = file.metadata()?.len();
        let footer_at = length.checked_sub(FOOTER_BYTES).ok_or_else(torn)?;
        let mut footer = [0; FOOTER_BYTES as usize];
        file.read_exact_at(&mut footer, footer_at)?;
        let number =
            |at: usize| u64::from_le_bytes(footer[at..at + 8].try_into().expect("eight bytes"));
        let (digests_at, digests_bytes, table_bytes) = (number(0), number(8), number(16));
        let table_at = digests_at.checked_add(digests_bytes).ok_or_else(torn)?;
        if footer[40..] != *MAGIC || table_at.checked_add(table_bytes) != Some(footer_at) {
            return Err(torn());
        }
        let mut table = vec![0; usize::try_from(table_bytes).map_err(|_| torn())?];
        file.read_exact_at(&mut table, table_at)?;
        if table_check(&table, &footer[..32]) != number(32) {
            return Err(torn());
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            table: rmp_serde::from_slice(&table).map_err(|_| torn())?,
            digests_at,
            digests_bytes,
            digests_check: number(24),
        })
    }

    pub(super) fn pages(&self) -> u32 {
        self.table.pages
    }

    pub(super) fn frames(&self) -> &[Frame] {
        &self.table.frames
    }

    /// The page after the last one of a frame.
    pub(super) fn frame_end(&self, frame: usize) -> u32 {
        let next = self.table.frames.get(frame + 1);
        next.map_or(self.table.pages, |next| next.first_page)
    }

    /// What each page is, by number. Errors: `BadImage`.
    pub(super) fn digests(&self) -> Result<Vec<PageDigest>, Error> {
        let mut bytes = vec![0; usize::try_from(self.digests_bytes).unwrap_or(usize::MAX)];
        let read = self.file.read_exact_at(&mut bytes, self.digests_at);
        read.map_err(Error::io(format!("read {}", self.path.display())))?;
        let count = bytes.len() / 16;
        if xxh3_64(&bytes) != self.digests_check || count != self.table.pages as usize {
            return Err(damaged(&self.path, "its digests are changed"));
        }
        Ok(bytes.as_chunks::<16>().0.to_vec())
    }

    fn page_length(&self, page: u32) -> usize {
        match self
            .table
            .short
            .binary_search_by_key(&page, |(page, _)| *page)
        {
            Ok(at) => self.table.short[at].1 as usize,
            Err(_) => PAGE_BYTES,
        }
    }

    /// The frame that holds a page.
    pub(super) fn frame_of(&self, page: u32) -> usize {
        let after = self
            .table
            .frames
            .partition_point(|frame| frame.first_page <= page);
        after.saturating_sub(1)
    }

    /// Where pages of a frame, from one to before another, begin and end in its content.
    pub(super) fn within(&self, frame: usize, from: u32, to: u32) -> (usize, usize) {
        let length =
            |pages: std::ops::Range<u32>| pages.map(|page| self.page_length(page)).sum::<usize>();
        let start = length(self.table.frames[frame].first_page..from);
        (start, start + length(from..to))
    }

    /// The content of a frame. Errors: `BadImage` where a byte of it differs from what was written.
    pub(super) fn frame(&self, number: usize, reader: &mut FrameReader) -> Result<(), Error> {
        let frame = &self.table.frames[number];
        reader.stored.resize(frame.stored_bytes as usize, 0);
        let read = self.file.read_exact_at(&mut reader.stored, frame.offset);
        read.map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => damaged(&self.path, "it is cut"),
            _ => Error::io(format!("read {}", self.path.display()))(e),
        })?;
        if xxh3_64(&reader.stored) != frame.check {
            return Err(damaged(&self.path, "its content is changed"));
        }
        let (_, length) = self.within(number, frame.first_page, self.frame_end(number));
        reader.content.clear();
        if reader.stored.len() == length {
            reader.content.extend_from_slice(&reader.stored);
            return Ok(());
        }
        reader.content.reserve(length);
        let unpacked = reader
            .decompressor
            .decompress_to_buffer(&reader.stored, &mut reader.content);
        match unpacked {
            Ok(bytes) if bytes == length => Ok(()),
            Ok(_) | Err(_) => Err(damaged(&self.path, "its content cannot be unpacked")),
        }
    }
}

/// One thread's room to unpack frames in.
pub(super) struct FrameReader {
    stored: Vec<u8>,
    pub(super) content: Vec<u8>,
    decompressor: zstd::bulk::Decompressor<'static>,
}

impl FrameReader {
    pub(super) fn new() -> Result<Self, Error> {
        let decompressor =
            zstd::bulk::Decompressor::new().map_err(Error::io("prepare to unpack"))?;
        Ok(Self {
            stored: Vec::new(),
            content: Vec::with_capacity(FRAME_PAGES * PAGE_BYTES),
            decompressor,
        })
    }
}
