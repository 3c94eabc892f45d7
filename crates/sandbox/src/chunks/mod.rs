//! Checkpoints stored once: pages that another checkpoint has are not written again.
//!
//! ```text
//! chunks/<pack>.pack         pages that were new when a checkpoint was packed, compressed in frames, with their digests
//! chunks/<pack>.dead         which of them nothing refers to any more: their room was given back
//! snapshots/<id>/recipe      which pages of which packs the files of this checkpoint are made of
//! snapshots/<id>/raw         the files have their content (too); in this boot of the machine. Its time is that of the last use
//! ```
//!
//! A checkpoint is published with its files whole. Packing it writes a pack and a recipe beside them; dropping the raw content then leaves
//! files of the same length without a block. A reader ([`crate::snapshot::Reader`]) has the content put back first. So the recipe is what is
//! kept, and the raw content is a cache of it. Who refers to a pack stands in the recipes and nowhere else: there is no count that could be wrong.

mod fill;
mod known;
mod pack;
mod packing;
mod recipe;
mod sweep;
#[cfg(test)]
mod tests;

pub use packing::{Packed, pack};
pub use sweep::{Sweep, sweep};

pub(crate) use fill::{drop_raw, last_use, make_raw};

use crate::Error;
use std::path::Path;

/// Whether a checkpoint was packed; its files may have their content too.
pub(crate) fn is_packed(folder: &Path) -> bool {
    folder.join(RECIPE).exists()
}

/// What is compared and kept once. That of a page of memory, so that content which moves by pages is found again.
const PAGE_BYTES: usize = 4096;

/// Pages that are compressed together.
const FRAME_PAGES: usize = 16;

/// Less than this of a pack in use, and nothing new is made to refer to it: so it empties, and checkpoints do not gather small pieces of
/// ever more packs.
const USED_PERCENT_MIN: u64 = 50;

/// In a checkpoint's folder.
const RECIPE: &str = "recipe";
const RAW: &str = "raw";

/// The first half of the BLAKE3 of a page.
type PageDigest = [u8; 16];

fn digest_of(page: &[u8]) -> PageDigest {
    let mut half = [0; 16];
    half.copy_from_slice(&blake3::hash(page).as_bytes()[..16]);
    half
}

fn is_zero(bytes: &[u8]) -> bool {
    // SAFETY: any bytes are valid numbers.
    let (before, words, after) = unsafe { bytes.align_to::<u64>() };
    before.iter().chain(after).all(|byte| *byte == 0) && words.iter().all(|word| *word == 0)
}

fn damaged(path: &Path, why: &str) -> Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    Error::BadImage(format!(
        "{}/{name}: {why}: the checkpoints that need it are damaged and cannot be restored",
        folder.to_string_lossy()
    ))
}
