//! Somebody who reads a checkpoint's files: for as long as that lasts nobody takes their content away.

use super::Manifest;
use crate::{Error, Layout, chunks};
use dauer_core::CheckpointId;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Holds a shared lock on the folder of a checkpoint; the kernel takes it back when the process ends. Every reader must have one, in whichever
/// process it is. What was packed is unpacked first.
#[derive(Debug)]
pub struct Reader {
    manifest: Manifest,
    folder: PathBuf,
    _shared: Flock<File>,
}

impl Reader {
    /// Errors: `BadImage` where there is no such checkpoint, or it is damaged; `NoSpace`; `Io`.
    pub fn open(layout: &Layout, id: &CheckpointId) -> Result<Self, Error> {
        let folder = layout.snapshot(id);
        let absent = || Error::BadImage(format!("snapshots/{id} does not exist"));
        let shared = match lock(&folder, FlockArg::LockShared)? {
            Locked::Yes(shared) => shared,
            Locked::Absent | Locked::Busy => return Err(absent()),
        };
        let manifest = super::read(layout, id)?.ok_or_else(absent)?;
        chunks::make_raw(layout, &folder)?;
        Ok(Self {
            manifest,
            folder,
            _shared: shared,
        })
    }

    /// What it says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Whether a folder was locked.
pub(crate) enum Locked {
    Yes(Flock<File>),
    /// There is no such folder.
    Absent,
    /// Somebody else has it, and the lock was not to be waited for.
    Busy,
}

/// Locks a folder.
pub(crate) fn lock(folder: &Path, how: FlockArg) -> Result<Locked, Error> {
    let what = || format!("lock {}", folder.display());
    let file = match File::open(folder) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Locked::Absent),
        Err(e) => return Err(Error::io(what())(e)),
    };
    match Flock::lock(file, how) {
        Ok(lock) => Ok(Locked::Yes(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(Locked::Busy),
        Err((_, errno)) => Err(Error::os(what())(errno)),
    }
}
