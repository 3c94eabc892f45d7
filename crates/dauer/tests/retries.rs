//! Attempts after the first: when one failed, when somebody asks, and when nobody may. And the end of all of them.

mod http;
mod node;

use http::Answer;
use node::{Node, Running};
use serde_json::Value;
use std::os::unix::net::UnixStream;

/// What runs programs here; the rest is told.
fn usable(node: &Node, test: &str) -> Vec<String> {
    let info: Value = serde_json::from_str(&node.dauer("info --json").is(0).stdout).unwrap();
    let drivers = info["drivers"].as_array().unwrap();
    let named = |name: &str| drivers.iter().find(|driver| driver["name"] == name);
    let mut found = vec![];
    for name in ["native", "runc", "gvisor"] {
        match named(name) {
            Some(driver) if driver["usable"] == true => found.push(name.to_owned()),
            Some(_) | None => println!("skipped: {test}: {name} does not run here"),
        }
    }
    found
}

#[test]
fn a_failed_attempt_is_followed_by_a_fresh_one_in_every_driver() {
    let node = Node::new();
    for driver in usable(
        &node,
        "a_failed_attempt_is_followed_by_a_fresh_one_in_every_driver",
    ) {
        let count = node.path(&format!("count-{driver}"));
        std::fs::create_dir(&count).unwrap();
        // What it wrote into its own files is not there in the next attempt; the host's folder is.
        let script = "n=$(cat /count/n 2>/dev/null || echo 0); echo $((n+1)) > /count/n; echo attempt $n; \
                      test -e /marker && exit 99; touch /marker; test $n -ge 2";
        let mount = format!("{}:/count", count.display());
        let name = format!("again-{driver}");
        let job = node.run([
            "run",
            "--driver",
            &driver,
            "--name",
            &name,
            "--mount",
            &mount,
            "--retries",
            "2",
            "--retry-delay",
            "10ms",
            "--",
            "sh",
            "-c",
            script,
        ]);
        assert_eq!(
            job.is(0).stdout,
            "attempt 0\nattempt 1\nattempt 2\n",
            "{driver}"
        );
        let record = node.inspect(&name);
        assert_eq!(
            (&record["retries"], &record["attempt"]),
            (&2.into(), &3.into()),
            "{driver}"
        );
        let events = node.dauer(&format!("events {name}")).is(0).stdout;
        assert_eq!(events.matches("attempt_failed").count(), 2, "{events}");
    }
    // No retries left: it fails as its last attempt did.
    node.run([
        "run",
        "--driver",
        "native",
        "--retries",
        "1",
        "--retry-delay",
        "0s",
        "--",
        "sh",
        "-c",
        "exit 7",
    ])
    .is(7);
}

#[test]
fn a_retry_is_not_forgotten_when_the_daemon_dies() {
    let node = Node::new();
    let count = node.path("count");
    std::fs::create_dir(&count).unwrap();
    let script = "n=$(cat /count/n 2>/dev/null || echo 0); echo $((n+1)) > /count/n; test $n -ge 1";
    let mount = format!("{}:/count", count.display());
    let started = node.run([
        "run",
        "--driver",
        "native",
        "-d",
        "--mount",
        &mount,
        "--retries",
        "1",
        "--retry-delay",
        "3s",
        "--",
        "sh",
        "-c",
        script,
    ]);
    let job = started.is(0).stdout.trim().to_owned();
    let mut events = Running::start(node.command(["events", "-f", "--json", &job]));
    loop {
        let event: Value = serde_json::from_str(&events.line()).unwrap();
        if event["to"] == "pending_retry" {
            break;
        }
    }
    events.child.kill().unwrap();
    events.child.wait().unwrap();
    node.kill_daemon();
    node.dauer(&format!("wait {job}")).is(0);
    assert_eq!(std::fs::read_to_string(count.join("n")).unwrap(), "2\n");
}

#[test]
fn cancel_and_retry_do_what_each_state_allows() {
    let node = Node::new();
    node.define(&node::shell("fail", "exit 3")).is(0);
    // Pending.
    let late = node.submit("submit fail --delay 1h");
    node.dauer(&format!("cancel {late}")).is(0);
    node.dauer(&format!("cancel {late}")).is(0);
    assert_eq!(node.inspect(&late)["state"], "cancelled");
    // Waiting for its retry.
    let failing = node.submit("submit fail --retries 1 --retry-delay 1h");
    let mut events = Running::start(node.command(["events", "-f", "--json", &failing]));
    loop {
        let event: Value = serde_json::from_str(&events.line()).unwrap();
        if event["to"] == "pending_retry" && event["operation"].is_null() {
            break;
        }
    }
    events.child.kill().unwrap();
    events.child.wait().unwrap();
    node.dauer(&format!("retry {failing}")).is(0);
    node.dauer(&format!("wait {failing}")).is(3);
    node.dauer(&format!("cancel {failing}"))
        .is(1)
        .says("failed");
    // Failed, asked for once more, and running.
    node.dauer(&format!("retry {failing}")).is(0);
    node.dauer(&format!("wait {failing}")).is(3);
    assert_eq!(node.inspect(&failing)["attempt"], 3);
    node.detached("runs", "sleep 600");
    node.dauer("retry runs").is(1).says("running");
    node.dauer("cancel runs --grace 0s").is(0);
    assert_eq!(node.inspect("runs")["state"], "cancelled");
    node.script("true").is(0);
    let done = node
        .dauer("ps --state completed -q")
        .is(0)
        .stdout
        .trim()
        .to_owned();
    node.dauer(&format!("cancel {done}"))
        .is(1)
        .says("completed");
    node.dauer(&format!("retry {done}")).is(1).says("completed");
}

#[test]
fn deleting_a_job_kills_it_and_removes_it_only_when_asked_to() {
    let node = Node::new();
    node.dauer("run --driver native --name sleeper --detach -- sleep 1000")
        .is(0);
    let delete = |query: &str| {
        let stream = UnixStream::connect(node.path("run/dauer.sock")).unwrap();
        let target = format!("/v1/jobs/sleeper{query}");
        let answer = Answer::ask(stream, "DELETE", &target, "", b"");
        (answer.status, answer.body())
    };
    assert_eq!(delete("?force=true").0, 400);
    assert_eq!(delete("?remove=true").0, 409);
    let (status, body) = delete("");
    let job: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &job["reason"]), (200, &"killed".into()), "{job}");
    // It has ended: nothing changes, and nothing is wrong.
    assert_eq!(delete("").0, 200);
    assert_eq!(delete("?remove=true").0, 204);
    assert_eq!(delete("").0, 404);
}
