//! The history: who did what, when and why, kept for a set time.

mod node;

use node::{Node, Running};
use serde_json::Value;
use std::time::{Duration, Instant};

fn history(node: &Node, line: &str) -> Vec<Value> {
    let text = node.dauer(&format!("history --json {line}")).is(0).stdout;
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// `event by`, one after the other.
fn told(records: &[Value]) -> Vec<String> {
    let word = |record: &Value, key: &str| record[key].as_str().unwrap_or("?").to_owned();
    records
        .iter()
        .map(|record| format!("{} {}", word(record, "event"), word(record, "by")))
        .collect()
}

fn me() -> String {
    format!("uid:{}", nix::unistd::geteuid())
}

#[test]
fn each_transition_says_who_asked_and_what_for() {
    let node = Node::new();
    let job = node.detached("long", "echo up; exec sleep 1000");
    node.wait_until_started("long");
    node.run(["cancel", "long", "--why", "the disk is full, sorry"])
        .is(0);
    let records = history(&node, "long");
    let told = told(&records);
    let me = me();
    assert_eq!(told[0], format!("submitted {me}"), "{told:?}");
    assert!(told.contains(&"started node".to_owned()), "{told:?}");
    // What was asked for, and only that, has the asker and the reason.
    let asked: Vec<&Value> = records[1..]
        .iter()
        .filter(|one| one["by"] == me.as_str())
        .collect();
    assert_eq!(asked.len(), 1, "{told:?}");
    assert_eq!(asked[0]["why"], "the disk is full, sorry");
    assert!(records.iter().all(|record| record["job"] == job.as_str()));
    assert!(told.last().unwrap().ends_with(" node"), "{told:?}");
    let events = node.dauer("events long").is(0).stdout;
    assert!(
        events.contains(&format!("by {me} (the disk is full, sorry)")),
        "{events}"
    );
    let line = node.dauer("history long").is(0).stdout;
    assert!(
        line.contains(&format!("by {me}  (the disk is full, sorry)")),
        "{line}"
    );
    node.dauer("history nothing").is(1).says("no job nothing");
}

#[test]
fn a_job_a_schedule_and_a_token_are_told_apart() {
    let node = Node::new();
    let served = node.serve(&["--listen", "127.0.0.1:0"]);
    let token = node
        .dauer("token create --name ci --scope submit")
        .is(0)
        .stdout;
    let mut submit = node.command([
        "run",
        "--host",
        &served.url,
        "--driver",
        "native",
        "--detach",
        "--",
        "true",
    ]);
    let job = node::Ended::of(submit.env("DAUER_TOKEN", token.trim()).output().unwrap());
    let job = job.is(0).stdout;
    node.dauer(&format!("wait {job}")).is(0);
    assert_eq!(history(&node, &job)[0]["by"], "token:ci");
    // A job that says itself that it is done.
    let own = node.detached("own", "/run/dauer/dauer exit 3");
    assert_eq!(node.dauer("wait own").code, Some(3));
    let by_itself = history(&node, "own");
    let by_itself = by_itself
        .iter()
        .filter(|record| record["by"] == format!("job:{own}").as_str());
    assert_eq!(by_itself.count(), 1);
    node.dauer("schedule add once --at 2100-01-01T00:00:00Z --driver native -- true")
        .is(0);
    node.dauer("schedule rm once").is(0);
    node.dauer("schedule add tick --every 50ms --driver native -- true")
        .is(0);
    let fired = loop {
        let of_tick = history(&node, "--by schedule:tick");
        if let Some(first) = of_tick.first() {
            break first.clone();
        }
    };
    assert_eq!(fired["event"], "submitted");
    node.dauer("schedule rm tick").is(0);
    assert!(told(&history(&node, "--by token")).contains(&"submitted token:ci".to_owned()));
}

#[test]
fn what_is_not_a_job_has_its_history_too() {
    let node = Node::new();
    node.define(&node::shell("greet", "echo hello"));
    node.dauer("def rm greet@1.0.0").is(0);
    let created = node
        .dauer("token create --json --scope read --name ci")
        .is(0)
        .stdout;
    let created: Value = serde_json::from_str(&created).unwrap();
    node.dauer(&format!("token rm {}", created["id"].as_str().unwrap()))
        .is(0);
    node.dauer("schedule add s --every 1h --driver native -- true")
        .is(0);
    node.dauer("schedule pause s").is(0);
    node.dauer("schedule resume s").is(0);
    node.dauer("schedule rm s").is(0);
    let job = node.detached("gone", "exit 0");
    node.dauer("wait gone").is(0);
    let of_job = history(&node, "gone").len();
    node.run(["rm", "gone", "--why", "tidying"]).is(0);
    let records = history(&node, "");
    let me = me();
    let expected: Vec<String> = [
        "definition_added",
        "definition_removed",
        "token_added",
        "token_removed",
        "schedule_added",
        "schedule_paused",
        "schedule_resumed",
        "schedule_removed",
        "job_removed",
    ]
    .iter()
    .map(|event| format!("{event} {me}"))
    .collect();
    assert!(of_job > 2);
    assert_eq!(told(&records), expected);
    assert_eq!(records[0]["subject"], "definition greet@1.0.0");
    let removed = records.last().unwrap();
    assert_eq!(removed["subject"], format!("job {job}").as_str());
    assert_eq!(removed["why"], "tidying");
    // From when, and until when.
    let at = removed["at"].as_i64().unwrap();
    let moment = |ms: i64| jiff::Timestamp::from_millisecond(ms).unwrap();
    assert_eq!(
        history(&node, &format!("--since {}", moment(at))).last(),
        Some(removed)
    );
    assert_eq!(
        history(&node, &format!("--since {}", moment(at + 1))).len(),
        0
    );
    assert!(history(&node, &format!("--until {}", moment(at))).len() <= 8);
    assert_eq!(history(&node, "--event token_added --since 1h").len(), 1);
}

#[test]
fn history_and_jobs_go_when_their_time_is_over() {
    let node = Node::new();
    let _served = node.serve(&["--history-keep", "1s", "--jobs-keep", "2s"]);
    let kept = node.detached("kept", "echo up; exec sleep 1000");
    node.detached("old", "exit 0");
    node.wait_until_started("kept");
    node.dauer("wait old").is(0);
    assert!(!history(&node, "old").is_empty());
    let until = Instant::now() + Duration::from_secs(60);
    while node.dauer("ps -aq").is(0).stdout.lines().count() > 1 {
        assert!(Instant::now() < until, "the job that ended is still there");
    }
    // One that lives stays, whatever is forgotten of it.
    assert_eq!(node.inspect("kept")["state"], "running");
    while !history(&node, "kept").is_empty() {
        assert!(
            Instant::now() < until,
            "the history of {kept} is still there"
        );
    }
    while !history(&node, "").is_empty() {
        assert!(Instant::now() < until, "the removal is still there");
    }
    // What is followed goes on.
    let mut events = Running::start(node.command(["events", "-f", "--json", "kept"]));
    node.dauer("cancel kept").is(0);
    let event: Value = serde_json::from_str(&events.line()).unwrap();
    assert_eq!(event["job"], kept.as_str());
    events.child.kill().unwrap();
    events.child.wait().unwrap();
}
