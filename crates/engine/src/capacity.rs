//! What a node has room for where nobody says: from its memory and its processors.

use dauer_core::plan::admission::Limits;

/// What a small job in a sandbox with its agent, shim and runtime takes, roughly.
const BYTES_PER_SANDBOX: u64 = 32 << 20;

/// No machine is too small for so many.
const LIVE_MIN: usize = 16;

/// Starting one takes a processor for some tenths of a second, or waits for a disk.
const RISING_PER_CPU: usize = 8;

/// The room of this machine; `live_max` where somebody said it.
#[must_use]
pub fn limits(live_max: Option<usize>) -> Limits {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let live_max = live_max.unwrap_or_else(|| {
        let fit = usize::try_from(memory_bytes() / BYTES_PER_SANDBOX).unwrap_or(usize::MAX);
        fit.max(LIVE_MIN)
    });
    Limits {
        live_max: live_max.max(1),
        rising_max: cpus * RISING_PER_CPU,
    }
}

/// All of the machine's memory; 0 where it cannot be told.
fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_room_for_some_and_for_what_was_said() {
        let limits_here = limits(None);
        assert!(limits_here.live_max >= LIVE_MIN && limits_here.rising_max >= RISING_PER_CPU);
        assert_eq!(limits(Some(3)).live_max, 3);
        assert_eq!(limits(Some(0)).live_max, 1);
        assert!(memory_bytes() > 1 << 20);
    }
}
