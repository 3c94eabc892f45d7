//! The guest agent as a sandbox sees it: a folder for `/run/dauer`, kept by digest.
//!
//! A frozen agent's code is not in its image but in its file. An upgrade of Dauer must not change that file under
//! sandboxes that run or are frozen, so each version of it is copied aside once.

use crate::host::root::make_folder;
use crate::{Error, Layout};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The folder with this version of the agent. Copies it if it is not there yet; safe for several processes at once.
pub(crate) fn install(layout: &Layout, binary: &Path) -> Result<(String, PathBuf), Error> {
    let what = || format!("read the guest agent {}", binary.display());
    let bytes = fs::read(binary).map_err(Error::io(what()))?;
    let digest = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&bytes));
    let folder = folder(layout, &digest);
    if !folder.join("dauer").exists() {
        let parent = folder.parent().expect("it is below the data folder");
        make_folder(parent)?;
        let what = || format!("copy the guest agent to {}", parent.display());
        let made = tempfile::Builder::new()
            .prefix(".new-")
            .tempdir_in(parent)
            .map_err(Error::io(what()))?;
        let copy = made.path().join("dauer");
        fs::write(&copy, &bytes).map_err(Error::io(what()))?;
        for path in [made.path(), &copy] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(Error::io(what()))?;
        }
        if let Err(e) = fs::rename(made.path(), &folder)
            && !folder.join("dauer").exists()
        {
            return Err(Error::io(what())(e));
        }
    }
    Ok((digest, folder))
}

/// The folder of a version that was installed once. Errors: `BadImage`.
pub(crate) fn installed(layout: &Layout, digest: &str) -> Result<PathBuf, Error> {
    let folder = folder(layout, digest);
    if folder.join("dauer").exists() {
        return Ok(folder);
    }
    Err(Error::BadImage(format!(
        "the guest agent {digest} this checkpoint was taken with is not in {}",
        folder.display()
    )))
}

fn folder(layout: &Layout, digest: &str) -> PathBuf {
    layout.data.join("guests").join(digest)
}
