//! A cgroup with processes in it: what they use, how they are frozen, how they end.

use super::hierarchies::{Machine, PARENT};
use super::write;
use crate::Error;
use crate::host::process;
use nix::errno::Errno;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long killing and removing may take before it counts as failed.
const REMOVAL_MAX: Duration = Duration::from_secs(20);

/// Whether the kernel killed something of it at the memory limit.
#[must_use]
pub fn was_out_of_memory(instance: &str) -> bool {
    Machine::look()
        .folders(instance)
        .iter()
        .any(|folder| has_killed(folder))
}

/// Version 1 counts each victim only where it was, so the folders below are asked too.
fn has_killed(folder: &Path) -> bool {
    let here = ["memory.oom_control", "memory.events"].iter().any(|file| {
        // No such file: this is not where its memory is counted.
        std::fs::read_to_string(folder.join(file)).is_ok_and(|text| {
            text.lines().any(|line| {
                line.strip_prefix("oom_kill ")
                    .is_some_and(|count| count.trim() != "0")
            })
        })
    });
    // One that cannot be read has gone, and nothing was killed in it any more.
    here || children(folder).is_ok_and(|below| below.iter().any(|child| has_killed(child)))
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

/// The same for the cgroups below it whose names begin so: some of an instance's processes may only end after the others.
pub fn destroy_below(instance: &str, prefix: &str) -> Result<(), Error> {
    let mut names = Vec::new();
    for folder in Machine::look().folders(instance) {
        for child in children(&folder)? {
            let name = child.file_name().and_then(|name| name.to_str());
            names.extend(
                name.filter(|name| name.starts_with(prefix))
                    .map(str::to_owned),
            );
        }
    }
    names.sort_unstable();
    names.dedup();
    names
        .iter()
        .try_for_each(|name| destroy(&format!("{instance}/{name}")))
}

/// Waits until nothing of it runs any more; false at the deadline.
pub fn wait_until_empty(instance: &str, deadline: Instant) -> Result<bool, Error> {
    for pid in pids(instance)? {
        match crate::files::pidfd(pid) {
            Ok(pidfd) if !process::wait_readable(pidfd.as_fd(), deadline)? => return Ok(false),
            Ok(_) => {}
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
            Err(e) => return Err(Error::io(format!("open process {pid}"))(e)),
        }
    }
    Ok(true)
}

/// What the kernel can do for a whole cgroup in one step, for it and those below.
fn kill_at_once(folder: &Path) -> Result<(), Error> {
    for child in children(folder)? {
        kill_at_once(&child)?;
    }
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
            .any(|line| format!("{line}/").contains(&format!("/{instance}/")))
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
