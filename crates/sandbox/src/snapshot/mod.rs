//! A checkpoint on disk: what its manifest says, how it is published, and how it is checked before anything is restored from it.
//!
//! ```text
//! snapshots/<id>/manifest.json    lengths and digests of all below, and what the checkpoint depends on
//!                memory/…         what the driver's tool wrote
//!                disk/<n>/…       the n-th overlay upper of the sandbox
//! snapshots/.partial-<id>/        the same while it is written; becomes <id> by one rename
//! ```
//!
//! The digest of a file is the XXH3-128 of its contents; of one over [`PIECE_BYTES`], the XXH3-128 of the digests of its pieces (16 bytes
//! each, big endian), so that several cores can work on it.

mod cpu;
mod digest;
mod follow;
mod intake;
mod reader;
mod stream;
#[cfg(test)]
pub(crate) mod tests;

pub use cpu::Cpu;
pub use digest::{Digested, Digests};
pub(crate) use follow::Follow;
pub(crate) use intake::Intake;
pub use reader::Reader;
pub(crate) use reader::{Locked, lock};
pub use stream::{Head, STREAM_VERSION, export, head, import};

use crate::driver::Identity;
use crate::{Error, Layout, disk, files};
use dauer_core::{Checkpoint, CheckpointId, Image, JobId, SandboxId, Timestamp};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The version of manifest and folder that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// Longer files are digested in pieces of so many bytes.
pub const PIECE_BYTES: u64 = 32 << 20;

/// What is in a checkpoint's folder beside what was taken.
pub(crate) const OWN_NAMES: [&str; 6] = [
    "manifest.json",
    "recipe",
    "recipe.new",
    "raw",
    "raw.new",
    FILL_NEW,
];

/// A file on its way into the place of one that must not be written to.
pub(crate) const FILL_NEW: &str = "fill.new";

/// Each sync waits for the disk, which takes several at once. So many are one thread's work.
const SYNC_A_THREAD: usize = 6;
const SYNC_THREADS_MAX: usize = 4;

/// Over so many files, one `syncfs` is cheaper than an `fsync` each, though it also writes what others have dirty.
const SYNC_EACH_MAX: usize = 64;

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// The checkpoint.
    pub id: CheckpointId,
    /// Whose it is.
    pub job: JobId,
    /// The sandbox it was taken of.
    pub sandbox: SandboxId,
    /// The incarnation it was taken of.
    pub generation: u32,
    /// What was below its changes.
    pub image: Image,
    /// Tool that can read `memory/`.
    pub identity: Identity,
    /// The processor that its programs have seen.
    pub cpu: Cpu,
    /// The kernel it ran on, for people.
    pub kernel: String,
    /// Bytes of a memory page.
    pub page_bytes: u64,
    /// Output up to here belongs to it.
    pub log_offset: u64,
    /// The token it was asked for with.
    pub token: Option<String>,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// How long the sandbox stood still for it.
    pub frozen_ms: u64,
    /// The job's first process, as numbered inside.
    pub job_pid: Option<i32>,
    /// Mount points inside whose changes are in `disk/0`, `disk/1` …
    pub uppers: Vec<String>,
    /// Where something of the host was mounted.
    pub mount_points: Vec<String>,
    /// Bytes of `memory/`.
    pub memory_bytes: u64,
    /// Bytes of `disk/`.
    pub disk_bytes: u64,
    /// Bytes of the blocks that all of it takes on disk; absent where an earlier build wrote it.
    #[serde(default)]
    pub blocks_bytes: Option<u64>,
    /// Every regular file but the manifest.
    pub files: Vec<FileRecord>,
    /// XXH3-128 over the names, kinds, owners and modes of everything in `disk/`.
    pub tree_xxh3_128: String,
}

/// A file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Below the checkpoint's folder. Bytes that are no text are written as `%XX`, as is `%` itself.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Its digest, 32 hexadecimal digits.
    pub xxh3_128: String,
}

const HEAD: &str = "{\"xxh3_128\":\"";
const MIDDLE: &str = "\",\"manifest\":";

impl Manifest {
    /// The record of it in the store.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            id: self.id.clone(),
            job: self.job.clone(),
            generation: self.generation,
            taken_at: self.taken_at,
            frozen_ms: self.frozen_ms,
            memory_bytes: self.memory_bytes,
            disk_bytes: self.disk_bytes,
            log_offset: self.log_offset,
            token: self.token.clone(),
            blocks_bytes: self.blocks_bytes,
        }
    }

    /// Whether there is memory in it, or files alone.
    #[must_use]
    pub fn has_memory(&self) -> bool {
        self.files
            .iter()
            .any(|file| file.path.starts_with("memory/"))
    }

    /// Output of this job up to here belongs to it: none of one that only goes on from it.
    #[must_use]
    pub fn log_offset_of(&self, job: &str) -> u64 {
        if self.job.as_str() == job {
            self.log_offset
        } else {
            0
        }
    }

    /// The record of a job that shares it: what that one writes begins after it.
    #[must_use]
    pub fn checkpoint_of(&self, job: &JobId) -> Checkpoint {
        Checkpoint {
            job: job.clone(),
            log_offset: self.log_offset_of(job.as_str()),
            ..self.checkpoint()
        }
    }

    /// Mount points inside with their saved uppers in `folder`.
    #[must_use]
    pub fn saved_uppers(&self, folder: &Path) -> Vec<(String, PathBuf)> {
        let saved =
            |(number, point): (usize, &String)| (point.clone(), saved_upper(folder, number));
        self.uppers.iter().enumerate().map(saved).collect()
    }

    /// Fills in lengths and digests of all that is in `folder`, with every core, but for the digests that are known of files in `memory`.
    pub(crate) fn describe(&mut self, folder: &Path, known: &Digests) -> Result<(), Error> {
        let contents = digest::Contents::of(folder)?;
        self.memory_bytes = contents.bytes_below("memory");
        self.disk_bytes = contents.bytes_below("disk");
        self.blocks_bytes = Some(contents.blocks_bytes);
        self.tree_xxh3_128 = contents.tree.clone();
        self.files = contents.digested(folder, known)?;
        Ok(())
    }

    /// Writes `manifest.json` into `folder`. The digest in front covers the rest, byte for byte.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join("manifest.json");
        let what = || format!("write {}", path.display());
        let body = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::io(what())(std::io::Error::other(e)))?;
        let mut bytes = format!(
            "{HEAD}{}{MIDDLE}",
            digest::hex(xxhash_rust::xxh3::xxh3_128(&body))
        )
        .into_bytes();
        bytes.extend_from_slice(&body);
        bytes.push(b'}');
        fs::write(&path, bytes).map_err(Error::io(what()))
    }

    /// Refuses a restore that cannot work here, whatever is in the files. Errors: `BadImage`.
    pub fn check_machine(&self, here: &Identity) -> Result<(), Error> {
        let name = format!("checkpoint {}", self.id);
        if self.identity.driver != here.driver {
            return Err(Error::BadImage(format!(
                "{name} was taken by driver {}, not {}",
                self.identity.driver, here.driver
            )));
        }
        if self.identity.version != here.version {
            return Err(Error::BadImage(format!(
                "{name} was taken by {} {}, this machine has {}: install that version to restore it",
                self.identity.driver, self.identity.version, here.version
            )));
        }
        let page_bytes = page_bytes();
        if self.page_bytes != page_bytes {
            return Err(Error::BadImage(format!(
                "{name} has memory pages of {} bytes, this machine has {page_bytes}",
                self.page_bytes
            )));
        }
        let here = Cpu::here()?;
        let missing = self.cpu.missing_on(&here);
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::BadImage(format!(
            "{name} was taken on a processor ({}) with {}, which this machine lacks: restore it on one that has them",
            self.cpu.model,
            missing.join(", ")
        )))
    }

    /// Compares everything in `folder` with what was written at the taking. Errors: `BadImage` naming the file.
    pub fn verify(&self, folder: &Path) -> Result<(), Error> {
        let contents = digest::Contents::of(folder)?;
        let recorded: std::collections::HashMap<&str, &FileRecord> = self
            .files
            .iter()
            .map(|file| (file.path.as_str(), file))
            .collect();
        for file in &self.files {
            match contents.length(&file.path) {
                None => return Err(damaged(folder, &file.path, "the file is missing")),
                Some(bytes) if bytes != file.bytes => {
                    let why = format!("it has {bytes} bytes instead of {}", file.bytes);
                    return Err(damaged(folder, &file.path, &why));
                }
                Some(_) => {}
            }
        }
        if let Some(extra) = contents.paths().find(|path| !recorded.contains_key(path)) {
            return Err(damaged(
                folder,
                extra,
                "the file was not there at the taking",
            ));
        }
        if contents.tree != self.tree_xxh3_128 {
            return Err(damaged(folder, "disk", "names, owners or modes differ"));
        }
        for found in contents.digested(folder, &Digests::new())? {
            if recorded
                .get(found.path.as_str())
                .is_none_or(|file| file.xxh3_128 != found.xxh3_128)
            {
                return Err(damaged(folder, &found.path, "the digest differs"));
            }
        }
        Ok(())
    }
}

fn damaged(folder: &Path, file: &str, why: &str) -> Error {
    let id = folder.file_name().unwrap_or_default().to_string_lossy();
    Error::BadImage(format!(
        "snapshots/{id}/{file}: {why}: the image is damaged and cannot be restored"
    ))
}

/// Where the n-th upper is saved in a checkpoint's folder.
#[must_use]
pub fn saved_upper(folder: &Path, number: usize) -> PathBuf {
    folder.join("disk").join(number.to_string())
}

/// Bytes of a memory page here.
#[must_use]
pub fn page_bytes() -> u64 {
    // SAFETY: no pointers.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// The manifest of a published checkpoint; `None` where there is none. Errors: `BadImage`.
pub fn read(layout: &Layout, id: &CheckpointId) -> Result<Option<Manifest>, Error> {
    let folder = layout.snapshot(id);
    let path = folder.join("manifest.json");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && folder.exists() => {
            return Err(damaged(&folder, "manifest.json", "the file is missing"));
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(format!("read {}", path.display()))(e)),
    };
    parse(&bytes)
        .map(Some)
        .map_err(|why| damaged(&folder, "manifest.json", &why))
}

fn parse(bytes: &[u8]) -> Result<Manifest, String> {
    let torn = || "it is torn or changed".to_owned();
    let rest = bytes.strip_prefix(HEAD.as_bytes()).ok_or_else(torn)?;
    let (digest, rest) = rest.split_at_checked(32).ok_or_else(torn)?;
    let body = rest
        .strip_prefix(MIDDLE.as_bytes())
        .ok_or_else(torn)?
        .strip_suffix(b"}")
        .ok_or_else(torn)?;
    if digest != digest::hex(xxhash_rust::xxh3::xxh3_128(body)).as_bytes() {
        return Err(torn());
    }
    // The version is read by itself first: another version may have other fields.
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let version: Version = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    if version.format_version != FORMAT_VERSION {
        return Err(format!(
            "it has format {}, this program reads format {FORMAT_VERSION}",
            version.format_version
        ));
    }
    serde_json::from_slice(body).map_err(|e| e.to_string())
}

/// Makes the written folder survive a crash of the machine. Errors: `NoSpace` where the file system took more than it could hold; `Io`.
pub(crate) fn make_durable(layout: &Layout, id: &CheckpointId) -> Result<(), Error> {
    sync_tree(&layout.partial_snapshot(id))
}

/// Makes a durable folder visible under its id, durably.
pub(crate) fn publish(layout: &Layout, id: &CheckpointId) -> Result<(), Error> {
    let (partial, published) = (layout.partial_snapshot(id), layout.snapshot(id));
    let what = || format!("publish {}", published.display());
    fs::rename(&partial, &published).map_err(Error::io(what()))?;
    files::sync_folder(&layout.snapshots()).map_err(Error::io(what()))
}

fn sync_tree(folder: &Path) -> Result<(), Error> {
    let what = |path: &Path| format!("write out {}", path.display());
    let (mut leaves, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    disk::walk(folder, |path, meta| {
        if meta.is_dir() {
            folders.push(path.to_owned());
        } else if meta.is_file() {
            leaves.push(path.to_owned());
        }
        Ok(())
    })?;
    if leaves.len() + folders.len() > SYNC_EACH_MAX {
        let folder_path = folder;
        let folder = File::open(folder_path).map_err(Error::io(what(folder_path)))?;
        // SAFETY: a valid descriptor.
        return match unsafe { libc::syncfs(folder.as_raw_fd()) } {
            0 => Ok(()),
            _ => Err(unwritten(folder_path, std::io::Error::last_os_error())),
        };
    }
    leaves.append(&mut folders);
    let next = AtomicUsize::new(0);
    let sync_some = || {
        while let Some(path) = leaves.get(next.fetch_add(1, Ordering::Relaxed)) {
            File::open(path)
                .and_then(|file| file.sync_all())
                .map_err(|error| unwritten(path, error))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let helpers = (0..leaves.len().div_ceil(SYNC_A_THREAD).min(SYNC_THREADS_MAX) - 1)
            .map_while(|_| {
                let thread = std::thread::Builder::new().name("sync".into());
                // One thread alone only takes longer.
                thread
                    .stack_size(64 << 10)
                    .spawn_scoped(scope, sync_some)
                    .ok()
            })
            .collect::<Vec<_>>();
        let mut result = sync_some();
        for helper in helpers {
            let helped = helper
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and(helped);
        }
        result
    })
}

fn unwritten(path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            disk::no_space(path, 0)
        }
        _ => Error::io(format!("write out {}", path.display()))(error),
    }
}

/// Deletes a checkpoint, published or partial. Its manifest goes first, so that a crash in the middle leaves nothing that looks whole.
pub fn remove(layout: &Layout, id: &CheckpointId) -> Result<(), Error> {
    let published = layout.snapshot(id);
    files::remove_file(&published.join("manifest.json"))?;
    files::remove_tree(&published)?;
    files::remove_tree(&layout.partial_snapshot(id))
}

/// The published checkpoints.
pub fn list(layout: &Layout) -> Result<Vec<CheckpointId>, Error> {
    let names = files::names(&layout.snapshots())?;
    Ok(names
        .into_iter()
        .filter(|name| !name.starts_with('.'))
        .map(CheckpointId)
        .collect())
}

/// Deletes what was being written when a shim died, but those in `keep`.
pub fn discard_partials(layout: &Layout, keep: &[CheckpointId]) -> Result<(), Error> {
    for name in files::names(&layout.snapshots())? {
        let Some(id) = name.strip_prefix(".partial-") else {
            continue;
        };
        if !keep.iter().any(|kept| kept.as_str() == id) {
            files::remove_tree(&layout.snapshots().join(&name))?;
        }
    }
    Ok(())
}
