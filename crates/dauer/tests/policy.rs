//! Times that are over, retries that go on where they were, children that end with their parent, and jobs that take their node
//! down: on real daemons, which die.

mod node;

use dauer_core::{Event, EventKind, SandboxId, Timestamp, Verdict, decide, ledger::Life};
use dauer_store::{Change, Sqlite, Store as _};
use node::{Node, Running};
use serde_json::Value;

fn number(job: &Value, field: &str) -> i64 {
    job[field]
        .as_i64()
        .unwrap_or_else(|| panic!("{field}: {job}"))
}

/// Returns when this job's journal has an entry after which `there` holds.
fn until(node: &Node, job: &str, there: impl Fn(&Value) -> bool) {
    let mut events = Running::start(node.command(["events", "-f", "--json", job]));
    while !there(&serde_json::from_str(&events.line()).unwrap()) {}
    events.child.kill().unwrap();
    events.child.wait().unwrap();
}

#[test]
fn each_time_that_is_over_says_which_it_was_and_the_output_stays() {
    let node = Node::new();
    let run = |words: &str| {
        let script = "echo begun; sleep 1000";
        let line = format!("run --detach --driver native --stop-grace 1s {words} -- sh -c");
        let words: Vec<&str> = line.split(' ').chain([script]).collect();
        node.run(words).is(0).stdout.trim().to_owned()
    };
    for (words, said) in [
        ("--timeout 300ms", "the attempt ran longer than 300 ms"),
        ("--job-timeout 300ms", "with all of its attempts"),
    ] {
        let job = run(words);
        node.dauer(&format!("wait {job}")).is(143);
        let view = node.inspect(&job);
        assert_eq!(
            (&view["state"], &view["reason"]),
            (&"failed".into(), &"timeout".into())
        );
        assert!(view["message"].as_str().unwrap().contains(said), "{view}");
        assert_eq!(node.dauer(&format!("logs {job}")).is(0).stdout, "begun\n");
    }
    for (words, field) in [
        ("run --queue-timeout 0s -- true", "queue_timeout"),
        ("run --job-timeout 0s -- true", "job_timeout"),
        ("run --max-retries 1 --retry-on killed -- true", "killed"),
        ("run --max-retries 1 --retry-on 0 -- true", "exit code"),
        ("run --retry-delay 1s -- true", "--max-retries"),
        ("run --parent nobody -- true", "nobody"),
    ] {
        node.dauer(words).is(125).says(field);
    }
}

#[test]
fn a_job_that_waits_too_long_for_a_place_fails_at_its_moment() {
    let node = Node::new();
    let _daemon = node.serve(&["--max-running", "1"]);
    node.detached("first", "sleep 1000");
    let job = node.submit("run --detach --driver native --queue-timeout 400ms -- true");
    node.dauer(&format!("wait {job}")).is(125);
    let view = node.inspect(&job);
    assert_eq!(
        (&view["reason"], &view["attempt"]),
        (&"timeout".into(), &0.into())
    );
    assert!(
        view["message"]
            .as_str()
            .unwrap()
            .contains("waited for its turn"),
        "{view}"
    );
    let late = number(&view, "finished_at") - number(&view, "created_at") - 400;
    println!("{late} ms after its time");
    assert!((0..2000).contains(&late), "{late} ms after its time");
    // Where there is a place in time nothing of it is left.
    node.dauer("kill first").is(0);
    node.dauer("run --driver native --queue-timeout 1m -- true")
        .is(0);
}

#[test]
fn times_go_on_while_no_daemon_is_there() {
    let node = Node::new();
    let runs = node.submit("run --detach --driver native --job-timeout 2s -- sleep 1000");
    node.define(&node::shell("fail", "exit 3")).is(0);
    let fails = "submit fail --max-retries 9 --retry-delay 1h --retry-max-delay 1s --job-timeout 3s --queue-timeout 1h";
    let fails = node.submit(fails);
    until(&node, &fails, |event| {
        event["to"] == "pending_retry" && event["operation"].is_null()
    });
    node.wait_until_started(&runs);
    node.kill_daemon();
    node.dauer(&format!("wait {runs}")).is(143);
    node.dauer(&format!("wait {fails}")).is(3);
    for (job, ms) in [(&runs, 2000), (&fails, 0)] {
        let view = node.inspect(job);
        let took = number(&view, "finished_at") - number(&view, "created_at");
        assert!(took >= ms, "{took} ms: {view}");
        assert_eq!(view["times_out_at"], Value::Null);
    }
}

#[test]
fn a_retry_goes_on_in_the_newest_checkpoint() {
    let node = Node::new();
    for driver in ["runc", "gvisor"] {
        if !node.freezes(driver) {
            println!(
                "skipped: a_retry_goes_on_in_the_newest_checkpoint: {driver} does not freeze here"
            );
            continue;
        }
        let count = node.path(&format!("count-{driver}"));
        std::fs::create_dir(&count).unwrap();
        let mount = format!("{}:/count", count.display());
        // Only the part behind the checkpoint is done again; the variable is what its memory had there.
        let script = "memory=$$; echo begun; /run/dauer/dauer checkpoint --self >&2\n\
             n=$(cat /count/n 2>/dev/null || echo 0); echo $((n+1)) > /count/n\n\
             echo attempt $n ${memory:+remembers}; test $n -ge 2";
        let name = format!("again-{driver}");
        let job = node.run([
            "run",
            "--driver",
            driver,
            "--name",
            &name,
            "--mount",
            &mount,
            "--max-retries",
            "4",
            "--retry-delay",
            "10ms",
            "--retry-from",
            "checkpoint",
            "--retry-on",
            "exit_code",
            "--",
            "sh",
            "-c",
            script,
        ]);
        let lines: Vec<String> = job.is(0).stdout.lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "begun",
                "attempt 0 remembers",
                "attempt 1 remembers",
                "attempt 2 remembers"
            ],
            "{driver}"
        );
        let view = node.inspect(&name);
        assert_eq!(
            (&view["retries"], &view["attempt"], &view["restores"]),
            (&2.into(), &3.into(), &0.into())
        );
    }
}

#[test]
fn all_below_a_cancelled_job_end_although_the_daemon_dies_on_the_way() {
    let node = Node::new();
    node.detached("parent", "sleep 1000");
    let child = |words: &str| node.submit(&format!("run --detach --driver native {words}"));
    let done = child("--parent parent -- true");
    node.dauer(&format!("wait {done}")).is(0);
    let mut below: Vec<String> = (0..12)
        .map(|_| child("--parent parent -- sleep 1000"))
        .collect();
    // Below one that has ended, and below one that waits.
    below.push(child(&format!("--parent {done} -- sleep 1000")));
    node.define(&node::shell("late", "true")).is(0);
    let waiting = node.submit("submit late --delay 1h --parent parent");
    below.push(child(&format!("--parent {waiting} -- sleep 1000")));
    below.push(waiting);
    let beside = child("-- sleep 1000");

    let first = below[0].clone();
    let cancel = node
        .command(["cancel", "--children", "--grace", "300ms", "parent"])
        .spawn()
        .unwrap();
    until(&node, &first, |event| {
        event["to"] == "cancelled" || event["operation"] == "terminating"
    });
    node.kill_daemon();
    // Whoever asked hears that the daemon went away, or of the next one.
    let _told = cancel.wait_with_output().unwrap();
    for job in &below {
        node.dauer(&format!("wait {job}"));
        assert_eq!(node.inspect(job)["state"], "cancelled");
    }
    node.dauer("cancel --children parent").is(0);
    node.run([
        "run", "--driver", "native", "--parent", "parent", "--", "true",
    ])
    .is(125)
    .says("cancelled");
    assert_eq!(node.inspect(&beside)["state"], "running");
    assert_eq!(node.inspect(&done)["state"], "completed");
    node.dauer(&format!("cancel --children {done}"))
        .is(1)
        .says("completed");
}

/// As daemons that went down so often with the job on its way up, on a machine that has been booted since, leave it behind.
fn leave_behind(node: &Node, job: &str, crashes: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Sqlite::open(node.data().join("dauer.db")).unwrap();
        let record = store.job(&store.find(job).await.unwrap()).await.unwrap();
        let admitted = Event {
            at: record.wake_at.unwrap().max(Timestamp(0)),
            generation: None,
            chance: 0,
            life: Life::default(),
            kind: EventKind::Admitted {
                sandbox: SandboxId(format!("{crashes:016x}")),
                boot_id: "an earlier boot".into(),
                counted_ms: None,
            },
        };
        let Verdict::Move(mut movement) = decide(&record, &admitted) else {
            panic!("it cannot begin: {record:?}");
        };
        movement.job.crashes_in_a_row = crashes;
        let change = Change {
            job: std::sync::Arc::new(movement.job),
            entry: None,
            checkpoint: None,
            token: None,
            forget_tokens: movement.forget_tokens,
            kept: movement.kept,
        };
        store.commit(change).await.unwrap();
    });
}

#[test]
fn a_job_whose_node_goes_down_each_time_it_begins_is_given_up_visibly() {
    let node = Node::new();
    node.define(&node::shell("begin", "echo up")).is(0);
    for (crashes, exit) in [(4, 0), (5, 125)] {
        let job = node.submit("submit begin --delay 1h --max-retries 9");
        node.kill_daemon();
        leave_behind(&node, &job, crashes);
        node.dauer(&format!("wait {job}")).is(exit);
        let view = node.inspect(&job);
        if exit == 0 {
            assert_eq!(view["state"], "completed", "{view}");
        } else {
            assert_eq!(
                (&view["state"], &view["reason"]),
                (&"failed".into(), &"crash_loop".into())
            );
            assert!(
                view["message"]
                    .as_str()
                    .unwrap()
                    .contains("6 times in a row"),
                "{view}"
            );
            // Somebody who knows better may try it again.
            node.dauer(&format!("retry {job}")).is(0);
            node.dauer(&format!("wait {job}")).is(0);
        }
    }
}
