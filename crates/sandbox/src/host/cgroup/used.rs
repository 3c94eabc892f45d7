//! What a sandbox has used, as its cgroup has counted it.

use super::hierarchies::Machine;
use std::path::Path;

/// What was counted; nothing of what this machine does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Milliseconds of CPU time.
    pub cpu_ms: Option<u64>,
    /// Bytes of memory at the peak.
    pub memory_bytes: Option<u64>,
}

/// What this sandbox has used since it was made. Its cgroup has to be there still.
#[must_use]
pub fn used(instance: &str) -> Used {
    let mut used = Used::default();
    for folder in Machine::look().folders(instance) {
        used.cpu_ms = used.cpu_ms.or_else(|| cpu_ms(&folder));
        used.memory_bytes = used.memory_bytes.or_else(|| {
            ["memory.peak", "memory.max_usage_in_bytes"]
                .iter()
                .find_map(|file| number(&folder.join(file)))
        });
    }
    used
}

fn cpu_ms(folder: &Path) -> Option<u64> {
    if let Some(nanoseconds) = number(&folder.join("cpuacct.usage")) {
        return Some(nanoseconds / 1_000_000);
    }
    let stat = std::fs::read_to_string(folder.join("cpu.stat")).ok()?;
    let microseconds = stat
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse::<u64>().ok())?;
    Some(microseconds / 1000)
}

fn number(file: &Path) -> Option<u64> {
    // No such file: it is not counted here.
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}
