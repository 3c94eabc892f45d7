//! The guest agent as a sandbox sees it: a folder for `/run/dauer`, kept by digest.
//!
//! A frozen agent's code is not in its image but in its file. An upgrade of Dauer must not change that file under
//! sandboxes that run or are frozen, so each version of it is copied aside once.

use super::Incarnation;
use super::tool::Stamp;
use crate::host::root::{RECORD, make_folder};
use crate::{Error, Layout};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// In the data folder: `<digest>/dauer`, and links from stamps to digests.
const GUESTS: &str = "guests";

/// In the scratch folder and in each checkpoint: which agent runs inside.
pub(crate) const AGENT_FILE: &str = "agent";

/// Installs the agent for a fresh incarnation and keeps in its scratch folder which one it is. Returns the folder for inside.
pub(super) fn of_fresh(incarnation: &Incarnation) -> Result<PathBuf, Error> {
    let spec = &incarnation.spec;
    let (digest, folder) = install(&spec.layout, &spec.guest_binary)?;
    remember(incarnation, &digest)?;
    Ok(folder)
}

/// The folder with the agent that a checkpoint was taken with, kept like that of a fresh one. Errors: `BadImage`.
pub(super) fn of_checkpoint(incarnation: &Incarnation, memory: &Path) -> Result<PathBuf, Error> {
    let digest = recorded(memory)?.ok_or_else(|| {
        Error::BadImage(format!("{} is missing", memory.join(AGENT_FILE).display()))
    })?;
    remember(incarnation, &digest)?;
    installed(&incarnation.spec.layout, &digest)
}

fn remember(incarnation: &Incarnation, digest: &str) -> Result<(), Error> {
    let path = incarnation.scratch.join(AGENT_FILE);
    fs::write(&path, digest).map_err(Error::io(format!("write {}", path.display())))
}

/// Copies into a checkpoint what its incarnation is made of beside memory and changed files.
pub(super) fn save_records(incarnation: &Incarnation, into: &Path) -> Result<(), Error> {
    for name in [AGENT_FILE, RECORD] {
        let from = incarnation.scratch.join(name);
        fs::copy(&from, into.join(name)).map_err(Error::io(format!("copy {}", from.display())))?;
    }
    Ok(())
}

/// The folder with this version of the agent, and its digest. Copies it if it is not there yet; safe for several processes at once.
pub(crate) fn install(layout: &Layout, binary: &Path) -> Result<(String, PathBuf), Error> {
    // Reading some megabytes would be half of the time that a start takes: a link by size and time says what was read before.
    let stamp = Stamp::of(binary)?;
    let known = layout
        .data
        .join(GUESTS)
        .join(format!(".{:016x}", stamp.hash()));
    if let Ok(digest) = fs::read_link(&known).map(|digest| digest.to_string_lossy().into_owned())
        && let Ok(folder) = installed(layout, &digest)
    {
        return Ok((digest, folder));
    }
    let what = || format!("read the guest agent {}", binary.display());
    let bytes = fs::read(binary).map_err(Error::io(what()))?;
    let digest = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&bytes));
    let folder = folder(layout, &digest);
    if !folder.join("dauer").exists() {
        copy(&bytes, &folder)?;
    }
    match std::os::unix::fs::symlink(&digest, &known) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::io(format!("make {}", known.display()))(e))
        }
        Ok(()) | Err(_) => Ok((digest, folder)),
    }
}

fn copy(bytes: &[u8], folder: &Path) -> Result<(), Error> {
    let parent = folder.parent().expect("it is below the data folder");
    make_folder(parent)?;
    let what = || format!("copy the guest agent to {}", parent.display());
    let made = tempfile::Builder::new()
        .prefix(".new-")
        .tempdir_in(parent)
        .map_err(Error::io(what()))?;
    let copy = made.path().join("dauer");
    fs::write(&copy, bytes).map_err(Error::io(what()))?;
    for path in [made.path(), &copy] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(Error::io(what()))?;
    }
    match fs::rename(made.path(), folder) {
        // Another process was faster with the same content.
        Err(e) if !folder.join("dauer").exists() => Err(Error::io(what())(e)),
        Ok(()) | Err(_) => Ok(()),
    }
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

/// Which agent runs in a checkpoint; `None` where its driver has none. Errors: `BadImage` where that is no digest.
pub(crate) fn recorded(memory: &Path) -> Result<Option<String>, Error> {
    let path = memory.join(AGENT_FILE);
    let digest = match fs::read_to_string(&path) {
        Ok(digest) => digest,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(format!("read {}", path.display()))(e)),
    };
    if !is_digest(&digest) {
        return Err(Error::BadImage(format!(
            "{} names no guest agent: the image is damaged",
            path.display()
        )));
    }
    Ok(Some(digest))
}

/// The binary of a version that was installed once. Errors: `BadImage`.
pub(crate) fn binary(layout: &Layout, digest: &str) -> Result<PathBuf, Error> {
    Ok(installed(layout, digest)?.join("dauer"))
}

/// Keeps an agent that came with a checkpoint, unless that version is here. Errors: `BadImage` where it is another one.
pub(crate) fn take_in(layout: &Layout, digest: &str, bytes: &[u8]) -> Result<(), Error> {
    if !is_digest(digest) || format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes)) != digest {
        return Err(Error::BadImage(
            "the guest agent that came with it is not the one it names".into(),
        ));
    }
    if installed(layout, digest).is_ok() {
        return Ok(());
    }
    copy(bytes, &folder(layout, digest))
}

fn is_digest(text: &str) -> bool {
    text.len() == 32
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn folder(layout: &Layout, digest: &str) -> PathBuf {
    layout.data.join(GUESTS).join(digest)
}
