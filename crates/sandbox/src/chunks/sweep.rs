//! Room that nothing refers to any more is given back: packs as a whole, and parts of those that are still needed.

use super::known::{Uses, dead, present};
use super::pack::{self, Pack};
use super::recipe::Recipe;
use crate::{Error, Layout, files};
use dauer_core::CheckpointId;
use nix::fcntl::{FallocateFlags, fallocate};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Less than this to gain in a pack is left where it is.
const GAIN_PERCENT_MIN: u64 = 10;

/// What a sweep found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Packs, and pieces of packs that were being written, to which nothing refers: id and bytes.
    pub unused: Vec<(String, u64)>,
    /// Bytes within other packs to which nothing refers.
    pub unused_within_bytes: u64,
    /// Bytes of the packs that stay.
    pub kept_bytes: u64,
}

/// Counts anew who refers to what, and removes what nobody does. Where `without` some checkpoints are given, they are taken for gone already,
/// and it only says what would be removed. Not beside [`super::pack()`]. Readers are not disturbed:
/// what they need, the recipe they read from refers to. Errors: `BadImage` where a recipe cannot be read; then nothing is removed.
pub fn sweep(layout: &Layout, without: Option<&[CheckpointId]>) -> Result<Sweep, Error> {
    let dry_run = without.is_some();
    let gone = without.unwrap_or_default();
    let uses = Uses::of_all(layout, gone)?;
    let mut found = Sweep::default();
    let mut mostly_unused = BTreeMap::new();
    for name in files::names(&pack::folder(layout))? {
        let path = pack::folder(layout).join(&name);
        let id = name.trim_end_matches(".pack").trim_end_matches(".dead");
        let bytes = occupied(&path)?;
        if name.ends_with(".pack") && uses.sum.contains_key(id) {
            found.kept_bytes += bytes;
            let pages = u64::from(Pack::open(layout, id).map_or(0, |pack| pack.pages()));
            if uses.sum[id] * 100 < pages * (100 - GAIN_PERCENT_MIN) {
                mostly_unused.insert(id.to_owned(), Vec::new());
            }
        } else if !(name.ends_with(".dead") && uses.sum.contains_key(id)) {
            if !dry_run {
                files::remove_file(&path)?;
            }
            if name.ends_with(".pack") {
                found
                    .unused
                    .push((id.trim_start_matches('.').to_owned(), bytes));
            }
        }
    }
    gather_pages(layout, gone, &mut mostly_unused)?;
    for (id, used) in mostly_unused {
        match give_back(layout, &id, used, dry_run) {
            Ok(bytes) => found.unused_within_bytes += bytes,
            // It stays as it is; whoever needs it is told.
            Err(error @ Error::BadImage(_)) => tracing::warn!(%error, "looking for unused room"),
            Err(error) => return Err(error),
        }
    }
    if !dry_run {
        found.kept_bytes = found.kept_bytes.saturating_sub(found.unused_within_bytes);
    }
    Ok(found)
}

fn occupied(path: &Path) -> Result<u64, Error> {
    use std::os::unix::fs::MetadataExt;
    match fs::metadata(path) {
        Ok(meta) => Ok(meta.blocks() * 512),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(Error::io(format!("look at {}", path.display()))(e)),
    }
}

/// Which pages of these packs are in any recipe, as ranges, in any order.
fn gather_pages(
    layout: &Layout,
    gone: &[CheckpointId],
    of: &mut BTreeMap<String, Vec<(u32, u32)>>,
) -> Result<(), Error> {
    if of.is_empty() {
        return Ok(());
    }
    for name in present(layout, gone)? {
        let Some(recipe) = Recipe::read(&layout.snapshots().join(&name))? else {
            continue;
        };
        for run in recipe.files.iter().flat_map(|file| &file.runs) {
            let pack = run
                .pack
                .and_then(|number| recipe.packs.get(number as usize));
            if let Some(pages) = pack.and_then(|pack| of.get_mut(&pack.id)) {
                pages.push((run.page, run.page + run.count));
            }
        }
    }
    Ok(())
}

/// Makes holes where frames are that no page of is used. First it is written down which, so that nothing new refers to them. Returns the bytes.
fn give_back(
    layout: &Layout,
    id: &str,
    mut used: Vec<(u32, u32)>,
    dry_run: bool,
) -> Result<u64, Error> {
    let pack = Pack::open(layout, id)?;
    used.sort_unstable();
    let mut given: Vec<(u32, u32)> = Vec::new();
    let mut holes: Vec<(u64, u64)> = Vec::new();
    let mut used = used.into_iter().peekable();
    for (number, frame) in pack.frames().iter().enumerate() {
        let (first, end) = (frame.first_page, pack.frame_end(number));
        while used.peek().is_some_and(|(_, used_end)| *used_end <= first) {
            used.next();
        }
        if used.peek().is_some_and(|(used_first, _)| *used_first < end) {
            continue;
        }
        match given.last_mut() {
            Some((_, last)) if *last == first => *last = end,
            Some(_) | None => given.push((first, end)),
        }
        let after = frame.offset + u64::from(frame.stored_bytes);
        match holes.last_mut() {
            Some((_, last)) if *last == frame.offset => *last = after,
            Some(_) | None => holes.push((frame.offset, after)),
        }
    }
    // A list that is torn is written anew.
    let is_listed = given == dead(layout, id).unwrap_or_default();
    let path = pack::path(layout, id);
    let before = occupied(&path)?;
    if dry_run {
        let bytes: u64 = holes.iter().map(|(start, end)| end - start).sum();
        return Ok(if is_listed { 0 } else { bytes.min(before) });
    }
    if !is_listed {
        files::write_json(&pack::dead_path(layout, id), &given, files::Durable::Yes)?;
    }
    // Again where it was listed before: whoever listed it may have been killed here.
    let file = fs::OpenOptions::new().write(true).open(&path);
    let file = file.map_err(Error::io(format!("open {}", path.display())))?;
    for (start, end) in holes {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        // A file system that cannot do this keeps the room until all of the pack is unused.
        let _ = fallocate(
            &file,
            flags,
            start.cast_signed(),
            (end - start).cast_signed(),
        );
    }
    Ok(before.saturating_sub(occupied(&path)?))
}
