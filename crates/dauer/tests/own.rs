//! What a job asks for itself and what it is sent: it holds, whoever dies in between.

mod node;

use node::{Node, Running};
use std::fs;

/// The command inside a sandbox.
const DAUER: &str = "/run/dauer/dauer";

/// A job of this script in the background; `dauer` in it is the command inside.
fn start(node: &Node, driver: &str, name: &str, script: &str) {
    let script = format!("dauer() {{ {DAUER} \"$@\"; }}\n{script}");
    let words = [
        "run", "--detach", "--driver", driver, "--name", name, "--", "sh", "-c", &script,
    ];
    node.run(words).is(0);
}

/// Every driver that freezes here, or a line that says that there is none.
fn freezing(node: &Node, test: &str) -> Vec<String> {
    let info: serde_json::Value =
        serde_json::from_str(&node.dauer("info --json").is(0).stdout).unwrap();
    let drivers: Vec<String> = info["drivers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|driver| driver["checkpoints"] == true)
        .map(|driver| driver["name"].as_str().unwrap().to_owned())
        .collect();
    if drivers.is_empty() {
        println!("skipped: {test}: no driver freezes here");
    }
    drivers
}

fn follow(node: &Node, job: &str) -> Running {
    Running::start(node.command(["logs", "-f", job]))
}

fn result(node: &Node, job: &str) -> serde_json::Value {
    let result = node.dauer(&format!("result --wait {job}")).is(0);
    serde_json::from_str(&result.stdout).unwrap()
}

#[test]
fn an_exit_counts_with_its_output_however_the_program_then_ends() {
    let node = Node::new();
    // One leaves by itself with another code, one hears TERM, one has to be killed, one says it twice.
    let scripts = [
        ("leaves", "dauer exit 0 '{\"b\": 1.10, \"a\": 2}'; exit 5"),
        (
            "asked",
            "dauer exit 0 '{\"b\": 1.10, \"a\": 2}'; while :; do sleep 0.05; done",
        ),
        (
            "deaf",
            "trap '' TERM; dauer exit 0 '{\"b\": 1.10, \"a\": 2}'; while :; do sleep 0.05; done",
        ),
        (
            "twice",
            "dauer exit 0 '{\"b\": 1.10, \"a\": 2}'; dauer exit 3 4; echo again $?; sleep 10",
        ),
    ];
    for (name, script) in scripts {
        let words = [
            "run",
            "--detach",
            "--driver",
            "native",
            "--name",
            name,
            "--stop-grace",
            "1s",
            "--",
            "sh",
            "-c",
            &format!("dauer() {{ {DAUER} \"$@\"; }}\n{script}"),
        ];
        node.run(words).is(0);
    }
    for (name, _) in scripts {
        let result = node.dauer(&format!("result --wait {name}")).is(0);
        assert_eq!(result.stdout, "{\"b\": 1.10, \"a\": 2}\n", "{name}");
        node.dauer(&format!("wait {name}")).is(0);
        assert_eq!(node.inspect(name)["state"], "completed", "{name}");
    }
    assert_eq!(node.dauer("logs twice").stdout, "again 0\n");
    start(&node, "native", "fails", "dauer exit 7 '\"why\"'");
    node.dauer("wait fails").is(7);
    assert_eq!(result(&node, "fails"), "why");
    start(&node, "native", "silent", "exit 4");
    node.dauer("result --wait silent").is(1).says("exit code 4");
}

#[test]
fn an_exit_survives_kill_9_of_the_daemon() {
    let node = Node::new();
    let script = "trap '' TERM; dauer exit 0 '[1]'; echo said; while :; do sleep 0.05; done";
    start(&node, "native", "job", script);
    let mut log = follow(&node, "job");
    assert_eq!(log.line(), "said");
    node.kill_daemon();
    node.dauer("kill job").is(0);
    assert_eq!(result(&node, "job"), serde_json::json!([1]));
    assert_eq!(node.inspect("job")["state"], "completed");
    log.child.wait().unwrap();
}

#[test]
fn an_output_has_a_limit_and_is_refused_whole() {
    let node = Node::new();
    let script = "head -c 1048577 /dev/zero | tr '\\0' 1 > long; dauer exit 0 @long && exit 1\n\
         printf '\"' > fits; head -c 1048574 /dev/zero | tr '\\0' x >> fits; printf '\"' >> fits\n\
         dauer exit 0 @fits";
    start(&node, "native", "job", script);
    let result = node.dauer("result --wait job").is(0);
    assert_eq!(result.stdout.len(), 1_048_576 + 1);
    let log = node.dauer("logs job");
    assert!(log.stderr.contains("1048577 bytes"), "{}", log.stderr);
}

#[test]
fn signals_come_once_and_in_order_while_the_daemon_dies_again_and_again() {
    let node = Node::new();
    let script = "all=; for i in $(seq 40); do x=$(dauer wait-signal go) || exit 9; all=$all,$x; done\n\
         dauer exit 0 \"[${all#,}]\"";
    start(&node, "native", "job", script);
    for number in 1..=40 {
        if number % 8 == 3 {
            node.kill_daemon();
        }
        node.run(["signal", "job", "go", &number.to_string()]).is(0);
    }
    let expected: Vec<u32> = (1..=40).collect();
    assert_eq!(result(&node, "job"), serde_json::json!(expected));
    node.dauer("signal job go 1").is(1).says("has ended");
}

#[test]
fn a_wait_ends_at_its_time_and_other_signals_are_not_for_it() {
    let node = Node::new();
    let script = "dauer wait-signal none --timeout 200ms --token t; echo $?\n\
         dauer wait-signal none --timeout 1h --token t; echo $?\n\
         dauer wait-signal b; dauer wait-signal a; dauer wait-signal a --json --token u; dauer wait-signal c --token u";
    start(&node, "native", "job", script);
    for (name, payload) in [
        ("a", "1"),
        ("a", "[2.50]"),
        ("b", "{\"x\":  3}"),
        ("c", "4"),
    ] {
        node.run(["signal", "job", name, payload, "--token", payload])
            .is(0);
        node.run(["signal", "job", name, payload, "--token", payload])
            .is(0);
    }
    node.dauer("wait job").is(0);
    let log = node.dauer("logs job").stdout;
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[..4], ["124", "124", "{\"x\":  3}", "1"]);
    assert!(lines[4].contains("[2.50]"), "{log}");
    assert_eq!(lines[5..], ["[2.50]"], "a token has one signal");
    node.run(["signal", "job", "", "1"]).is(1).says("name");
    node.run(["signal", "job", "a", "{"]).is(1).says("JSON");
}

#[test]
fn a_signal_taken_by_code_that_is_rolled_back_comes_again() {
    let node = Node::new();
    for driver in freezing(
        &node,
        "a_signal_taken_by_code_that_is_rolled_back_comes_again",
    ) {
        let job = format!("back-{driver}");
        let script = "z=$(dauer wait-signal go); dauer checkpoint --self >&2; echo saved\n\
             x=$(dauer wait-signal go); echo got $x; y=$(dauer wait-signal go); dauer exit 0 \"[$z, $x, $y]\"";
        start(&node, &driver, &job, script);
        node.run(["signal", &job, "go", "0"]).is(0);
        let mut log = follow(&node, &job);
        assert_eq!(log.line(), "saved", "{driver}");
        node.run(["signal", &job, "go", "1"]).is(0);
        assert_eq!(log.line(), "got 1", "{driver}");
        let pid = node.inspect(&job)["handles"]["sandbox_pid"]
            .as_i64()
            .unwrap();
        node::kill(i32::try_from(pid).unwrap(), 9);
        // Restored from behind the first signal, before the second.
        loop {
            let line = log.line();
            if line == "got 1" {
                break;
            }
        }
        node.run(["signal", &job, "go", "2"]).is(0);
        assert_eq!(
            result(&node, &job),
            serde_json::json!([0, 1, 2]),
            "{driver}"
        );
        assert!(node.inspect(&job)["restores"].as_u64() >= Some(1));
        log.child.kill().unwrap();
        log.child.wait().unwrap();
    }
}

#[test]
fn a_job_sleeps_for_a_signal_and_wakes_with_it_also_over_a_dead_daemon() {
    let node = Node::new();
    for driver in freezing(&node, "a_job_sleeps_for_a_signal") {
        let job = format!("sleeper-{driver}");
        let script = "dauer wait-signal never --suspend --timeout 300ms; echo over $?\n\
             dauer checkpoint --self --wait-signal go; dauer exit 0 \"$(dauer wait-signal go)\"";
        start(&node, &driver, &job, script);
        let mut events = Running::start(node.command(["events", "-f", "--json", &job]));
        let mut asleep = || loop {
            let event: serde_json::Value = serde_json::from_str(&events.line()).unwrap();
            assert_ne!(event["to"], "failed");
            if event["to"] == "suspended" && event["operation"].is_null() {
                return;
            }
        };
        asleep();
        asleep();
        let view = node.inspect(&job);
        assert_eq!(view["waits_for"], "go", "{view:#}");
        assert!(node.dauer("ps").stdout.contains("waits for go"));
        events.child.kill().unwrap();
        events.child.wait().unwrap();
        node.kill_daemon();
        node.run(["signal", &job, "other"]).is(0);
        assert_eq!(node.inspect(&job)["state"], "suspended");
        node.run(["signal", &job, "go", "{\"n\": 1}"]).is(0);
        assert_eq!(result(&node, &job), serde_json::json!({"n": 1}), "{driver}");
        assert!(
            node.dauer(&format!("logs {job}"))
                .stdout
                .contains("over 124"),
            "{driver}"
        );
    }
}

#[test]
fn while_a_lock_is_held_a_checkpoint_waits_also_over_a_dead_daemon() {
    let node = Node::new();
    for driver in freezing(&node, "while_a_lock_is_held_a_checkpoint_waits") {
        let job = format!("locked-{driver}");
        let script = "dauer lock -- sh -c 'echo held; while ! test -e /tmp/go; do sleep 0.05; done; echo freed'\n\
             while ! test -e /tmp/end; do sleep 0.05; done";
        start(&node, &driver, &job, script);
        let mut log = follow(&node, &job);
        assert_eq!(log.line(), "held");
        node.kill_daemon();
        assert_eq!(node.inspect(&job)["locks"], 1, "{driver}");
        let mut waiting = node.command(["suspend", &job]).spawn().unwrap();
        // Whatever else is asked of the job is answered meanwhile, and it stays awake.
        node.dauer(&format!("exec {job} -- true")).is(0);
        assert_eq!(node.inspect(&job)["state"], "running", "{driver}");
        assert_eq!(waiting.try_wait().unwrap(), None, "{driver}");
        node.dauer(&format!("exec {job} -- touch /tmp/go")).is(0);
        assert_eq!(log.line(), "freed", "{driver}");
        assert!(waiting.wait().unwrap().success(), "{driver}");
        let view = node.inspect(&job);
        assert_eq!(
            (view["state"].as_str(), &view["locks"]),
            (Some("suspended"), &0.into())
        );
        node.dauer(&format!("rm -f {job}")).is(0);
        log.child.kill().unwrap();
        log.child.wait().unwrap();
        // One that is never given back is over at its time.
        let job = format!("ttl-{driver}");
        start(
            &node,
            &driver,
            &job,
            "dauer lock --ttl 700ms -- sh -c 'echo held; sleep 1000'",
        );
        let mut log = follow(&node, &job);
        assert_eq!(log.line(), "held");
        node.dauer(&format!("checkpoint {job}")).is(0);
        node.dauer(&format!("rm -f {job}")).is(0);
        log.child.kill().unwrap();
        log.child.wait().unwrap();
    }
}

#[test]
fn progress_is_told_often_written_seldom_and_its_last_word_is_kept() {
    const CALLS: u64 = 10_000;
    let node = Node::new();
    let program = format!(
        "import http.client, json, os, urllib.parse\n\
         address = urllib.parse.urlsplit(os.environ['DAUER_API'])\n\
         connection = http.client.HTTPConnection(address.hostname, address.port)\n\
         for done in range(1, {CALLS} + 1):\n\
         \x20   connection.request('POST', '/v1/self/progress', json.dumps({{'done': done, 'total': {CALLS}, 'message': 'x'}}))\n\
         \x20   assert connection.getresponse().read() == b''\n\
         print('told', flush=True)\n\
         import time\n\
         time.sleep(1000)\n"
    );
    node.run([
        "run", "--detach", "--driver", "native", "--name", "job", "--", "python3", "-c", &program,
    ])
    .is(0);
    let mut log = follow(&node, "job");
    assert_eq!(log.line(), "told");
    // A command to the job is behind what it told before.
    node.dauer("kill job").is(0);
    log.child.wait().unwrap();
    node.kill_daemon();
    let view = node.inspect("job");
    assert_eq!(
        view["progress"]["done"].as_f64(),
        Some(CALLS as f64),
        "{view:#}"
    );
    assert_eq!(view["progress"]["message"], "x");
    let versions = std::process::Command::new("python3")
        .args(["-c", "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT version FROM jobs').fetchone()[0])"])
        .arg(node.data().join("dauer.db"))
        .output()
        .unwrap();
    let versions: u64 = String::from_utf8(versions.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    println!("{CALLS} calls made {versions} versions");
    assert!(versions < CALLS / 10, "{versions} commits");
}

#[test]
fn a_job_reads_who_it_is() {
    let node = Node::new();
    let script =
        "dauer params; dauer metadata > m; cat m; dauer progress 1 2 half; dauer self --json";
    start(&node, "native", "job", script);
    node.dauer("wait job").is(0);
    let log = node.dauer("logs job").stdout;
    let mut lines = log.lines();
    assert_eq!(lines.next(), Some("null"));
    let metadata: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(metadata["job_id"], node.inspect("job")["id"]);
    assert_eq!(metadata["retry_count"], 0);
    let own: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(
        (own["name"].as_str(), own["attempt"].as_u64()),
        (Some("job"), Some(1))
    );
    assert_eq!(node.inspect("job")["progress"]["message"], "half");
    assert!(fs::exists(node.data().join("dauer.db")).unwrap());
}
