//! What makes sandboxes: one trait, several drivers. Called by the shim (blocking), and by the daemon only to
//! probe, to check a spec, and to clean up by name what a dead shim left.
//!
//! A driver that cannot freeze memory has no [`Checkpointer`].

pub(crate) mod agent;
mod capabilities;
mod common;
#[doc(hidden)]
pub mod conformance;
mod criu;
mod gate;
mod hidden;
mod mount_points;
pub mod native;
pub mod oci;
pub mod podman;
pub mod probe;
mod seccomp;
pub(crate) mod tool;
mod trial;

use crate::snapshot::Digests;
use crate::{Error, SandboxSpec};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

/// An environment variable of every process that belongs to a sandbox, with the name of the instance: how they are found where there
/// is no cgroup.
pub const INSTANCE_VARIABLE: &str = "DAUER_INSTANCE";

/// The ends of pipes that become fd 0, 1 and 2 of the guest agent. Dropped by the driver once the sandbox has them, so that
/// the shim sees end of file when the sandbox is gone.
#[derive(Debug)]
pub struct AgentStdio {
    /// Frames to the agent.
    pub input: OwnedFd,
    /// Frames from the agent.
    pub output: OwnedFd,
    /// The job's raw standard output.
    pub raw: OwnedFd,
}

/// One incarnation as a driver needs it. All names of kernel objects come from `instance`.
#[derive(Clone, Debug)]
pub struct Incarnation {
    /// `dauer-<sandbox id>-<generation>`, of fixed length.
    pub instance: String,
    /// The spec.
    pub spec: SandboxSpec,
    /// `sandboxes/<id>/run.<generation>`: bundle, runtime state, overlay upper and work. Exists.
    pub scratch: PathBuf,
}

/// A sandbox whose agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// The process whose death is the sandbox's death: a child of the shim (which is a subreaper), or of a keeper that came with it. The
    /// shim waits for this pid and never for "any child": a driver waits for its tools in other threads.
    pub pid: i32,
}

/// Makes and unmakes sandboxes of one kind.
pub trait Driver: Send + Sync {
    /// `gvisor`, `runc`, `crun`, `native`, `podman`.
    fn name(&self) -> &'static str;

    /// Refuses what this driver cannot do, in one line that says what to do instead, before anything is made.
    /// Cheap; called by the daemon when a job is created. Errors: `Invalid`, `Unsupported`.
    fn check(&self, spec: &SandboxSpec) -> Result<(), Error>;

    /// Refuses, when a job that will have to be frozen is created, what cannot be frozen with memory: a driver that cannot, or
    /// a network that does not survive it. Errors: `Unsupported` with the reason and what to use instead.
    fn freezable(&self, spec: &SandboxSpec) -> Result<(), Error>;

    /// Called once in the shim while it has one thread: mount namespace (and user namespace where not root), root file system
    /// at `scratch/rootfs`, cgroup, network namespace. Everything made here must vanish with the shim's process, or carry the instance's name and be
    /// removed by [`Driver::destroy`].
    fn prepare(&self, incarnation: &Incarnation) -> Result<(), Error>;

    /// Starts the sandbox with the guest agent (`init`) as pid 1 on these pipes.
    fn start(&self, incarnation: &Incarnation, stdio: AgentStdio) -> Result<Running, Error>;

    /// Kills everything inside at once (also when paused) and removes every kernel object of this instance by its name. Safe to repeat; works
    /// without any scratch file, also from another process than the one that started it (a daemon cleaning up after a dead shim).
    fn destroy(&self, instance: &str, scratch: &Path) -> Result<(), Error>;

    /// Whether the kernel killed something of it at the memory limit.
    fn was_out_of_memory(&self, incarnation: &Incarnation) -> bool;

    /// Bytes of memory it uses now, for the room a checkpoint needs.
    fn memory_bytes(&self, incarnation: &Incarnation) -> u64;

    /// The overlay upper folders of its file systems, as (mount point inside, host folder), the root first: what it changed.
    fn uppers(&self, incarnation: &Incarnation) -> Vec<(String, PathBuf)>;

    /// Freezing with memory, where this driver can.
    fn checkpointer(&self) -> Option<&dyn Checkpointer>;
}

/// Freezes and thaws sandboxes with their memory.
pub trait Checkpointer: Send + Sync {
    /// What a checkpoint depends on; goes into its manifest and is compared before a restore.
    fn identity(&self) -> Result<Identity, Error>;

    /// Whether an open file that has no name any more comes back with its contents.
    fn keeps_unlinked_files(&self) -> bool {
        false
    }

    /// Stops every process of the sandbox at once; files and memory no longer change.
    fn pause(&self, incarnation: &Incarnation) -> Result<(), Error>;

    /// The opposite.
    fn resume(&self, incarnation: &Incarnation) -> Result<(), Error>;

    /// Writes the memory of a paused sandbox into `into` (an empty folder) and leaves it paused (and, if it failed, alive).
    /// Does not fsync. Returns the digests it made on the way, by file name. Errors: `NoSpace`, `Tool`.
    fn save(&self, incarnation: &Incarnation, into: &Path) -> Result<Digests, Error>;

    /// Brings memory saved by [`Checkpointer::save`] to life in a new prepared incarnation whose file systems hold what
    /// the old ones held. The agent comes back on the new pipes, holding still until it reads `Resume`. Sets up what it can while the
    /// image is still being verified, but wakes nothing before. Errors: also those of the verification.
    fn restore(
        &self,
        incarnation: &Incarnation,
        from: &Path,
        stdio: AgentStdio,
        verification: Verification,
    ) -> Result<Running, Error>;
}

/// Whether an image is what it was when it was taken: found out beside other work.
#[derive(Debug)]
pub struct Verification(JoinHandle<Result<(), Error>>);

impl Verification {
    /// Begins. Errors: `Io`.
    pub fn begin(work: impl FnOnce() -> Result<(), Error> + Send + 'static) -> Result<Self, Error> {
        let thread = std::thread::Builder::new().name("verify".into());
        let thread = thread.stack_size(256 << 10).spawn(work);
        thread.map(Self).map_err(Error::io("start a thread"))
    }

    /// Its end. Errors: `BadImage` naming the file.
    pub fn wait(self) -> Result<(), Error> {
        self.0
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// What a checkpoint depends on beside itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// The driver.
    pub driver: String,
    /// Version of its tool, as it says itself.
    pub version: String,
    /// Digest of the tool's binary (for runc: of CRIU too).
    pub digest: String,
}

/// The driver of this name. Errors: `Invalid` with the names there are.
pub fn by_name(name: &str) -> Result<Arc<dyn Driver>, Error> {
    match name {
        "gvisor" | "runc" | "crun" => Ok(Arc::new(oci::Oci::new(name)?)),
        "native" => Ok(Arc::new(native::Native::new())),
        "podman" => Ok(Arc::new(podman::Podman::new())),
        other => Err(Error::Invalid(format!(
            "unknown driver {other:?}: use auto, gvisor, runc, crun, native or podman"
        ))),
    }
}
