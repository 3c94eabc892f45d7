//! Schedules: exactly one job for each moment, whatever dies in between, and what moments do to each other's jobs.

mod node;

use node::Node;
use serde_json::Value;
use std::time::{Duration, Instant};

/// So many times the daemon is killed.
const KILLS: u32 = 50;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn schedule(node: &Node, name: &str) -> Value {
    json(&node.dauer(&format!("schedule inspect {name}")).is(0).stdout)
}

/// The jobs of a schedule, the oldest first.
fn jobs(node: &Node, name: &str) -> Vec<Value> {
    let all = json(&node.dauer("ps -a --json").is(0).stdout);
    let mut jobs: Vec<Value> = all
        .as_array()
        .unwrap()
        .iter()
        .filter(|job| job["schedule"] == name)
        .cloned()
        .collect();
    jobs.reverse();
    jobs
}

/// The moments that there are jobs of, in order.
fn moments(jobs: &[Value]) -> Vec<i64> {
    let mut moments: Vec<i64> = jobs
        .iter()
        .map(|job| job["scheduled_at"].as_i64().unwrap())
        .collect();
    moments.sort_unstable();
    moments
}

/// Returns once the schedule has made so many jobs.
fn wait_for_jobs(node: &Node, name: &str, count: u64) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let seen = schedule(node, name);
        if seen["fired"].as_u64().unwrap() >= count {
            return seen;
        }
        assert!(Instant::now() < until, "{seen}");
    }
}

#[test]
fn each_moment_makes_exactly_one_job_however_often_the_daemon_is_killed() {
    let node = Node::new();
    node.dauer("schedule add tick --every 200ms --overlap allow --catch-up all --catch-up-max 1000 --driver native -- true")
        .is(0);
    for round in 0..KILLS {
        let before = schedule(&node, "tick")["fired"].as_u64().unwrap();
        wait_for_jobs(&node, "tick", before + 1);
        // Another place between two moments each time.
        std::thread::sleep(Duration::from_millis(u64::from(round) * 37 % 200));
        node.kill_daemon();
    }
    node.dauer("schedule pause tick").is(0);
    let seen = schedule(&node, "tick");
    let jobs = jobs(&node, "tick");
    let moments = moments(&jobs);
    assert!(moments.len() > 50, "{seen}");
    for pair in moments.windows(2) {
        assert_eq!(pair[1] - pair[0], 200, "of {}: {seen}", moments.len());
    }
    assert_eq!(seen["fired"].as_u64().unwrap(), moments.len() as u64);
    assert_eq!(seen["skipped"], 0, "{seen}");
    assert_eq!(seen["last_at"].as_i64(), moments.last().copied());
}

#[test]
fn moments_that_were_missed_are_made_up_for_as_asked() {
    let node = Node::new();
    let served = node.serve(&[]);
    for catch_up in ["none", "one", "all"] {
        node.dauer(&format!(
            "schedule add {catch_up} --every 100ms --overlap allow --catch-up {catch_up} --driver native -- true"
        ))
        .is(0);
        wait_for_jobs(&node, catch_up, 1);
    }
    drop(served);
    // The downtime itself, of some moments.
    std::thread::sleep(Duration::from_millis(1_500));
    let _served = node.serve(&[]);
    for (catch_up, misses) in [("none", true), ("one", true), ("all", false)] {
        let before = schedule(&node, catch_up)["fired"].as_u64().unwrap();
        wait_for_jobs(&node, catch_up, before + 1);
        node.dauer(&format!("schedule pause {catch_up}")).is(0);
        let seen = schedule(&node, catch_up);
        let moments = moments(&jobs(&node, catch_up));
        let fired = seen["fired"].as_u64().unwrap();
        assert_eq!(fired, moments.len() as u64);
        // Each moment is a job or was skipped, and nothing else.
        let passed = (moments.last().unwrap() - moments[0]) / 100 + 1;
        let skipped = seen["skipped"].as_u64().unwrap();
        assert_eq!(fired + skipped, passed as u64, "{catch_up}: {seen}");
        assert_eq!(skipped >= 10, misses, "{catch_up}: {seen}");
    }
}

#[test]
fn a_moment_meets_the_job_of_the_one_before_as_asked() {
    let node = Node::new();
    for overlap in ["skip", "queue", "replace", "allow"] {
        // Its own moments are far away.
        let cron = ["--cron", "0 0 1 1 *", "--overlap", overlap];
        let program = ["--driver", "native", "--", "sleep", "1000"];
        let add = ["schedule", "add", overlap].into_iter();
        node.run(add.chain(cron).chain(program)).is(0);
        let trigger = || node.dauer(&format!("schedule trigger {overlap}"));
        let first = trigger().is(0).stdout.trim().to_owned();
        node.wait_until_started(&first);
        let second = trigger();
        if overlap == "skip" {
            second.is(1).says("has not ended");
            assert_eq!(node.inspect(&first)["state"], "running");
            node.dauer(&format!("cancel {first}")).is(0);
            let third = trigger().is(0).stdout.trim().to_owned();
            node.wait_until_started(&third);
            continue;
        }
        let second = second.is(0).stdout.trim().to_owned();
        match overlap {
            "queue" => {
                assert_eq!(node.inspect(&second)["state"], "pending");
                node.dauer(&format!("cancel {first}")).is(0);
            }
            "replace" => {
                node.dauer(&format!("wait {first}"));
                assert_eq!(node.inspect(&first)["state"], "cancelled");
            }
            "allow" => {}
            other => panic!("{other}"),
        }
        node.wait_until_started(&second);
        let expected = if overlap == "allow" {
            "running"
        } else {
            "cancelled"
        };
        assert_eq!(node.inspect(&first)["state"], expected, "{overlap}");
        let ended = node.inspect(&first)["finished_at"].as_i64();
        let began = node.inspect(&second)["started_at"].as_i64().unwrap();
        assert!(ended.is_none_or(|ended| ended <= began), "{overlap}");
    }
}

#[test]
fn schedules_are_listed_looked_at_paused_and_removed() {
    let node = Node::new();
    node.define(&node::shell("report", "echo $WHO"));
    node.run([
        "schedule",
        "add",
        "nightly",
        "--cron",
        "30 2 * * *",
        "--tz",
        "Europe/Berlin",
        "--definition",
        "report",
        "--env",
        "WHO=you",
        "--tag",
        "team=blue",
    ])
    .is(0);
    let seen = schedule(&node, "nightly");
    assert_eq!(seen["definition"]["version"], "1.0.0");
    assert_eq!(
        (&seen["overlap"], &seen["catch_up"]),
        (&"skip".into(), &"one".into())
    );
    let next = node.dauer("schedule next nightly -n 3").is(0).stdout;
    let lines: Vec<&str> = next.lines().collect();
    assert_eq!(lines.len(), 3, "{next}");
    for line in lines {
        assert!(
            line.contains("T02:30:00+") || line.contains("T03:00:00+02:00"),
            "{line}"
        );
        assert!(line.ends_with("[Europe/Berlin]"), "{line}");
    }
    let list = node.dauer("schedule ls").is(0).stdout;
    assert!(list.contains("30 2 * * * Europe/Berlin"), "{list}");
    // By hand, also while it is paused; a job of it is as any other.
    node.dauer("schedule pause nightly").is(0);
    assert_eq!(schedule(&node, "nightly")["next_at"], Value::Null);
    let job = node.dauer("schedule trigger nightly").is(0).stdout;
    assert_eq!(node.dauer(&format!("wait {job}")).code, Some(0));
    assert_eq!(node.dauer(&format!("logs {job}")).stdout, "you\n");
    assert_eq!(node.dauer("ps -aq --tag team=blue").is(0).stdout, job);
    node.dauer("schedule resume nightly").is(0);
    assert!(schedule(&node, "nightly")["next_at"].is_i64());
    node.dauer("schedule rm nightly").is(0);
    node.dauer("schedule inspect nightly")
        .is(1)
        .says("dauer schedule ls");
    assert_eq!(node.inspect(job.trim())["schedule"], "nightly");
}

#[test]
fn what_is_no_schedule_is_refused_in_one_line_that_says_what_to_write() {
    let node = Node::new();
    let add = |words: &[&str]| {
        let words = ["schedule", "add", "x"].iter().chain(words);
        node.run(words.chain(&["--driver", "native", "--", "true"]))
    };
    for (words, says) in [
        (&["--cron", "61 * * * *"][..], "0 9 * * mon-fri"),
        (
            &["--cron", "0 9 * * *", "--tz", "Europe/Berlinn"],
            "Europe/Berlinn",
        ),
        (&["--cron", "0 0 30 2 *"], "no moment"),
        (&["--at", "2001-01-31T09:00:00Z"], "no moment"),
        (&["--at", "tomorrow"], "2027-01-31T09:00:00Z"),
        (&["--every", "0s"], "10m"),
        (
            &["--every", "1s", "--catch-up", "one", "--catch-up-max", "7"],
            "catch_up all",
        ),
        (&["--every", "1s", "--image", "/nowhere"], "/nowhere"),
    ] {
        add(words).is(1).says(says);
    }
    assert_eq!(add(&[]).code, Some(2));
    add(&["--every", "1h"]).is(0);
    add(&["--every", "1h"]).is(1).says("dauer schedule rm x");
    node.dauer("schedule trigger y").is(1).says("no schedule y");
}
