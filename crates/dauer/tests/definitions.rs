//! Definitions, queues and batches, with a real daemon that dies at the worst moments.

mod node;

use dauer_client::{Client, Host, ListFilter};
use dauer_wire::http::{CreateJob, Span};
use node::Node;
use std::collections::BTreeSet;
use std::process::Command;

/// Sandboxes of this daemon live one at a time.
fn one_at_a_time(node: &Node, line: &str) -> Command {
    let mut command = node.command(line.split_whitespace());
    command.env("DAUER_MAX_RUNNING", "1");
    command
}

#[track_caller]
fn ran(mut command: Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn host(node: &Node) -> Host {
    Host::Unix(node.path("run/dauer.sock"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn jobs_are_made_from_the_highest_version_and_keep_what_they_were_made_from() {
    let node = Node::new();
    let one = |version: &str, word: &str| {
        format!(
            "---\nname: greet\nversion: {version}\nruntime_type: native\nmetadata: {{owner: ann}}\nconfig:\n  argv: [sh, -c, 'echo {word} $WHO']\n  env: {{WHO: all}}\n  tags: {{kind: greeting}}\n"
        )
    };
    let all = [
        one("1.9.0", "nine"),
        one("1.10.0", "ten"),
        one("1.10.0-rc.1", "candidate"),
    ]
    .concat();
    let applied = node.define(&all).is(0).stdout;
    assert_eq!(applied, "greet@1.9.0\ngreet@1.10.0\ngreet@1.10.0-rc.1\n");
    // Again: nothing changes. Another body under the same version: refused.
    node.define(&all).is(0);
    node.define(&one("1.9.0", "other"))
        .is(1)
        .says("greet@1.9.0");
    let listed = node.dauer("def ls").is(0).stdout;
    let versions: Vec<&str> = listed
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(versions, ["1.10.0", "1.10.0-rc.1", "1.9.0"]);

    let latest = node.submit("submit greet --tag team=blue --metadata n=7 --env WHO=you --wait");
    let nine = node.submit("submit greet@1.9.0 --wait");
    assert_eq!(
        node.dauer(&format!("logs {latest}")).is(0).stdout,
        "ten you\n"
    );
    assert_eq!(
        node.dauer(&format!("logs {nine}")).is(0).stdout,
        "nine all\n"
    );
    node.dauer("def rm greet@1.9.0 greet@latest greet@latest")
        .is(0);
    node.dauer("submit greet").is(125).says("greet@latest");
    let job = node.inspect(&latest);
    assert_eq!(job["definition"]["version"], "1.10.0");
    assert_eq!(
        job["spec"]["metadata"],
        serde_json::json!({"owner": "ann", "n": 7})
    );
    let tagged = node
        .dauer("ps --state completed --tag team=blue --tag kind=greeting -q")
        .is(0);
    assert_eq!(tagged.stdout.trim(), latest);
}

#[test]
fn a_wrong_definition_is_refused_at_its_field() {
    let node = Node::new();
    for (config, field) in [
        ("runtime_type: warp\nconfig: {argv: [a]}", "runtime_type"),
        ("config: {argv: [a], image: /nowhere}", "config.image"),
        ("config: {argv: [a], colour: red}", "config.colour"),
        ("config: {}", "config.argv"),
        ("config: {argv: [a], timeout: soon}", "config.timeout"),
        (
            "config: {argv: [a]}\nretry_policy: {factor: 0.5}",
            "retry_policy.factor",
        ),
    ] {
        let text = format!("name: wrong\nversion: 1.0.0\n{config}\n");
        node.define(&text).is(1).says(&format!("{field}: "));
    }
    node.define("name: wrong\nversion: '1.0'\nconfig: {argv: [a]}")
        .is(1)
        .says("version: ");
    assert_eq!(node.dauer("def ls -q --json").code, Some(2));
    assert_eq!(node.dauer("def ls --json").is(0).stdout.trim(), "[]");
}

#[test]
fn twenty_equal_requests_at_once_make_one_job() {
    let node = Node::new();
    node.dauer("ps").is(0);
    let host = host(&node);
    runtime().block_on(async {
        let request = |word: &str| CreateJob {
            argv: vec!["echo".into(), word.into()],
            driver: Some("native".into()),
            idempotency_key: Some("order 7".into()),
            ..CreateJob::default()
        };
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (client, request) = (Client::new(&host), request("one"));
                tokio::spawn(async move { client.create(&request).await.unwrap().id })
            })
            .collect();
        let mut ids = BTreeSet::new();
        for task in tasks {
            ids.insert(task.await.unwrap());
        }
        assert_eq!(ids.len(), 1);
        let client = Client::new(&host);
        let refused = client.create(&request("two")).await.unwrap_err();
        assert_eq!(refused.code(), Some("key_in_use"));
        assert_eq!(
            client
                .list(&ListFilter::default())
                .await
                .unwrap()
                .jobs
                .len(),
            1
        );
        // It stands for the job, also after the daemon died and the job ended.
        client.wait("order").await.unwrap_err();
        let id = ids.pop_first().unwrap();
        client.wait(&id).await.unwrap();
        node.kill_daemon();
        node.dauer("ps").is(0);
        assert_eq!(client.create(&request("one")).await.unwrap().id, id);
    });
}

#[test]
fn what_waits_for_its_turn_outlives_the_daemon_and_begins_by_priority() {
    let node = Node::new();
    let block = "echo up; while ! test -e /tmp/go; do sleep 0.01; done";
    let mut first = node.command([
        "run", "--driver", "native", "-d", "--name", "first", "--", "sh", "-c", block,
    ]);
    first.env("DAUER_MAX_RUNNING", "1");
    ran(first);
    node.wait_until_started("first");
    let queued: Vec<String> = ["low", "normal", "critical", "high"]
        .iter()
        .map(|priority| {
            let line = format!(
                "run --driver native -d --name {priority} --priority {priority} -- echo {priority}"
            );
            ran(one_at_a_time(&node, &line))
        })
        .collect();
    for job in &queued {
        assert_eq!(node.inspect(job)["state"], "pending");
    }
    for _ in 0..3 {
        node.kill_daemon();
        ran(one_at_a_time(&node, "ps"));
    }
    node.dauer("exec first -- touch /tmp/go").is(0);
    for job in &queued {
        node.dauer(&format!("wait {job}")).is(0);
    }
    let mut started: Vec<(i64, String)> = queued
        .iter()
        .map(|job| {
            let job = node.inspect(job);
            assert_eq!(job["attempt"], 1);
            (
                job["started_at"].as_i64().unwrap(),
                job["name"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    started.sort();
    let order: Vec<&str> = started.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(order, ["critical", "high", "normal", "low"]);
    for (_, name) in &started {
        assert_eq!(
            node.dauer(&format!("logs {name}")).is(0).stdout,
            format!("{name}\n")
        );
    }
}

#[test]
fn a_job_begins_at_its_time_although_the_daemon_died_before() {
    let node = Node::new();
    node.define(&node::shell("late", "echo late")).is(0);
    let job = node.submit("submit late --delay 3s");
    assert_eq!(node.inspect(&job)["state"], "pending");
    node.kill_daemon();
    node.dauer(&format!("wait {job}")).is(0);
    let job = node.inspect(&job);
    let (created, started) = (
        job["created_at"].as_i64().unwrap(),
        job["started_at"].as_i64().unwrap(),
    );
    assert!(
        started - created >= 3000,
        "it began after {} ms",
        started - created
    );
    // In the past: at once. No moment: refused.
    node.dauer("submit late --at 2020-01-01T00:00:00Z --wait")
        .is(0);
    node.dauer("submit late --at tomorrow")
        .is(125)
        .says("2027-01-31T09:00:00Z");
}

#[test]
fn ten_thousand_jobs_are_accepted_at_once_and_pages_repeat_and_lose_none() {
    let node = Node::new();
    node.dauer("ps").is(0);
    let host = host(&node);
    runtime().block_on(async {
        let job = |number: usize| CreateJob {
            argv: vec!["echo".into(), number.to_string()],
            driver: Some("native".into()),
            tags: [("half".into(), (number % 2).to_string())].into(),
            // They never begin here: this is about accepting and listing them.
            delay: Some(Span::Text("1h".into())),
            ..CreateJob::default()
        };
        let client = Client::new(&host);
        let begun = std::time::Instant::now();
        let ids = client
            .create_all((0..10_000).map(job).collect())
            .await
            .unwrap();
        println!("10,000 jobs accepted in {} ms", begun.elapsed().as_millis());
        assert!(ids.is_sorted() && ids.len() == 10_000);
        node.kill_daemon();
        node.dauer("def ls").is(0);
        // One of them cannot be: nor can the others then.
        let mut wrong: Vec<CreateJob> = (0..20).map(job).collect();
        wrong[13].argv.clear();
        let refused = client.create_all(wrong).await.unwrap_err();
        assert_eq!(refused.field(), Some("jobs[13].argv"));
        let too_many = client
            .create_all(vec![CreateJob::default(); 10_001])
            .await
            .unwrap_err();
        assert_eq!(too_many.code(), Some("too_large"));

        let (mut seen, mut added) = (Vec::new(), Vec::new());
        let mut filter = ListFilter {
            limit: Some(700),
            ..ListFilter::default()
        };
        loop {
            let page = client.list(&filter).await.unwrap();
            seen.extend(page.jobs.into_iter().map(|job| job.id));
            added.push(client.create(&job(added.len())).await.unwrap().id);
            match page.next_cursor {
                Some(cursor) => filter.cursor = Some(cursor),
                None => break,
            }
        }
        assert!(added.len() > 10);
        seen.reverse();
        assert_eq!(seen, ids, "in order, none twice, none missing");
        let mut odd = ListFilter {
            tags: vec!["half:1".into()],
            states: vec!["pending".into()],
            limit: Some(1000),
            ..ListFilter::default()
        };
        let mut found = 0;
        loop {
            let page = client.list(&odd).await.unwrap();
            found += page.jobs.len();
            match page.next_cursor {
                Some(cursor) => odd.cursor = Some(cursor),
                None => break,
            }
        }
        assert_eq!(found, 5_000 + added.len() / 2);
    });
    // Nothing of them lives: the folder is all there is to remove.
    node.kill_daemon();
    std::fs::remove_file(node.path("run/dauer.pid")).unwrap();
}

#[test]
fn a_file_of_jobs_is_handed_over_whole() {
    let node = Node::new();
    let lines: String = (0..25)
        .map(|n| format!("{{\"argv\": [\"echo\", \"{n}\"], \"driver\": \"native\", \"tags\": {{\"batch\": \"a\"}}}}\n"))
        .collect();
    std::fs::write(node.path("jobs.jsonl"), &lines).unwrap();
    let ids = node.dauer("batch jobs.jsonl").is(0).stdout;
    assert_eq!(ids.lines().count(), 25);
    for (n, id) in ids.lines().enumerate() {
        node.dauer(&format!("wait {id}")).is(0);
        assert_eq!(
            node.dauer(&format!("logs {id}")).is(0).stdout,
            format!("{n}\n")
        );
    }
    std::fs::write(
        node.path("wrong.json"),
        "[{\"argv\": [\"true\"]}, {\"argv\": [\"true\"], \"memory\": 1}]",
    )
    .unwrap();
    node.dauer("batch wrong.json").is(1).says("job 2");
    assert_eq!(
        node.dauer("ps -aq --tag batch=a")
            .is(0)
            .stdout
            .lines()
            .count(),
        25
    );
}
