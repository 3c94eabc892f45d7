//! A recipe: of which pages of which packs the files of one checkpoint are made. Written once, whole or absent.

use super::{PAGE_BYTES, RECIPE, damaged};
use crate::Error;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8; 16] = b"dauer recipe v1\n";

/// What it names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recipe {
    /// Packs, and how many of their pages are in it.
    pub(super) packs: Vec<PackUse>,
    pub(super) files: Vec<PackedFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PackUse {
    pub(super) id: String,
    pub(super) pages: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PackedFile {
    path: Vec<u8>,
    pub(super) bytes: u64,
    /// One after the other they are the file.
    pub(super) runs: Vec<Run>,
}

/// Pages that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// The place of its pack in the list; absent: zeros.
    pub(super) pack: Option<u32>,
    /// The first.
    pub(super) page: u32,
    pub(super) count: u32,
}

impl PackedFile {
    pub(super) fn new(path: &Path, bytes: u64) -> Self {
        Self {
            path: path.as_os_str().to_owned().into_vec(),
            bytes,
            runs: Vec::new(),
        }
    }

    /// Below the checkpoint's folder.
    pub(super) fn path(&self) -> PathBuf {
        OsString::from_vec(self.path.clone()).into()
    }

    /// Adds a page, to the run before where it follows.
    pub(super) fn push(&mut self, pack: Option<u32>, page: u32) {
        match self.runs.last_mut() {
            Some(run)
                if run.pack == pack
                    && (pack.is_none() || run.page + run.count == page)
                    && run.count < u32::MAX =>
            {
                run.count += 1;
            }
            Some(_) | None => self.runs.push(Run {
                pack,
                page,
                count: 1,
            }),
        }
    }

    /// Whether it stays in its folder and its runs are as long as it says.
    fn is_sound(&self, packs: usize) -> bool {
        let pages: u64 = self.runs.iter().map(|run| u64::from(run.count)).sum();
        let below = self
            .path()
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        let known = self
            .runs
            .iter()
            .filter_map(|run| run.pack)
            .all(|pack| (pack as usize) < packs);
        below && known && pages == self.bytes.div_ceil(PAGE_BYTES as u64)
    }
}

/// The packs a checkpoint refers to; `None` where it has no recipe. Reads nothing else. Errors: `BadImage`.
pub(super) fn packs_of(folder: &Path) -> Result<Option<Vec<PackUse>>, Error> {
    let path = folder.join(RECIPE);
    let Some(mut file) = open(&path)? else {
        return Ok(None);
    };
    let head = read_head(&mut file).map_err(|e| torn(&path, &e))?;
    let head = head.ok_or_else(|| damaged(&path, "it is torn or changed"))?;
    rmp_serde::from_slice(&head)
        .map(Some)
        .map_err(|_| damaged(&path, "it is torn or changed"))
}

fn open(path: &Path) -> Result<Option<File>, Error> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(format!("read {}", path.display()))(e)),
    }
}

fn torn(path: &Path, error: &io::Error) -> Error {
    damaged(path, &format!("it cannot be read ({error})"))
}

fn read_head(file: &mut File) -> io::Result<Option<Vec<u8>>> {
    let mut start = [0; MAGIC.len() + 12];
    file.read_exact(&mut start)?;
    let (magic, rest) = start.split_at(MAGIC.len());
    let (length, check) = rest.split_at(4);
    let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
    let mut head = Vec::new();
    file.take(u64::from(length)).read_to_end(&mut head)?;
    let whole = magic == MAGIC
        && xxh3_64(&head) == u64::from_le_bytes(check.try_into().expect("eight bytes"));
    Ok(whole.then_some(head))
}

impl Recipe {
    /// Of a checkpoint; `None` where it has none. Errors: `BadImage`.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(RECIPE);
        let Some(mut file) = open(&path)? else {
            return Ok(None);
        };
        let changed = || damaged(&path, "it is torn or changed");
        let head = read_head(&mut file)
            .map_err(|e| torn(&path, &e))?
            .ok_or_else(changed)?;
        let packs: Vec<PackUse> = rmp_serde::from_slice(&head).map_err(|_| changed())?;
        let mut rest = Vec::new();
        file.read_to_end(&mut rest).map_err(|e| torn(&path, &e))?;
        let (body, digest) = rest.split_last_chunk::<32>().ok_or_else(changed)?;
        if blake3::hash(body) != *digest {
            return Err(changed());
        }
        let body = zstd::decode_all(body).map_err(|_| changed())?;
        let files: Vec<PackedFile> = rmp_serde::from_slice(&body).map_err(|_| changed())?;
        if !files.iter().all(|file| file.is_sound(packs.len())) {
            return Err(changed());
        }
        Ok(Some(Self { packs, files }))
    }

    /// Durable when this returns. Returns its bytes.
    pub(super) fn write(&self, folder: &Path) -> Result<u64, Error> {
        let path = folder.join(RECIPE);
        let aside = folder.join("recipe.new");
        let what = || Error::io(format!("write {}", path.display()));
        let bytes = self.to_bytes().map_err(what())?;
        let write = || {
            let mut file = File::create(&aside)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&aside, &path)?;
            crate::files::sync_folder(folder)
        };
        write().map_err(what())?;
        Ok(bytes.len() as u64)
    }

    fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let head = rmp_serde::to_vec(&self.packs).map_err(io::Error::other)?;
        let body = rmp_serde::to_vec(&self.files).map_err(io::Error::other)?;
        let body = zstd::encode_all(&body[..], 3)?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(
            u32::try_from(head.len())
                .map_err(io::Error::other)?
                .to_le_bytes(),
        );
        bytes.extend(xxh3_64(&head).to_le_bytes());
        bytes.extend(head);
        bytes.extend(&body);
        bytes.extend(blake3::hash(&body).as_bytes());
        Ok(bytes)
    }
}
