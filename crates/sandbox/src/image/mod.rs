//! Images: read-only roots that sandboxes write over.
//!
//! ```text
//! pull, import ─► staging/ ─► layers/<digest>/  ◄── overlay lowers of containers
//!   (registry,     (aside)    blobs/ records/ names/ ◄── ls, inspect, and what a job is told
//!    archive)                 disks/<digest>    ◄── one read-only file for virtual machines
//! ```
//!
//! Everything is published by rename, and a record only after its layers: what is there is whole.

mod archive;
mod digest;
mod disk;
mod import;
mod library;
mod manifest;
mod marks;
mod pull;
mod reference;
mod refusal;
mod registry;
mod root_tar;
mod staging;
mod stream;
mod tape;
mod unpack;

pub use digest::Digest;
pub use disk::DiskKind;
pub use import::{Imported, Wish};
pub use library::{Images, Layer, Name, Pruned, Record, Removed};
pub use pull::{Credentials, Progress, Pull};
pub use reference::{familiar, full_name};
pub use unpack::Limits;

use crate::{Error, Layout};
use dauer_core::Image;
use std::path::{Path, PathBuf};

/// Refuses an image that cannot be used here. Errors: `Invalid`.
pub fn check(layout: &Layout, image: &Image) -> Result<(), Error> {
    let (text, is_tar) = match image {
        Image::Host => return Ok(()),
        Image::Oci { .. } => return lowers(layout, image).map(drop),
        Image::Directory(path) => (path, false),
        Image::Tar(path) => (path, true),
    };
    let refuse = |why: &str| Err(Error::Invalid(format!("image {text}: {why}")));
    let path = Path::new(text);
    match path.metadata() {
        Ok(meta) if meta.is_dir() && !is_tar => Ok(()),
        Ok(_) if !is_tar => refuse("it is no folder"),
        Ok(_) => match root_tar::is_tar(path) {
            Ok(true) => Ok(()),
            Ok(false) => refuse("it is neither a folder nor a tar file (plain, gzip or zstd)"),
            Err(error) => refuse(&error.to_string()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            refuse("no such folder or tar file (or use `host`, this machine's own root)")
        }
        Err(error) => refuse(&error.to_string()),
    }
}

/// The read-only folders of an image, the topmost first; unpacks a tar file that is not unpacked yet. Errors: `Invalid` where it is not here.
pub fn lowers(layout: &Layout, image: &Image) -> Result<Vec<PathBuf>, Error> {
    match image {
        Image::Host => Ok(vec![PathBuf::from("/")]),
        Image::Directory(path) => Ok(vec![PathBuf::from(path)]),
        Image::Tar(path) => Ok(vec![root_tar::unpacked(layout, Path::new(path))?]),
        Image::Oci {
            reference, digest, ..
        } => {
            let images = Images::open(layout);
            let record = images.record(&digest.parse()?)?.ok_or_else(|| {
                Error::Invalid(format!(
                    "the image {reference} ({digest}) is not on this node: pull or import it again"
                ))
            })?;
            Ok(images.lowers(&record))
        }
    }
}

#[cfg(test)]
mod tests;
