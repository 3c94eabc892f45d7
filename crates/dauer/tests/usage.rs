//! What the ledger of a real daemon says of real sandboxes, against a clock: also where sandbox and daemon are killed, alone and together.

mod node;

use node::{Node, Running};
use serde_json::Value;
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

const HOUR_MS: f64 = 3_600_000.0;
const GIB: f64 = 1_073_741_824.0;

/// Between a sandbox that runs and anybody knowing of it, on a busy machine.
const SLACK_MS: f64 = 700.0;

/// A sum of the ledger.
#[derive(Clone, Copy, Debug)]
struct Used {
    run_ms: f64,
    cpu_ms: f64,
    cpu_used_ms: f64,
    memory_byte_ms: f64,
    storage_byte_ms: f64,
    at: f64,
}

impl Used {
    fn of(row: &Value, at: &Value) -> Self {
        let figure = |name: &str| row[name].as_f64().unwrap();
        Self {
            run_ms: figure("run_hours") * HOUR_MS,
            cpu_ms: figure("cpu_hours") * HOUR_MS,
            cpu_used_ms: figure("cpu_used_hours") * HOUR_MS,
            memory_byte_ms: figure("memory_gib_hours") * GIB * HOUR_MS,
            storage_byte_ms: figure("storage_gib_days") * GIB * 24.0 * HOUR_MS,
            at: at.as_f64().unwrap(),
        }
    }
}

fn report(node: &Node, line: &str) -> Value {
    let json = node.dauer(&format!("usage --json {line}")).is(0).stdout;
    serde_json::from_str(&json).unwrap()
}

fn used(node: &Node, job: &str) -> Used {
    let report = report(node, job);
    Used::of(&report["total"], &report["at"])
}

#[track_caller]
fn is_about(what: &str, found_ms: f64, least_ms: f64, most_ms: f64) {
    // Both ends of an interval are whole milliseconds.
    assert!(
        (least_ms - 1.0..=most_ms + 1.0).contains(&found_ms),
        "{what}: {found_ms} ms instead of {least_ms} to {most_ms}"
    );
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

/// Lets time pass that is not to be counted.
fn let_pass(span: Duration) {
    std::thread::sleep(span);
}

/// Returns when these processes, which are no children of ours, are gone.
struct Watched(Vec<OwnedFd>);

impl Watched {
    fn open(pids: impl IntoIterator<Item = i64>) -> Self {
        let open = |pid: i64| {
            // SAFETY: pidfd_open takes a number and returns a new descriptor or -1.
            let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
            let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
            // SAFETY: it is new and nobody else's.
            Some(unsafe { OwnedFd::from_raw_fd(fd) })
        };
        Self(pids.into_iter().filter_map(open).collect())
    }

    fn wait_until_gone(&self) {
        for fd in &self.0 {
            let mut waiting = [nix::poll::PollFd::new(
                fd.as_fd(),
                nix::poll::PollFlags::POLLIN,
            )];
            assert_eq!(nix::poll::poll(&mut waiting, 20_000_u16), Ok(1));
        }
    }
}

/// The shim and the sandbox of a job that runs.
fn processes(node: &Node, job: &str) -> [i64; 2] {
    let handles = node.inspect(job)["handles"].clone();
    ["shim_pid", "sandbox_pid"].map(|name| handles[name].as_i64().unwrap())
}

/// kill -9 of everything that a job consists of.
fn kill_all(pids: [i64; 2]) {
    let watched = Watched::open(pids);
    for pid in pids {
        node::kill(i32::try_from(pid).unwrap(), 9);
    }
    watched.wait_until_gone();
}

fn driver_that_freezes(node: &Node, claim: &str) -> Option<&'static str> {
    let driver = ["runc", "gvisor"]
        .into_iter()
        .find(|driver| node.freezes(driver));
    if driver.is_none() {
        println!("skipped: {claim}: no driver freezes here");
    }
    driver
}

#[test]
fn a_program_counts_while_it_runs_with_what_it_is_allotted() {
    let node = Node::new();
    let busy = "end=$(($(date +%s%N) + 1500000000)); while [ $(date +%s%N) -lt $end ]; do :; done";
    let id = node.detached("busy", busy);
    let running = used(&node, "busy");
    node.dauer("wait busy").is(0);
    let ended = used(&node, "busy");
    is_about("busy for", ended.run_ms, 1500.0, 1500.0 + SLACK_MS);
    assert!(
        running.run_ms < ended.run_ms,
        "{running:?} before {ended:?}"
    );
    is_about(
        "1 CPU",
        ended.cpu_ms,
        ended.run_ms - 0.01,
        ended.run_ms + 0.01,
    );
    let half_gib = ended.memory_byte_ms / (GIB / 2.0);
    is_about(
        "512 MiB",
        half_gib,
        ended.run_ms - 0.01,
        ended.run_ms + 0.01,
    );
    assert_eq!(ended.storage_byte_ms, 0.0);
    if nix::unistd::geteuid().is_root() {
        // Two cores at most are busy with it, and it has the processor for a good part of the time.
        is_about("CPU time", ended.cpu_used_ms, 200.0, 2.0 * ended.run_ms);
    }
    // What has ended stays as it is, also when the job is gone.
    node.dauer("rm busy").is(0);
    let after = used(&node, &id);
    assert_eq!(
        (after.run_ms, after.cpu_used_ms),
        (ended.run_ms, ended.cpu_used_ms)
    );
    assert_eq!(report(&node, "--by job")["rows"][0]["group"], id.as_str());
}

#[test]
fn a_job_that_sleeps_costs_only_the_blocks_of_its_image() {
    let claim = "a_job_that_sleeps_costs_only_the_blocks_of_its_image";
    let node = Node::new();
    let Some(driver) = driver_that_freezes(&node, claim) else {
        return;
    };
    let began = Instant::now();
    node.dauer(&format!("run -d --name z --driver {driver} -- sleep 1000"))
        .is(0);
    node.wait_until_started("z");
    let up = Instant::now();
    node.dauer("suspend z").is(0);
    let first_ms = ms(began.elapsed());
    let least_ms = ms(up.elapsed()) - first_ms;
    // What it says is of a moment before it has said it.
    let (watch, wall) = (Instant::now(), SystemTime::now());
    let asleep = used(&node, "z");
    is_about(
        "before it slept",
        asleep.run_ms,
        least_ms.max(0.0),
        first_ms,
    );
    let_pass(Duration::from_millis(1500));
    let later = used(&node, "z");
    assert_eq!(later.run_ms, asleep.run_ms, "it is asleep");
    let slept_ms = later.at - asleep.at;
    // The ledger goes by the wall clock, which may have been set by some milliseconds meanwhile.
    let most_ms = ms(watch.elapsed());
    let set_ms = wall.elapsed().map_or(0.0, |elapsed| ms(elapsed) - most_ms);
    is_about(
        "asleep",
        slept_ms,
        1500.0 + set_ms.min(0.0),
        most_ms + set_ms.max(0.0),
    );
    let bytes = (later.storage_byte_ms - asleep.storage_byte_ms) / slept_ms;
    let blocks = blocks_bytes(&node.data().join("snapshots"));
    // The manifest is written when its contents are counted, and folders grow with it.
    assert!(
        (bytes - blocks).abs() <= 64.0 * 1024.0 && bytes > 0.0,
        "{bytes} bytes counted, {blocks} on disk"
    );
    let began = Instant::now();
    node.dauer("resume z").is(0);
    let up = Instant::now();
    let_pass(Duration::from_millis(800));
    let least_ms = ms(up.elapsed());
    node.dauer("kill z").is(0);
    let most_ms = ms(began.elapsed());
    let killed = used(&node, "z");
    is_about("awake", killed.run_ms - asleep.run_ms, least_ms, most_ms);
    // Of a job that was killed the checkpoint stays, and costs, until it is removed.
    assert!(used(&node, "z").storage_byte_ms > later.storage_byte_ms);
    let id = node.inspect("z")["id"].as_str().unwrap().to_owned();
    node.dauer("rm z").is(0);
    let removed = used(&node, &id);
    let_pass(Duration::from_millis(20));
    assert_eq!(used(&node, &id).storage_byte_ms, removed.storage_byte_ms);
}

/// Of everything below.
fn blocks_bytes(folder: &Path) -> f64 {
    let mut bytes = 0.0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        bytes += meta.blocks() as f64 * 512.0;
        if meta.is_dir() {
            bytes += blocks_bytes(&entry.path());
        }
    }
    bytes
}

#[test]
fn a_program_that_ends_while_no_daemon_runs_counts_to_its_end() {
    let node = Node::new();
    node.detached("alone", "sleep 1.2");
    node.wait_until_started("alone");
    let watched = Watched::open(processes(&node, "alone"));
    node.kill_daemon();
    watched.wait_until_gone();
    let_pass(Duration::from_secs(2));
    node.dauer("wait alone").is(0);
    is_about(
        "ran",
        used(&node, "alone").run_ms,
        1200.0,
        1200.0 + SLACK_MS,
    );
}

#[test]
fn daemons_that_die_and_adopt_count_once() {
    let node = Node::new();
    node.detached("steady", "sleep 1000");
    let began = Instant::now();
    node.wait_until_started("steady");
    let up = Instant::now();
    for _ in 0..3 {
        node.kill_daemon();
        node.dauer("ps").is(0);
    }
    let least_ms = ms(up.elapsed());
    let now = used(&node, "steady");
    is_about("runs", now.run_ms, least_ms, ms(began.elapsed()) + SLACK_MS);
    assert!((now.cpu_ms - now.run_ms).abs() < 0.01, "{now:?}");
}

#[test]
fn a_sandbox_that_is_killed_counts_to_that_moment() {
    let node = Node::new();
    node.detached("shot", "sleep 1000");
    node.wait_until_started("shot");
    let up = Instant::now();
    let pids = processes(&node, "shot");
    let_pass(Duration::from_millis(600));
    let least_ms = ms(up.elapsed());
    kill_all(pids);
    let most_ms = ms(up.elapsed()) + SLACK_MS;
    node.dauer("wait shot").is(125);
    assert_eq!(node.inspect("shot")["reason"], "lost");
    is_about("ran", used(&node, "shot").run_ms, least_ms, most_ms);
}

#[test]
fn what_died_unseen_counts_to_when_it_was_last_seen_alive() {
    let node = Node::new();
    node.detached("ticks", "while :; do echo tick; sleep 0.1; done");
    let mut log = Running::start(node.command(["logs", "-f", "ticks"]));
    node.wait_until_started("ticks");
    let up = Instant::now();
    let pids = processes(&node, "ticks");
    for _ in 0..8 {
        assert_eq!(log.line(), "tick");
    }
    node.kill_daemon();
    kill_all(pids);
    let most_ms = ms(up.elapsed()) + SLACK_MS;
    log.child.kill().unwrap();
    log.child.wait().unwrap();
    let_pass(Duration::from_secs(2));
    node.dauer("wait ticks").is(125);
    // Its last words are the last that anybody saw of it.
    is_about(
        "ran",
        used(&node, "ticks").run_ms,
        500.0,
        most_ms.min(2400.0),
    );
}

#[test]
fn what_was_used_stays_under_the_tags_of_its_time() {
    let node = Node::new();
    node.dauer("run -d --driver native --name t --tag team=a --tag old=1 -- sleep 1000")
        .is(0);
    node.wait_until_started("t");
    let_pass(Duration::from_millis(300));
    node.dauer("tag t team=b old- --metadata price=1.5").is(0);
    let tagged = node.inspect("t");
    assert_eq!(tagged["tags"], serde_json::json!({"team": "b"}));
    assert_eq!(
        tagged["spec"]["metadata"],
        serde_json::json!({"price": 1.5})
    );
    let found = |tag: &str| node.dauer(&format!("ps -aq --tag {tag}")).is(0).stdout;
    assert_eq!(
        (found("team=a").as_str(), found("old=1").as_str()),
        ("", "")
    );
    assert_ne!(found("team=b"), "");
    let row = |team: &str| {
        let report = report(&node, "--by tag:team");
        let rows = report["rows"].as_array().unwrap().clone();
        let row = rows.iter().find(|row| row["group"] == team).unwrap();
        Used::of(row, &report["at"])
    };
    let before = row("a");
    is_about("as team a", before.run_ms, 300.0, 300.0 + 4.0 * SLACK_MS);
    node.dauer("kill t").is(0);
    assert_eq!(row("a").run_ms, before.run_ms);
    let both = row("a").run_ms + row("b").run_ms;
    assert!((used(&node, "t").run_ms - both).abs() < 0.01);
    // Also of a job that has ended, and after another daemon reads it.
    node.dauer("tag t team=c").is(0);
    node.kill_daemon();
    assert_eq!(node.dauer("tag t").is(0).stdout, "team=c\n");
    assert_eq!(node.inspect("t")["state"], "failed");
    node.dauer("tag t a:b=c").is(1).says("not a tag");
    node.dauer("tag nobody a=b").is(1).says("nobody");
    node.dauer("usage --by team").is(1).says("tag:KEY");
    let csv = node.dauer("usage --csv --by tag:team").is(0).stdout;
    assert!(
        csv.starts_with("tag:team,run_hours,") && csv.contains("\na,0.000"),
        "{csv}"
    );
}
