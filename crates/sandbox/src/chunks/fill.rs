//! Content put back into a checkpoint's files, and taken out of them again.

use super::pack::{FrameReader, Pack};
use super::packing::open_to_write;
use super::recipe::{PackedFile, Recipe};
use super::{PAGE_BYTES, RAW, RECIPE};
use crate::disk::{self, xattr};
use crate::snapshot::{FILL_NEW, Locked, lock};
use crate::{Error, Layout, files};
use nix::fcntl::FlockArg;
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;
use std::ffi::CStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

/// What a thread takes on at once.
const PIECE_BYTES: u64 = 8 << 20;

/// Below this, threads cost more than they bring.
const ONE_THREAD_BYTES_MAX: u64 = 8 << 20;

/// The packs of a recipe.
pub(super) struct Source {
    packs: Vec<Pack>,
}

impl Source {
    pub(super) fn open(layout: &Layout, recipe: &Recipe) -> Result<Self, Error> {
        let packs = recipe.packs.iter().map(|pack| Pack::open(layout, &pack.id));
        Ok(Self {
            packs: packs.collect::<Result<_, _>>()?,
        })
    }

    /// Gives the content of a file from one offset (at a page) to another, in pieces and without zeros that are holes. Errors: `BadImage` naming a
    /// damaged pack; what `give` said.
    pub(super) fn rebuild(
        &self,
        file: &PackedFile,
        range: Range<u64>,
        cursor: &mut Cursor,
        give: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> Result<(), Error> {
        let what = || Error::io(format!("rebuild {}", file.path().display()));
        let mut at = 0_u64;
        for run in &file.runs {
            let run_end = at + u64::from(run.count) * PAGE_BYTES as u64;
            let (start, end) = (at.max(range.start), run_end.min(range.end));
            let run_at = std::mem::replace(&mut at, run_end);
            let Some(number) = run.pack.filter(|_| start < end) else {
                continue;
            };
            let pack = &self.packs[number as usize];
            let page_at = |offset: u64| {
                run.page
                    + u32::try_from((offset - run_at) / PAGE_BYTES as u64).expect("within a run")
            };
            let (mut page, last) = (page_at(start), page_at(end - 1) + 1);
            if last > pack.pages() {
                return Err(super::damaged(
                    &file.path(),
                    "its recipe names pages that are not there",
                ));
            }
            let mut offset = start;
            while page < last {
                let frame = pack.frame_of(page);
                if cursor.at != Some((number, frame)) {
                    cursor.at = None;
                    pack.frame(frame, &mut cursor.reader)?;
                    cursor.at = Some((number, frame));
                }
                let upto = pack.frame_end(frame).min(last);
                let (first, after) = pack.within(frame, page, upto);
                let bytes = &cursor.reader.content[first..after];
                give(offset, bytes).map_err(what())?;
                offset += bytes.len() as u64;
                page = upto;
            }
        }
        Ok(())
    }
}

/// The frame that one thread has unpacked last: what comes next is often in it too.
pub(super) struct Cursor {
    reader: FrameReader,
    at: Option<(u32, usize)>,
}

impl Cursor {
    pub(super) fn new() -> Result<Self, Error> {
        let reader = FrameReader::new()?;
        Ok(Self { reader, at: None })
    }
}

/// Names the boot of the machine: what was written and not yet on disk is lost by another.
fn boot() -> Result<String, Error> {
    let path = "/proc/sys/kernel/random/boot_id";
    fs::read_to_string(path).map_err(Error::io(format!("read {path}")))
}

/// From now on the files count as having their content, in this boot.
pub(super) fn mark_raw(folder: &Path) -> Result<(), Error> {
    let (aside, mark) = (folder.join("raw.new"), folder.join(RAW));
    let write = |boot: String| {
        fs::write(&aside, boot)?;
        fs::rename(&aside, &mark)
    };
    write(boot()?).map_err(Error::io(format!("write {}", mark.display())))
}

fn is_raw(folder: &Path) -> Result<bool, Error> {
    match fs::read_to_string(folder.join(RAW)) {
        Ok(marked) => Ok(marked == boot()?),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io(format!("read {}", folder.join(RAW).display()))(e)),
    }
}

/// Puts the content back into the files of a checkpoint, with every core, unless it is there. The caller holds a shared lock on the folder. Only
/// what this returns Ok for may be read. Errors: `BadImage` naming what is damaged; `NoSpace`; `Io`.
pub(crate) fn make_raw(layout: &Layout, folder: &Path) -> Result<(), Error> {
    let path = folder.join(RECIPE);
    // One process fills, the others wait for it.
    let _one_at_a_time = match lock(&path, FlockArg::LockExclusive)? {
        Locked::Yes(lock) => lock,
        Locked::Absent | Locked::Busy => return Ok(()),
    };
    if !is_raw(folder)? {
        let recipe = Recipe::read(folder)?.ok_or(Error::Gone)?;
        fill(layout, folder, &recipe)?;
    }
    // Also says when it was last used.
    mark_raw(folder)
}

fn fill(layout: &Layout, folder: &Path, recipe: &Recipe) -> Result<(), Error> {
    let source = Source::open(layout, recipe)?;
    let mut cursor = Cursor::new()?;
    let mut open = Vec::new();
    let mut pieces = Vec::new();
    for (number, packed) in recipe.files.iter().enumerate() {
        let path = folder.join(packed.path());
        let what = || Error::io(format!("fill {}", path.display()));
        make_own(folder, &path).map_err(what())?;
        let file = open_to_write(&path).map_err(what())?;
        let before = Before::of(&path, &file).map_err(what())?;
        // Holes must be holes, whatever an earlier boot left there.
        let emptied = file.set_len(0).and_then(|()| file.set_len(packed.bytes));
        emptied.map_err(what())?;
        // A small checkpoint of many files: each is done at once, so that few are open.
        if packed.bytes <= PIECE_BYTES {
            let to = (&file, &*path);
            fill_piece(&source, packed, 0..packed.bytes, &mut cursor, to)?;
            before.keep(&path, &file).map_err(what())?;
            continue;
        }
        let offsets = (0..packed.bytes.div_ceil(PIECE_BYTES)).map(|piece| piece * PIECE_BYTES);
        pieces.extend(offsets.map(|offset| (open.len(), offset)));
        open.push((number, file, before, path));
    }
    let work = |cursor: &mut Cursor, &(place, from): &(usize, u64)| {
        let (number, file, _, path) = &open[place];
        let packed = &recipe.files[*number];
        let upto = (from + PIECE_BYTES).min(packed.bytes);
        fill_piece(&source, packed, from..upto, cursor, (file, path))
    };
    in_parallel(&pieces, work)?;
    for (_, file, before, path) in &open {
        before
            .keep(path, file)
            .map_err(Error::io(format!("fill {}", path.display())))?;
    }
    Ok(())
}

/// Makes sure that what is written to this file reaches nobody else: with another name it is a part of another checkpoint, or of what a
/// sandbox was stacked on, and whole there. A new one takes its place, with all but the content.
fn make_own(folder: &Path, path: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.nlink() == 1 || !meta.is_file() {
        return Ok(());
    }
    let aside = folder.join(FILL_NEW);
    // What an earlier try left of another file.
    File::create(&aside)?.set_len(0)?;
    disk::keep(path, &aside, &meta)?;
    fs::rename(&aside, path)
}

fn fill_piece(
    source: &Source,
    packed: &PackedFile,
    range: Range<u64>,
    cursor: &mut Cursor,
    (file, path): (&File, &Path),
) -> Result<(), Error> {
    let mut write = |at, bytes: &[u8]| file.write_all_at(bytes, at);
    let filled = source.rebuild(packed, range, cursor, &mut write);
    filled.map_err(|error| match error {
        Error::Io { source, .. }
            if matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ) =>
        {
            crate::disk::no_space(path, packed.bytes)
        }
        other => other,
    })
}

/// What of a file is lost by writing to it. What a program sees of it must not tell that it was packed.
struct Before {
    meta: Metadata,
    /// The kernel takes it away with the first write.
    capability: Option<Vec<u8>>,
}

const CAPABILITY: &CStr = c"security.capability";

impl Before {
    fn of(path: &Path, file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let capability = xattr::get(path, CAPABILITY)?;
        Ok(Self { meta, capability })
    }

    fn keep(&self, path: &Path, file: &File) -> io::Result<()> {
        if let Some(capability) = &self.capability {
            xattr::set(path, CAPABILITY, capability)?;
        }
        let meta = &self.meta;
        let accessed = TimeSpec::new(meta.atime(), meta.atime_nsec());
        let modified = TimeSpec::new(meta.mtime(), meta.mtime_nsec());
        Ok(futimens(file, &accessed, &modified)?)
    }
}

fn in_parallel<I: Sync>(
    items: &[I],
    work: impl Fn(&mut Cursor, &I) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let cores = std::thread::available_parallelism()
        .map_or(1, std::num::NonZero::get)
        .min(4);
    if cores == 1 || (items.len() as u64) * PIECE_BYTES <= ONE_THREAD_BYTES_MAX {
        let mut cursor = Cursor::new()?;
        return items.iter().try_for_each(|item| work(&mut cursor, item));
    }
    let next = AtomicUsize::new(0);
    let worker = || -> Result<(), Error> {
        let mut cursor = Cursor::new()?;
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(&mut cursor, item)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let helpers = (1..cores).map(|_| {
            let thread = std::thread::Builder::new().name("fill".into());
            thread
                .spawn_scoped(scope, worker)
                .map_err(Error::io("start a thread"))
        });
        let helpers = helpers.collect::<Result<Vec<_>, _>>()?;
        let mut result = worker();
        for helper in helpers {
            let helped = helper
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and(helped);
        }
        result
    })
}

/// When a checkpoint was packed or last read; `None` where its files have no content, or it was never packed.
pub(crate) fn last_use(folder: &Path) -> Result<Option<SystemTime>, Error> {
    if !folder.join(RECIPE).exists() || !is_raw(folder)? {
        return Ok(None);
    }
    let mark = folder.join(RAW);
    match fs::metadata(&mark).and_then(|meta| meta.modified()) {
        Ok(time) => Ok(Some(time)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(format!("look at {}", mark.display()))(e)),
    }
}

/// Takes the content out of the files of a packed checkpoint, unless somebody reads them now. Returns whether it did, or had been.
pub(crate) fn drop_raw(folder: &Path) -> Result<bool, Error> {
    let _nobody_reads = match lock(folder, FlockArg::LockExclusiveNonblock)? {
        Locked::Yes(lock) => lock,
        Locked::Absent => return Ok(true),
        Locked::Busy => return Ok(false),
    };
    let Some(recipe) = Recipe::read(folder)? else {
        return Ok(true);
    };
    // From here on the files are not believed any more.
    files::remove_file(&folder.join(RAW))?;
    for packed in &recipe.files {
        let path = folder.join(packed.path());
        empty(&path, packed.bytes).map_err(Error::io(format!("empty {}", path.display())))?;
    }
    Ok(true)
}

fn empty(path: &Path, bytes: u64) -> io::Result<()> {
    let file = open_to_write(path)?;
    let before = Before::of(path, &file)?;
    // With another name it is somebody else's too.
    if before.meta.nlink() > 1 || before.meta.blocks() == 0 {
        return Ok(());
    }
    file.set_len(0)?;
    file.set_len(bytes)?;
    before.keep(path, &file)
}
