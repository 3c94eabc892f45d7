//! Packing one checkpoint. It may end between any two steps: what it wrote so far is complete or unused.
//!
//! ```text
//! pages looked up, new ones into a pack ─ fsync ─ rename ─ rebuilt and compared with the files ─ mark `raw` ─ recipe ─ fsync ─ rename
//! ```

use super::fill::{Cursor, Source, mark_raw};
use super::known::{Known, Place};
use super::pack::Writer;
use super::recipe::{PackUse, PackedFile, Recipe};
use super::{PAGE_BYTES, digest_of, is_zero};
use crate::disk::{self, next_data};
use crate::driver::agent;
use crate::host::root;
use crate::snapshot::{OWN_NAMES, Reader};
use crate::{Error, Layout};
use dauer_core::CheckpointId;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What an incarnation is made of beside memory and files.
const RECORDS: [&str; 2] = [agent::AGENT_FILE, root::RECORD];

/// Read at once.
const READ_BYTES: usize = 1 << 20;

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Of the files that are in the recipe.
    pub content_bytes: u64,
    /// Of the pages that nobody had, compressed, with all that is needed to find them.
    pub new_bytes: u64,
}

/// Where a test may end it, as a crash would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    PagesWritten,
    PackPublished,
    Compared,
    MarkedRaw,
    RecipeWritten,
}

/// Packs a published checkpoint, beside its files, which stay as they are. `related` are checkpoints that probably hold most of its pages: those
/// before it of the same job. One at a time for a data folder, and not beside [`super::sweep()`]. `None` where it was packed before, or is not
/// there any more. Errors: `BadImage` or `Io` where what was
/// written cannot be read back (then nothing of it is used); `NoSpace`.
pub fn pack(
    layout: &Layout,
    id: &CheckpointId,
    related: &[CheckpointId],
) -> Result<Option<Packed>, Error> {
    pack_stopping(layout, id, related, |_| Ok(()))
}

pub(super) fn pack_stopping(
    layout: &Layout,
    id: &CheckpointId,
    related: &[CheckpointId],
    step: impl Fn(Step) -> Result<(), Error>,
) -> Result<Option<Packed>, Error> {
    if !layout.snapshot(id).exists() || layout.snapshot(id).join(super::RECIPE).exists() {
        return Ok(None);
    }
    let reader = Reader::open(layout, id)?;
    let mut packing = Packing::begin(layout, related)?;
    for (path, bytes) in packable(reader.folder())? {
        packing.file(reader.folder(), &path, bytes)?;
    }
    step(Step::PagesWritten)?;
    let (recipe, mut packed) = packing.finish(layout)?;
    step(Step::PackPublished)?;
    compare(layout, reader.folder(), &recipe)?;
    step(Step::Compared)?;
    // Before the recipe: with one and without this mark the content would be taken for dropped.
    mark_raw(reader.folder())?;
    step(Step::MarkedRaw)?;
    packed.new_bytes += recipe.write(reader.folder())?;
    step(Step::RecipeWritten)?;
    Ok(Some(packed))
}

/// Regular files with content that have no other name, by path below the folder: one with another name may be somebody else's too. Files
/// that this user may not write to stay as they are.
fn packable(folder: &Path) -> Result<Vec<(PathBuf, u64)>, Error> {
    let mut files = Vec::new();
    disk::walk(folder, |path, meta| {
        let name = path.strip_prefix(folder).unwrap_or(path);
        let own = OWN_NAMES.iter().any(|own| name == Path::new(own));
        // Read by whoever prepares or cleans up, without a reader's lock.
        let own = own
            || RECORDS
                .iter()
                .any(|record| name == Path::new("memory").join(record));
        if !own
            && meta.is_file()
            && meta.nlink() == 1
            && meta.blocks() > 0
            && open_to_write(path).is_ok()
        {
            files.push((name.to_owned(), meta.len()));
        }
        Ok(())
    })?;
    // Always in the same order, so that what follows each other in one checkpoint does in the next.
    files.sort();
    Ok(files)
}

/// Never through a link: a program put these names there.
pub(super) fn open_to_write(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

struct Packing {
    known: Known,
    writer: Writer,
    /// The number of the pack that is written, among the known ones.
    own: u32,
    files: Vec<PackedFile>,
    content_bytes: u64,
}

impl Packing {
    fn begin(layout: &Layout, related: &[CheckpointId]) -> Result<Self, Error> {
        let mut known = Known::gather(layout, related)?;
        let writer = Writer::begin(layout)?;
        let own = known.place(&writer.id);
        Ok(Self {
            known,
            writer,
            own,
            files: Vec::new(),
            content_bytes: 0,
        })
    }

    fn file(&mut self, folder: &Path, name: &Path, bytes: u64) -> Result<(), Error> {
        let path = folder.join(name);
        let what = || Error::io(format!("read {}", path.display()));
        let file = File::open(&path).map_err(what())?;
        let mut packed = PackedFile::new(name, bytes);
        let mut buffer = vec![0; READ_BYTES];
        let page_bytes = PAGE_BYTES as u64;
        let mut at = 0;
        while at < bytes {
            let data = next_data(&file, at, bytes).map_err(what())?;
            // Holes end with a page.
            let (start, end) = data.unwrap_or((bytes, bytes));
            let start = start / page_bytes * page_bytes;
            while at < start {
                packed.push(None, 0);
                at += page_bytes;
            }
            let end = end.next_multiple_of(page_bytes).min(bytes);
            while at < end {
                let wanted =
                    usize::try_from(end - at).map_or(READ_BYTES, |left| left.min(READ_BYTES));
                file.read_exact_at(&mut buffer[..wanted], at)
                    .map_err(what())?;
                for page in buffer[..wanted].chunks(PAGE_BYTES) {
                    self.page(page, &mut packed)?;
                }
                at += wanted as u64;
            }
        }
        self.content_bytes += bytes;
        self.files.push(packed);
        Ok(())
    }

    fn page(&mut self, page: &[u8], packed: &mut PackedFile) -> Result<(), Error> {
        if is_zero(page) {
            packed.push(None, 0);
            return Ok(());
        }
        let digest = digest_of(page);
        let place = match self.known.find(&digest) {
            Some(place) => place,
            None => {
                let page = self.writer.add(page, digest)?;
                let place = Place {
                    pack: self.own,
                    page,
                };
                self.known.insert(digest, place);
                place
            }
        };
        packed.push(Some(place.pack), place.page);
        Ok(())
    }

    /// The pack is durable when this returns.
    fn finish(self, layout: &Layout) -> Result<(Recipe, Packed), Error> {
        let new_bytes = self.writer.finish(layout)?.unwrap_or(0);
        // Only the packs it needs, in the order of their first use.
        let mut places = BTreeMap::new();
        let mut used: Vec<(String, Vec<(u32, u32)>)> = Vec::new();
        let mut files = self.files;
        for run in files.iter_mut().flat_map(|file| &mut file.runs) {
            let Some(known) = run.pack else { continue };
            let place = *places.entry(known).or_insert_with(|| {
                used.push((self.known.packs[known as usize].clone(), Vec::new()));
                used.len() - 1
            });
            used[place].1.push((run.page, run.page + run.count));
            run.pack = u32::try_from(place).ok();
        }
        let packs = used.into_iter().map(|(id, pages)| PackUse {
            id,
            pages: distinct(pages),
        });
        let packs = packs.collect();
        let packed = Packed {
            content_bytes: self.content_bytes,
            new_bytes,
        };
        Ok((Recipe { packs, files }, packed))
    }
}

/// How many pages are in these ranges; those in several count once.
fn distinct(mut ranges: Vec<(u32, u32)>) -> u32 {
    ranges.sort_unstable();
    let (mut pages, mut upto) = (0, 0);
    for (first, end) in ranges {
        pages += end.saturating_sub(first.max(upto));
        upto = upto.max(end);
    }
    pages
}

/// Rebuilds every file from what is on disk now, and compares: also with pages that were written long ago.
fn compare(layout: &Layout, folder: &Path, recipe: &Recipe) -> Result<(), Error> {
    let source = Source::open(layout, recipe)?;
    let mut cursor = Cursor::new()?;
    for packed in &recipe.files {
        let path = folder.join(packed.path());
        let file = File::open(&path).map_err(Error::io(format!("read {}", path.display())))?;
        let mut there = Vec::new();
        source.rebuild(packed, 0..packed.bytes, &mut cursor, &mut |at, bytes| {
            there.resize(bytes.len(), 0);
            file.read_exact_at(&mut there, at)?;
            match there == bytes {
                true => Ok(()),
                false => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it was packed wrongly",
                )),
            }
        })?;
    }
    Ok(())
}
