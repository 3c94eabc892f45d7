//! Two daemons on one store: each job has one owner, who is silent for too long is taken over from, and can do nothing any more.

mod node;
#[allow(dead_code, reason = "the tests of the store need more of it")]
#[path = "../../store/tests/servers/postgres.rs"]
mod postgres;

use node::{Node, Running, kill};
use postgres::Server;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Short, so that tests need not wait long for it.
const LEASE: &str = "2s";

/// What a daemon exits with that another one took over from.
const FENCED: i32 = 75;

/// What one daemon sets the other knows by then; where the store does not say so, it is asked every 10 s.
const SEEN_MAX: Duration = Duration::from_secs(40);

/// Stores that several daemons can share, empty.
struct Stores {
    urls: Vec<String>,
    _postgres: Option<Server>,
}

impl Stores {
    fn in_folder(folder: &Path) -> Self {
        let mut urls = vec![format!("sqlite:{}", folder.join("shared.db").display())];
        let postgres = Server::start(&[]);
        urls.extend(postgres.iter().map(Server::fresh));
        Self {
            urls,
            _postgres: postgres,
        }
    }
}

/// A daemon in the foreground whose words are kept.
struct Daemon {
    node: Node,
    child: Child,
    said: Option<JoinHandle<String>>,
}

impl Daemon {
    fn start(store: &str) -> Self {
        Self::of(Node::new(), store)
    }

    fn of(node: Node, store: &str) -> Self {
        let mut command = node.command(["serve", "--store", store, "--lease", LEASE]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut reader = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.lines().any(|line| line.contains(" ready ")) {
            assert_ne!(reader.read_line(&mut said).unwrap(), 0, "{said}");
        }
        let said = std::thread::spawn(move || {
            let mut rest = String::new();
            reader.read_to_string(&mut rest).unwrap();
            rest
        });
        Self {
            node,
            child,
            said: Some(said),
        }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Its exit code and what it said, once it has ended by itself.
    fn end(&mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        (code, self.said.take().unwrap().join().unwrap())
    }

    /// The same node, started again after its daemon ended.
    fn again(mut self, store: &str) -> Self {
        self.child.wait().unwrap();
        let node = std::mem::replace(&mut self.node, Node::new());
        Self::of(node, store)
    }

    fn name(&self) -> String {
        let info: Value = json(&self.node.dauer("info --json").is(0).stdout);
        info["node"].as_str().unwrap().to_owned()
    }

    /// Returns the first entry of a job's journal that is like this, when it is there.
    fn wait_for(&self, job: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut events = Running::start(self.node.command(["events", "-f", "--json", job]));
        loop {
            let event = json(&events.line());
            if wanted(&event) {
                events.child.kill().unwrap();
                events.child.wait().unwrap();
                return event;
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that was stopped hears nothing else.
        kill(self.pid(), 9);
        // It may have been waited for.
        let _ended = self.child.wait();
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn lines(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Returns when a process is gone.
fn wait_until_gone(pid: i32) {
    while Path::new(&format!("/proc/{pid}")).exists() {
        std::thread::yield_now();
    }
}

/// The process of a running job, as the daemon that holds it says.
fn job_pid(daemon: &Daemon, job: &str) -> i32 {
    let shown = daemon.node.inspect(job);
    let pid = shown["handles"]["sandbox_pid"].as_i64().unwrap();
    i32::try_from(pid).unwrap()
}

/// Its second attempt is up.
fn runs_again(event: &Value) -> bool {
    event["event"] == "started" && event["generation"].as_u64() > Some(1)
}

#[test]
fn each_of_many_jobs_runs_once_on_one_of_two_daemons() {
    const JOBS: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let stores = Stores::in_folder(folder.path());
    for store in &stores.urls[..1] {
        let daemons = [Daemon::start(store), Daemon::start(store)];
        let ran = folder.path().join("ran");
        let _empty = std::fs::remove_dir_all(&ran);
        std::fs::create_dir(&ran).unwrap();
        let submitted: Vec<_> = (0..JOBS)
            .map(|n| {
                let mount = format!("{}:/ran", ran.display());
                let name = format!("job-{n}");
                let script = format!("echo ran >> /ran/{n}");
                let on = &daemons[n % 2].node;
                let mut command = on.command([
                    "run", "--driver", "native", "--detach", "--mount", &mount, "--name", &name,
                    "--", "sh", "-c", &script,
                ]);
                command.stdout(Stdio::null()).spawn().unwrap()
            })
            .collect();
        for mut command in submitted {
            assert!(command.wait().unwrap().success());
        }
        // Each is waited for at the daemon to which it was not given.
        for n in 0..JOBS {
            let other = &daemons[(n + 1) % 2].node;
            other.dauer(&format!("wait job-{n}")).is(0);
            assert_eq!(lines(&ran.join(n.to_string())), ["ran"], "{store}: job {n}");
        }
        let listed = daemons[0].node.dauer("node ls --json").is(0).stdout;
        let nodes = json(&listed);
        let nodes = nodes["nodes"].as_array().unwrap();
        let names: BTreeSet<&str> = nodes
            .iter()
            .map(|node| node["node"].as_str().unwrap())
            .collect();
        let expected = daemons.each_ref().map(Daemon::name);
        let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
        assert_eq!(names, expected, "{store}");
    }
}

#[test]
fn a_daemon_that_was_silent_is_taken_over_and_can_do_nothing_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let stores = Stores::in_folder(folder.path());
    for store in stores.urls.clone() {
        let (mut silent, other) = (Daemon::start(&store), Daemon::start(&store));
        let name = silent.name();
        let job = silent.node.run([
            "run",
            "--driver",
            "native",
            "--detach",
            "--retries",
            "1",
            "--retry-delay",
            "0s",
            "--",
            "sleep",
            "1000",
        ]);
        let job = job.is(0).stdout.trim().to_owned();
        silent.node.wait_until_started(&job);
        let first = job_pid(&silent, &job);
        let held = other.node.dauer(&format!("kill {job}"));
        held.is(1).says(&format!("is on node {name}"));
        other
            .node
            .dauer(&format!("logs {job}"))
            .is(1)
            .says("ask its daemon");
        silent.signal(nix::sys::signal::Signal::SIGSTOP);
        let lost = other.wait_for(&job, |event| event["event"] == "attempt_failed");
        let why = lost["detail"].as_str().unwrap();
        assert!(why.contains(&format!("its node {name} was lost")), "{why}");
        other.wait_for(&job, runs_again);
        let second = job_pid(&other, &job);
        silent.signal(nix::sys::signal::Signal::SIGCONT);
        let (code, said) = silent.end();
        assert_eq!(code, Some(FENCED), "{said}");
        assert!(
            said.contains("another daemon took over from node"),
            "{said}"
        );
        wait_until_gone(first);
        // What it did after it went on changed nothing.
        let shown = other.node.inspect(&job);
        assert_eq!(
            (&shown["state"], &shown["attempt"]),
            (&"running".into(), &2.into())
        );
        assert_eq!(job_pid(&other, &job), second);
        other.node.dauer(&format!("rm -f {job}")).is(0);
    }
}

#[test]
fn a_daemon_that_was_killed_is_taken_over_and_ends_its_leftovers_when_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let stores = Stores::in_folder(folder.path());
    for store in stores.urls.clone() {
        let (killed, other) = (Daemon::start(&store), Daemon::start(&store));
        let name = killed.name();
        let run = |retries: &str| {
            let started = killed.node.run([
                "run",
                "--driver",
                "native",
                "--detach",
                "--retries",
                retries,
                "--retry-delay",
                "0s",
                "--",
                "sleep",
                "1000",
            ]);
            let job = started.is(0).stdout.trim().to_owned();
            killed.node.wait_until_started(&job);
            job
        };
        let (once, again) = (run("0"), run("1"));
        let leftovers = [job_pid(&killed, &once), job_pid(&killed, &again)];
        killed.signal(nix::sys::signal::Signal::SIGKILL);
        other.node.dauer(&format!("wait {once}")).is(125);
        let shown = other.node.inspect(&once);
        assert_eq!(shown["reason"], "lost", "{shown}");
        let message = shown["message"].as_str().unwrap();
        assert!(message.contains(&name), "{message}");
        other.wait_for(&again, runs_again);
        let killed = killed.again(&store);
        leftovers.into_iter().for_each(wait_until_gone);
        assert_eq!(killed.name(), name);
        // What the other one holds is its own, and both say so.
        let held = killed.node.dauer(&format!("kill {again}"));
        held.is(1).says(&format!("is on node {}", other.name()));
        other.node.dauer(&format!("rm -f {again}")).is(0);
    }
}

#[test]
fn a_schedule_fires_each_moment_once_with_two_daemons() {
    const MOMENTS: usize = 12;
    let folder = tempfile::tempdir().unwrap();
    let stores = Stores::in_folder(folder.path());
    for store in stores.urls.clone() {
        let daemons = [Daemon::start(&store), Daemon::start(&store)];
        daemons[0]
            .node
            .dauer("schedule add tick --every 200ms --overlap allow --catch-up all --catch-up-max 1000 --driver native -- true")
            .is(0);
        let fired = || {
            let listed = daemons[1].node.dauer("ps -a --json").is(0).stdout;
            let jobs: Vec<Value> = match json(&listed) {
                Value::Array(jobs) => jobs,
                other => other["jobs"].as_array().unwrap().clone(),
            };
            let moments = jobs.iter().map(|job| job["scheduled_at"].as_i64().unwrap());
            moments.collect::<Vec<_>>()
        };
        let mut events = Running::start(daemons[1].node.command(["events", "-f", "--json"]));
        while fired().len() < MOMENTS {
            events.line();
        }
        daemons[1].node.dauer("schedule rm tick").is(0);
        let moments = fired();
        let distinct: BTreeSet<i64> = moments.iter().copied().collect();
        assert_eq!(
            distinct.len(),
            moments.len(),
            "{store}: a moment twice: {moments:?}"
        );
        // None is left out between the first and the last.
        let span = distinct.last().unwrap() - distinct.first().unwrap();
        assert_eq!(
            span / 200,
            i64::try_from(distinct.len() - 1).unwrap(),
            "{moments:?}"
        );
        events.child.kill().unwrap();
        events.child.wait().unwrap();
    }
}

#[test]
fn a_store_that_cannot_be_opened_is_said_in_one_line() {
    let node = Node::new();
    for (url, why) in [
        ("mysql://u:secret@h/d", "\"mysql\" is no kind of it"),
        ("sqlite:/nowhere/at/all.db", "/nowhere/at/all.db"),
    ] {
        let ended = node.run(["serve", "--store", url]);
        let said = ended.is(1).stderr;
        let line = said.lines().last().unwrap();
        assert!(line.starts_with("dauer: ") && line.contains(why), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

/// Whether this daemon comes to say so.
fn comes_to_say(daemon: &Daemon, line: &str, says: impl Fn(&str) -> bool) -> bool {
    let until = Instant::now() + SEEN_MAX;
    while Instant::now() < until {
        if says(&daemon.node.dauer(line).is(0).stdout) {
            return true;
        }
    }
    false
}

#[test]
fn what_is_set_with_one_daemon_the_other_goes_by() {
    let folder = tempfile::tempdir().unwrap();
    let stores = Stores::in_folder(folder.path());
    for store in stores.urls.clone() {
        let [one, other] = [Daemon::start(&store), Daemon::start(&store)];
        one.node.dauer("queue set mail --max-running 3").is(0);
        let made = one.node.dauer("token create --scope read --json").is(0);
        let token = json(&made.stdout)["id"].as_str().unwrap().to_owned();
        assert!(comes_to_say(&other, "queue ls", |said| said.contains("mail")));
        assert!(comes_to_say(&other, "token ls", |said| said.contains(&token)));
        one.node.dauer("queue rm mail").is(0);
        one.node.dauer(&format!("token rm {token}")).is(0);
        assert!(comes_to_say(&other, "queue ls", |said| !said.contains("mail")));
        assert!(comes_to_say(&other, "token ls", |said| !said.contains(&token)));
    }
}
