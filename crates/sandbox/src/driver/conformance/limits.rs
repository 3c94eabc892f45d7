//! What a sandbox may use, and that it is counted and held back.

use super::cases::{case, shell};
use super::sandbox::{Failure, expect};
use super::{Bench, Case, Needs};
use crate::host::cgroup;
use std::path::Path;

pub(super) const ALL: &[Case] = &[
    case(
        "all_of_its_processes_are_in_its_cgroup",
        Needs::Root,
        is_in_cgroup,
    ),
    case(
        "a_memory_limit_kills_and_is_told_apart",
        Needs::Root,
        memory_limit,
    ),
    case(
        "below_its_memory_limit_nothing_is_killed",
        Needs::Root,
        memory_below_limit,
    ),
    case("a_cpu_limit_slows_down", Needs::Root, cpu_limit),
];

fn is_in_cgroup(bench: &Bench) -> Result<(), Failure> {
    let mut sandbox = bench.start(bench.spec())?;
    sandbox.sh_ok("sleep 1000 >/dev/null 2>&1 & true")?;
    let pids = cgroup::pids(&sandbox.incarnation.instance)?;
    expect(
        "its process is in it",
        &pids.contains(&sandbox.running.pid),
        &true,
    )?;
    expect(
        "memory is counted",
        &(sandbox.driver.memory_bytes(&sandbox.incarnation) > 100_000),
        &true,
    )?;
    sandbox.destroy()
}

fn memory_limit(bench: &Bench) -> Result<(), Failure> {
    let mut spec = bench.spec();
    spec.memory_bytes = Some(64 << 20);
    spec.argv = shell("head -c 400000000 /dev/zero | tail > /dev/null; echo survived");
    let mut sandbox = bench.start(spec)?;
    // gVisor dies as a whole, the others lose the one process.
    while let Some(message) = sandbox.next()? {
        if matches!(
            message,
            dauer_wire::guest::FromGuest::Exited { session: 0, .. }
        ) {
            break;
        }
    }
    let out_of_memory = sandbox.driver.was_out_of_memory(&sandbox.incarnation);
    expect("the kernel says so", &out_of_memory, &true)?;
    sandbox.destroy()
}

fn memory_below_limit(bench: &Bench) -> Result<(), Failure> {
    let mut spec = bench.spec();
    spec.memory_bytes = Some(64 << 20);
    spec.argv = shell("head -c 8000000 /dev/zero | tail > /dev/null; exit 3");
    let mut sandbox = bench.start(spec)?;
    expect("exit code", &sandbox.job_status()?.code, &Some(3))?;
    expect(
        "nothing was killed",
        &sandbox.driver.was_out_of_memory(&sandbox.incarnation),
        &false,
    )?;
    sandbox.destroy()
}

/// Whether the kernel did, there or in a folder below.
fn held_back(cgroup: &Path) -> bool {
    let below = std::fs::read_dir(cgroup).into_iter().flatten().flatten();
    let own = std::fs::read_to_string(cgroup.join("cpu.stat")).is_ok_and(|text| {
        text.lines().any(|line| {
            line.strip_prefix("nr_throttled ")
                .is_some_and(|count| count.trim() != "0")
        })
    });
    own || below
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .any(|entry| held_back(&entry.path()))
}

fn cpu_limit(bench: &Bench) -> Result<(), Failure> {
    let mut spec = bench.spec();
    spec.cpu_millis = Some(200);
    let mut sandbox = bench.start(spec)?;
    let instance = sandbox.incarnation.instance.clone();
    let throttled = || {
        [
            "/sys/fs/cgroup/cpu/dauer",
            "/sys/fs/cgroup/cpu,cpuacct/dauer",
            "/sys/fs/cgroup/dauer",
        ]
        .iter()
        .any(|parent| held_back(&Path::new(parent).join(&instance)))
    };
    sandbox.sh_ok("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done")?;
    expect("the kernel held it back", &throttled(), &true)?;
    sandbox.destroy()
}
