//! The daemon dies, at the worst moments, and nobody who uses it notices more than a pause.

mod node;

use node::{Node, Running};
use std::collections::HashSet;

#[test]
fn a_run_in_the_foreground_goes_on_over_kill_9_of_the_daemon() {
    let node = Node::new();
    // A line is written for each line read, so that the test knows where the job is.
    let script =
        "n=0; while read line; do n=$((n+1)); echo $n; echo $n >&2; done; seq 1 100000; exit 11";
    let mut command = node.command(["run", "--driver", "native", "--", "sh", "-c", script]);
    command.stderr(std::process::Stdio::null());
    let mut job = Running::start(command);
    let mut pids = HashSet::new();
    for round in 1..=5 {
        job.say("go\n");
        assert_eq!(job.line(), round.to_string());
        pids.insert(node.daemon_pid());
        node.kill_daemon();
        // Answers only once the daemon is back, so that the next line of input is not under way at its death.
        node.dauer("ps").is(0);
    }
    assert_eq!(pids.len(), 5, "each round had a daemon of its own");
    let (rest, code) = job.end();
    assert_eq!(code, Some(11));
    assert_eq!(rest.len(), 100_000);
    assert!(
        rest.iter()
            .enumerate()
            .all(|(index, line)| *line == (index + 1).to_string())
    );
}

#[test]
fn much_output_is_whole_although_the_daemon_dies_in_the_middle() {
    let node = Node::new();
    let mut job =
        Running::start(node.command(["run", "--driver", "native", "--", "seq", "1", "3000000"]));
    let mut killed = 0;
    for number in 1..=3_000_000_u32 {
        assert_eq!(job.line(), number.to_string());
        if number % 700_000 == 0 {
            node.kill_daemon();
            killed += 1;
        }
    }
    assert_eq!(killed, 4);
    assert_eq!(job.end(), (vec![], Some(0)));
}

#[test]
fn a_wait_goes_on_over_kill_9_of_the_daemon() {
    let node = Node::new();
    node.detached(
        "awaited",
        "echo up; while ! test -e /tmp/go; do sleep 0.01; done; exit 21",
    );
    let mut log = Running::start(node.command(["logs", "-f", "awaited"]));
    assert_eq!(log.line(), "up");
    node.wait_until_started("awaited");
    let mut waiting = node.command(["wait", "awaited"]).spawn().unwrap();
    for _ in 0..3 {
        node.dauer("ps").is(0);
        node.kill_daemon();
    }
    node.dauer("exec awaited -- touch /tmp/go").is(0);
    assert_eq!(waiting.wait().unwrap().code(), Some(21));
    assert_eq!(log.end(), (vec![], Some(0)));
}

#[test]
fn many_commands_at_once_start_one_daemon() {
    let node = Node::new();
    let children: Vec<_> = (0..16)
        .map(|_| node.command(["ps", "-q"]).spawn().unwrap())
        .collect();
    for mut child in children {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    let pid = node.daemon_pid();
    node.dauer("ps").is(0);
    assert_eq!(node.daemon_pid(), pid);
}
