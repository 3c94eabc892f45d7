//! Jobs in the background: seen, followed, waited for, ended, removed; and what they changed.

mod node;

use node::{Node, Running};
use std::fs;

#[test]
fn a_detached_job_prints_its_id_and_can_be_seen_waited_for_and_read() {
    let node = Node::new();
    let id = node.detached(
        "worker",
        "echo working; echo badly >&2; while :; do sleep 0.01; done",
    );
    assert_eq!(id.len(), 36, "{id:?}");
    node.run([
        "run", "--driver", "native", "--name", "worker", "--", "true",
    ])
    .is(125)
    .says("name");
    let mut followed = Running::start(node.command(["logs", "-f", "worker"]));
    assert_eq!(followed.line(), "working");
    let table = node.dauer("ps").is(0).stdout;
    assert!(
        table.contains("worker") && table.starts_with("ID "),
        "{table}"
    );
    node.dauer("stop --grace 0s worker").is(0);
    assert_eq!(node.dauer("ps -q").is(0).stdout, "");
    let all: serde_json::Value =
        serde_json::from_str(&node.dauer("ps -a --json").is(0).stdout).unwrap();
    assert_eq!(
        (all[0]["id"].as_str(), all[0]["name"].as_str()),
        (Some(id.as_str()), Some("worker"))
    );
    let code = all[0]["exit_code"].as_i64().unwrap();
    node.dauer(&format!("wait {id}"))
        .is(i32::try_from(code).unwrap());
    let log = node.dauer("logs worker").is(0);
    assert_eq!(log.stdout, "working\n");
    node.dauer("rm worker").is(0);
    node.dauer("inspect worker").is(1).says("worker");
    assert_eq!(
        fs::read_dir(node.data().join("sandboxes")).unwrap().count(),
        0
    );
}

#[test]
fn inspect_has_handles_while_the_job_lives() {
    let node = Node::new();
    let mut job = Running::start(node.command([
        "run",
        "--driver",
        "native",
        "--name",
        "live",
        "--",
        "sh",
        "-c",
        "echo up; read line",
    ]));
    assert_eq!(job.line(), "up");
    let view = node.inspect("live");
    let pid = view["handles"]["sandbox_pid"].as_i64().unwrap();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(view["spec"]["argv"][0], "sh");
    job.say("\n");
    job.end();
    assert!(node.inspect("live")["handles"].is_null());
}

#[test]
fn stop_asks_first_and_kill_does_not() {
    let node = Node::new();
    node.detached(
        "polite",
        "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done",
    );
    let mut log = Running::start(node.command(["logs", "-f", "polite"]));
    assert_eq!(log.line(), "up");
    node.wait_until_started("polite");
    node.dauer("stop polite").is(0);
    let (after, view) = (node.dauer("logs polite").stdout, node.inspect("polite"));
    assert_eq!(
        log.end(),
        (vec!["bye".to_owned()], Some(0)),
        "{after:?} {view:#}"
    );
    assert_eq!(view["state"], "cancelled");

    node.detached(
        "deaf",
        "trap '' TERM; trap 'echo hup' HUP; echo up; while :; do sleep 0.01; done",
    );
    let mut log = Running::start(node.command(["logs", "-f", "deaf"]));
    assert_eq!(log.line(), "up");
    node.dauer("kill --signal HUP deaf").is(0);
    assert_eq!(log.line(), "hup");
    node.dauer("kill deaf").is(0);
    assert_eq!(log.end().1, Some(0));
    node.dauer("wait deaf").is(128 + 9);
    let view = node.inspect("deaf");
    assert_eq!(
        (view["state"].as_str(), view["reason"].as_str()),
        (Some("failed"), Some("killed"))
    );
}

#[test]
fn a_job_is_found_by_the_beginning_of_its_id() {
    let node = Node::new();
    let id = node.detached("one", "true");
    node.dauer(&format!("wait {}", &id[..24])).is(0);
    node.dauer("wait zzzz").is(125).says("zzzz");
}

#[test]
fn logs_begin_where_asked_and_carry_times() {
    let node = Node::new();
    node.script("echo first; echo second").is(0);
    let id = node.dauer("ps -aq").stdout.trim().to_owned();
    assert_eq!(
        node.dauer(&format!("logs --since 1h {id}")).is(0).stdout,
        "first\nsecond\n"
    );
    assert_eq!(
        node.dauer(&format!("logs --since 2100-01-01T00:00:00Z {id}"))
            .is(0)
            .stdout,
        ""
    );
    assert_eq!(
        node.dauer(&format!("logs --since 99999999 {id}"))
            .is(0)
            .stdout,
        ""
    );
    let stamped = node.dauer(&format!("logs --timestamps {id}")).is(0).stdout;
    let lines: Vec<&str> = stamped.lines().collect();
    assert!(
        lines[0].ends_with("Z first") && lines[1].ends_with("Z second"),
        "{stamped}"
    );
}

#[test]
fn events_tell_a_jobs_life() {
    let node = Node::new();
    node.detached("short", "exit 2");
    node.dauer("wait short").is(2);
    let events = node.dauer("events --json short").is(0).stdout;
    let events: Vec<serde_json::Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["event"], "submitted");
    assert_eq!(events.last().unwrap()["to"], "failed");
    assert!(
        events
            .windows(2)
            .all(|pair| pair[0]["seq"].as_u64() < pair[1]["seq"].as_u64())
    );
    let mut followed = Running::start(node.command(["events", "-f"]));
    assert!(followed.line().contains("submitted"));
    followed.child.kill().unwrap();
}

#[test]
fn files_go_in_and_out_and_changes_are_listed() {
    let node = Node::new();
    let mut job = Running::start(node.command([
        "run", "--driver", "native", "--name", "files", "--", "sh", "-c",
        "mkdir -p /srv/out/deep; echo result > /srv/out/deep/a; ln -s deep/a /srv/out/link; echo up; read line; cat /srv/in/*",
    ]));
    assert_eq!(job.line(), "up");
    let local = |name: &str| fs::read_to_string(node.path(name)).unwrap();

    node.dauer("cp files:/srv/out/deep/a copy").is(0);
    assert_eq!(local("copy"), "result\n");
    fs::create_dir(node.path("into")).unwrap();
    node.dauer("cp files:/srv/out into").is(0);
    assert_eq!(local("into/out/deep/a"), "result\n");
    assert_eq!(
        fs::read_link(node.path("into/out/link")).unwrap().to_str(),
        Some("deep/a")
    );
    node.dauer("cp files:/srv/out/. flat/")
        .is(1)
        .says("no folder");
    node.dauer("cp files:/srv/nothing .")
        .is(1)
        .says("/srv/nothing");

    fs::create_dir(node.path("given")).unwrap();
    fs::write(node.path("given/one"), "one\n").unwrap();
    node.dauer("cp given files:/srv/in").is(0);
    fs::write(node.path("two"), "two\n").unwrap();
    node.dauer("cp two files:/srv/in").is(0);
    node.dauer("cp two files:/srv/in/zzz").is(0);
    node.dauer("cp missing files:/srv/in").is(1).says("missing");

    let changes = node.dauer("diff files").is(0).stdout;
    assert!(
        changes.lines().any(|line| line == "A /srv/out/deep/a"),
        "{changes}"
    );
    job.say("\n");
    assert_eq!(
        job.end(),
        (["one", "two", "two"].map(str::to_owned).to_vec(), Some(0))
    );
}

#[test]
fn two_daemons_live_side_by_side() {
    let (one, other) = (Node::new(), Node::new());
    one.detached("same", "true");
    other.detached("same", "true");
    one.dauer("wait same").is(0);
    other.dauer("wait same").is(0);
    assert_ne!(one.daemon_pid(), other.daemon_pid());
    one.dauer("serve").is(1).says("another daemon");
}

#[test]
fn the_daemon_ends_in_order_and_jobs_live_on() {
    let node = Node::new();
    node.detached(
        "survivor",
        "while ! test -e /tmp/go; do sleep 0.01; done; exit 6",
    );
    node.wait_until_started("survivor");
    node::kill(node.daemon_pid(), 15);
    assert!(!node.path("run/dauer.sock").exists() && !node.path("run/dauer.pid").exists());
    node.dauer("exec survivor -- touch /tmp/go").is(0);
    node.dauer("wait survivor").is(6);
}
