//! Definitions whose jobs begin where the first one was ready: with its memory, and each as itself.

mod http;
mod node;

use http::Answer;
use node::{Node, Running};
use serde_json::{Value, json};
use std::os::unix::net::UnixStream;

/// Loads for a while, is ready, and says who it is. Asks as any HTTP client would.
const PROGRAM: &str = r#"
import json, os, socket, sys, time, urllib.request
def ask(path, body=None):
    request = urllib.request.Request(os.environ["DAUER_API"] + path, body and json.dumps(body).encode())
    while True:
        try:
            return json.load(urllib.request.urlopen(request))
        except OSError:
            time.sleep(0.02)
loaded = os.urandom(8).hex()
if os.path.exists("/var/tmp/dauer-warm-test-fail"): sys.exit(3)
status = {"status": "pending"}
while status["status"] == "pending":
    status = ask("/v1/self/ready", {})
me = ask("/v1/self")
print(json.dumps({
    "status": status["status"], "loaded": loaded, "id": me["id"], "warm": me["warm"], "fork": me["fork"], "env": me["env"],
    "own": os.environ.get("OWN"), "params": ask("/v1/self/params"), "host": socket.gethostname(), "random": os.urandom(8).hex(),
}), flush=True)
if (ask("/v1/self/params") or {}).get("wait"): time.sleep(60)
if (ask("/v1/self/params") or {}).get("fail") and me["retries"] == 0: sys.exit(7)
"#;

fn freezing(node: &Node, what: &str) -> Vec<&'static str> {
    let drivers = ["runc", "gvisor"].into_iter();
    let (able, unable): (Vec<_>, Vec<_>) = drivers.partition(|driver| node.freezes(driver));
    for driver in unable {
        println!("skipped: {what} on {driver}: it cannot freeze here");
    }
    able
}

fn define(node: &Node, driver: &str, version: &str, pool: u32) {
    let definition = json!({
        "name": "load", "version": version, "runtime_type": driver,
        "config": {"argv": ["python3", "-c", PROGRAM], "env": {"SHARED": "1"}},
        "retry_policy": {"max_retries": 1, "retry_delay": "10ms"},
        "warm": {"snapshot_after": "ready", "pool": pool},
    });
    // JSON is YAML.
    node.define(&definition.to_string()).is(0);
}

/// Hands over a job, waits for its end and returns its id and what it said, line by line.
fn ran(node: &Node, words: &[&str]) -> (String, Vec<Value>) {
    let submit = [&["submit"], words].concat();
    let id = node.run(submit).is(0).stdout.trim().to_owned();
    let said = told(node, &id);
    (id, said)
}

/// The same with what the command has no words for.
fn handed_over(node: &Node, job: &Value) -> (String, Vec<Value>) {
    let socket = UnixStream::connect(node.path("run/dauer.sock")).unwrap();
    let json = "content-type: application/json\r\n";
    let answer = Answer::ask(socket, "POST", "/v1/jobs", json, job.to_string().as_bytes());
    assert_eq!(answer.status, 201);
    let id = answer.json()["job_id"].as_str().unwrap().to_owned();
    let said = told(node, &id);
    (id, said)
}

fn told(node: &Node, id: &str) -> Vec<Value> {
    node.dauer(&format!("wait {id}")).is(0);
    let log = node.dauer(&format!("logs {id}")).is(0).stdout;
    // A runtime that could not restore a template says so where the program's output goes.
    let lines = log.lines().filter(|line| line.starts_with('{'));
    let said = lines.map(|line| serde_json::from_str(line).unwrap());
    said.collect()
}

fn templates(node: &Node) -> Vec<Value> {
    let said = node.dauer("warm ls --json").is(0).stdout;
    serde_json::from_str(&said).unwrap()
}

fn history(node: &Node, job: &str) -> String {
    node.dauer(&format!("events {job}")).is(0).stdout
}

fn kept_states(node: &Node) -> Vec<String> {
    let names = std::fs::read_dir(node.path("data/snapshots")).unwrap();
    let names = names.map(|name| name.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

fn sandboxes(node: &Node) -> usize {
    std::fs::read_dir(node.path("data/sandboxes"))
        .unwrap()
        .count()
}

/// Until so many wait for a job.
fn wait_for_waiting(node: &Node, count: u64) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while templates(node).first().map(|one| one["waiting"].as_u64()) != Some(Some(count)) {
        assert!(
            std::time::Instant::now() < deadline,
            "{:?}",
            templates(node)
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn later_jobs_begin_where_the_first_was_ready_each_as_itself() {
    let node = Node::new();
    for driver in freezing(&node, "later_jobs_begin") {
        define(&node, driver, "1.0.0", 0);
        let (first, said) = ran(&node, &["load", "--params", "{\"n\": 1}"]);
        assert_eq!(said[0]["status"], "taken", "{said:?}");
        assert_eq!(said[0]["params"]["n"], 1);
        assert_eq!(node.inspect(&first)["start"], "cold");
        let template = templates(&node).remove(0);
        assert_eq!(template["job"], first.as_str());

        let (second, own) = ran(
            &node,
            &[
                "load",
                "--params",
                "{\"n\": 2}",
                "-e",
                "OWN=2",
                "--name",
                "second",
            ],
        );
        let own = &own[0];
        assert_eq!(own["status"], "restored");
        assert_eq!(own["loaded"], said[0]["loaded"], "it did not load again");
        assert_eq!(
            (&own["id"], &own["params"]["n"]),
            (&second.as_str().into(), &2.into())
        );
        assert_eq!((&own["warm"], &own["fork"]), (&true.into(), &Value::Null));
        // What it adds to the environment is told, and was not there for the program.
        assert_eq!(
            (&own["env"], &own["own"]),
            (&json!({"OWN": "2"}), &Value::Null)
        );
        assert_eq!(own["host"], "second");
        assert_ne!(own["random"], said[0]["random"]);
        assert_eq!(node.inspect(&second)["start"], "warm");
        assert!(history(&node, &second).contains("begins warm"));

        // Each attempt begins there.
        let (failed, attempts) = ran(&node, &["load", "--params", "{\"fail\": true}"]);
        assert_eq!(attempts.len(), 2, "{attempts:?}");
        assert!(
            attempts
                .iter()
                .all(|one| one["loaded"] == said[0]["loaded"])
        );

        // Another program is another sandbox: it says why it is cold, and leaves the template as it is.
        let (other, cold) = handed_over(
            &node,
            &json!({"definition_name": "load", "memory_bytes": 256 << 20}),
        );
        assert_eq!(cold[0]["status"], "cold");
        assert_ne!(cold[0]["loaded"], said[0]["loaded"]);
        let why = node.inspect(&other)["cold_because"].to_string();
        assert!(why.contains("memory_bytes"), "{why}");
        assert_eq!(templates(&node), [template]);

        // What it began from stays for those that began from it.
        node.dauer("warm rm load@1.0.0").is(0);
        assert_eq!(templates(&node), Vec::<Value>::new());
        node.dauer("warm rm load@1.0.0")
            .is(1)
            .says("has no template");
        let (again, said) = ran(&node, &["load"]);
        assert_eq!(said[0]["status"], "taken");
        // With the definition goes its template, with the jobs what they had begun from.
        node.dauer("def rm load@1.0.0").is(0);
        assert_eq!(templates(&node), Vec::<Value>::new());
        node.run(["rm", &first, &second, &failed, &other, &again])
            .is(0);
        assert_eq!(kept_states(&node), Vec::<String>::new());
    }
}

#[test]
fn what_fails_before_it_is_ready_leaves_nothing_and_two_first_runs_leave_one() {
    let node = Node::new();
    for driver in freezing(&node, "what_fails_before") {
        // The file is not there for a sandbox of the host's root, unless it is on the host.
        let flag = std::path::Path::new("/var/tmp/dauer-warm-test-fail");
        std::fs::write(flag, "").unwrap();
        define(&node, driver, "2.0.0", 0);
        let id = node.submit("submit load@2.0.0");
        let ended = node.dauer(&format!("wait {id}"));
        std::fs::remove_file(flag).unwrap();
        ended.is(3);
        assert_eq!(templates(&node), Vec::<Value>::new());
        assert_eq!(kept_states(&node), Vec::<String>::new());

        let jobs: Vec<String> = (0..3).map(|_| node.submit("submit load@2.0.0")).collect();
        for job in &jobs {
            node.dauer(&format!("wait {job}")).is(0);
        }
        assert_eq!(templates(&node).len(), 1, "{driver}");
        node.dauer("def rm load@2.0.0").is(0);
        node.run(["rm".to_owned(), id].into_iter().chain(jobs))
            .is(0);
        assert_eq!(kept_states(&node), Vec::<String>::new());
    }
}

/// Changes some bytes in the middle of a file.
fn damage(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes
        .iter_mut()
        .skip(middle)
        .take(64)
        .for_each(|byte| *byte ^= 0xa5);
    std::fs::write(path, bytes).unwrap();
}

fn largest(folder: &std::path::Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let largest = files.max_by_key(|file| file.metadata().unwrap().len());
    largest.unwrap().path()
}

#[test]
fn a_template_that_cannot_be_restored_is_replaced_and_the_job_runs_all_the_same() {
    let node = Node::new();
    for driver in freezing(&node, "a_template_that_cannot_be_restored") {
        define(&node, driver, "3.0.0", 0);
        let present = || {
            let id = templates(&node).remove(0)["snapshot"].clone();
            id.as_str().unwrap().to_owned()
        };
        ran(&node, &["load"]);
        // What is found out when the job is accepted, and what only shows when it is restored.
        for found_late in [false, true] {
            let bad = present();
            let folder = node.path(&format!("data/snapshots/{bad}"));
            if found_late {
                damage(&largest(&folder.join("memory")));
            } else {
                damage(&folder.join("manifest.json"));
            }
            let (job, said) = ran(&node, &["load"]);
            assert_eq!(said[0]["status"], "taken", "{}", history(&node, &job));
            let view = node.inspect(&job);
            assert_eq!(view["start"], "cold");
            let why = view["cold_because"].as_str().unwrap();
            assert!(why.contains(&bad), "{why}");
            let told = history(&node, &job);
            assert_eq!(told.contains("warm_start_failed"), found_late, "{told}");
            assert!(told.contains("cannot be restored"), "{told}");
            assert_ne!(present(), bad);
            let (_, said) = ran(&node, &["load"]);
            assert_eq!(said[0]["status"], "restored");
        }
        node.dauer("def rm load@3.0.0").is(0);
    }
}

#[test]
fn what_cannot_be_frozen_cannot_begin_warm_and_that_is_said_when_it_is_registered() {
    let node = Node::new();
    let definition = |driver: &str, warm: Value| {
        json!({"name": "n", "version": "1.0.0", "runtime_type": driver, "config": {"argv": ["true"]}, "warm": warm}).to_string()
    };
    let ready = json!({"snapshot_after": "ready"});
    node.define(&definition("native", ready)).is(1).says("warm");
    let started = json!({"snapshot_after": "started"});
    node.define(&definition("native", started))
        .is(1)
        .says("use ready");
    let many = json!({"snapshot_after": "ready", "pool": 100_000});
    node.define(&definition("native", many))
        .is(1)
        .says("warm.pool");
}

#[test]
fn a_daemon_that_dies_between_any_two_lines_leaves_one_template_and_no_job_behind() {
    let node = Node::new();
    for driver in freezing(&node, "a_daemon_that_dies") {
        define(&node, driver, "4.0.0", 1);
        let mut jobs = Vec::new();
        for round in 0..12_u64 {
            jobs.push(node.submit("submit load@4.0.0"));
            std::thread::sleep(std::time::Duration::from_millis(round * 37 % 400));
            node.kill_daemon();
        }
        for job in &jobs {
            node.dauer(&format!("wait {job}")).is(0);
        }
        assert_eq!(templates(&node).len(), 1);
        node.dauer("def rm load@4.0.0").is(0);
        node.run(["rm".to_owned()].into_iter().chain(jobs)).is(0);
        assert_eq!(kept_states(&node), Vec::<String>::new());
        // Those that waited of daemons that died are removed by the next one.
        node.kill_daemon();
        node.dauer("ps").is(0);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while sandboxes(&node) > 0 {
            assert!(
                std::time::Instant::now() < deadline,
                "{} left",
                sandboxes(&node)
            );
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

#[test]
fn one_that_waits_becomes_a_jobs_own_and_another_takes_its_place() {
    let node = Node::new();
    for driver in freezing(&node, "one_that_waits") {
        define(&node, driver, "5.0.0", 2);
        let (_, said) = ran(&node, &["load"]);
        wait_for_waiting(&node, 2);
        let before = kept_states(&node).len();

        let id = node
            .run([
                "submit",
                "load",
                "--params",
                "{\"wait\": true}",
                "--name",
                "taken",
                "-e",
                "OWN=1",
            ])
            .is(0)
            .stdout
            .trim()
            .to_owned();
        let mut log = Running::start(node.command(["logs", "-f", &id]));
        let own: Value = serde_json::from_str(&log.line()).unwrap();
        log.child.kill().unwrap();
        log.child.wait().unwrap();
        assert_eq!(
            (&own["status"], &own["loaded"]),
            (&"restored".into(), &said[0]["loaded"])
        );
        assert_eq!(
            (&own["id"], &own["host"]),
            (&id.as_str().into(), &"taken".into())
        );
        assert_eq!(
            (&own["env"], &own["params"]["wait"]),
            (&json!({"OWN": "1"}), &true.into())
        );
        let inside = node.dauer(&format!("exec {id} -- printenv DAUER_JOB_ID"));
        assert_eq!(inside.is(0).stdout.trim(), id);

        // It is paid for from when it had a job.
        let view = node.inspect(&id);
        assert!(
            view["started_at"].as_i64() >= view["created_at"].as_i64(),
            "{view}"
        );
        let usage = node.dauer(&format!("usage --json {id}"));
        assert_eq!(usage.code, Some(0), "{usage:?}");

        // Its checkpoints are its own, and it goes on after a loss.
        node.dauer(&format!("checkpoint {id}")).is(0);
        assert_eq!(kept_states(&node).len(), before + 1);
        node.dauer(&format!("suspend {id}")).is(0);
        node.dauer(&format!("resume {id}")).is(0);
        wait_for_waiting(&node, 2);

        // A daemon that dies takes none of them along, and the next one has some of its own again.
        node.kill_daemon();
        wait_for_waiting(&node, 2);
        assert_eq!(node.inspect(&id)["state"], "running");
        node.dauer(&format!("rm -f {id}")).is(0);
        node.dauer("def rm load@5.0.0").is(0);
        let jobs = node.dauer("ps -aq").stdout;
        node.run(["rm", "-f"].into_iter().chain(jobs.split_whitespace()))
            .is(0);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while sandboxes(&node) > 0 {
            assert!(
                std::time::Instant::now() < deadline,
                "{} left",
                sandboxes(&node)
            );
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert_eq!(kept_states(&node), Vec::<String>::new());
    }
}
