//! What a node has room for: from its processors and its memory, or what somebody said.

use crate::Error;
use dauer_core::JobSpec;
use dauer_core::plan::admission::Limits;
use std::path::Path;

/// What a small job in a sandbox with its agent, shim and runtime takes, roughly.
const BYTES_PER_SANDBOX: u64 = 32 << 20;

/// No machine is too small for so many.
const LIVE_MIN: usize = 16;

/// Starting one takes a processor for some tenths of a second, or waits for a disk.
const RISING_PER_CPU: usize = 8;

/// Programs wait more than they work: so many times a processor is given away where nobody says otherwise.
pub const CPU_OVERCOMMIT: f64 = 4.0;

/// Memory that is used is gone: it is given away once.
pub const MEMORY_OVERCOMMIT: f64 = 1.0;

/// What somebody said of the room of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Room {
    /// Sandboxes that live at once.
    pub live_max: Option<usize>,
    /// Thousandths of a processor.
    pub cpu_millis: Option<u64>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// So many times its processors are given to jobs that ask for some; [`CPU_OVERCOMMIT`] where absent.
    pub cpu_overcommit: Option<f64>,
    /// The same of its memory; [`MEMORY_OVERCOMMIT`] where absent.
    pub memory_overcommit: Option<f64>,
}

/// The room of this machine, or of the control group that this process is in; what was said wins.
#[must_use]
pub fn limits(room: &Room) -> Limits {
    // Knows of control groups.
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = memory_bytes();
    let live_max = room.live_max.unwrap_or_else(|| {
        let fit = usize::try_from(memory / BYTES_PER_SANDBOX).unwrap_or(usize::MAX);
        fit.max(LIVE_MIN)
    });
    let cpu_millis = room.cpu_millis.unwrap_or(cpus as u64 * 1000);
    let memory_bytes = room.memory_bytes.unwrap_or(match memory {
        0 => u64::MAX,
        known => known,
    });
    let cpu_overcommit = room.cpu_overcommit.unwrap_or(CPU_OVERCOMMIT);
    let memory_overcommit = room.memory_overcommit.unwrap_or(MEMORY_OVERCOMMIT);
    Limits {
        live_max: live_max.max(1),
        rising_max: cpus * RISING_PER_CPU,
        cpu_millis_max: times(cpu_millis, cpu_overcommit),
        memory_bytes_max: times(memory_bytes, memory_overcommit),
    }
}

fn times(number: u64, factor: f64) -> u64 {
    // Saturates.
    (number as f64 * factor) as u64
}

/// The machine's memory, or what a control group leaves of it; 0 where it cannot be told.
fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    let machine = kib.map_or(0, |kib| kib * 1024);
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = memory_of_groups(&groups, Path::new("/sys/fs/cgroup"));
    group.map_or(machine, |most| machine.min(most))
}

/// The least that a control group of this process, or one above it, may have.
fn memory_of_groups(groups: &str, root: &Path) -> Option<u64> {
    let own = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let path = Path::new(path.trim_start_matches('/'));
        match controllers {
            "" => Some((root.to_owned(), path, "memory.max")),
            "memory" => Some((root.join("memory"), path, "memory.limit_in_bytes")),
            _ => None,
        }
    });
    own.flat_map(|(root, path, file)| {
        let read = move |group: &Path| {
            let text = std::fs::read_to_string(root.join(group).join(file)).ok()?;
            // "max" is no limit.
            text.trim().parse::<u64>().ok()
        };
        path.ancestors().filter_map(read).collect::<Vec<_>>()
    })
    .min()
}

/// A job that asks for more than the whole node has for jobs would wait for ever.
pub(crate) fn check_fits(spec: &JobSpec, limits: &Limits) -> Result<(), Error> {
    let most = limits.at_most();
    if let (Some(wanted), Some(most)) = (spec.cpu_millis, most.cpu_millis)
        && wanted > most
    {
        let text = format!(
            "it asks for {} CPUs, and this node has {} for jobs: ask for less, or start the daemon with other --cpus or \
             --cpu-overcommit",
            f64::from(wanted) / 1000.0,
            f64::from(most) / 1000.0
        );
        return Err(Error::invalid("cpu_millis", text));
    }
    if let (Some(wanted), Some(most)) = (spec.memory_bytes, most.memory_bytes)
        && wanted > most
    {
        let text = format!(
            "it asks for {} MiB of memory, and this node has {} MiB for jobs: ask for less, or start the daemon with other \
             --memory or --memory-overcommit",
            wanted >> 20,
            most >> 20
        );
        return Err(Error::invalid("memory_bytes", text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_room_for_some_and_for_what_was_said() {
        let here = limits(&Room::default());
        assert!(here.live_max >= LIVE_MIN && here.rising_max >= RISING_PER_CPU);
        assert!(here.cpu_millis_max >= 4000 && here.memory_bytes_max > 1 << 20);
        let said = limits(&Room {
            live_max: Some(0),
            cpu_millis: Some(1500),
            memory_bytes: Some(1000),
            cpu_overcommit: Some(2.0),
            memory_overcommit: Some(0.5),
        });
        assert_eq!((said.live_max, said.cpu_millis_max), (1, 3000));
        assert_eq!(said.memory_bytes_max, 500);
    }

    #[test]
    fn the_tightest_control_group_counts() {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let of = |groups: &str| memory_of_groups(groups, folder.path());
        put("a/b/memory.max", "max\n");
        assert_eq!(of("0::/a/b\n"), None);
        put("a/memory.max", "1073741824\n");
        assert_eq!(of("0::/a/b\n"), Some(1 << 30));
        assert_eq!(of("0::/\n"), None);
        put("memory/c/memory.limit_in_bytes", "5000\n");
        assert_eq!(of("3:cpu,cpuacct:/c\n4:memory:/c\n"), Some(5000));
    }
}
