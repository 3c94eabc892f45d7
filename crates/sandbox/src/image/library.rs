//! The images of this node: found by name and digest, removed with what only they need.

use super::digest::Digest;
use super::reference::{familiar, full_name};
use crate::host::root::make_folder;
use crate::layout::ImagesDir;
use crate::{Error, Layout, files};
use dauer_core::{ImageConfig, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_128;

/// The beginning of a digest that names an image.
const PREFIX_MIN: usize = 6;

/// How long what a registry sent is kept for a pull that goes on.
const PARTIAL_KEEP: Duration = Duration::from_secs(24 * 3600);

/// What there is to know of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of its manifest.
    pub digest: String,
    /// How programs start on it.
    pub config: ImageConfig,
    /// `linux/amd64`.
    pub platform: String,
    /// The lowest first.
    pub layers: Vec<Layer>,
    /// When it was made, as its maker says.
    #[serde(default)]
    pub created: Option<String>,
    /// When it came here.
    pub added_at: Timestamp,
    /// Of its configuration.
    #[serde(default)]
    pub config_digest: String,
    /// The boot of the machine in which its files were written and not yet synced: nothing of it can be relied on in another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsynced_in: Option<String>,
}

impl Record {
    /// Bytes of the files in its layers.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.bytes).sum()
    }
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Of its tar, not packed.
    pub digest: String,
    /// Bytes of its files.
    pub bytes: u64,
}

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// In full, with registry and tag.
    pub name: String,
    /// The image's.
    pub digest: String,
}

/// What a removal removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// Only the name: the image has others.
    Name(String),
    /// The image with all its names.
    Image {
        /// Its digest.
        digest: String,
        /// In full.
        names: Vec<String>,
    },
}

/// What tidying up removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Digests of images.
    pub images: Vec<String>,
    /// How much room that made.
    pub bytes: u64,
}

/// The images of one node. Cheap to clone; the clones know of each other what they are making.
#[derive(Clone, Debug)]
pub struct Images {
    pub(super) folder: ImagesDir,
    /// Layers that something being made relies on, and by how many.
    held: Arc<Mutex<HashMap<Digest, usize>>>,
}

/// While this lives, its layers stay.
pub(super) struct Hold {
    images: Images,
    layers: Vec<Digest>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.images.held();
        for layer in &self.layers {
            if let Some(count) = held.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    held.remove(layer);
                }
            }
        }
    }
}

impl Images {
    /// Those of this node. Touches nothing. What makes and what removes images must come from one `open`.
    #[must_use]
    pub fn open(layout: &Layout) -> Self {
        Self {
            folder: layout.images(),
            held: Arc::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps these layers from being removed, whether or not they are there.
    pub(super) fn hold(&self, layers: &[Digest]) -> Hold {
        let mut held = self.held();
        for layer in layers {
            *held.entry(layer.clone()).or_default() += 1;
        }
        Hold {
            images: self.clone(),
            layers: layers.to_vec(),
        }
    }

    /// The image of this digest.
    ///
    /// # Errors
    /// `Io`; `Invalid` where its record is damaged.
    pub fn record(&self, digest: &Digest) -> Result<Option<Record>, Error> {
        files::read_json(&self.record_path(digest))
    }

    pub(super) fn record_path(&self, digest: &Digest) -> PathBuf {
        self.folder.records().join(format!("{}.json", digest.hex()))
    }

    pub(super) fn name_path(&self, name: &str) -> PathBuf {
        let file = format!("{:032x}.json", xxh3_128(name.as_bytes()));
        self.folder.names().join(file)
    }

    pub(super) fn layer_path(&self, layer: &Digest) -> PathBuf {
        self.folder.layers().join(layer.hex())
    }

    /// Its layers as folders, the topmost first. One that is there twice counts where it is topmost: what it says there covers all that it
    /// could say below, and the kernel takes no folder twice.
    pub(super) fn lowers(&self, record: &Record) -> Vec<PathBuf> {
        let mut seen = BTreeSet::new();
        let topmost = record
            .layers
            .iter()
            .rev()
            .filter(|layer| seen.insert(&layer.digest));
        topmost
            .filter_map(|layer| layer.digest.parse().ok())
            .map(|layer| self.layer_path(&layer))
            .collect()
    }

    /// All images, the newest first.
    ///
    /// # Errors
    /// `Io`; `Invalid` where a record is damaged.
    pub fn list(&self) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        for file in files::names(&self.folder.records())? {
            if !file.ends_with(".json") {
                continue;
            }
            // One that is being removed is gone.
            records.extend(files::read_json::<Record>(
                &self.folder.records().join(file),
            )?);
        }
        records.sort_by(|a, b| (b.added_at, &b.digest).cmp(&(a.added_at, &a.digest)));
        Ok(records)
    }

    /// All names, sorted.
    ///
    /// # Errors
    /// As of [`Images::list`].
    pub fn names(&self) -> Result<Vec<Name>, Error> {
        let mut names = Vec::new();
        for file in files::names(&self.folder.names())? {
            if file.ends_with(".json") {
                names.extend(files::read_json::<Name>(&self.folder.names().join(file))?);
            }
        }
        names.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(names)
    }

    /// The image that a user's text stands for: a name, a digest, or the beginning of one. `None` where it is not here.
    ///
    /// # Errors
    /// `Invalid` where the text names nothing or several; `Io`.
    pub fn find(&self, text: &str) -> Result<Option<Record>, Error> {
        if let Ok(digest) = text.parse() {
            return self.record(&digest);
        }
        let named = full_name(text);
        if let Ok(full) = &named {
            // `name@sha256:…` says both, and only the latter cannot change.
            if let Some((_, digest)) = full.split_once('@') {
                return self.record(&digest.parse()?);
            }
            if let Some(name) = files::read_json::<Name>(&self.name_path(full))? {
                return self.record(&name.digest.parse()?);
            }
        }
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.len() >= PREFIX_MIN && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let records = self.list()?;
            let begins = |record: &&Record| record.digest["sha256:".len()..].starts_with(hex);
            let mut found = records.iter().filter(begins);
            if let Some(record) = found.next() {
                if found.next().is_some() {
                    return Err(Error::Invalid(format!(
                        "{text:?} is the beginning of several digests: give more of it"
                    )));
                }
                return Ok(Some(record.clone()));
            }
        }
        named.map(|_| None)
    }

    /// The manifest or configuration of this digest, as it came.
    ///
    /// # Errors
    /// `Io`.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let path = self.folder.blobs().join(digest.hex());
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("read {}", path.display()))(error)),
        }
    }

    /// Removes a name, and the image with it where that was its last; with a digest, or with `force`, the image and all its names.
    /// Whoever calls has made sure that nothing uses it and nothing begins to. Repeating it is safe.
    ///
    /// # Errors
    /// `Invalid`; `Io`.
    pub fn remove(&self, text: &str, record: &Record, force: bool) -> Result<Removed, Error> {
        let full = full_name(text).ok();
        let names: Vec<String> = self
            .names()?
            .into_iter()
            .filter(|name| name.digest == record.digest)
            .map(|name| name.name)
            .collect();
        if let Some(full) = full.filter(|full| !force && names.len() > 1 && names.contains(full)) {
            files::remove_file(&self.name_path(&full))?;
            return Ok(Removed::Name(familiar(&full).to_owned()));
        }
        for name in &names {
            files::remove_file(&self.name_path(name))?;
        }
        self.forget(&record.digest)?;
        self.sweep()?;
        Ok(Removed::Image {
            digest: record.digest.clone(),
            names,
        })
    }

    /// Whether a removal of this text would take the image itself.
    ///
    /// # Errors
    /// As of [`Images::names`].
    pub fn removes_image(&self, text: &str, record: &Record, force: bool) -> Result<bool, Error> {
        let names = self.names()?;
        let mut own = names.iter().filter(|name| name.digest == record.digest);
        let full = full_name(text).ok();
        let several = own.clone().count() > 1;
        Ok(force || !several || !own.any(|name| Some(&name.name) == full.as_ref()))
    }

    /// Removes images that nothing in `used` names: those without a name, or all. Then whatever no image needs.
    ///
    /// # Errors
    /// `Io`.
    pub fn prune(&self, used: &BTreeSet<String>, all: bool) -> Result<Pruned, Error> {
        let mut by_digest: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in self.names()? {
            by_digest.entry(name.digest).or_default().push(name.name);
        }
        let mut pruned = Pruned::default();
        for record in self.list()? {
            let names = by_digest.remove(&record.digest).unwrap_or_default();
            if used.contains(&record.digest) || !(all || names.is_empty()) {
                continue;
            }
            for name in names {
                files::remove_file(&self.name_path(&name))?;
            }
            self.forget(&record.digest)?;
            pruned.images.push(record.digest);
        }
        pruned.bytes = self.sweep()?;
        Ok(pruned)
    }

    /// Removes what was being made when an earlier daemon ended. Only before anything is made.
    ///
    /// # Errors
    /// `Io`.
    pub fn recover(&self) -> Result<(), Error> {
        files::remove_tree(&self.folder.staging())?;
        self.distrust(&boot_id()?)?;
        for name in files::names(&self.folder.partial())? {
            let path = self.folder.partial().join(name);
            let old = path.metadata().and_then(|meta| meta.modified()).ok();
            if old
                .and_then(|at| at.elapsed().ok())
                .is_none_or(|age| age > PARTIAL_KEEP)
            {
                files::remove_file(&path)?;
            }
        }
        self.sweep().map(drop)
    }

    /// Makes everything that was published durable, and notes it. Blocks as long as the disk needs. Whoever publishes calls it soon after;
    /// repeating it is safe.
    ///
    /// # Errors
    /// `Io`.
    pub fn settle(&self) -> Result<(), Error> {
        let open: Vec<Record> = self
            .list()?
            .into_iter()
            .filter(|record| record.unsynced_in.is_some())
            .collect();
        if open.is_empty() {
            return Ok(());
        }
        sync_file_system(&self.folder.path)?;
        for record in open {
            // Against a removal, after which it must not come back.
            let _alone = self.held();
            let path = self.record_path(&record.digest.parse()?);
            if files::read_json::<Record>(&path)?.as_ref() == Some(&record) {
                let record = Record {
                    unsynced_in: None,
                    ..record
                };
                files::write_json(&path, &record, files::Durable::Yes)?;
            }
        }
        Ok(())
    }

    /// Removes images whose files were not synced when the machine went down, and their layers unless they are also of one that was. In the
    /// boot in which they were written their files are whole, and are synced now.
    fn distrust(&self, boot_id: &str) -> Result<(), Error> {
        let lost = |record: &Record| {
            record
                .unsynced_in
                .as_ref()
                .is_some_and(|boot| boot != boot_id)
        };
        let (lost, kept): (Vec<Record>, Vec<Record>) = self.list()?.into_iter().partition(lost);
        let good: BTreeSet<_> = kept
            .iter()
            .flat_map(|record| &record.layers)
            .map(|layer| &layer.digest)
            .collect();
        for record in &lost {
            let torn = record
                .layers
                .iter()
                .filter(|layer| !good.contains(&layer.digest));
            for layer in torn {
                files::remove_tree(&self.layer_path(&layer.digest.parse()?))?;
            }
            for name in self
                .names()?
                .iter()
                .filter(|name| name.digest == record.digest)
            {
                files::remove_file(&self.name_path(&name.name))?;
            }
            files::remove_file(&self.record_path(&record.digest.parse()?))?;
        }
        self.settle()
    }

    /// Removes a record, against [`Images::settle`].
    fn forget(&self, digest: &str) -> Result<(), Error> {
        let _alone = self.held();
        files::remove_file(&self.record_path(&digest.parse()?))
    }

    /// Removes layers, blobs and disks that no record names and nothing that is being made relies on. Returns the bytes of the layers.
    fn sweep(&self) -> Result<u64, Error> {
        // Held to the end: what is being made either holds its layers already, or finds them gone.
        let held = self.held();
        let records = self.list()?;
        let hex = |text: &String| {
            text.parse::<Digest>()
                .ok()
                .map(|digest| digest.hex().to_owned())
        };
        let layers: BTreeSet<_> = records
            .iter()
            .flat_map(|record| &record.layers)
            .filter_map(|layer| hex(&layer.digest))
            .chain(held.keys().map(|layer| layer.hex().to_owned()))
            .collect();
        let documents: BTreeSet<_> = records
            .iter()
            .flat_map(|record| [&record.digest, &record.config_digest])
            .filter_map(hex)
            .collect();
        let mut bytes = 0;
        for name in files::names(&self.folder.layers())? {
            if !layers.contains(&name) {
                let path = self.folder.layers().join(&name);
                bytes += crate::disk::tree_bytes(&path)?;
                // Aside first: half a layer under its name would be taken for a whole one.
                make_folder(&self.folder.staging())?;
                let aside = self.folder.staging().join(format!("dead-{name}"));
                files::remove_tree(&aside)?;
                std::fs::rename(&path, &aside)
                    .map_err(Error::io(format!("move {} away", path.display())))?;
                files::remove_tree(&aside)?;
            }
        }
        // Documents of an image that is being made are written again with it.
        if held.is_empty() {
            for folder in [self.folder.blobs(), self.folder.disks()] {
                for name in files::names(&folder)? {
                    let digest = name.split('.').next().unwrap_or(&name);
                    if !documents.contains(digest) {
                        files::remove_file(&folder.join(&name))?;
                    }
                }
            }
        }
        Ok(bytes)
    }
}

/// Once for all files of an image: to sync each by itself takes many times as long.
fn sync_file_system(path: &Path) -> Result<(), Error> {
    let what = || format!("sync the file system of {}", path.display());
    let folder = File::open(path).map_err(Error::io(what()))?;
    // SAFETY: a valid descriptor.
    let result = unsafe { libc::syncfs(folder.as_raw_fd()) };
    nix::errno::Errno::result(result)
        .map(drop)
        .map_err(Error::os(what()))
}

/// Another one after each start of the machine.
pub(super) fn boot_id() -> Result<String, Error> {
    let path = "/proc/sys/kernel/random/boot_id";
    let id = std::fs::read_to_string(path).map_err(Error::io(format!("read {path}")))?;
    Ok(id.trim().to_owned())
}
