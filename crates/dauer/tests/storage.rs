//! The room that checkpoints take: packed when they rest, as many as were asked for, and nothing that nobody needs.

mod node;

use node::Node;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Counts for ever, slowly.
const COUNT: &str = "n=0; while :; do n=$((n+1)); echo count $n; sleep 0.05; done";

/// A driver that freezes; `None`, with the line that says so, where there is none.
fn freezing(node: &Node, claim: &str) -> Option<&'static str> {
    let found = ["runc", "gvisor"]
        .into_iter()
        .find(|driver| node.freezes(driver));
    if found.is_none() {
        println!("skipped: {claim}: no driver here freezes memory");
    }
    found
}

/// What there is to see of work in the background is files.
#[track_caller]
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn start(node: &Node, driver: &str, more: &str) -> String {
    let mut words = vec!["run", "-d", "--driver", driver];
    words.extend(more.split_whitespace());
    words.extend(["--", "sh", "-c", COUNT]);
    let job = node.run(words).is(0).stdout.trim().to_owned();
    node.wait_until_started(&job);
    job
}

fn counted(node: &Node, job: &str) -> Vec<u32> {
    let log = node.dauer(&format!("logs {job}")).is(0).stdout;
    let counts = log.lines().filter_map(|line| line.strip_prefix("count "));
    counts.map(|count| count.parse().unwrap()).collect()
}

fn names(folder: PathBuf) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn is_packed(folder: &Path) -> bool {
    folder.join("recipe").exists() && !folder.join("raw").exists()
}

#[test]
fn a_job_goes_on_from_a_checkpoint_that_was_packed_and_nothing_stays_of_it() {
    let node = Node::new();
    let _daemon = node.serve(&["--pack-after", "1s"]);
    let Some(driver) = freezing(&node, "going on from a packed checkpoint") else {
        return;
    };
    let job = start(&node, driver, "");
    wait_until("it counts", || counted(&node, &job).len() > 3);
    node.dauer(&format!("suspend {job}")).is(0);
    let before = counted(&node, &job);
    let checkpoint = node.inspect(&job)["checkpoint"]
        .as_str()
        .unwrap()
        .to_owned();
    let folder = node.data().join("snapshots").join(checkpoint);
    wait_until("it is packed", || is_packed(&folder));
    node.dauer(&format!("resume {job}")).is(0);
    wait_until("it counts on", || {
        counted(&node, &job).len() > before.len() + 3
    });
    let all = counted(&node, &job);
    assert!(all.windows(2).all(|pair| pair[1] == pair[0] + 1), "{all:?}");
    node.dauer(&format!("rm -f {job}")).is(0);
    let report: serde_json::Value =
        serde_json::from_str(&node.dauer("gc --json").is(0).stdout).unwrap();
    let kinds = report["unneeded"].as_array().unwrap().iter();
    let kinds: BTreeSet<&str> = kinds.map(|one| one["kind"].as_str().unwrap()).collect();
    // Or the daemon was faster.
    assert!(kinds.is_subset(&BTreeSet::from(["pack"])), "{report}");
    assert_eq!(names(node.data().join("chunks")), BTreeSet::new());
}

#[test]
fn a_job_keeps_as_many_checkpoints_as_it_is_told() {
    let node = Node::new();
    let Some(driver) = freezing(&node, "keeping checkpoints") else {
        return;
    };
    let job = start(&node, driver, "--keep-checkpoints 2,1h");
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(
            node.dauer(&format!("checkpoint {job}"))
                .is(0)
                .stdout
                .trim()
                .to_owned(),
        );
    }
    let kept = BTreeSet::from([taken[1].clone(), taken[2].clone()]);
    wait_until("the first is gone", || {
        names(node.data().join("snapshots")) == kept
    });
    let listed: serde_json::Value = serde_json::from_str(
        &node
            .dauer(&format!("checkpoints --json {job}"))
            .is(0)
            .stdout,
    )
    .unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    node.dauer("run --keep-checkpoints 0 -- true")
        .is(125)
        .says("number from 1");
}

#[test]
fn gc_says_what_nobody_needs_and_removes_it_when_told() {
    let node = Node::new();
    let job = node.detached("stays", "sleep 1000");
    let stray = [
        "snapshots/0123456789abcdef/memory",
        "snapshots/.partial-00112233445566aa/memory",
        "sandboxes/aaaabbbbccccdddd/run.1",
        "chunks",
    ];
    for folder in stray {
        fs::create_dir_all(node.data().join(folder)).unwrap();
    }
    fs::write(
        node.data().join("snapshots/0123456789abcdef/memory/pages"),
        [7; 100_000],
    )
    .unwrap();
    fs::write(
        node.data()
            .join("chunks/00000000000000000000000000000000.pack"),
        [7; 9_000],
    )
    .unwrap();
    let said = node.dauer("gc --dry-run").is(0).stdout;
    // Not the pack: the daemon may have been faster.
    for part in [
        "0123456789abcdef",
        "00112233445566aa",
        "aaaabbbbccccdddd",
        "would be free",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(
        stray.iter().all(|folder| node.data().join(folder).exists()),
        "{said}"
    );
    node.dauer("gc").is(0);
    assert_eq!(names(node.data().join("snapshots")), BTreeSet::new());
    assert_eq!(names(node.data().join("chunks")), BTreeSet::new());
    assert_eq!(names(node.data().join("sandboxes")).len(), 1);
    assert_eq!(node.dauer("gc").is(0).stdout, "nothing is unneeded\n");
    assert_eq!(node.inspect(&job)["state"], "running");
}
