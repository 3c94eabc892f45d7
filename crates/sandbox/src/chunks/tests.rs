//! What was packed comes back the same, whatever is done in between and wherever it is killed.

use super::packing::{Step, pack_stopping};
use super::recipe::Recipe;
use super::*;
use crate::snapshot::tests::{blank, layout};
use crate::snapshot::{self, Reader};
use crate::{Layout, disk};
use dauer_core::CheckpointId;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

/// Numbers that look random, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .take(count)
            .collect()
    }
}

/// The model: names and contents.
type Files = BTreeMap<String, Vec<u8>>;

fn id(number: usize) -> CheckpointId {
    CheckpointId(format!("{number:016x}"))
}

fn publish(layout: &Layout, id: &CheckpointId, files: &Files) {
    let partial = layout.partial_snapshot(id);
    for (name, content) in files {
        let path = partial.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let mut manifest = blank(id);
    manifest.describe(&partial, &Default::default()).unwrap();
    manifest.write(&partial).unwrap();
    snapshot::make_durable(layout, id).unwrap();
    snapshot::publish(layout, id).unwrap();
}

/// Opens it as a restore does, and compares everything.
fn assert_whole(layout: &Layout, id: &CheckpointId, files: &Files) {
    let reader = Reader::open(layout, id).unwrap();
    reader.manifest().verify(reader.folder()).unwrap();
    for (name, content) in files {
        assert!(
            fs::read(reader.folder().join(name)).unwrap() == *content,
            "{id}: {name}"
        );
    }
}

fn pack_and_drop(layout: &Layout, id: &CheckpointId, related: &[CheckpointId]) -> Packed {
    let packed = pack(layout, id, related).unwrap().unwrap();
    assert!(drop_raw(&layout.snapshot(id)).unwrap());
    packed
}

fn blocks(path: &std::path::Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

fn one_file(bytes: Vec<u8>) -> Files {
    Files::from([("memory/pages.img".to_owned(), bytes)])
}

#[test]
fn a_second_checkpoint_costs_what_changed_and_the_first_can_go() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let layout = layout(folder.path());
    let mut numbers = Numbers(7);
    let pages = 2048;
    let mut content = numbers.bytes(pages * PAGE_BYTES);
    publish(&layout, &id(1), &one_file(content.clone()));
    let first = pack_and_drop(&layout, &id(1), &[]);
    let all = content.len() as u64;
    assert!(
        first.new_bytes >= all && first.new_bytes < all * 102 / 100,
        "{first:?}"
    );
    assert!(blocks(&layout.snapshot(&id(1)).join("memory/pages.img")) == 0);
    // One page of a hundred, anywhere; and everything moves by one page.
    for _ in 0..pages / 100 {
        let at = numbers.below(pages) * PAGE_BYTES;
        content[at..at + 8].copy_from_slice(b"changed!");
    }
    content.splice(0..0, numbers.bytes(PAGE_BYTES));
    publish(&layout, &id(2), &one_file(content.clone()));
    let second = pack_and_drop(&layout, &id(2), &[id(1)]);
    assert!(
        second.new_bytes * 100 <= first.new_bytes * 2,
        "{first:?} {second:?}"
    );
    assert_whole(&layout, &id(2), &one_file(content.clone()));
    assert!(drop_raw(&layout.snapshot(&id(2))).unwrap());
    snapshot::remove(&layout, &id(1)).unwrap();
    assert_eq!(sweep(&layout, None).unwrap().unused, []);
    assert_whole(&layout, &id(2), &one_file(content));
    let said = sweep(&layout, Some(&[id(2)])).unwrap();
    snapshot::remove(&layout, &id(2)).unwrap();
    assert_eq!(said.unused.len(), 2);
    assert_eq!(sweep(&layout, None).unwrap(), said);
    assert_eq!(fs::read_dir(pack::folder(&layout)).unwrap().count(), 0);
}

#[test]
fn packing_that_is_killed_anywhere_leaves_a_whole_checkpoint_and_is_done_again() {
    for last in [
        Step::PagesWritten,
        Step::PackPublished,
        Step::Compared,
        Step::MarkedRaw,
        Step::RecipeWritten,
    ] {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let layout = layout(folder.path());
        let files = one_file(Numbers(9).bytes(300_000));
        publish(&layout, &id(1), &files);
        let reached = Cell::new(false);
        let stopped = pack_stopping(&layout, &id(1), &[], |step| {
            reached.set(step == last);
            match step == last {
                true => Err(crate::Error::Gone),
                false => Ok(()),
            }
        });
        assert!(stopped.is_err() && reached.get(), "{last:?}");
        assert_whole(&layout, &id(1), &files);
        // As the next daemon would: clean up, then try again.
        let found = sweep(&layout, None).unwrap();
        assert_eq!(
            found.unused.is_empty(),
            matches!(last, Step::PagesWritten | Step::RecipeWritten),
            "{last:?}: {found:?}"
        );
        assert_eq!(
            pack(&layout, &id(1), &[]).unwrap().is_none(),
            last == Step::RecipeWritten
        );
        assert!(drop_raw(&layout.snapshot(&id(1))).unwrap());
        assert_whole(&layout, &id(1), &files);
    }
}

#[test]
fn dropping_or_filling_that_was_cut_short_is_made_good() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let layout = layout(folder.path());
    let files = Files::from([
        ("memory/pages.img".to_owned(), Numbers(3).bytes(9 << 20)),
        ("disk/0/a".to_owned(), b"short".to_vec()),
    ]);
    publish(&layout, &id(1), &files);
    pack(&layout, &id(1), &[]).unwrap().unwrap();
    let at = layout.snapshot(&id(1));
    let (mark, pages) = (at.join(RAW), at.join("memory/pages.img"));
    // Killed after the mark was removed, and after a file lost its length.
    fs::remove_file(&mark).unwrap();
    fs::File::options()
        .write(true)
        .open(&pages)
        .unwrap()
        .set_len(0)
        .unwrap();
    assert_whole(&layout, &id(1), &files);
    // The machine went down with half of the content on its way to the disk.
    fs::write(&mark, "another boot").unwrap();
    fs::File::options()
        .write(true)
        .open(&pages)
        .unwrap()
        .write_all_at(&[9; 100_000], 5 << 20)
        .unwrap();
    assert_whole(&layout, &id(1), &files);
    assert!(last_use(&at).unwrap().is_some());
    // Somebody reads: nothing is taken away.
    let reader = Reader::open(&layout, &id(1)).unwrap();
    assert!(!drop_raw(&at).unwrap());
    drop(reader);
    assert!(drop_raw(&at).unwrap());
    assert_eq!(last_use(&at).unwrap(), None);
}

#[test]
fn what_programs_see_of_their_files_does_not_change() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let layout = layout(folder.path());
    let files = Files::from([
        ("memory/m".to_owned(), vec![1; 10_000]),
        ("disk/0/etc/one".to_owned(), vec![2; 70_000]),
        ("disk/0/etc/linked".to_owned(), vec![3; 9_000]),
    ]);
    publish(&layout, &id(1), &files);
    let at = layout.snapshot(&id(1));
    // Another name, as the uppers of a frozen sandbox have: it is not ours alone.
    let elsewhere = folder.path().join("elsewhere");
    fs::hard_link(at.join("disk/0/etc/linked"), &elsewhere).unwrap();
    let seen = |name: &str| {
        let meta = fs::metadata(at.join(name)).unwrap();
        (
            meta.ino(),
            meta.len(),
            meta.mode(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.atime(),
        )
    };
    let names = ["disk/0/etc", "disk/0/etc/one", "disk/0/etc/linked"];
    let before = names.map(seen);
    pack_and_drop(&layout, &id(1), &[]);
    assert_eq!(names.map(seen), before);
    assert_eq!(fs::read(&elsewhere).unwrap(), files["disk/0/etc/linked"]);
    assert_whole(&layout, &id(1), &files);
    assert_eq!(names.map(|name| seen(name).0), before.map(|seen| seen.0));
    assert_eq!(names.map(|name| seen(name).4), before.map(|seen| seen.4));
}

#[test]
fn a_flipped_byte_or_a_torn_file_is_noticed_and_named() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let layout = layout(folder.path());
    let files = one_file(Numbers(5).bytes(200_001));
    publish(&layout, &id(1), &files);
    pack_and_drop(&layout, &id(1), &[]);
    let name = pack::list(&layout).unwrap().remove(0);
    let damaged = [
        (pack::path(&layout, &name), format!("chunks/{name}.pack")),
        (
            layout.snapshot(&id(1)).join(RECIPE),
            format!("{}/recipe", id(1)),
        ),
    ];
    for (path, said) in damaged {
        let whole = fs::read(&path).unwrap();
        let check = |content: &[u8], what: String| {
            fs::write(&path, content).unwrap();
            match Reader::open(&layout, &id(1)) {
                Err(crate::Error::BadImage(text)) => {
                    assert!(text.contains(&said), "{what}: {text}")
                }
                // The digests are for packing only.
                Ok(reader) => {
                    reader.manifest().verify(reader.folder()).unwrap();
                    assert!(
                        Pack::open(&layout, &name).unwrap().digests().is_err(),
                        "{what}"
                    );
                }
                Err(other) => panic!("{what}: {other}"),
            }
            let _still = drop_raw(&layout.snapshot(&id(1)));
        };
        let step = (whole.len() / 60).max(1);
        for place in (0..whole.len()).step_by(step) {
            let mut changed = whole.clone();
            changed[place] ^= 4;
            check(&changed, format!("byte {place}"));
        }
        for length in (0..whole.len()).step_by(step) {
            check(&whole[..length], format!("cut at {length}"));
        }
        fs::write(&path, &whole).unwrap();
        assert_whole(&layout, &id(1), &files);
        assert!(drop_raw(&layout.snapshot(&id(1))).unwrap());
    }
    fs::remove_file(pack::path(&layout, &name)).unwrap();
    let error = Reader::open(&layout, &id(1)).unwrap_err().to_string();
    assert!(
        error.contains(&name) && error.contains("missing"),
        "{error}"
    );
}

use super::pack::Pack;

/// Changes files at random: contents, lengths, names, holes.
fn edit(files: &mut Files, numbers: &mut Numbers) {
    for _ in 0..numbers.below(6) {
        let name = format!("disk/0/{}", numbers.below(5));
        match numbers.below(5) {
            0 => drop(files.remove(&name)),
            1 => {
                let length = numbers.below(60_000);
                files.insert(name, numbers.bytes(length));
            }
            2 => {
                let copied = files["memory/pages.img"][..40_000].to_vec();
                files.insert(name, copied);
            }
            _ => {
                let pages = files.get_mut("memory/pages.img").unwrap();
                let at = numbers.below(pages.len() - 20_000);
                let length = numbers.below(20_000);
                match numbers.below(3) {
                    0 => pages[at..at + length].fill(0),
                    1 => drop(pages.drain(at..at + length)),
                    _ => {
                        let bytes = numbers.bytes(length);
                        pages.splice(at..at, bytes);
                    }
                }
                pages.resize(pages.len().max(100_000), 7);
            }
        }
    }
}

/// Every page that any recipe names, counted by hand.
fn needed(layout: &Layout) -> BTreeMap<String, std::collections::BTreeSet<u32>> {
    let mut needed = BTreeMap::new();
    for snapshot in snapshot::list(layout).unwrap() {
        let Some(recipe) = Recipe::read(&layout.snapshot(&snapshot)).unwrap() else {
            continue;
        };
        for run in recipe.files.iter().flat_map(|file| &file.runs) {
            let Some(pack) = run.pack else { continue };
            let pages: &mut std::collections::BTreeSet<u32> = needed
                .entry(recipe.packs[pack as usize].id.clone())
                .or_default();
            pages.extend(run.page..run.page + run.count);
        }
    }
    needed
}

#[test]
fn random_histories_keep_every_checkpoint_whole_and_every_count_right() {
    for seed in 1..=2_u64 {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let layout = layout(folder.path());
        let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut files = one_file(numbers.bytes(400_000));
        let mut live: BTreeMap<usize, Files> = BTreeMap::new();
        for number in 0..18 {
            edit(&mut files, &mut numbers);
            publish(&layout, &id(number), &files);
            live.insert(number, files.clone());
            let before: Vec<_> = live
                .keys()
                .rev()
                .skip(1)
                .take(2)
                .map(|number| id(*number))
                .collect();
            let related = if numbers.below(4) == 0 {
                &[]
            } else {
                &before[..]
            };
            pack(&layout, &id(number), related).unwrap().unwrap();
            if numbers.below(5) > 0 {
                assert!(drop_raw(&layout.snapshot(&id(number))).unwrap());
            }
            if numbers.below(3) > 0 {
                let gone = *live.keys().nth(numbers.below(live.len())).unwrap();
                live.remove(&gone);
                snapshot::remove(&layout, &id(gone)).unwrap();
            }
            if numbers.below(3) == 0 {
                sweep(&layout, None).unwrap();
                let needed = needed(&layout);
                assert_eq!(
                    pack::list(&layout).unwrap(),
                    needed.keys().cloned().collect::<Vec<_>>()
                );
                let uses = known::Uses::of_all(&layout, &[]).unwrap();
                for (pack, pages) in &needed {
                    assert!(u64::from(uses.largest[pack]) <= pages.len() as u64);
                    assert!(uses.sum[pack] >= pages.len() as u64);
                    // What was given back is what nobody needs.
                    for (first, end) in known::dead(&layout, pack).unwrap() {
                        assert_eq!(pages.range(first..end).next(), None);
                    }
                }
            }
            if let Some((number, files)) = live.iter().nth(numbers.below(live.len().max(1))) {
                assert_whole(&layout, &id(*number), files);
            }
        }
        for (number, files) in &live {
            assert_whole(&layout, &id(*number), files);
        }
    }
}

#[test]
fn room_within_a_pack_is_given_back_and_nothing_new_refers_to_it() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let layout = layout(folder.path());
    let content = Numbers(11).bytes(4 << 20);
    publish(&layout, &id(1), &one_file(content.clone()));
    publish(&layout, &id(2), &one_file(content[..(5 << 19)].to_vec()));
    for number in [1, 2] {
        pack_and_drop(&layout, &id(number), &[]);
    }
    let before = disk::tree_bytes(&pack::folder(&layout)).unwrap();
    snapshot::remove(&layout, &id(1)).unwrap();
    let found = sweep(&layout, None).unwrap();
    let after = disk::tree_bytes(&pack::folder(&layout)).unwrap();
    assert!(
        found.unused_within_bytes >= (3 << 19) - 8192
            && after + found.unused_within_bytes <= before + 8192,
        "{found:?}"
    );
    assert_eq!(sweep(&layout, None).unwrap().unused_within_bytes, 0);
    // The pages whose room was given back are new again.
    publish(&layout, &id(3), &one_file(content.clone()));
    let again = pack_and_drop(&layout, &id(3), &[id(2)]);
    assert!(again.new_bytes >= (3 << 19), "{again:?}");
    for (number, length) in [(2, 5 << 19), (3, 4 << 20)] {
        assert_whole(&layout, &id(number), &one_file(content[..length].to_vec()));
    }
}

#[test]
fn a_path_in_a_recipe_stays_in_its_folder() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    for path in ["/etc/passwd", "../x", "a/../../x"] {
        let files = vec![recipe::PackedFile::new(&PathBuf::from(path), 0)];
        let recipe = Recipe {
            packs: Vec::new(),
            files,
        };
        recipe.write(folder.path()).unwrap();
        assert!(Recipe::read(folder.path()).is_err(), "{path}");
    }
}
