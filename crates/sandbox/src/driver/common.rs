//! What all drivers check and measure alike.

use super::{Incarnation, mount_points};
use crate::host::root::{Root, make_folder};
use crate::host::{cgroup, mounts, nat, netns, process, userns};
use crate::{Error, SandboxSpec};
use dauer_core::Network;
use nix::sys::statvfs::statvfs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why a sandbox on the host's network is not frozen.
pub(super) const HOST_NETWORK: &str = "cannot be frozen with --network host: its connections and ports belong to the host; use --network none or nat";

/// How long processes may take to die.
const DEATH_MAX: Duration = Duration::from_secs(20);

/// What no driver can do, or not for this user. Errors: `Invalid`, `Unsupported`.
pub(super) fn check(spec: &SandboxSpec, driver: &str) -> Result<(), Error> {
    if spec.argv.is_empty() {
        return Err(Error::Invalid("there is no command to run".to_owned()));
    }
    for mount in &spec.mounts {
        let source = Path::new(&mount.source);
        if !source.is_absolute() || !source.exists() {
            return Err(Error::Invalid(format!(
                "mount {}: no such file or folder on this machine",
                mount.source
            )));
        }
        mount_points::check_target(Path::new(&mount.target))?;
    }
    if let Some(inject) = &spec.inject
        && !Path::new(inject).is_dir()
    {
        return Err(Error::Invalid(format!(
            "inject {inject}: no such folder on this machine"
        )));
    }
    crate::image::check(&spec.layout, &spec.image)?;
    if spec.network == Network::Nat && !userns::is_root() {
        return Err(Error::Unsupported(format!(
            "driver {driver} needs root for --network nat: use --network none or host, or run the daemon as root"
        )));
    }
    if !spec.publish.is_empty() && spec.network != Network::Nat {
        return Err(Error::Invalid("--publish needs --network nat".to_owned()));
    }
    Ok(())
}

/// Namespaces and the root file system: all in this process's own mount namespace.
pub(super) fn prepare(incarnation: &Incarnation) -> Result<Root, Error> {
    userns::enter()?;
    mounts::make_private()?;
    make_folder(&incarnation.scratch.join("empty"))?;
    if incarnation.spec.network == Network::Nat {
        nat::write_resolvers(incarnation)?;
    }
    let root = Root::plan(incarnation)?;
    root.record(&incarnation.scratch)?;
    root.build(incarnation)?;
    Ok(root)
}

/// A network namespace with its loopback up and, where the spec wants it, a way out. `None` for the host's own.
pub(super) fn network(incarnation: &Incarnation) -> Result<Option<OwnedFd>, Error> {
    match incarnation.spec.network {
        Network::Host => Ok(None),
        Network::None => netns::create().map(Some),
        Network::Nat => {
            let namespace = netns::create()?;
            nat::connect(incarnation, &namespace)?;
            Ok(Some(namespace))
        }
    }
}

/// Kills all processes of an instance and removes its cgroup and network.
pub(super) fn destroy(instance: &str, scratch: &Path) -> Result<(), Error> {
    cgroup::destroy(instance)?;
    // An ordinary user has no cgroup: its processes are found by what they were started with.
    if !userns::is_root() {
        let left = process::of_instance(instance, scratch)?;
        let still_ours = |pid| process::is_of_instance(pid, instance, scratch);
        process::kill_and_wait(&left, still_ours, Instant::now() + DEATH_MAX)?;
    }
    nat::disconnect(instance)?;
    open_work_folders(scratch)
}

/// The kernel makes overlays' work folders with no permissions at all: an ordinary user could not delete the scratch folder.
fn open_work_folders(scratch: &Path) -> Result<(), Error> {
    let Ok(folders) = std::fs::read_dir(scratch.join("work")) else {
        // Nothing was mounted, or it is deleted already.
        return Ok(());
    };
    for folder in folders.flatten() {
        let work = folder.path().join("work");
        match std::fs::set_permissions(&work, std::fs::Permissions::from_mode(0o700)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(format!("open {}", work.display()))(e));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Bytes in use, by its cgroup where memory is counted there, else by adding up its processes.
pub(super) fn memory_bytes(incarnation: &Incarnation) -> u64 {
    let instance = &incarnation.instance;
    cgroup::memory_bytes(instance).unwrap_or_else(|| {
        // An estimate for the room a checkpoint needs: a sandbox that is just ending counts as empty.
        let mut pids = cgroup::pids(instance).unwrap_or_default();
        if pids.is_empty() {
            pids = process::of_instance(instance, &incarnation.scratch).unwrap_or_default();
        }
        pids.into_iter().map(proportional_bytes).sum()
    })
}

/// Memory of one process, pages shared with others counted in parts.
fn proportional_bytes(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kilobytes = text.lines().find_map(|line| {
        line.strip_prefix("Pss:")?
            .trim()
            .strip_suffix(" kB")?
            .parse::<u64>()
            .ok()
    });
    kilobytes.unwrap_or(0) * 1024
}

/// Where its changes are, by mount point.
pub(super) fn uppers(incarnation: &Incarnation) -> Vec<(String, PathBuf)> {
    match Root::plan(incarnation) {
        Ok(root) => root
            .pieces
            .into_iter()
            .map(|piece| (piece.point.to_string_lossy().into_owned(), piece.upper))
            .collect(),
        Err(error) => {
            // `prepare` makes the same plan and fails with this error, so nothing can have been written there.
            tracing::warn!(%error, instance = incarnation.instance, "no plan of the root file system");
            Vec::new()
        }
    }
}

/// A tool that failed to write an image because the disk is full gets that said.
pub(super) fn explain_space(error: Error, path: &Path, needed_bytes: u64) -> Error {
    let free = statvfs(path).map_or(u64::MAX, |stat| {
        stat.blocks_available() * stat.fragment_size()
    });
    let says_so = match &error {
        Error::Tool { output, .. } => {
            let output = output.to_lowercase();
            ["no space left", "enospc", "disk quota"]
                .iter()
                .any(|words| output.contains(words))
        }
        Error::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
        Error::Invalid(_)
        | Error::Unsupported(_)
        | Error::NoSpace { .. }
        | Error::BadImage(_)
        | Error::Registry(_)
        | Error::Gone
        | Error::Refused(_)
        | Error::StartFailed { .. } => false,
    };
    // Some runtimes only say that a write failed: a disk without room for even the rest is reason enough.
    if says_so || (matches!(error, Error::Tool { .. }) && free < 1 << 20) {
        return Error::NoSpace {
            path: path.to_path_buf(),
            needed_bytes,
            free_bytes: free,
        };
    }
    error
}
