//! Cgroups of sandboxes, version 2 or the mixed kind (version 1 controllers beside a version 2 tree).
//!
//! A sandbox is `dauer/<instance>` in every hierarchy it is in. Where a version 2 tree exists it is used to start processes straight
//! inside, to kill and to freeze; limits are set wherever the controller lives. Joining version 1 hierarchies
//! costs a wait in the kernel, so that is done only for what needs a limit.

use crate::Error;
use crate::host::process;
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PARENT: &str = "dauer";

/// How long killing and removing may take before it counts as failed.
const REMOVAL_MAX: Duration = Duration::from_secs(20);

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

/// The hierarchies of this machine.
#[derive(Clone, Debug, Default)]
struct Machine {
    /// The version 2 tree.
    unified: Option<PathBuf>,
    /// Its controllers.
    controllers: String,
    /// Version 1 hierarchies by mount point.
    legacy: Vec<PathBuf>,
}

impl Machine {
    fn look() -> Self {
        let base = Path::new("/sys/fs/cgroup");
        let unified = [base.to_path_buf(), base.join("unified")]
            .into_iter()
            .find(|folder| folder.join("cgroup.controllers").exists());
        let controllers = unified
            .as_ref()
            .and_then(|folder| std::fs::read_to_string(folder.join("cgroup.controllers")).ok())
            .unwrap_or_default();
        let mut legacy = Vec::new();
        if unified.as_deref() != Some(base) {
            for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
                let path = entry.path();
                // Names such as `cpu` are often links to `cpu,cpuacct`; both are the same hierarchy.
                let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                if !is_link && path.join("cgroup.procs").exists() && Some(&path) != unified.as_ref()
                {
                    legacy.push(path);
                }
            }
        }
        Self {
            unified,
            controllers,
            legacy,
        }
    }

    fn has_controller(&self, name: &str) -> bool {
        self.controllers
            .split_whitespace()
            .any(|controller| controller == name)
    }

    /// The version 1 hierarchy of a controller.
    fn legacy_of(&self, name: &str) -> Option<&PathBuf> {
        self.legacy.iter().find(|folder| {
            let folder = folder
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            folder.split(',').any(|controller| controller == name)
        })
    }

    /// The folder of version 2 that sandboxes go below: at the top for root, else the delegated ancestor nearest to the top.
    fn unified_parent(&self) -> Option<PathBuf> {
        let top = self.unified.as_ref()?;
        if writable(top) {
            return Some(top.join(PARENT));
        }
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let mut candidate = top.clone();
        for part in Path::new(own).components() {
            candidate.push(part);
            if writable(&candidate) {
                return Some(candidate.join(PARENT));
            }
        }
        None
    }

    /// Every folder there may be for `instance`.
    fn folders(&self, instance: &str) -> Vec<PathBuf> {
        let legacy = self.legacy.iter().map(|folder| folder.join(PARENT));
        legacy
            .chain(self.unified_parent())
            .map(|parent| parent.join(instance))
            .collect()
    }
}

fn writable(folder: &Path) -> bool {
    let procs = folder.join("cgroup.procs");
    nix::unistd::access(&procs, nix::unistd::AccessFlags::W_OK).is_ok()
        && nix::unistd::access(folder, nix::unistd::AccessFlags::W_OK).is_ok()
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

/// Whether the kernel killed something of it at the memory limit.
#[must_use]
pub fn was_out_of_memory(instance: &str) -> bool {
    Machine::look().folders(instance).iter().any(|folder| {
        ["memory.oom_control", "memory.events"].iter().any(|file| {
            // No such file: this is not where its memory is counted.
            std::fs::read_to_string(folder.join(file)).is_ok_and(|text| {
                text.lines().any(|line| {
                    line.strip_prefix("oom_kill ")
                        .is_some_and(|count| count.trim() != "0")
                })
            })
        })
    })
}

/// Bytes of memory it uses, where it is counted.
#[must_use]
pub fn memory_bytes(instance: &str) -> Option<u64> {
    Machine::look().folders(instance).iter().find_map(|folder| {
        ["memory.usage_in_bytes", "memory.current"]
            .iter()
            .find_map(|file| {
                std::fs::read_to_string(folder.join(file))
                    .ok()?
                    .trim()
                    .parse()
                    .ok()
            })
    })
}

/// Its processes.
pub fn pids(instance: &str) -> Result<Vec<i32>, Error> {
    let mut pids = Vec::new();
    for folder in Machine::look().folders(instance) {
        collect_pids(&folder, &mut pids)?;
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

fn collect_pids(folder: &Path, pids: &mut Vec<i32>) -> Result<(), Error> {
    let procs = folder.join("cgroup.procs");
    match std::fs::read_to_string(&procs) {
        Ok(text) => pids.extend(
            text.lines()
                .filter_map(|line| line.parse::<i32>().ok())
                .filter(|pid| *pid > 0),
        ),
        Err(e) if is_gone(&e) => return Ok(()),
        Err(e) => return Err(Error::io(format!("read {}", procs.display()))(e)),
    }
    for child in children(folder)? {
        collect_pids(&child, pids)?;
    }
    Ok(())
}

fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn children(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    match std::fs::read_dir(folder) {
        Ok(entries) => Ok(entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect()),
        Err(e) if is_gone(&e) => Ok(Vec::new()),
        Err(e) => Err(Error::io(format!("read {}", folder.display()))(e)),
    }
}

/// Stops (or starts again) all its processes, and waits until they stand still.
pub fn set_frozen(instance: &str, frozen: bool) -> Result<(), Error> {
    let machine = Machine::look();
    let legacy = machine
        .legacy_of("freezer")
        .map(|top| top.join(PARENT).join(instance));
    if let Some(state) = legacy
        .map(|folder| folder.join("freezer.state"))
        .filter(|state| state.exists())
    {
        let wanted = if frozen { "FROZEN" } else { "THAWED" };
        return wait_for(&state, wanted, || write(&state, wanted));
    }
    let folder = machine
        .unified_parent()
        .map(|parent| parent.join(instance))
        .ok_or(Error::Gone)?;
    let freeze = folder.join("cgroup.freeze");
    if !freeze.exists() {
        return Err(Error::Gone);
    }
    let (text, event) = if frozen {
        ("1", "frozen 1")
    } else {
        ("0", "frozen 0")
    };
    wait_for(&folder.join("cgroup.events"), event, || {
        write(&freeze, text)
    })
}

/// Does `act` until `file` has the line `wanted`. A freezing cgroup gets there within a few scheduler ticks; version 1 has no event for it,
/// and wants the request repeated where a process was forking.
fn wait_for(file: &Path, wanted: &str, act: impl Fn() -> Result<(), Error>) -> Result<(), Error> {
    let deadline = Instant::now() + REMOVAL_MAX;
    loop {
        act()?;
        let text =
            std::fs::read_to_string(file).map_err(Error::io(format!("read {}", file.display())))?;
        if text.lines().any(|line| line == wanted) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::os(format!(
                "wait for {wanted} in {}",
                file.display()
            ))(Errno::ETIMEDOUT));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Kills everything in it, also while frozen, and removes it. Safe to repeat.
pub fn destroy(instance: &str) -> Result<(), Error> {
    let deadline = Instant::now() + REMOVAL_MAX;
    let folders: Vec<_> = Machine::look()
        .folders(instance)
        .into_iter()
        .filter(|folder| folder.exists())
        .collect();
    if folders.is_empty() {
        return Ok(());
    }
    loop {
        for folder in &folders {
            kill_at_once(folder)?;
        }
        let left = pids(instance)?;
        process::kill_and_wait(&left, |pid| is_member(pid, instance), deadline)?;
        if left.is_empty()
            && folders
                .iter()
                .map(|folder| remove(folder))
                .collect::<Result<Vec<_>, _>>()?
                .iter()
                .all(|gone| *gone)
        {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::os(format!("remove cgroup {instance}"))(
                Errno::ETIMEDOUT,
            ));
        }
        if left.is_empty() {
            // The last process is dead but its cgroup has not been told yet; there is no event for that in version 1.
            std::thread::sleep(Duration::from_micros(300));
        }
    }
}

/// What the kernel can do for a whole cgroup in one step.
fn kill_at_once(folder: &Path) -> Result<(), Error> {
    let kill = folder.join("cgroup.kill");
    if kill.exists() {
        match std::fs::write(&kill, "1") {
            Err(e) if !is_gone(&e) => {
                return Err(Error::io(format!("write {}", kill.display()))(e));
            }
            Ok(()) | Err(_) => {}
        }
    }
    let state = folder.join("freezer.state");
    if state.exists() {
        // A process frozen by version 1 does not die before it is thawed; the signals must be there first, or it would run on.
        for pid in std::fs::read_to_string(folder.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
        {
            if let Ok(pid) = pid.parse::<i32>() {
                // SAFETY: a plain system call; a process that has gone is no error.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
        match std::fs::write(&state, "THAWED") {
            Err(e) if !is_gone(&e) => {
                return Err(Error::io(format!("write {}", state.display()))(e));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn is_member(pid: i32, instance: &str) -> bool {
    // Gone: no member.
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| {
        text.lines()
            .any(|line| line.split('/').any(|part| part == instance))
    })
}

/// Removes the folder and those below it; false while something is still in it.
fn remove(folder: &Path) -> Result<bool, Error> {
    for child in children(folder)? {
        if !remove(&child)? {
            return Ok(false);
        }
    }
    match std::fs::remove_dir(folder) {
        Ok(()) => Ok(true),
        Err(e) if is_gone(&e) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) => Ok(false),
        Err(e) => Err(Error::io(format!("remove cgroup {}", folder.display()))(e)),
    }
}
