//! Jobs that go on as another one was: each as itself, however often, whatever is gone of where they came from.

mod node;

use node::{Node, Running};
use serde_json::Value;
use std::collections::HashSet;

/// Says who it is whenever that is somebody else than before; has a counter in memory and a file on disk.
const WHO_AM_I: &str = r#"
import json, os, socket, time, urllib.request
def ask(path):
    return json.load(urllib.request.urlopen(os.environ["DAUER_API"] + path))
open("/var/tmp/kept", "w").write("on disk")
times, seen, ballast = 0, None, os.urandom(8 << 20)
while not os.path.exists("/var/tmp/end"):
    me = ask("/v1/self")
    if me["id"] != seen:
        seen, times = me["id"], times + 1
        print(json.dumps({
            "id": seen, "times": times, "fork": me["fork"], "host": socket.gethostname(), "random": os.urandom(8).hex(),
            "params": ask("/v1/self/params"), "file": open("/var/tmp/kept").read(), "ballast": len(ballast),
        }), flush=True)
    time.sleep(0.05)
"#;

/// Asks for a checkpoint of itself and says what came of it.
const SAVE_ME: &str = r#"
import json, os, time, urllib.request
def ask(path, body=None):
    request = urllib.request.Request(os.environ["DAUER_API"] + path, body and json.dumps(body).encode())
    while True:
        try:
            return json.load(urllib.request.urlopen(request))
        except OSError:
            time.sleep(0.05)
status = ask("/v1/self/checkpoint", {"token": "mine", "suspend": "1h"})
while status["status"] == "pending":
    status = ask("/v1/self/checkpoint/mine")
print(status["status"], ask("/v1/self")["fork"], flush=True)
"#;

/// The drivers of this machine that can freeze.
fn freezing(node: &Node, what: &str) -> Vec<&'static str> {
    let drivers = ["runc", "gvisor"].into_iter();
    let (able, unable): (Vec<_>, Vec<_>) = drivers.partition(|driver| node.freezes(driver));
    for driver in unable {
        println!("skipped: {what} on {driver}: it cannot freeze here");
    }
    able
}

fn begin(node: &Node, driver: &str, name: &str, program: &str) -> String {
    let started = node.run([
        "run", "--driver", driver, "--detach", "--name", name, "--", "python3", "-c", program,
    ]);
    started.is(0).stdout.trim().to_owned()
}

/// What the program of this job says first, or says next.
fn said(node: &Node, job: &str) -> Value {
    let mut log = Running::start(node.command(["logs", "-f", job]));
    let line = log.line();
    log.child.kill().unwrap();
    log.child.wait().unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{job} says {line:?}: {error}"))
}

fn forks(node: &Node, line: &str) -> Vec<String> {
    let made = node.dauer(line).is(0).stdout;
    made.lines().map(str::to_owned).collect()
}

fn kept_states(node: &Node) -> Vec<String> {
    let names = std::fs::read_dir(node.path("data/snapshots")).unwrap();
    let names = names.map(|name| name.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

#[test]
fn forks_of_a_running_job_go_on_with_its_memory_each_as_itself() {
    let node = Node::new();
    for driver in freezing(&node, "forks_of_a_running_job") {
        let source = begin(&node, driver, &format!("{driver}-source"), WHO_AM_I);
        let first = said(&node, &source);
        assert_eq!((&first["times"], &first["fork"]), (&1.into(), &Value::Null));

        std::fs::write(
            node.path("each.json"),
            "[{\"n\": 0}, {\"n\": 1}, {\"n\": 2}]",
        )
        .unwrap();
        let made = forks(
            &node,
            &format!("fork {driver}-source -n 3 --name {driver}-f --params-each @each.json"),
        );
        assert_eq!(made.len(), 3);
        let mut randoms = HashSet::from([first["random"].to_string()]);
        for (index, id) in made.iter().enumerate() {
            let own = said(&node, id);
            assert_eq!(own["id"], id.as_str());
            assert_eq!(own["times"], 2, "its counter went on: {own}");
            assert_eq!(own["ballast"], 8 << 20);
            assert_eq!(own["file"], "on disk");
            assert_eq!(own["host"], format!("{driver}-f-{index}"));
            assert_eq!(own["params"]["n"], index);
            let fork = serde_json::json!({"index": index, "of": 3, "source": source});
            assert_eq!(own["fork"], fork);
            assert!(randoms.insert(own["random"].to_string()), "{own}");
            // What is started in it knows whose it is.
            let inside = node.dauer(&format!("exec {id} -- printenv DAUER_JOB_ID"));
            assert_eq!(inside.is(0).stdout.trim(), id);
        }
        assert_eq!(node.inspect(&source)["state"], "running");

        // A clone of a clone of a clone, when nothing is left of where it came from.
        let second = forks(&node, &format!("fork {driver}-f-0 --name {driver}-g")).remove(0);
        said(&node, &second);
        node.dauer(&format!(
            "rm -f {driver}-source {driver}-f-0 {driver}-f-1 {driver}-f-2"
        ))
        .is(0);
        let third = forks(&node, &format!("fork {second}")).remove(0);
        node.dauer(&format!("rm -f {second}")).is(0);
        let own = said(&node, &third);
        assert_eq!(
            (&own["times"], &own["file"]),
            (&4.into(), &"on disk".into())
        );
        assert_eq!(own["fork"]["source"], second.as_str());
        node.dauer(&format!("rm -f {third}")).is(0);
        assert_eq!(kept_states(&node), Vec::<String>::new());
    }
}

#[test]
fn a_fork_of_a_sleeper_hears_that_it_was_restored_and_the_sleeper_sleeps_on() {
    let node = Node::new();
    for driver in freezing(&node, "a_fork_of_a_sleeper") {
        let source = begin(&node, driver, "sleeper", SAVE_ME);
        let mut events = Running::start(node.command(["events", "-f", "--json", "sleeper"]));
        while !events.line().contains("\"released\"") {}
        events.child.kill().unwrap();
        events.child.wait().unwrap();
        for id in forks(&node, "fork sleeper -n 2") {
            node.dauer(&format!("wait {id}")).is(0);
            let log = node.dauer(&format!("logs {id}")).is(0).stdout;
            assert!(log.starts_with("restored {"), "{log}");
        }
        let sleeper = node.inspect(&source);
        assert_eq!(sleeper["state"], "suspended");
        node.dauer("rm -f sleeper").is(0);
    }
}

#[test]
fn a_snapshot_outlives_its_job_and_a_daemon_that_dies_makes_all_forks_or_none() {
    let node = Node::new();
    let Some(driver) = freezing(&node, "a_snapshot_outlives_its_job").pop() else {
        return;
    };
    begin(&node, driver, "source", WHO_AM_I);
    said(&node, "source");
    node.dauer("snapshot save source --name ready --label a=b --pin")
        .is(0);
    node.dauer("snapshot save source --name ready")
        .is(1)
        .says("in use");
    node.dauer("rm -f source").is(0);
    let listed = node.dauer("snapshot ls --json").is(0).stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[0]["name"], "ready");
    assert_eq!(listed[0]["labels"]["a"], "b");

    let mut forking = node
        .command(["fork", "ready", "-n", "3", "--name", "late", "--detach"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    node.kill_daemon();
    forking.wait().unwrap();
    let made = node.dauer("ps -aq").is(0).stdout;
    let made: Vec<&str> = made.lines().collect();
    assert!(matches!(made.len(), 0 | 3), "{made:?}");
    for id in &made {
        assert_eq!(said(&node, id)["times"], 2);
    }
    let one = forks(&node, "fork ready --name one").remove(0);
    assert_eq!(said(&node, &one)["times"], 2);

    node.dauer("snapshot rm ready").is(1).says("pinned");
    node.dauer("snapshot unpin ready").is(0);
    node.dauer("snapshot rm ready").is(0);
    node.dauer("fork ready").is(1).says("ready");
    // Its files are there for as long as a fork may begin with them again.
    assert_eq!(kept_states(&node).len(), 1);
    node.dauer("kill one").is(0);
    node.dauer("wait one").is(137);
    node.dauer("retry one").is(0);
    node.wait_until_started("one");
    node.run(["rm", "-f", "one"].into_iter().chain(made)).is(0);
    assert_eq!(kept_states(&node), Vec::<String>::new());
}

#[test]
fn a_job_goes_back_to_its_checkpoint_running_asleep_or_failed() {
    let node = Node::new();
    let Some(driver) = freezing(&node, "a_job_goes_back").pop() else {
        return;
    };
    let counts = "import os, signal, time\nn = 0\ndef count(*_):\n    global n; n += 1; print(n, flush=True)\n\
                  signal.signal(signal.SIGUSR1, count)\nsignal.signal(signal.SIGUSR2, lambda *_: os._exit(3))\nprint('up', flush=True)\n\
                  while True: time.sleep(0.05)\n";
    begin(&node, driver, "counter", counts);
    let mut log = Running::start(node.command(["logs", "-f", "counter"]));
    assert_eq!(log.line(), "up");
    let mut count = |expected: &str| {
        node.dauer("kill --signal USR1 counter").is(0);
        assert_eq!(log.line(), expected);
    };
    node.dauer("rollback counter").is(1).says("no checkpoint");
    count("1");
    node.dauer("checkpoint counter").is(0);
    count("2");
    node.dauer("rollback counter").is(0);
    node.wait_until_started("counter");
    count("2");
    node.dauer("rollback counter --to nowhere")
        .is(1)
        .says("nowhere");

    node.dauer("suspend counter").is(0);
    node.dauer("rollback counter").is(0);
    let runs = |job: &str| {
        let mut events = Running::start(node.command(["events", "-f", "--json", job]));
        // The last of what is there is followed by what comes.
        while node.inspect(job)["operation"] != Value::Null {
            events.line();
        }
        events.child.kill().unwrap();
        events.child.wait().unwrap();
    };
    runs("counter");
    count("3");
    node.dauer("kill --signal USR2 counter").is(0);
    node.dauer("wait counter").is(3);
    node.dauer("rollback counter").is(0);
    runs("counter");
    let journal = node.dauer("events counter").is(0).stdout;
    assert_eq!(journal.matches("rolled_back").count(), 3, "{journal}");
    node.dauer("rm -f counter").is(0);
}
