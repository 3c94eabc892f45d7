//! One machine's sandboxes as the daemon sees them: launch a shim, adopt one, find out how it ended, clean up after
//! it. Everything works from names and from the kernel; scratch files are only hints.

mod storage;

pub use storage::Stored;

use crate::dial::{connect, is_alive};
use crate::host::{cgroup, root};
use crate::link::{Link, LinkEvents};
use crate::protocol::ExitRecord;
use crate::{Error, Layout, SandboxSpec, disk, driver, files, log, snapshot};
use dauer_core::{Checkpoint, CheckpointId, SandboxId, Timestamp};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A shim that was asked to end its sandbox is killed after so long. Runtimes kill in milliseconds and need at most seconds to
/// unmount; beyond that something is stuck, and the clean-up by name does not need the shim.
const SHIM_END_MAX: Duration = Duration::from_secs(15);

/// What is really there of an incarnation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Its shim lives.
    Alive,
    /// Its shim recorded how it ended (and may still be cleaning up).
    Ended(ExitRecord),
    /// No shim and no record.
    Gone,
}

/// The sandboxes of one data folder.
#[derive(Clone, Debug)]
pub struct Node {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    layout: Layout,
    shim_binary: PathBuf,
    guest_binary: PathBuf,
}

impl Node {
    /// Touches nothing yet.
    #[must_use]
    pub fn new(layout: Layout, shim_binary: PathBuf, guest_binary: PathBuf) -> Self {
        Self {
            shared: Arc::new(Shared {
                layout,
                shim_binary,
                guest_binary,
            }),
        }
    }

    /// Where things lie.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.shared.layout
    }

    /// The guest agent on the host, for [`SandboxSpec::guest_binary`].
    #[must_use]
    pub fn guest_binary(&self) -> &Path {
        &self.shared.guest_binary
    }

    /// A sandbox of this driver is about to be made: begins at once what then would take the kernel a while. Safe to leave away.
    pub fn foresee(&self, driver: &str, is_limited: bool) {
        // The others join version 1 hierarchies only for a limit.
        if is_limited || matches!(driver, "runc" | "podman") {
            tokio::task::spawn_blocking(cgroup::foresee_a_move);
        }
    }

    /// Launches the shim of this incarnation and connects to it; where one lives already, connects to that. Whether the sandbox itself
    /// comes up is told by the events.
    ///
    /// # Errors
    /// `Io`: no folder, no process.
    pub async fn launch(&self, spec: SandboxSpec) -> Result<(Link, LinkEvents), Error> {
        if let Some(adopted) = self.connect(&spec.id, spec.generation).await? {
            return Ok(adopted);
        }
        let is_limited = spec.cpu_millis.is_some() || spec.memory_bytes.is_some();
        self.foresee(&spec.driver, is_limited);
        let folder = self.shared.layout.sandbox(&spec.id);
        let socket = folder.socket(spec.generation);
        let spec_path = folder.spec(spec.generation);
        let listener = {
            let (folder, socket) = (folder.clone(), socket.clone());
            blocking(move || prepare(&folder, &spec, &socket)).await?
        };
        let diagnostics = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.diagnostics())
            .map_err(Error::io(format!(
                "open {}",
                folder.diagnostics().display()
            )))?;
        let errors = diagnostics
            .try_clone()
            .map_err(Error::io("duplicate a file descriptor"))?;
        let mut shim = tokio::process::Command::new(&self.shared.shim_binary)
            .arg("shim")
            .arg(&spec_path)
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::from(diagnostics))
            .stderr(Stdio::from(errors))
            .kill_on_drop(false)
            .spawn()
            .map_err(Error::io(format!(
                "start the shim {}",
                self.shared.shim_binary.display()
            )))?;
        // Only so that no zombie stays: how it ended is read from its record.
        tokio::spawn(async move { shim.wait().await });
        let stream = connect(&socket).await?.ok_or(Error::Gone)?;
        Ok(Link::open(socket, stream))
    }

    /// Whether the program of this incarnation may have run: its sandbox came up, or its end is recorded. Only where no shim lives is
    /// the answer final.
    ///
    /// # Errors
    /// `Io`.
    pub async fn has_begun(&self, id: &SandboxId, generation: u32) -> Result<bool, Error> {
        let folder = self.shared.layout.sandbox(id);
        blocking(move || {
            let traces = [folder.handles(generation), folder.exit(generation)];
            Ok(traces.iter().any(|path| path.exists()))
        })
        .await
    }

    /// Adopts the shim of this incarnation; `None` where none lives.
    ///
    /// # Errors
    /// `Io`.
    pub async fn connect(
        &self,
        id: &SandboxId,
        generation: u32,
    ) -> Result<Option<(Link, LinkEvents)>, Error> {
        let socket = self.shared.layout.sandbox(id).socket(generation);
        Ok(connect(&socket)
            .await?
            .map(|stream| Link::open(socket, stream)))
    }

    /// What is really there of this incarnation.
    ///
    /// # Errors
    /// `Io`: it could not be found out.
    pub async fn observe(&self, id: &SandboxId, generation: u32) -> Result<Observed, Error> {
        let folder = self.shared.layout.sandbox(id);
        // The record first: a shim that wrote one is only cleaning up. After "nobody there" it is read once more, because the shim may have
        // ended between the two looks.
        if let Some(record) = exit_record(&folder.exit(generation))? {
            return Ok(Observed::Ended(record));
        }
        if is_alive(&folder.socket(generation)).await? {
            return Ok(Observed::Alive);
        }
        Ok(exit_record(&folder.exit(generation))?.map_or(Observed::Gone, Observed::Ended))
    }

    /// Ends this incarnation whatever its condition: asks its shim, kills a shim that does not answer, and cleans up by name
    /// what a dead shim left. Files stay. Safe to repeat.
    ///
    /// # Errors
    /// `Tool`, `Io`: something could not be removed.
    pub async fn destroy(
        &self,
        id: &SandboxId,
        generation: u32,
        driver: &str,
    ) -> Result<(), Error> {
        let folder = self.shared.layout.sandbox(id);
        let spec_path = folder.spec(generation);
        let owner = blocking(move || files::lock_owner(&spec_path)).await?;
        let killed = match owner {
            Some(pid) => self.end_shim(id, generation, pid).await?,
            None => false,
        };
        let socket = folder.socket(generation);
        // A shim removes its socket as its very last deed, and it is bound before anything else is made.
        // One that had to be killed has done nothing of the kind, whoever removed its socket.
        if !killed && !socket.exists() && folder.path().exists() {
            return Ok(());
        }
        let (driver, instance, scratch) = (
            driver.to_owned(),
            id.instance(generation),
            folder.incarnation(generation),
        );
        blocking(move || {
            driver::by_name(&driver)?.destroy(&instance, &scratch)?;
            files::remove_file(&socket)
        })
        .await
    }

    /// True where it did not end by itself.
    async fn end_shim(&self, id: &SandboxId, generation: u32, pid: i32) -> Result<bool, Error> {
        let Some(shim) = ShimProcess::open(pid)? else {
            return Ok(false);
        };
        let asked = async {
            if let Some((link, _events)) = self.connect(id, generation).await? {
                // `Gone` is what was wanted; any other refusal leaves work that the clean-up by name does again and reports.
                let _ = link.destroy().await;
            }
            shim.ended().await
        };
        match tokio::time::timeout(SHIM_END_MAX, asked).await {
            Ok(ended) => ended.map(|()| false),
            Err(_) => {
                tracing::warn!(sandbox = %id, pid, "the shim does not end: killing it");
                shim.kill()?;
                shim.ended().await.map(|()| true)
            }
        }
    }

    /// Deletes the folder of a sandbox that was destroyed. Idempotent.
    ///
    /// # Errors
    /// `Io`.
    pub async fn remove(&self, id: &SandboxId) -> Result<(), Error> {
        let path = self.shared.layout.sandbox(id).path;
        blocking(move || files::remove_tree(&path)).await
    }

    /// Deletes the scratch of one incarnation (its overlay uppers): it was suspended, or a newer one runs. Idempotent.
    ///
    /// # Errors
    /// `Io`.
    pub async fn discard_incarnation(&self, id: &SandboxId, generation: u32) -> Result<(), Error> {
        let path = self.shared.layout.sandbox(id).incarnation(generation);
        blocking(move || files::remove_tree(&path)).await
    }

    /// All sandboxes that have a folder.
    ///
    /// # Errors
    /// `Io`.
    pub async fn sandboxes(&self) -> Result<Vec<SandboxId>, Error> {
        let path = self.shared.layout.sandboxes();
        let names = blocking(move || files::names(&path)).await?;
        Ok(names.into_iter().map(SandboxId).collect())
    }

    /// Removes what drivers keep records of outside the node's folders and whose sandbox has no folder any more. Returns their names.
    ///
    /// # Errors
    /// `Tool`, `Io`: something could not be looked for or removed.
    pub async fn remove_strays(&self) -> Result<Vec<String>, Error> {
        let layout = self.shared.layout.clone();
        blocking(move || driver::podman::sweep(&layout)).await
    }

    /// The generations of a sandbox that were launched, oldest first.
    ///
    /// # Errors
    /// `Io`.
    pub async fn incarnations(&self, id: &SandboxId) -> Result<Vec<u32>, Error> {
        let path = self.shared.layout.sandbox(id).path;
        let names = blocking(move || files::names(&path)).await?;
        let mut generations: Vec<u32> = names
            .iter()
            .filter_map(|name| name.strip_prefix("spec.json.")?.parse().ok())
            .collect();
        generations.sort_unstable();
        Ok(generations)
    }

    /// What an incarnation was launched with.
    ///
    /// # Errors
    /// `Io`; `Invalid` where the file is damaged.
    pub async fn spec(
        &self,
        id: &SandboxId,
        generation: u32,
    ) -> Result<Option<SandboxSpec>, Error> {
        let path = self.shared.layout.sandbox(id).spec(generation);
        blocking(move || files::read_json(&path)).await
    }

    /// Deletes a checkpoint, published or partial. Idempotent.
    ///
    /// # Errors
    /// `Io`.
    pub async fn remove_snapshot(&self, id: &CheckpointId) -> Result<(), Error> {
        let (layout, id) = (self.shared.layout.clone(), id.clone());
        blocking(move || snapshot::remove(&layout, &id)).await
    }

    /// The record of a checkpoint whose folder is published, whether or not it was committed.
    ///
    /// # Errors
    /// `Io`; `BadImage` where its manifest is damaged.
    pub async fn published(&self, id: &CheckpointId) -> Result<Option<Checkpoint>, Error> {
        let (layout, id) = (self.shared.layout.clone(), id.clone());
        blocking(move || Ok(snapshot::read(&layout, &id)?.map(|manifest| manifest.checkpoint())))
            .await
    }

    /// All published checkpoints.
    ///
    /// # Errors
    /// `Io`.
    pub async fn snapshots(&self) -> Result<Vec<CheckpointId>, Error> {
        let layout = self.shared.layout.clone();
        blocking(move || snapshot::list(&layout)).await
    }

    /// Deletes what was being written when a shim died, but those in `keep`, which a living shim may be writing.
    ///
    /// # Errors
    /// `Io`.
    pub async fn discard_partials(&self, keep: &[CheckpointId]) -> Result<(), Error> {
        let (layout, keep) = (self.shared.layout.clone(), keep.to_vec());
        blocking(move || snapshot::discard_partials(&layout, &keep)).await
    }

    /// When the log of a sandbox was last written to; `None` where it has none.
    ///
    /// # Errors
    /// `Io`.
    pub async fn last_write(&self, id: &SandboxId) -> Result<Option<Timestamp>, Error> {
        let path = self.shared.layout.sandbox(id).log();
        blocking(move || files::modified(&path)).await
    }

    /// What an incarnation changed in its file systems, live or ended.
    ///
    /// # Errors
    /// `Gone` where its scratch was discarded; `Io`.
    pub async fn changes(
        &self,
        id: &SandboxId,
        generation: u32,
    ) -> Result<Vec<disk::Changed>, Error> {
        let spec = self.spec(id, generation).await?.ok_or(Error::Gone)?;
        let scratch = self.shared.layout.sandbox(id).incarnation(generation);
        blocking(move || {
            if !scratch.exists() {
                return Err(Error::Gone);
            }
            let image = crate::image::lowers(&spec.layout, &spec.image)?;
            let driver = driver::by_name(&spec.driver)?;
            let mount_points = spec
                .mounts
                .iter()
                .map(|mount| mount.target.clone())
                .collect::<Vec<_>>();
            let instance = spec.id.instance(spec.generation);
            let uppers = driver.uppers(&driver::Incarnation {
                instance,
                spec,
                scratch: scratch.clone(),
            });
            let mut layers = root::stacked(&scratch, &uppers);
            layers.extend(image.into_iter().map(disk::Layer::of_root));
            disk::changes(&uppers, disk::Below(&layers), &mount_points)
        })
        .await
    }

    /// What a frozen sandbox had changed in its file systems.
    ///
    /// # Errors
    /// `Gone` where there is no such checkpoint; `BadImage`; `Io`.
    pub async fn snapshot_changes(&self, id: &CheckpointId) -> Result<Vec<disk::Changed>, Error> {
        let (layout, id) = (self.shared.layout.clone(), id.clone());
        blocking(move || {
            let manifest = snapshot::read(&layout, &id)?.ok_or(Error::Gone)?;
            let image = crate::image::lowers(&layout, &manifest.image)?;
            let layers: Vec<_> = image.into_iter().map(disk::Layer::of_root).collect();
            disk::changes(
                &manifest.saved_uppers(&layout.snapshot(&id)),
                disk::Below(&layers),
                &manifest.mount_points,
            )
        })
        .await
    }

    /// The log of a sandbox over all its incarnations, from this offset on.
    ///
    /// # Errors
    /// `Io`.
    pub async fn log(&self, id: &SandboxId, from: u64) -> Result<log::Tail, Error> {
        log::Tail::open(&self.shared.layout.sandbox(id).log(), from).await
    }
}

/// Folders, log, spec and a bound socket: what a shim finds when it starts. Bound here and not in the shim, so that whoever connects from now
/// on reaches the shim as soon as it comes up, or learns at once that it did not.
fn prepare(
    folder: &crate::layout::SandboxDir,
    spec: &SandboxSpec,
    socket: &Path,
) -> Result<UnixListener, Error> {
    let log = folder.log();
    let make = |path: &Path| {
        fs::create_dir_all(path).map_err(Error::io(format!("create {}", path.display())))
    };
    make(&folder.incarnation(spec.generation))?;
    make(log.parent().unwrap_or(folder.path()))?;
    make(&spec.layout.snapshots())?;
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .map_err(Error::io(format!("create {}", log.display())))?;
    // Not synced: what a crash of the machine could tear was written for processes that this crash ends.
    files::write_json(&folder.spec(spec.generation), spec, files::Durable::No)?;
    files::remove_file(socket)?;
    let directory = fs::File::open(folder.path())
        .map_err(Error::io(format!("open {}", folder.path().display())))?;
    let name = socket.file_name().unwrap_or(OsStr::new("shim.sock"));
    let short = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
    UnixListener::bind(short).map_err(Error::io(format!("bind {}", socket.display())))
}

fn exit_record(path: &Path) -> Result<Option<ExitRecord>, Error> {
    match files::read_json(path) {
        Ok(record) => Ok(record),
        // Torn by a crash of the machine before it was durable: as good as not written.
        Err(Error::Invalid(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

/// A shim's process, safe against its number being used again.
struct ShimProcess {
    pidfd: AsyncFd<OwnedFd>,
}

impl ShimProcess {
    /// `None` where it ended meanwhile.
    fn open(pid: i32) -> Result<Option<Self>, Error> {
        match files::pidfd(pid) {
            Ok(pidfd) => {
                // SAFETY: an `OwnedFd` always gives its own open descriptor, and nothing takes it out of the `AsyncFd`.
                let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
                let pidfd = pidfd.map_err(|e| Error::io("watch a process")(e.into()))?;
                Ok(Some(Self { pidfd }))
            }
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            Err(e) => Err(Error::io(format!("open process {pid}"))(e)),
        }
    }

    async fn ended(&self) -> Result<(), Error> {
        self.pidfd
            .readable()
            .await
            .map(drop)
            .map_err(Error::io("wait for the shim"))
    }

    fn kill(&self) -> Result<(), Error> {
        match files::pidfd_kill(self.pidfd.get_ref()) {
            Ok(()) => Ok(()),
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            Err(e) => Err(Error::io("kill the shim")(e)),
        }
    }
}

/// Runs file work where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Err(e) => Err(Error::io("run file work")(io::Error::other(e))),
    }
}
