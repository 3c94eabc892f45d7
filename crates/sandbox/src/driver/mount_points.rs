//! What every sandbox has mounted beside its image, whoever makes it.

use super::Incarnation;
use crate::Error;
use crate::host::root::{Bind, private_folders};
use dauer_core::{Image, Network};
use std::path::{Path, PathBuf};

/// File systems of the kernel: (destination, type, options), in the order of mounting.
pub(crate) const KERNEL: [(&str, &str, &str); 7] = [
    ("/proc", "proc", "nosuid,noexec,nodev"),
    ("/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
    (
        "/dev/pts",
        "devpts",
        "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620",
    ),
    ("/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777"),
    ("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
    ("/sys", "sysfs", "nosuid,noexec,nodev,ro"),
    ("/run", "tmpfs", "nosuid,nodev,mode=755"),
];

/// Files that would tell or change something about the host; as docker hides them.
pub(crate) const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

/// Switches of the host's kernel.
pub(crate) const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// What the spec wants on top: the daemon's own folders hidden, the user's mounts, names of a network that has some.
pub(crate) fn of_spec(incarnation: &Incarnation) -> Result<Vec<Bind>, Error> {
    let spec = &incarnation.spec;
    let mut binds = Vec::new();
    if spec.image == Image::Host {
        let folders = private_folders(spec)?;
        for folder in &folders {
            // A folder inside a hidden one is hidden with it, and is no longer there to be mounted on.
            let inside = |other: &PathBuf| other != folder && folder.starts_with(other);
            // Below /run nothing of the host is visible anyway.
            if !folder.starts_with("/run") && !folders.iter().any(inside) {
                let source = incarnation.scratch.join("empty");
                binds.push(Bind {
                    source,
                    target: folder.clone(),
                    read_only: true,
                });
            }
        }
    }
    if spec.network == Network::Nat {
        let source = incarnation.scratch.join("resolv.conf");
        binds.push(Bind {
            source,
            target: PathBuf::from("/etc/resolv.conf"),
            read_only: true,
        });
    }
    for mount in &spec.mounts {
        let (source, target) = (PathBuf::from(&mount.source), PathBuf::from(&mount.target));
        if !source.exists() {
            return Err(Error::Invalid(format!(
                "mount {}: no such file or folder on this machine",
                source.display()
            )));
        }
        binds.push(Bind {
            source,
            target,
            read_only: mount.read_only,
        });
    }
    Ok(binds)
}

/// Refuses mounts that would hide what a sandbox needs. Errors: `Invalid`.
pub(crate) fn check_target(target: &Path) -> Result<(), Error> {
    let refuse = |why: &str| {
        Err(Error::Invalid(format!(
            "mount target {}: {why}",
            target.display()
        )))
    };
    if !target.is_absolute() {
        return refuse("give an absolute path");
    }
    if target
        .components()
        .any(|part| part == std::path::Component::ParentDir)
    {
        return refuse("give a path without ..");
    }
    let reserved = ["/proc", "/sys", "/dev", dauer_wire::guest::GUEST_DIR];
    if target == Path::new("/")
        || target == Path::new("/run")
        || reserved.iter().any(|folder| target.starts_with(folder))
    {
        return refuse("this place belongs to the sandbox itself");
    }
    Ok(())
}
