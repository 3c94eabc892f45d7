//! The pages that are there already, for one packing.

use super::pack::Pack;
use super::{PageDigest, USED_PERCENT_MIN, pack, recipe};
use crate::{Error, Layout, files};
use dauer_core::CheckpointId;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

/// So many pages are looked among (4 GiB of content, 50 MiB of memory while it is packed), and all of related checkpoints.
const PAGES_MAX: usize = 1 << 20;

/// A digest is a hash already.
#[derive(Default)]
pub(super) struct First(u64);

impl Hasher for First {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // The length of the digest comes first, and is forgotten.
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
}

/// Where a page is: a pack, by its place in [`Known::packs`], and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pack: u32,
    pub(super) page: u32,
}

#[derive(Default)]
pub(super) struct Known {
    pub(super) packs: Vec<String>,
    pages: HashMap<PageDigest, Place, BuildHasherDefault<First>>,
}

impl Known {
    /// Of the packs of `related` checkpoints, then of the newest. Packs that are mostly unused, damaged or just removed are left out.
    pub(super) fn gather(layout: &Layout, related: &[CheckpointId]) -> Result<Self, Error> {
        let uses = Uses::of_all(layout, &[])?;
        let mut known = Self::default();
        let mut first: Vec<String> = Vec::new();
        for id in related {
            // A recipe that cannot be read has no pages to offer; whoever restores from it is told.
            for pack in recipe::packs_of(&layout.snapshot(id))
                .ok()
                .flatten()
                .into_iter()
                .flatten()
            {
                if !first.contains(&pack.id) {
                    first.push(pack.id);
                }
            }
        }
        let others = pack::list(layout)?
            .into_iter()
            .rev()
            .filter(|id| !first.contains(id));
        for id in others
            .collect::<Vec<_>>()
            .iter()
            .filter(|id| uses.largest.contains_key(*id))
        {
            if known.pages.len() >= PAGES_MAX {
                break;
            }
            known.add(layout, id, &uses);
        }
        // Last, so that what the checkpoint before refers to is what this one refers to: long runs, few packs.
        for id in first.iter().rev() {
            known.add(layout, id, &uses);
        }
        Ok(known)
    }

    fn add(&mut self, layout: &Layout, id: &str, uses: &Uses) {
        let read = || -> Result<_, Error> {
            let pack = Pack::open(layout, id)?;
            Ok((pack.pages(), pack.digests()?, dead(layout, id)?))
        };
        let (pages, digests, dead) = match read() {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%error, "nothing new will refer to this pack");
                return;
            }
        };
        let used = u64::from(uses.largest.get(id).copied().unwrap_or(0));
        if used * 100 < u64::from(pages) * USED_PERCENT_MIN {
            return;
        }
        let place = self.place(id);
        let mut dead = dead.into_iter().peekable();
        for (page, digest) in (0..).zip(digests) {
            while dead.peek().is_some_and(|(_, end)| *end <= page) {
                dead.next();
            }
            if dead.peek().is_none_or(|(start, _)| page < *start) {
                self.pages.insert(digest, Place { pack: place, page });
            }
        }
    }

    /// The number of a pack.
    pub(super) fn place(&mut self, id: &str) -> u32 {
        let place = self.packs.iter().position(|known| known == id);
        let place = place.unwrap_or_else(|| {
            self.packs.push(id.to_owned());
            self.packs.len() - 1
        });
        u32::try_from(place).expect("fewer packs than pages")
    }

    pub(super) fn find(&self, digest: &PageDigest) -> Option<Place> {
        self.pages.get(digest).copied()
    }

    pub(super) fn insert(&mut self, digest: PageDigest, place: Place) {
        self.pages.insert(digest, place);
    }
}

/// The ranges of pages whose room was given back. Errors: `Invalid` where the list is torn.
pub(super) fn dead(layout: &Layout, id: &str) -> Result<Vec<(u32, u32)>, Error> {
    Ok(files::read_json(&pack::dead_path(layout, id))?.unwrap_or_default())
}

/// Who refers to which pack, counted anew from the recipes.
pub(super) struct Uses {
    /// The most pages of it that one checkpoint needs.
    pub(super) largest: BTreeMap<String, u32>,
    /// Of all together; those that several need count for each.
    pub(super) sum: BTreeMap<String, u64>,
}

impl Uses {
    /// Errors: `BadImage` where a recipe cannot be read, so that nobody takes its packs for unused.
    pub(super) fn of_all(layout: &Layout, gone: &[CheckpointId]) -> Result<Self, Error> {
        let (mut largest, mut sum) = (BTreeMap::new(), BTreeMap::new());
        for name in present(layout, gone)? {
            let packs = recipe::packs_of(&layout.snapshots().join(&name))?;
            for pack in packs.into_iter().flatten() {
                let most: &mut u32 = largest.entry(pack.id.clone()).or_default();
                *most = pack.pages.max(*most);
                *sum.entry(pack.id).or_default() += u64::from(pack.pages);
            }
        }
        Ok(Self { largest, sum })
    }
}

/// The folders of checkpoints, but of those that are taken for gone.
pub(super) fn present(layout: &Layout, gone: &[CheckpointId]) -> Result<Vec<String>, Error> {
    let mut names = files::names(&layout.snapshots())?;
    names.retain(|name| !gone.iter().any(|id| id.as_str() == name));
    Ok(names)
}
