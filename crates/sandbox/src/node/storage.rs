//! Checkpoints as things that take room: packed, emptied, swept, sent and received.

use super::{Node, blocking};
use crate::chunks::{self, Packed, Sweep};
use crate::{Error, disk, files, snapshot, stream};
use dauer_core::{CheckpointId, JobId, Timestamp};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// How a checkpoint lies on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// There is none.
    Absent,
    /// As it was taken, by this job, at this moment.
    Whole(JobId, SystemTime),
    /// Packed, and its files have their content too, which was last used then.
    Cached(SystemTime),
    /// Packed.
    Packed,
}

impl Node {
    /// Whether a checkpoint's folder is published and whole.
    ///
    /// # Errors
    /// `Io`.
    pub async fn has_snapshot(&self, id: &CheckpointId) -> Result<bool, Error> {
        let path = self.layout().snapshot(id).join("manifest.json");
        // One look at one file takes less than asking a thread to look.
        path.try_exists()
            .map_err(Error::io(format!("look at {}", path.display())))
    }

    /// What is written beside a checkpoint whose folder is published.
    ///
    /// # Errors
    /// As [`Node::published`].
    pub async fn manifest(&self, id: &CheckpointId) -> Result<Option<snapshot::Manifest>, Error> {
        let (layout, id) = (self.layout().clone(), id.clone());
        blocking(move || snapshot::read(&layout, &id)).await
    }

    /// How a checkpoint lies on disk now.
    ///
    /// # Errors
    /// `Io`; `BadImage` where its manifest is damaged.
    pub async fn stored(&self, id: &CheckpointId) -> Result<Stored, Error> {
        let (layout, id) = (self.layout().clone(), id.clone());
        blocking(move || {
            let folder = layout.snapshot(&id);
            if chunks::is_packed(&folder) {
                return Ok(chunks::last_use(&folder)?.map_or(Stored::Packed, Stored::Cached));
            }
            let Some(manifest) = snapshot::read(&layout, &id)? else {
                return Ok(Stored::Absent);
            };
            let Timestamp(taken_at) = manifest.taken_at;
            let since = Duration::from_millis(u64::try_from(taken_at).unwrap_or(0));
            Ok(Stored::Whole(manifest.job, SystemTime::UNIX_EPOCH + since))
        })
        .await
    }

    /// Packs a checkpoint with what is left of the machine: see [`chunks::pack`].
    ///
    /// # Errors
    /// Those of [`chunks::pack`].
    pub async fn pack(
        &self,
        id: &CheckpointId,
        related: Vec<CheckpointId>,
    ) -> Result<Option<Packed>, Error> {
        let (layout, id) = (self.layout().clone(), id.clone());
        in_the_background(move || chunks::pack(&layout, &id, &related)).await
    }

    /// Takes the content out of the files of a packed checkpoint, unless somebody reads them; says whether it is out.
    ///
    /// # Errors
    /// `Io`; `BadImage` where its recipe is damaged.
    pub async fn drop_raw(&self, id: &CheckpointId) -> Result<bool, Error> {
        let folder = self.layout().snapshot(id);
        blocking(move || chunks::drop_raw(&folder)).await
    }

    /// Removes what no checkpoint needs of the packs: see [`chunks::sweep`].
    ///
    /// # Errors
    /// Those of [`chunks::sweep`].
    pub async fn sweep(&self, without: Option<Vec<CheckpointId>>) -> Result<Sweep, Error> {
        let layout = self.layout().clone();
        in_the_background(move || chunks::sweep(&layout, without.as_deref())).await
    }

    /// What is being written, or was when its writer died.
    ///
    /// # Errors
    /// `Io`.
    pub async fn partials(&self) -> Result<Vec<CheckpointId>, Error> {
        let folder = self.layout().snapshots();
        let names = blocking(move || files::names(&folder)).await?;
        let ids = names
            .iter()
            .filter_map(|name| name.strip_prefix(".partial-"));
        Ok(ids.map(|id| CheckpointId(id.to_owned())).collect())
    }

    /// Bytes of the blocks below a folder of this node, and of itself; 0 where it is not there.
    ///
    /// # Errors
    /// `Io`.
    pub async fn occupied(&self, folder: std::path::PathBuf) -> Result<u64, Error> {
        blocking(move || match std::fs::symlink_metadata(&folder) {
            Ok(meta) if meta.is_dir() => Ok(disk::tree_bytes(&folder)? + meta.blocks() * 512),
            Ok(meta) => Ok(meta.blocks() * 512),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(e) => Err(Error::io(format!("look at {}", folder.display()))(e)),
        })
        .await
    }

    /// The command that writes a checkpoint to its standard output as one stream.
    #[must_use]
    pub fn export(&self, id: &CheckpointId) -> Command {
        stream::command(&self.shared.shim_binary, self.layout(), "export", id)
    }

    /// The command that takes such a stream in from its standard input, under an id that must be new.
    #[must_use]
    pub fn import(&self, id: &CheckpointId) -> Command {
        stream::command(&self.shared.shim_binary, self.layout(), "import", id)
    }
}

/// Runs work in a thread of its own that steps back for everything else.
async fn in_the_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (answer, result) = tokio::sync::oneshot::channel();
    let body = move || {
        step_back();
        // Nobody waits for it any more where the daemon ends.
        let _ = answer.send(work());
    };
    let thread = std::thread::Builder::new().name("storage".into());
    thread.spawn(body).map_err(Error::io("start a thread"))?;
    result.await.unwrap_or_else(|_| {
        Err(Error::Refused(
            "the work on the storage was broken off".into(),
        ))
    })
}

/// Least of the processors and of the disk, for this thread.
fn step_back() {
    const WHO_PROCESS: i32 = 1;
    const IDLE: i32 = 3 << 13;
    // SAFETY: no pointers; 0 is the calling thread. Where this is refused, it is only in the way more.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
        libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, IDLE);
    }
}
