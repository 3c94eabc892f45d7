//! An image out of one stream of bytes: a tar of a root file system, an archive of the OCI's layout, or of `docker save`.

use super::archive::{self, Blobs, Taking, written};
use super::library::{Images, Record};
use super::manifest::{Descriptor, LAYER, Platform};
use super::staging::{Documents, Staging};
use super::stream;
use super::unpack::{Content, Limits, Unpacked, unpack};
use crate::Error;
use dauer_core::Timestamp;
use serde_json::json;
use std::io::Read;

/// How to import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// What the image is to be called.
    pub name: Option<String>,
    /// Which one of an archive; this machine's own where absent.
    pub platform: Option<String>,
    /// The bytes are a root file system whatever is in it.
    pub is_root: bool,
    /// What it may unpack to.
    pub limits: Limits,
    /// When.
    pub now: Timestamp,
}

/// What was in it: one image, or several of an archive.
pub type Imported = Vec<Record>;

impl Images {
    /// Takes an image out of a stream (plain, gzip or zstd), which is read to its end. Blocks. Nothing stays of what is refused.
    ///
    /// # Errors
    /// `Invalid` saying what is wrong with it; `NoSpace`; `Io`.
    pub fn import(&self, source: impl Read + Send, wish: &Wish) -> Result<Imported, Error> {
        let platform = Platform::of(wish.platform.as_deref())?;
        let name = wish.name.as_deref();
        if let Some(name) = name {
            super::reference::full_name(name)?;
        }
        let staging = Staging::new(self, wish.limits)?;
        let folder = staging.folder("tree")?;
        let limits = staging.limits();
        let (Unpacked { bytes, .. }, digests) = stream::through(source, |pieces| {
            unpack(pieces, &folder, Content::Root, limits)
        })?;
        let blobs = Blobs::open(&folder)?;
        if let Some(form) = blobs.form().filter(|_| !wish.is_root) {
            let taking = Taking {
                images: self,
                limits: wish.limits,
                name,
                platform: &platform,
                now: wish.now,
            };
            return archive::take(&blobs, form, &taking);
        }
        let plain = digests.plain;
        let layer = staging.adopt(&folder, &plain, bytes)?;
        let (os, architecture) = platform.pair();
        let config = json!({
            "architecture": architecture, "os": os, "config": {},
            "rootfs": { "type": "layers", "diff_ids": [plain.to_string()] },
        });
        let config = config.to_string().into_bytes();
        let manifest = written(&config, vec![Descriptor::new(LAYER, &plain, bytes)])?;
        let names: Vec<_> = wish.name.clone().into_iter().collect();
        let record =
            staging.publish(&Documents { manifest, config }, &[layer], &names, wish.now)?;
        Ok(vec![record])
    }
}
