//! Images as folders of blobs: the OCI's layout, and what `docker save` writes.

use super::digest::Digest;
use super::library::{Images, Record};
use super::manifest::{
    self, CONFIG, ConfigFile, DOCUMENT_BYTES_MAX, Descriptor, Document, INDEX_DEPTH_MAX, LAYER,
    Manifest, Platform, choose,
};
use super::staging::{Documents, Expected, Ready, Staging};
use super::unpack::Limits;
use crate::Error;
use dauer_core::Timestamp;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use serde::Deserialize;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The annotation of a layout's index that says what an image is called.
const NAME: &str = "org.opencontainers.image.ref.name";

/// The same with the registry, as some write it.
const FULL_NAME: &str = "io.containerd.image.name";

/// What to make of the images in a folder.
pub(super) struct Taking<'a> {
    pub(super) images: &'a Images,
    pub(super) limits: Limits,
    /// In the place of what the archive says.
    pub(super) name: Option<&'a str>,
    pub(super) platform: &'a Platform,
    pub(super) now: Timestamp,
}

/// What kind of folder it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Oci,
    Docker,
}

/// A folder whose content is not trusted: links in it lead nowhere else.
pub(super) struct Blobs {
    root: OwnedFd,
}

impl Blobs {
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = nix::fcntl::open(folder, flags, Mode::empty());
        let root = root.map_err(Error::os(format!("open {}", folder.display())))?;
        Ok(Self { root })
    }

    /// Whether it has images in it, rather than being a root file system.
    pub(super) fn form(&self) -> Option<Form> {
        if self.file("oci-layout").is_ok() && self.file("index.json").is_ok() {
            return Some(Form::Oci);
        }
        // A root file system may have a file of this name too, but not with this in it.
        let saved = self.document("manifest.json").ok()?;
        serde_json::from_slice::<Vec<Saved>>(&saved)
            .ok()
            .map(|_| Form::Docker)
    }

    /// A plain file; nothing that could block or lead out.
    fn file(&self, path: &str) -> Result<File, Error> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let missing = |why: &str| {
            Error::Invalid(format!("the archive has no {path} that can be read: {why}"))
        };
        let file = openat2(&self.root, path, how).map_err(|errno| missing(errno.desc()))?;
        let file = File::from(file);
        match file.metadata() {
            Ok(meta) if meta.is_file() => Ok(file),
            Ok(_) => Err(missing("it is no file")),
            Err(error) => Err(missing(&error.to_string())),
        }
    }

    fn document(&self, path: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let read = self
            .file(path)?
            .take(DOCUMENT_BYTES_MAX + 1)
            .read_to_end(&mut bytes);
        read.map_err(Error::io(format!("read {path}")))?;
        if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
            return Err(Error::Invalid(format!(
                "{path} is larger than any document of an image"
            )));
        }
        Ok(bytes)
    }

    /// A document by digest, which is compared.
    fn blob(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let bytes = self.document(&blob_path(digest))?;
        digest.check(&Digest::of(&bytes), "a document of the image")?;
        Ok(bytes)
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Takes every image of this platform. Errors: `Invalid`; those of unpacking.
pub(super) fn take(blobs: &Blobs, form: Form, taking: &Taking<'_>) -> Result<Vec<Record>, Error> {
    match form {
        Form::Oci => take_oci(blobs, taking),
        Form::Docker => take_docker(blobs, taking),
    }
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

fn take_oci(blobs: &Blobs, taking: &Taking<'_>) -> Result<Vec<Record>, Error> {
    let index: Index = manifest::read(&blobs.document("index.json")?, "index.json")?;
    // Entries of one name are the same image for several platforms.
    let mut named: Vec<(Option<String>, Vec<Descriptor>)> = Vec::new();
    for entry in index.manifests {
        let name = entry
            .annotations
            .get(FULL_NAME)
            .or_else(|| entry.annotations.get(NAME))
            .cloned();
        match named.iter_mut().find(|(other, _)| *other == name) {
            Some((_, entries)) => entries.push(entry),
            None => named.push((name, vec![entry])),
        }
    }
    if named.is_empty() {
        return Err(Error::Invalid("the archive has no image in it".into()));
    }
    if taking.name.is_some() && named.len() > 1 {
        return Err(Error::Invalid(
            "the archive has several images: import it without a name".into(),
        ));
    }
    let mut records = Vec::new();
    for (name, entries) in named {
        let digest = resolve(blobs, choose(&entries, taking.platform)?, taking.platform)?;
        let manifest_bytes = blobs.blob(&digest)?;
        let Document::Image(manifest) = Document::read(&manifest_bytes)? else {
            return Err(Error::Invalid(
                "the image's manifest changed while it was read".into(),
            ));
        };
        let documents = Documents {
            config: blobs.blob(&manifest.config.digest()?)?,
            manifest: manifest_bytes,
        };
        // `12` alone is a tag of something that the layout does not name.
        let name = taking
            .name
            .map(str::to_owned)
            .or(name.filter(|name| name.contains([':', '/'])));
        records.push(install(blobs, taking, &documents, &manifest, name)?);
    }
    Ok(records)
}

/// Follows indexes down to an image.
fn resolve(blobs: &Blobs, mut entry: Descriptor, platform: &Platform) -> Result<Digest, Error> {
    for _ in 0..INDEX_DEPTH_MAX {
        let digest = entry.digest()?;
        match Document::read(&blobs.blob(&digest)?)? {
            Document::Image(_) => return Ok(digest),
            Document::Index(entries) => entry = choose(&entries, platform)?,
        }
    }
    Err(Error::Invalid(
        "the image's indexes lead from one to the next without end".into(),
    ))
}

fn install(
    blobs: &Blobs,
    taking: &Taking<'_>,
    documents: &Documents,
    manifest: &Manifest,
    name: Option<String>,
) -> Result<Record, Error> {
    let config: ConfigFile = manifest::read(&documents.config, "the image's configuration")?;
    let staging = Staging::new(taking.images, taking.limits)?;
    let mut layers = Vec::new();
    for (descriptor, plain) in manifest
        .layers
        .iter()
        .zip(config.layers(manifest.layers.len())?)
    {
        let packed = descriptor.digest()?;
        layers.push(layer(
            &staging,
            blobs,
            &blob_path(&packed),
            Expected {
                plain,
                packed: Some(packed),
            },
        )?);
    }
    staging.publish(documents, &layers, name.as_slice(), taking.now)
}

fn layer(staging: &Staging, blobs: &Blobs, path: &str, expected: Expected) -> Result<Ready, Error> {
    match staging.present(&expected.plain)? {
        Some(ready) => Ok(ready),
        None => staging.layer(blobs.file(path)?, &expected),
    }
}

/// One element of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn take_docker(blobs: &Blobs, taking: &Taking<'_>) -> Result<Vec<Record>, Error> {
    let saved: Vec<Saved> = manifest::read(&blobs.document("manifest.json")?, "manifest.json")?;
    if saved.is_empty() {
        return Err(Error::Invalid("the archive has no image in it".into()));
    }
    if taking.name.is_some() && saved.len() > 1 {
        return Err(Error::Invalid(
            "the archive has several images: import it without a name".into(),
        ));
    }
    let mut records = Vec::new();
    for image in saved {
        let config = blobs.document(&image.config)?;
        let file: ConfigFile = manifest::read(&config, "the image's configuration")?;
        let staging = Staging::new(taking.images, taking.limits)?;
        let mut layers = Vec::new();
        let mut descriptors = Vec::new();
        for (path, plain) in image.layers.iter().zip(file.layers(image.layers.len())?) {
            // The archive names layers by where they lie; what they are is in the configuration.
            descriptors.push(Descriptor::new(LAYER, &plain, 0));
            layers.push(layer(
                &staging,
                blobs,
                path,
                Expected {
                    plain,
                    packed: None,
                },
            )?);
        }
        let manifest = written(&config, descriptors)?;
        let names = match taking.name {
            Some(name) => vec![name.to_owned()],
            None => image.repo_tags.unwrap_or_default(),
        };
        records.push(staging.publish(
            &Documents { manifest, config },
            &layers,
            &names,
            taking.now,
        )?);
    }
    Ok(records)
}

/// A manifest for an image that came without one: always the same for the same image.
pub(super) fn written(config: &[u8], layers: Vec<Descriptor>) -> Result<Vec<u8>, Error> {
    let config = Descriptor::new(CONFIG, &Digest::of(config), config.len() as u64);
    serde_json::to_vec(&Manifest::new(config, layers))
        .map_err(|error| Error::Invalid(format!("writing the image's manifest: {error}")))
}
