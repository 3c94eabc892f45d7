//! Cgroups of sandboxes, version 2 or the mixed kind (version 1 controllers beside a version 2 tree).
//!
//! A sandbox is `dauer/<instance>` in every hierarchy it is in. Where a version 2 tree exists it is used to start processes straight
//! inside, to kill and to freeze; limits are set wherever the controller lives. Joining version 1 hierarchies
//! costs a wait in the kernel, so that is done only for what needs a limit.

mod foresee;
mod hierarchies;
mod live;
mod used;

use crate::Error;
pub use foresee::foresee_a_move;
use hierarchies::{Machine, PARENT, writable};
pub use live::{
    destroy, destroy_below, memory_bytes, pids, set_frozen, wait_until_empty, was_out_of_memory,
};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
pub use used::{Used, used};

/// What a sandbox may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Thousandths of a CPU.
    pub cpu_millis: Option<u32>,
    /// Bytes of memory, without swap.
    pub memory_bytes: Option<u64>,
}

impl Limits {
    /// Nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cpu_millis.is_none() && self.memory_bytes.is_none()
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(Error::io(format!("write {text:?} to {}", path.display())))
}

fn make(folder: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(Error::io(format!("make cgroup {}", folder.display())))
}

/// Whether limits can be set here; else why not. Errors: `Unsupported`.
pub fn check_limits(limits: &Limits) -> Result<(), Error> {
    if limits.is_empty() {
        return Ok(());
    }
    let machine = Machine::look();
    let asked = [
        ("memory", limits.memory_bytes.is_some()),
        ("cpu", limits.cpu_millis.is_some()),
    ];
    for name in asked
        .into_iter()
        .filter(|(_, asked)| *asked)
        .map(|(name, _)| name)
    {
        let by_legacy = machine
            .legacy_of(name)
            .is_some_and(|folder| writable(folder));
        let by_unified = machine
            .unified_parent()
            .and_then(|parent| parent.parent().map(Path::to_path_buf))
            .is_some_and(|above| {
                std::fs::read_to_string(above.join("cgroup.controllers")).is_ok_and(|controllers| {
                    controllers
                        .split_whitespace()
                        .any(|controller| controller == name)
                })
            });
        if !by_legacy && !by_unified {
            return Err(Error::Unsupported(format!(
                "this user cannot limit {name}: the {name} cgroup controller is not delegated; run the daemon as root or leave the limit away"
            )));
        }
    }
    Ok(())
}

/// The cgroup of one sandbox, as the process that starts something in it needs it.
#[derive(Debug)]
pub struct Cgroup {
    into: Option<OwnedFd>,
    join: Vec<File>,
}

impl Cgroup {
    /// Makes it with these limits. Where this user has no cgroup at all and no limit is asked for, it is empty.
    pub fn create(instance: &str, limits: &Limits) -> Result<Self, Error> {
        let machine = Machine::look();
        let mut cgroup = Self {
            into: None,
            join: Vec::new(),
        };
        if let Some(parent) = machine.unified_parent() {
            let folder = parent.join(instance);
            make(&folder)?;
            cgroup.limit_unified(&machine, &parent, &folder, limits)?;
            let opened =
                File::open(&folder).map_err(Error::io(format!("open {}", folder.display())))?;
            cgroup.into = Some(opened.into());
        }
        if let Some(bytes) = limits.memory_bytes
            && let Some(top) = machine.legacy_of("memory")
        {
            let folder = cgroup.join_legacy(top, instance)?;
            write(&folder.join("memory.limit_in_bytes"), &bytes.to_string())?;
            // Only where the kernel counts swap; without the file there is nothing to limit.
            let with_swap = folder.join("memory.memsw.limit_in_bytes");
            if with_swap.exists() {
                write(&with_swap, &bytes.to_string())?;
            }
        }
        if let Some(millis) = limits.cpu_millis
            && let Some(top) = machine.legacy_of("cpu")
        {
            let folder = cgroup.join_legacy(top, instance)?;
            write(&folder.join("cpu.cfs_period_us"), "100000")?;
            write(
                &folder.join("cpu.cfs_quota_us"),
                &(u64::from(millis) * 100).to_string(),
            )?;
        }
        // Something must hold all of its processes, or they could not be found by name.
        if cgroup.into.is_none()
            && let Some(top) = machine.legacy_of("freezer").filter(|top| writable(top))
        {
            cgroup.join_legacy(top, instance)?;
        }
        Ok(cgroup)
    }

    fn limit_unified(
        &self,
        machine: &Machine,
        parent: &Path,
        folder: &Path,
        limits: &Limits,
    ) -> Result<(), Error> {
        let enable = |name: &str| -> Result<(), Error> {
            for above in [parent.parent().unwrap_or(parent), parent] {
                write(&above.join("cgroup.subtree_control"), &format!("+{name}"))?;
            }
            Ok(())
        };
        if let Some(bytes) = limits
            .memory_bytes
            .filter(|_| machine.has_controller("memory"))
        {
            enable("memory")?;
            write(&folder.join("memory.max"), &bytes.to_string())?;
            let swap = folder.join("memory.swap.max");
            if swap.exists() {
                write(&swap, "0")?;
            }
        }
        if let Some(millis) = limits.cpu_millis.filter(|_| machine.has_controller("cpu")) {
            enable("cpu")?;
            write(
                &folder.join("cpu.max"),
                &format!("{} 100000", u64::from(millis) * 100),
            )?;
        }
        Ok(())
    }

    fn join_legacy(&mut self, top: &Path, instance: &str) -> Result<PathBuf, Error> {
        let folder = top.join(PARENT).join(instance);
        make(&folder)?;
        let procs = folder.join("cgroup.procs");
        let file = OpenOptions::new().write(true).open(&procs);
        self.join
            .push(file.map_err(Error::io(format!("open {}", procs.display())))?);
        Ok(folder)
    }

    /// For `clone`: the folder of version 2.
    #[must_use]
    pub fn folder(&self) -> Option<BorrowedFd<'_>> {
        self.into.as_ref().map(AsFd::as_fd)
    }

    /// For the child: `cgroup.procs` files to write `0` to.
    #[must_use]
    pub fn join(&self) -> Vec<BorrowedFd<'_>> {
        self.join.iter().map(AsFd::as_fd).collect()
    }
}
