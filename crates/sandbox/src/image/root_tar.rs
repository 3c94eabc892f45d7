//! A tar file that is used as a root: unpacked once into `images/roots/<digest>/`. `images/roots/<stamp>.ref` says which digest a file of
//! this path, size and time has, so that a large one is read once.

use super::stream::{self, Digests};
use super::unpack::{Content, Limits, unpack};
use crate::host::root::make_folder;
use crate::{Error, Layout};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// Whether a file looks like a tar: by its first bytes. A packed one is only known to be one once it is unpacked.
pub(super) fn is_tar(path: &Path) -> std::io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(512).read_to_end(&mut head)?;
    Ok(head.starts_with(&[0x1f, 0x8b])
        || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || head.get(257..262) == Some(b"ustar"))
}

/// The folder of a tar file, unpacked where it is not yet.
pub(super) fn unpacked(layout: &Layout, tar: &Path) -> Result<PathBuf, Error> {
    let roots = layout.images().path.join("roots");
    let known = roots.join(format!("{}.ref", stamp(tar)?));
    if let Ok(digest) = fs::read_to_string(&known) {
        let folder = roots.join(digest.trim());
        if folder.is_dir() {
            return Ok(folder);
        }
    }
    make_folder(&roots)?;
    let made = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(&roots)
        .map_err(Error::io(format!("make a folder in {}", roots.display())))?;
    let file = File::open(tar).map_err(Error::io(format!("open {}", tar.display())))?;
    let ((), Digests { plain, .. }) = stream::through(file, |pieces| {
        unpack(pieces, made.path(), Content::Root, Limits::default()).map(drop)
    })
    .map_err(|error| match error {
        Error::Invalid(why) => Error::Invalid(format!("{}: {why}", tar.display())),
        other => other,
    })?;
    let folder = roots.join(plain.hex());
    // Two at once publish the same content: the second rename finds a folder that is not empty, and its own goes away with `made`.
    match fs::rename(made.path(), &folder) {
        Err(_) if folder.is_dir() => {}
        renamed => renamed.map_err(Error::io(format!("publish {}", folder.display())))?,
    }
    fs::write(&known, plain.hex()).map_err(Error::io(format!("write {}", known.display())))?;
    Ok(folder)
}

/// Another size or time means another file.
fn stamp(path: &Path) -> Result<String, Error> {
    let meta = fs::metadata(path).map_err(Error::io(format!("look at {}", path.display())))?;
    let text = format!(
        "{}\0{}\0{}\0{}",
        path.display(),
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    Ok(format!("{:016x}", xxh3_64(text.as_bytes())))
}
