//! An image in the making: its layers are unpacked aside, then all of it is published at once.

use super::digest::Digest;
use super::library::{Hold, Images, Layer, Name, Record, boot_id};
use super::manifest::{self, ConfigFile};
use super::reference::full_name;
use super::stream;
use super::unpack::{Content, Limits, unpack};
use crate::host::root::make_folder;
use crate::{Error, files};
use dauer_core::Timestamp;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The room in which one image is made; with all that is in it it vanishes when it is dropped.
pub(super) struct Staging {
    images: Images,
    folder: tempfile::TempDir,
    limits: Limits,
    /// Bytes and entries of all layers of this image together.
    used: Mutex<(u64, u64)>,
    holds: Mutex<Vec<Hold>>,
}

/// What a layer is known by.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    /// Of its tar, not packed.
    pub(super) plain: Digest,
    /// Of its blob, where it has one.
    pub(super) packed: Option<Digest>,
}

/// A layer that lies ready.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    digest: Digest,
    bytes: u64,
}

impl Staging {
    /// Errors: `Io`.
    pub(super) fn new(images: &Images, limits: Limits) -> Result<Self, Error> {
        let layout = &images.folder;
        for folder in [
            layout.staging(),
            layout.layers(),
            layout.blobs(),
            layout.records(),
            layout.names(),
        ] {
            make_folder(&folder)?;
        }
        // Programs with set-user-id must not be there for everybody on the machine.
        fs::set_permissions(&layout.path, Permissions::from_mode(0o700))
            .map_err(Error::io(format!("close {}", layout.path.display())))?;
        let folder = tempfile::Builder::new()
            .prefix("new-")
            .tempdir_in(layout.staging());
        let folder = folder.map_err(Error::io(format!(
            "make a folder in {}",
            layout.staging().display()
        )))?;
        Ok(Self {
            images: images.clone(),
            folder,
            limits,
            used: Mutex::default(),
            holds: Mutex::default(),
        })
    }

    /// A new folder in it.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.folder.path().join(name);
        let made = fs::create_dir(&path)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o755)));
        made.map_err(Error::io(format!("make {}", path.display())))?;
        Ok(path)
    }

    /// What may still be unpacked.
    pub(super) fn limits(&self) -> Limits {
        let (bytes, entries) = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        Limits {
            bytes_max: self.limits.bytes_max.saturating_sub(bytes),
            entries_max: self.limits.entries_max.saturating_sub(entries),
        }
    }

    fn count(&self, bytes: u64, entries: u64) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.0 += bytes;
        used.1 += entries;
    }

    /// A layer that is on this node already: it stays from now on.
    pub(super) fn present(&self, layer: &Digest) -> Result<Option<Ready>, Error> {
        let hold = self.images.hold(std::slice::from_ref(layer));
        self.holds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(hold);
        if !self.images.layer_path(layer).is_dir() {
            return Ok(None);
        }
        // Counted once, by whoever unpacked it.
        let known = self
            .images
            .list()?
            .into_iter()
            .flat_map(|record| record.layers);
        let text = layer.to_string();
        let bytes = known
            .filter(|known| known.digest == text)
            .map(|known| known.bytes)
            .next();
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => crate::disk::tree_bytes(&self.images.layer_path(layer))?,
        };
        Ok(Some(Ready {
            digest: layer.clone(),
            bytes,
        }))
    }

    /// Unpacks a layer whose digests are known. Errors: `Invalid` where it is another one; those of unpacking.
    pub(super) fn layer(
        &self,
        source: impl Read + Send,
        expected: &Expected,
    ) -> Result<Ready, Error> {
        let folder = self.folder.path().join(expected.plain.hex());
        // The same one twice in an image, or a first try that failed.
        files::remove_tree(&folder)?;
        self.folder(expected.plain.hex())?;
        let limits = self.limits();
        let (unpacked, digests) = stream::through(source, |pieces| {
            unpack(pieces, &folder, Content::Layer, limits)
        })?;
        if let Some(packed) = &expected.packed {
            packed.check(&digests.packed, "a layer")?;
        }
        expected.plain.check(&digests.plain, "a layer, unpacked,")?;
        self.count(unpacked.bytes, unpacked.entries);
        Ok(Ready {
            digest: expected.plain.clone(),
            bytes: unpacked.bytes,
        })
    }

    /// A folder of this staging that was unpacked already becomes a layer.
    pub(super) fn adopt(&self, folder: &Path, digest: &Digest, bytes: u64) -> Result<Ready, Error> {
        if self.present(digest)?.is_none() {
            let place = self.folder.path().join(digest.hex());
            fs::rename(folder, &place).map_err(Error::io(format!("move {}", folder.display())))?;
        }
        Ok(Ready {
            digest: digest.clone(),
            bytes,
        })
    }

    /// Publishes the image. Its files are synced later, by [`Images::settle`]: until then the record says in which boot they were written, and
    /// another one does not rely on them. Whatever comes between leaves whole layers at most.
    /// Errors: `Invalid`, `Io`, `NoSpace`.
    pub(super) fn publish(
        &self,
        documents: &Documents,
        layers: &[Ready],
        names: &[String],
        now: Timestamp,
    ) -> Result<Record, Error> {
        let config: ConfigFile = manifest::read(&documents.config, "the image's configuration")?;
        let (digest, config_digest) = (
            Digest::of(&documents.manifest),
            Digest::of(&documents.config),
        );
        let names = names
            .iter()
            .map(|name| full_name(name))
            .collect::<Result<Vec<_>, _>>()?;
        let folder = &self.images.folder;
        self.write_blob(&digest, &documents.manifest)?;
        self.write_blob(&config_digest, &documents.config)?;
        let staged = |layer: &&Ready| self.folder.path().join(layer.digest.hex()).is_dir();
        for layer in layers.iter().filter(staged) {
            let (from, to) = (
                self.folder.path().join(layer.digest.hex()),
                self.images.layer_path(&layer.digest),
            );
            match fs::rename(&from, &to) {
                // Another pull was faster; or it is there twice.
                Err(_) if to.is_dir() => {}
                renamed => renamed.map_err(Error::io(format!("publish {}", to.display())))?,
            }
        }
        for folder in [folder.layers(), folder.blobs()] {
            files::sync_folder(&folder).map_err(Error::io(format!("sync {}", folder.display())))?;
        }
        let record = Record {
            digest: digest.to_string(),
            platform: format!("{}/{}", config.os, config.architecture),
            created: config.created.clone(),
            config: config.config(),
            layers: layers
                .iter()
                .map(|layer| Layer {
                    digest: layer.digest.to_string(),
                    bytes: layer.bytes,
                })
                .collect(),
            added_at: now,
            config_digest: config_digest.to_string(),
            // Also where all layers were here: they may be another image's that is not synced either.
            unsynced_in: Some(boot_id()?),
        };
        files::write_json(
            &self.images.record_path(&digest),
            &record,
            files::Durable::Yes,
        )?;
        for name in names {
            let value = Name {
                name,
                digest: record.digest.clone(),
            };
            files::write_json(
                &self.images.name_path(&value.name),
                &value,
                files::Durable::Yes,
            )?;
        }
        Ok(record)
    }

    fn write_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
        let aside = self.folder.path().join(format!("blob-{}", digest.hex()));
        let place = self.images.folder.blobs().join(digest.hex());
        let write = || {
            fs::write(&aside, bytes)?;
            File::open(&aside)?.sync_data()?;
            fs::rename(&aside, &place)
        };
        write().map_err(Error::io(format!("write {}", place.display())))
    }
}

/// An image's documents as they came: their bytes are what the digests are of.
pub(super) struct Documents {
    pub(super) manifest: Vec<u8>,
    pub(super) config: Vec<u8>,
}
