//! Moving processes between cgroups without a wait in the kernel.
//!
//! Whoever moves a process first waits for an RCU grace period (6 to 16 ms where the kernel ticks 250 times a second), because the
//! kernel makes every fork and exit of the machine look out for movers; whoever follows within about as long does not. So somebody who
//! knows that a process is about to be moved moves itself to where it is, while the rest is prepared.

use super::hierarchies::Machine;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Somebody waits already.
static UNDER_WAY: AtomicBool = AtomicBool::new(false);

/// Makes the next moves quick. Blocks for the grace period, but for a user who may move nothing.
pub fn foresee_a_move() {
    static OWN: OnceLock<Option<PathBuf>> = OnceLock::new();
    let Some(procs) = OWN.get_or_init(own_procs) else {
        return;
    };
    if UNDER_WAY.swap(true, Ordering::AcqRel) {
        return;
    }
    // Only a start that is slower is at stake.
    if let Err(error) = std::fs::write(procs, "0") {
        tracing::debug!(procs = %procs.display(), %error, "cannot foresee a move between cgroups");
    }
    UNDER_WAY.store(false, Ordering::Release);
}

/// The `cgroup.procs` of the version 2 cgroup this process is in: any hierarchy would do, they share the lock.
fn own_procs() -> Option<PathBuf> {
    let top = Machine::look().unified?;
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let procs = top.join(own).join("cgroup.procs");
    procs.exists().then_some(procs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_stays_where_it_is() {
        let before = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        foresee_a_move();
        assert_eq!(
            std::fs::read_to_string("/proc/self/cgroup").unwrap(),
            before
        );
        assert!(!UNDER_WAY.load(Ordering::Acquire));
    }
}
