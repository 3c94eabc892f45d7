//! Jobs that wait: queues and their limits, jobs that stand for others, that follow others, that were handed over together.

mod node;

use node::{Ended, Node, Running, kill};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// A line of a batch file: this script, with the node's own folder at /shared.
fn line(node: &Node, script: &str, more: Value) -> Value {
    let shared = node.path("shared");
    fs::create_dir_all(&shared).unwrap();
    let mut job = json!({
        "driver": "native",
        "argv": ["sh", "-c", script],
        "mounts": [{"source": shared, "target": "/shared"}],
    });
    let fields = job.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    job
}

/// Hands these over; the handle of the batch is `batch`.
fn hand_over(node: &Node, batch: &str, lines: &[Value]) -> Vec<String> {
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    fs::write(node.path("jobs.jsonl"), text.join("\n")).unwrap();
    let said = node
        .dauer(&format!("batch jobs.jsonl --batch {batch}"))
        .is(0);
    assert_eq!(said.stderr, format!("batch {batch}\n"));
    said.stdout.lines().map(str::to_owned).collect()
}

/// Notes how many of its kind run at once, itself included, and takes a moment.
const COUNTS: &str = "mkdir /shared/$KIND.$DAUER_JOB_ID; ls /shared | grep -c \"^$KIND\\.\" >> /shared/seen.$KIND; \
                      sleep 0.1; rmdir /shared/$KIND.$DAUER_JOB_ID";

fn most_seen(node: &Node, kind: &str) -> (usize, usize) {
    let seen = fs::read_to_string(node.path(&format!("shared/seen.{kind}"))).unwrap();
    let counts = seen.lines().map(|line| line.parse::<usize>().unwrap());
    (seen.lines().count(), counts.max().unwrap())
}

fn is_waiting(node: &Node, job: &str) -> bool {
    node.inspect(job)["state"] == "pending"
}

/// The moments of this event, of all jobs of these.
fn moments(node: &Node, jobs: &[String], event: &str) -> Vec<i64> {
    let all = node.dauer("events --json").is(0).stdout;
    let events = all
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut at: Vec<i64> = events
        .filter(|one| one["event"] == event && jobs.iter().any(|job| one["job"] == job.as_str()))
        .map(|one| one["at"].as_i64().unwrap())
        .collect();
    at.sort_unstable();
    at
}

#[test]
fn no_more_jobs_of_a_queue_or_of_a_key_run_at_once_than_it_allows_also_over_kill_9() {
    let node = Node::new();
    node.dauer("queue set mail --max-running 3 --key-max-running 1")
        .is(0);
    let kinds = ["a", "b", "c", "d"];
    let lines: Vec<Value> = (0..16)
        .map(|n| {
            let kind = kinds[n % 4];
            let script = format!("KIND=all; {COUNTS}; KIND={kind}; {COUNTS}");
            line(
                &node,
                &script,
                json!({"queue": "mail", "concurrency_key": kind}),
            )
        })
        .collect();
    let jobs = hand_over(&node, "b1", &lines);
    for job in [&jobs[2], &jobs[9]] {
        node.dauer(&format!("wait {job}")).is(0);
        node.kill_daemon();
    }
    node.dauer("wait --batch b1").is(0);
    assert_eq!(most_seen(&node, "all").0, 16);
    assert!(
        most_seen(&node, "all").1 <= 3,
        "{:?}",
        most_seen(&node, "all")
    );
    for kind in kinds {
        assert_eq!(most_seen(&node, kind), (4, 1), "{kind}");
    }
}

#[test]
fn a_queue_never_begins_more_jobs_than_its_rate_also_over_kill_9() {
    let node = Node::new();
    node.dauer("queue set mail --rate 3/1s").is(0);
    let lines: Vec<Value> = (0..10)
        .map(|_| line(&node, "true", json!({"queue": "mail"})))
        .collect();
    let jobs = hand_over(&node, "b1", &lines);
    node.dauer(&format!("wait {}", jobs[1])).is(0);
    node.kill_daemon();
    node.dauer(&format!("wait {}", jobs[4])).is(0);
    node.kill_daemon();
    node.dauer("wait --batch b1").is(0);
    let at = moments(&node, &jobs, "admitted");
    assert_eq!(at.len(), 10);
    for four in at.windows(4) {
        assert!(four[3] - four[0] >= 1000, "four within a second: {at:?}");
    }
    // Nor does it wait for longer than it has to: nine of ten are in three spans, and a daemon takes a while to begin.
    assert!(at[9] - at[0] < 8000, "{at:?}");
}

#[test]
fn a_paused_queue_begins_nothing_and_holds_up_nobody_else() {
    let node = Node::new();
    node.dauer("queue pause mail").is(0);
    let lines = [line(&node, "true", json!({"queue": "mail"}))];
    let held = hand_over(&node, "b1", &lines).remove(0);
    // Behind it in every order, and done before it.
    node.script("true").is(0);
    assert!(is_waiting(&node, &held));
    node.kill_daemon();
    node.script("true").is(0);
    assert!(is_waiting(&node, &held));
    let table = node.dauer("queue ls").is(0).stdout;
    let row = table.lines().find(|line| line.starts_with("mail")).unwrap();
    assert!(
        row.contains("paused") && row.split_whitespace().nth(2) == Some("1"),
        "{table}"
    );
    let mut shown = node.command(["run", "--driver", "native", "--queue", "mail", "--", "true"]);
    let mut shown = shown.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(shown.stderr.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert!(said.contains("`dauer queue resume mail`"), "{said}");
    node.dauer("queue resume mail").is(0);
    assert_eq!(shown.wait().unwrap().code(), Some(0));
    node.dauer(&format!("wait {held}")).is(0);
    node.dauer("queue rm mail").is(0);
    node.dauer("queue rm mail").is(1).says("queue ls");
    node.dauer("queue set a/b --max-running 1")
        .is(1)
        .says("name");
    node.dauer("queue set mail --max-running 0")
        .is(1)
        .says("pause");
}

#[test]
fn a_daemon_that_starts_paused_begins_nothing_until_somebody_says_so() {
    let node = Node::new();
    let served = node.serve(&["--paused"]);
    let lines = [line(&node, "true", json!({}))];
    let held = hand_over(&node, "b1", &lines).remove(0);
    let said = node.dauer("queue ls").is(0).stdout;
    assert!(
        said.contains("--paused") && said.contains("resume --all"),
        "{said}"
    );
    assert!(node.dauer("doctor").stdout.contains("no job begins"));
    assert!(is_waiting(&node, &held));
    node.dauer("queue resume --all").is(0);
    node.dauer(&format!("wait {held}")).is(0);
    assert!(!node.dauer("doctor").stdout.contains("no job begins"));
    drop(served);
}

#[test]
fn after_daemons_that_died_in_a_row_nothing_begins_until_somebody_says_so() {
    let node = Node::new();
    let crash = || {
        let served = node.serve(&["--pause-after-crashes", "2"]);
        let list: Value =
            serde_json::from_str(&node.dauer("queue ls --json").is(0).stdout).unwrap();
        kill(served.pid(), 9);
        list["all_paused"].as_str().map(str::to_owned)
    };
    assert_eq!((crash(), crash()), (None, None));
    let why = crash().expect("two have died");
    assert!(why.contains('2'), "{why}");
    // One that is asked to end ends well.
    drop(node.serve(&["--pause-after-crashes", "2"]));
    assert_eq!((crash(), crash()), (None, None));
    // A node on which jobs complete works. That one has is written behind its end, and before what comes after it.
    let served = node.serve(&["--pause-after-crashes", "2"]);
    node.dauer("queue resume --all").is(0);
    node.script("true").is(0);
    node.script("true").is(0);
    kill(served.pid(), 9);
    drop(served);
    assert_eq!(crash(), None);
}

#[test]
fn twenty_submissions_of_a_unique_job_make_one() {
    let node = Node::new();
    node.define(&node::shell("once", "read line; exit 0")).is(0);
    node.dauer("queue pause q").is(0);
    let submit = || node.dauer("submit once --queue q --unique order-7").is(0);
    let ids: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..20).map(|_| scope.spawn(submit)).collect();
        all.into_iter()
            .map(|one| one.join().unwrap().stdout)
            .collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let refused = node.dauer("submit once --queue q --unique order-7 --on-conflict refuse");
    refused.is(125).says("order-7");
    let view: Value = serde_json::from_str(&node.dauer("ps -a --json").is(0).stdout).unwrap();
    assert_eq!(view.as_array().unwrap().len(), 1);
    // It stands for others as long as it has not ended.
    node.dauer(&format!("cancel {}", ids[0].trim())).is(0);
    assert_ne!(submit().stdout, ids[0]);
    // Of a batch, those that are equal are one.
    let lines: Vec<Value> = (0..3)
        .map(|_| line(&node, "true", json!({"unique": {"key": "b"}})))
        .collect();
    let jobs = hand_over(&node, "b1", &lines);
    assert!(jobs.iter().all(|job| *job == jobs[0]), "{jobs:?}");
}

/// A job that runs until the file `go.NAME` is there, then exits with what it holds.
fn until_told(node: &Node, name: &str) -> Value {
    let script = format!(
        "until [ -e /shared/go.{name} ]; do sleep 0.02; done; exit $(cat /shared/go.{name})"
    );
    line(node, &script, json!({"name": name}))
}

fn tell(node: &Node, name: &str, code: u8) {
    fs::write(node.path("told"), code.to_string()).unwrap();
    fs::rename(node.path("told"), node.path(&format!("shared/go.{name}"))).unwrap();
}

#[test]
fn a_job_follows_others_and_fails_where_they_do() {
    let node = Node::new();
    let lines = [
        until_told(&node, "first"),
        until_told(&node, "second"),
        line(
            &node,
            "true",
            json!({"name": "both", "after": [{"index": 0}, {"index": 1}]}),
        ),
        line(
            &node,
            "true",
            json!({"name": "next", "after": [{"index": 2}]}),
        ),
        line(
            &node,
            "true",
            json!({"name": "anyhow", "after": [{"job": "build", "when": "ended"}]}),
        ),
    ];
    let wrong = [lines[4].clone()];
    fs::write(node.path("wrong.jsonl"), wrong[0].to_string()).unwrap();
    node.dauer("batch wrong.jsonl")
        .is(1)
        .says("jobs[0].after[0]");
    fs::write(node.path("wrong.jsonl"), lines[2].to_string()).unwrap();
    node.dauer("batch wrong.jsonl")
        .is(1)
        .says("jobs[0].after[0]");
    hand_over(&node, "b1", &lines[..4]);
    let view = node.inspect("both");
    assert_eq!(
        (
            view["state"].as_str(),
            view["blocked_by"].as_array().unwrap().len()
        ),
        (Some("pending"), 2)
    );
    tell(&node, "first", 0);
    node.dauer("wait first").is(0);
    assert!(is_waiting(&node, "both"));
    tell(&node, "second", 0);
    node.dauer("wait next").is(0);
    // It became due in the moment in which the last of them ended.
    let ended = node.inspect("second")["finished_at"].as_i64().unwrap();
    let began = node.inspect("both")["started_at"].as_i64().unwrap();
    assert!((0..2000).contains(&(began - ended)), "{began} {ended}");

    let lines = [
        until_told(&node, "build"),
        line(
            &node,
            "true",
            json!({"name": "ship", "after": [{"job": "build"}], "retry": {"max_retries": 3}}),
        ),
        line(
            &node,
            "true",
            json!({"name": "party", "after": [{"job": "ship"}]}),
        ),
        line(
            &node,
            "true",
            json!({"name": "report", "after": [{"job": "build", "when": "ended"}]}),
        ),
    ];
    // Each names one that is there already.
    hand_over(&node, "b2", &lines[..1]);
    hand_over(&node, "b2", &lines[1..2]);
    hand_over(&node, "b2", &lines[2..]);
    tell(&node, "build", 7);
    node.dauer("wait report").is(0);
    node.dauer("wait party").is(125);
    for (name, cause) in [("ship", "build"), ("party", "ship")] {
        let view = node.inspect(name);
        assert_eq!(
            (view["state"].as_str(), view["reason"].as_str()),
            (Some("failed"), Some("dependency_failed"))
        );
        let id = node.inspect(cause)["id"].as_str().unwrap().to_owned();
        assert!(view["message"].as_str().unwrap().contains(&id), "{view}");
    }
    // After what has ended before.
    let run = |after: &str| -> Ended {
        node.run(["run", "--driver", "native", "--after", after, "--", "true"])
    };
    run("first").is(0);
    run("build:ended").is(0);
    run("build").is(125);
}

#[test]
fn the_end_of_a_job_is_told_by_the_next_daemon_where_the_last_one_died() {
    let node = Node::new();
    let lines = [
        until_told(&node, "first"),
        line(
            &node,
            "echo followed",
            json!({"name": "next", "after": [{"index": 0}]}),
        ),
    ];
    hand_over(&node, "b1", &lines);
    node.wait_until_started("first");
    let sandbox = node.inspect("first")["handles"]["sandbox_pid"]
        .as_i64()
        .unwrap();
    node.kill_daemon();
    tell(&node, "first", 0);
    // Nobody is there to hear of its end.
    let gone = std::path::PathBuf::from(format!("/proc/{sandbox}"));
    while gone.exists() {
        std::thread::yield_now();
    }
    node.dauer("wait next").is(0);
    assert_eq!(node.dauer("logs next").is(0).stdout, "followed\n");
}

#[test]
fn a_batch_has_one_handle_to_look_at_wait_for_and_end() {
    let node = Node::new();
    let lines = [
        until_told(&node, "one"),
        until_told(&node, "two"),
        line(&node, "true", json!({})),
    ];
    hand_over(&node, "b1", &lines);
    // More of it, later.
    let more = [line(&node, "exit 3", json!({}))];
    hand_over(&node, "b1", &more);
    let mut waits = Running::start(node.command(["wait", "--batch", "b1", "--json"]));
    tell(&node, "one", 0);
    node.dauer("wait one").is(0);
    let listed: Value =
        serde_json::from_str(&node.dauer("ps -a --batch b1 --json").is(0).stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 4);
    node.kill_daemon();
    node.dauer("cancel --batch b1").is(0);
    let mut text = String::new();
    while !text.ends_with("\n}\n") {
        text += &(waits.line() + "\n");
    }
    let ended: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        ended["states"],
        json!({"completed": 2, "failed": 1, "cancelled": 1})
    );
    assert_eq!(
        (ended["total"].as_u64(), ended["ended"].as_u64()),
        (Some(4), Some(4))
    );
    assert_eq!(waits.end().1, Some(1));
    node.dauer("wait --batch nobody").is(125).says("batch");
}

#[test]
fn a_node_gives_away_no_more_processors_and_memory_than_it_has() {
    let node = Node::new();
    let _served = node.serve(&[
        "--cpus",
        "2",
        "--cpu-overcommit",
        "1",
        "--memory",
        "256m",
        "--memory-overcommit",
        "1",
    ]);
    let run = |option: &str, much: &str| {
        node.run(["run", "--driver", "native", option, much, "--", "true"])
    };
    run("--cpus", "3").is(125).says("2 for jobs");
    run("--memory", "1g").is(125).says("256 MiB for jobs");
    let lines: Vec<Value> = (0..6)
        .map(|n| {
            let wants = match n {
                0..3 => json!({"cpu_millis": 1000}),
                _ => json!({"memory_bytes": 100 << 20}),
            };
            let kind = if n < 3 { "cpu" } else { "memory" };
            line(&node, &format!("KIND={kind}; {COUNTS}"), wants)
        })
        .collect();
    hand_over(&node, "b1", &lines);
    node.dauer("wait --batch b1").is(0);
    for kind in ["cpu", "memory"] {
        let (jobs, most) = most_seen(&node, kind);
        assert!(jobs == 3 && most <= 2, "{kind}: {most} of {jobs}");
    }
}
