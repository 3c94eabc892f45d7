//! One checkpoint, from holding still to publishing it. Whatever fails, the job goes on and nothing stays on disk.
//!
//! ```text
//! Quiesce ─ Quiesced ─ pause ─ log settled ─ memory saved ─ uppers copied ─ resume ─ digests, log synced ─ manifest ─ fsync ─ rename
//!                                                   (freeze: linked)      (freeze: stays paused)
//! ```

use super::state::Shim;
use super::{clock, process, start};
use crate::driver::{Checkpointer, Identity};
use crate::host::root;
use crate::protocol::{Phase, Reply};
use crate::snapshot::{self, Cpu, Digests, FORMAT_VERSION, Manifest};
use crate::{Error, disk, files};
use dauer_core::{Checkpoint, CheckpointId, JobId};
use dauer_wire::guest::{Quiesced, ToGuest};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// The agent answers as soon as it has written what it was writing; a job with thousands of open files takes a little longer.
const QUIESCE_MAX: Duration = Duration::from_secs(30);
/// Beside memory and files: the tools' own pages, manifests, folders.
const MARGIN_BYTES: u64 = 16 << 20;
/// Less room than this afterwards means that the disk was full in between: some tool may have written less than it should have.
const LEFT_BYTES_MIN: u64 = 4 << 20;

/// Takes and publishes a checkpoint; with `freeze` the sandbox stays still afterwards.
pub(super) fn take(
    shim: &Shim,
    id: &CheckpointId,
    freeze: bool,
    token: Option<String>,
) -> Result<Reply, Error> {
    let _one_at_a_time = shim
        .checkpointing
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(checkpoint) = taken_already(shim, id, freeze)? {
        return Ok(published(checkpoint));
    }
    shim.wait_until_made();
    let taking = Taking::begin(shim, id, freeze)?;
    let checkpoint = taking.run(token)?;
    process::trim();
    Ok(published(checkpoint))
}

fn published(checkpoint: Checkpoint) -> Reply {
    Reply::Published {
        checkpoint: Box::new(checkpoint),
    }
}

/// The same call of an earlier daemon, or one that was repeated.
fn taken_already(
    shim: &Shim,
    id: &CheckpointId,
    freeze: bool,
) -> Result<Option<Checkpoint>, Error> {
    match shim.phase() {
        Phase::Frozen { checkpoint } if checkpoint.id == *id => return Ok(Some(*checkpoint)),
        Phase::Frozen { .. } => return Err(Error::Invalid("the sandbox is frozen already".into())),
        Phase::Starting => {
            return Err(Error::Refused(
                "the sandbox is still starting: try again".into(),
            ));
        }
        Phase::Ended { .. } => return Err(Error::Gone),
        Phase::Running => {}
    }
    match snapshot::read(&shim.incarnation.spec.layout, id)? {
        Some(manifest) if !freeze => Ok(Some(manifest.checkpoint())),
        Some(_) => Err(Error::Invalid(format!(
            "checkpoint {id} exists and the sandbox ran on: use a new id to freeze it"
        ))),
        None => Ok(None),
    }
}

/// A frozen sandbox goes on. Its checkpoint goes first: with hard links, the files in it are about to change.
pub(super) fn unfreeze(shim: &Shim) -> Result<(), Error> {
    let _one_at_a_time = shim
        .checkpointing
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let Phase::Frozen { checkpoint } = shim.phase() else {
        return Err(Error::Invalid("the sandbox is not frozen".into()));
    };
    let driver = shim.driver()?;
    let checkpointer = driver.checkpointer().ok_or(Error::Gone)?;
    snapshot::remove(&shim.incarnation.spec.layout, &checkpoint.id)?;
    checkpointer.resume(&shim.incarnation)?;
    shim.agent.release(start::resume(shim)?);
    shim.enter(Phase::Running);
    Ok(())
}

struct Taking<'a> {
    shim: &'a Shim,
    checkpointer: &'a dyn Checkpointer,
    id: &'a CheckpointId,
    freeze: bool,
    partial: PathBuf,
    uppers: Vec<(String, PathBuf)>,
    // Undone in this order when it fails, and as far as they are still there when it does not.
    paused: Option<Paused<'a>>,
    quiet: Option<Quiet<'a>>,
    unpublished: Option<Unpublished<'a>>,
}

/// Processes stand still; they go on when this is dropped.
struct Paused<'a> {
    shim: &'a Shim,
    checkpointer: &'a dyn Checkpointer,
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.checkpointer.resume(&self.shim.incarnation) {
            // Of a sandbox that was killed in between; otherwise its end will be noticed as that of any other.
            eprintln!("shim: resume: {error}");
        }
    }
}

/// The agent holds still; it goes on when this is dropped.
struct Quiet<'a>(&'a Shim);

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        match start::resume(self.0) {
            Ok(frame) => self.0.agent.release(frame),
            // The kernel has random bytes once it is up.
            Err(error) => eprintln!("shim: {error}"),
        }
    }
}

/// The folder that is being written; deleted when this is dropped.
pub(super) struct Unpublished<'a> {
    pub(super) shim: &'a Shim,
    pub(super) id: &'a CheckpointId,
}

impl Unpublished<'_> {
    /// Makes it what others find under its id, durably.
    pub(super) fn publish(self) -> Result<(), Error> {
        let layout = &self.shim.incarnation.spec.layout;
        let partial = layout.partial_snapshot(self.id);
        snapshot::make_durable(layout, self.id)?;
        let free = disk::free_bytes(&partial)?;
        if free < LEFT_BYTES_MIN {
            return Err(disk::no_space(&partial, LEFT_BYTES_MIN));
        }
        snapshot::publish(layout, self.id)?;
        // It is no partial folder any more: nothing to delete.
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Unpublished<'_> {
    fn drop(&mut self) {
        let partial = self.shim.incarnation.spec.layout.partial_snapshot(self.id);
        if let Err(error) = files::remove_tree(&partial) {
            eprintln!("shim: {error}");
        }
    }
}

impl<'a> Taking<'a> {
    fn begin(shim: &'a Shim, id: &'a CheckpointId, freeze: bool) -> Result<Self, Error> {
        let driver = shim.driver()?;
        let checkpointer = driver.checkpointer().ok_or_else(|| {
            Error::Unsupported(format!(
                "driver {} cannot freeze memory: use gvisor or runc",
                driver.name()
            ))
        })?;
        driver.freezable(&shim.incarnation.spec)?;
        let partial = shim.incarnation.spec.layout.partial_snapshot(id);
        let uppers = driver.uppers(&shim.incarnation);
        check_room(shim, &uppers, freeze)?;
        let unpublished = Some(Unpublished { shim, id });
        files::remove_tree(&partial)?;
        let memory = partial.join("memory");
        fs::create_dir_all(&memory).map_err(Error::io(format!("make {}", memory.display())))?;
        Ok(Self {
            shim,
            checkpointer,
            id,
            freeze,
            partial,
            uppers,
            paused: None,
            quiet: None,
            unpublished,
        })
    }

    fn run(mut self, token: Option<String>) -> Result<Checkpoint, Error> {
        let identity = self.checkpointer.identity()?;
        let mut manifest = Manifest {
            token,
            ..blank(self.shim, self.id, identity, &self.uppers)?
        };
        self.hold_still()?;
        let since = Instant::now();
        self.pause()?;
        manifest.log_offset = self.shim.output.settle()?;
        let memory = self.partial.join("memory");
        let saved = self.checkpointer.save(&self.shim.incarnation, &memory)?;
        self.save_uppers()?;
        manifest.taken_at = clock::now();
        if !self.freeze {
            // The copy is consistent: all that follows happens while the job runs.
            self.paused = None;
            self.quiet = None;
        }
        manifest.frozen_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let known = saved
            .into_iter()
            .map(|(name, digested)| (format!("memory/{name}"), digested))
            .collect();
        self.describe(&mut manifest, &known)?;
        if let Some(unpublished) = self.unpublished.take() {
            unpublished.publish()?;
        }
        Ok(self.finish(&manifest))
    }

    /// Writes the manifest. The log up to the checkpoint gets to the disk meanwhile: without it the checkpoint must not be published.
    fn describe(&self, manifest: &mut Manifest, known: &Digests) -> Result<(), Error> {
        let output = &self.shim.output;
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("log to disk".into());
            let logged = thread
                .stack_size(64 << 10)
                .spawn_scoped(scope, || output.write_out())
                .map_err(Error::io("start a thread"))?;
            let described = manifest
                .describe(&self.partial, known)
                .and_then(|()| manifest.write(&self.partial));
            let logged = logged
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            described.and(logged)
        })
    }

    fn hold_still(&mut self) -> Result<(), Error> {
        self.shim.forget_quiesced();
        self.shim.agent.push_and_hold(ToGuest::Quiesce.into_frame());
        // From here on, whatever comes of it, the agent must be told to go on.
        self.quiet = Some(Quiet(self.shim));
        let quiesced = self.shim.wait_until_quiesced(QUIESCE_MAX)?;
        self.check_unlinked(&quiesced)
    }

    fn check_unlinked(&self, quiesced: &Quiesced) -> Result<(), Error> {
        if quiesced.unlinked_files.is_empty() || self.checkpointer.keeps_unlinked_files() {
            return Ok(());
        }
        Err(Error::Unsupported(format!(
            "it has files open that were deleted ({}): close them first, or keep them in /dev/shm, or use driver runc",
            quiesced.unlinked_files.join(", ")
        )))
    }

    fn pause(&mut self) -> Result<(), Error> {
        // A pause that failed half way is undone too.
        self.paused = Some(Paused {
            shim: self.shim,
            checkpointer: self.checkpointer,
        });
        self.checkpointer.pause(&self.shim.incarnation)
    }

    fn save_uppers(&self) -> Result<(), Error> {
        for (number, (_, upper)) in self.uppers.iter().enumerate() {
            // Frozen: nothing writes to these files any more, the sandbox is only ever killed now.
            save_upper(self.shim, number, upper, &self.partial, self.freeze)?;
        }
        Ok(())
    }

    fn finish(mut self, manifest: &Manifest) -> Checkpoint {
        let checkpoint = manifest.checkpoint();
        if self.freeze {
            // It stays as it is: not resumed by going out of scope.
            std::mem::forget((self.paused.take(), self.quiet.take()));
            self.shim.measure();
            self.shim.enter(Phase::Frozen {
                checkpoint: Box::new(checkpoint.clone()),
            });
        }
        checkpoint
    }
}

/// Puts what the piece of this number changed where a checkpoint has it, together with what it is stacked on: checkpoints are whole. With `linked`
/// nothing is copied, so nothing may write to the upper folder any more.
pub(super) fn save_upper(
    shim: &Shim,
    number: usize,
    upper: &Path,
    partial: &Path,
    linked: bool,
) -> Result<(), Error> {
    let saved = snapshot::saved_upper(partial, number);
    let below = root::below(&shim.incarnation.scratch, number);
    if below.exists() {
        disk::stack_trees(&below, upper, &saved, linked)
    } else if linked {
        disk::link_tree(upper, &saved)
    } else {
        disk::copy_tree(upper, &saved)
    }
}

/// The manifest of what is taken of this incarnation now, without what is only known when it is written.
pub(super) fn blank(
    shim: &Shim,
    id: &CheckpointId,
    identity: Identity,
    uppers: &[(String, PathBuf)],
) -> Result<Manifest, Error> {
    let spec = &shim.incarnation.spec;
    let kernel = nix::sys::utsname::uname().map_err(Error::os("ask for the kernel's version"))?;
    Ok(Manifest {
        format_version: FORMAT_VERSION,
        id: id.clone(),
        job: JobId(shim.whose().job),
        sandbox: spec.id.clone(),
        generation: spec.generation,
        image: spec.image.clone(),
        identity,
        cpu: Cpu::here()?,
        kernel: kernel.release().to_string_lossy().into_owned(),
        page_bytes: snapshot::page_bytes(),
        log_offset: 0,
        token: None,
        taken_at: clock::now(),
        frozen_ms: 0,
        job_pid: shim.job_pid(),
        uppers: uppers.iter().map(|(point, _)| point.clone()).collect(),
        mount_points: spec
            .mounts
            .iter()
            .map(|mount| mount.target.clone())
            .collect(),
        memory_bytes: 0,
        disk_bytes: 0,
        blocks_bytes: None,
        files: Vec::new(),
        tree_xxh3_128: String::new(),
    })
}

fn check_room(shim: &Shim, uppers: &[(String, PathBuf)], freeze: bool) -> Result<(), Error> {
    let mut needed = MARGIN_BYTES;
    for (_, upper) in uppers {
        if !freeze {
            needed += disk::tree_bytes(upper)?;
        }
    }
    let snapshots = shim.incarnation.spec.layout.snapshots();
    fs::create_dir_all(&snapshots).map_err(Error::io(format!("make {}", snapshots.display())))?;
    let free = disk::free_bytes(&snapshots)?;
    // Counting the memory of a large sandbox takes milliseconds: where all the memory of the machine has room, so has this one's.
    if free >= needed + machine_memory_bytes() {
        return Ok(());
    }
    needed += shim.driver()?.memory_bytes(&shim.incarnation);
    if free < needed {
        return Err(disk::no_space(&snapshots, needed));
    }
    Ok(())
}

fn machine_memory_bytes() -> u64 {
    // SAFETY: no pointers.
    let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
    u64::try_from(pages).map_or(u64::MAX / 2, |pages| pages * snapshot::page_bytes())
}
