//! Steps that are run once: real daemons, real sandboxes.

mod node;

use node::{Ended, Node};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// A step of the driver that is always there.
fn step(node: &Node, arguments: &[&str], script: &str) -> (Ended, Value) {
    let (before, after) = (
        ["build-step", "--driver", "native", "--json"],
        ["--", "sh", "-c", script],
    );
    let words = before.iter().chain(arguments).chain(&after);
    let ended = node.run(words);
    let last = ended.stderr.lines().last().unwrap_or_default();
    let view = serde_json::from_str(last).unwrap_or(Value::Null);
    (ended, view)
}

/// Folders of this data folder.
fn names(node: &Node, folder: &str) -> Vec<PathBuf> {
    match fs::read_dir(node.data().join(folder)) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    }
}

fn entries(node: &Node) -> Vec<Value> {
    serde_json::from_str(&node.dauer("cache ls --json").is(0).stdout).unwrap()
}

#[test]
fn a_step_is_run_once_and_the_next_begins_on_what_it_left() {
    let node = Node::new();
    let write = "echo made; mkdir -p /var/tmp/out; date +%N > /var/tmp/out/file";
    let (ended, first) = step(&node, &["--cache-key", "one"], write);
    assert_eq!(ended.is(0).stdout, "made\n");
    assert_eq!(
        (&first["cached"], &first["kept"]),
        (&Value::Bool(false), &Value::Bool(true))
    );
    let before = node
        .dauer("history --json")
        .is(0)
        .stdout
        .matches("submitted")
        .count();
    let (ended, second) = step(&node, &["--cache-key", "one"], write);
    assert_eq!(
        ended.is(0).stdout,
        "",
        "a hit prints nothing of the program"
    );
    assert_eq!(
        (&second["cached"], &second["snapshot"]),
        (&Value::Bool(true), &first["snapshot"])
    );
    let after = node
        .dauer("history --json")
        .is(0)
        .stdout
        .matches("submitted")
        .count();
    assert_eq!(before, after, "nothing was made");
    let from = first["snapshot"].as_str().unwrap();
    let read = "cat /var/tmp/out/file; rm /var/tmp/out/file; echo more > /var/tmp/out/more";
    let (ended, third) = step(&node, &["--from", from, "--cache", "auto"], read);
    assert!(!ended.is(0).stdout.trim().is_empty());
    let third = third["snapshot"].as_str().unwrap().to_owned();
    // What the second one did is in its own snapshot alone, and in it is all that the first one left.
    for (from, listed) in [(from, "file\n"), (third.as_str(), "more\n")] {
        let (ended, _) = step(&node, &["--from", from], "ls /var/tmp/out");
        assert_eq!(ended.is(0).stdout, listed);
    }
    let (_, again) = step(&node, &["--from", from, "--cache", "auto"], read);
    assert_eq!(
        (&again["cached"], again["snapshot"].as_str()),
        (&Value::Bool(true), Some(third.as_str()))
    );
    // Removing the first does not take the second along.
    node.dauer("cache rm one").is(0);
    let (ended, _) = step(&node, &["--from", &third], "cat /var/tmp/out/more");
    assert_eq!(ended.is(0).stdout, "more\n");
    // What nobody kept goes when its run has ended, which nobody waits for.
    let begun = std::time::Instant::now();
    while names(&node, "snapshots").len() > 1 {
        assert!(
            begun.elapsed().as_secs() < 10,
            "an ephemeral snapshot stays"
        );
        std::thread::yield_now();
    }
    assert_eq!(names(&node, "snapshots").len(), 1);
    assert_eq!(names(&node, "sandboxes").len(), 0);
    assert_eq!(node.dauer("ps -aq").is(0).stdout, "");
}

#[test]
fn what_ends_badly_is_not_kept() {
    let node = Node::new();
    for (arguments, script, code) in [
        (
            &["--cache-key", "bad"][..],
            "echo x > /var/tmp/x; exit 3",
            3,
        ),
        (&["--cache-key", "bad"], "kill -9 $$", 137),
        (
            &["--cache-key", "bad", "--timeout", "300ms"],
            "sleep 60",
            125,
        ),
        (&["--cache", "auto"], "true", 125),
        (&["--from", "0123456789abcdef"], "true", 125),
    ] {
        let (ended, view) = step(&node, arguments, script);
        assert_eq!(ended.code, Some(code), "{script}: {}", ended.stderr);
        assert!(view["snapshot"].is_null(), "{view}");
    }
    let missing = node.dauer("build-step --cache-key bad -- no-such-program");
    assert!(missing.is(127).stderr.contains("no-such-program"));
    assert_eq!(entries(&node), Vec::<Value>::new());
    assert_eq!(names(&node, "snapshots").len(), 0);
    assert_eq!(names(&node, "sandboxes").len(), 0);
    assert!(node.dauer("cache rm bad").is(1).stderr.contains("cache ls"));
}

#[test]
fn what_is_injected_goes_by_gitignore_and_into_the_derived_key() {
    let node = Node::new();
    let (image, source) = (node.path("image"), node.path("source"));
    for folder in ["bin", "lib", "lib64", "usr", "tmp", "src"] {
        fs::create_dir_all(image.join(folder)).unwrap();
    }
    let Some(shell) = busybox() else {
        println!("skipped: there is no busybox for an image of the test's own");
        return;
    };
    fs::copy(shell, image.join("bin/sh")).unwrap();
    fs::create_dir(&source).unwrap();
    fs::write(source.join(".gitignore"), "ignored\n").unwrap();
    fs::write(source.join("ignored"), "1").unwrap();
    fs::write(source.join("input"), "1").unwrap();
    let (image, folder) = (image.to_str().unwrap(), source.to_str().unwrap());
    let arguments = [
        "--image",
        image,
        "--cache",
        "auto",
        "--inject",
        folder,
        "--workdir",
        "/src",
    ];
    let run = || {
        let (ended, view) = step(&node, &arguments, "for f in *; do echo $f; done");
        (ended.is(0).stdout, view["cached"] == true)
    };
    assert_eq!(run(), ("input\n".to_owned(), false));
    fs::write(source.join("ignored"), "2").unwrap();
    assert!(run().1);
    fs::write(source.join("input"), "2").unwrap();
    assert!(!run().1);
    assert_eq!(entries(&node).len(), 2);
    // What was copied to be put in is gone.
    let staged = names(&node, "steps").into_iter();
    assert_eq!(
        staged
            .flat_map(|folder| fs::read_dir(folder).unwrap())
            .count(),
        0
    );
}

#[test]
fn a_chain_of_steps_copies_nothing_and_each_snapshot_is_whole() {
    let node = Node::new();
    let image = node.path("image");
    let Some(shell) = busybox() else {
        println!("skipped: busybox is not here, and an image needs a shell without libraries");
        return;
    };
    for folder in ["bin", "data"] {
        fs::create_dir_all(image.join(folder)).unwrap();
    }
    fs::copy(shell, image.join("bin/sh")).unwrap();
    fs::write(image.join("data/old"), "image").unwrap();
    let from_image = ["--image", image.to_str().unwrap(), "--cache-key", "1"];
    let (ended, first) = step(
        &node,
        &from_image,
        "echo one > data/kept; echo one > data/changed; echo one > data/gone",
    );
    ended.is(0);
    let first = first["snapshot"].as_str().unwrap().to_owned();
    let (ended, second) = step(
        &node,
        &["--from", &first, "--cache-key", "2"],
        "echo two >> data/changed; rm data/gone data/old; echo two > data/new",
    );
    ended.is(0);
    let second = second["snapshot"].as_str().unwrap().to_owned();
    let file = |snapshot: &str, name: &str| {
        fs::metadata(
            node.data()
                .join("snapshots")
                .join(snapshot)
                .join("disk/0/data")
                .join(name),
        )
    };
    let number = |snapshot: &str, name: &str| file(snapshot, name).unwrap().ino();
    assert_eq!(
        number(&first, "kept"),
        number(&second, "kept"),
        "it was copied"
    );
    assert_ne!(number(&first, "changed"), number(&second, "changed"));
    // The first one is as it was; the second one needs it no longer.
    let list = "cd data; for f in *; do echo $f $(cat $f); done";
    let (ended, _) = step(&node, &["--from", &first], list);
    assert_eq!(
        ended.is(0).stdout,
        "changed one\ngone one\nkept one\nold image\n"
    );
    node.dauer("cache rm 1").is(0);
    assert!(file(&first, "kept").is_err());
    let (ended, _) = step(&node, &["--from", &second], list);
    assert_eq!(ended.is(0).stdout, "changed one two\nkept one\nnew two\n");
}

/// A shell without libraries.
fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.is_file())
}

#[test]
fn two_at_once_run_once() {
    let node = Node::new();
    node.dauer("cache stat").is(0);
    let marks = node.path("marks");
    fs::create_dir(&marks).unwrap();
    let mount = format!("{}:/var/tmp", marks.display());
    let script = "echo x >> /var/tmp/runs; while ! [ -e /var/tmp/go ]; do sleep 0.02; done";
    let begin = || {
        let words = [
            "build-step",
            "--driver",
            "native",
            "--cache-key",
            "k",
            "--mount",
            &mount,
            "--",
            "sh",
            "-c",
            script,
        ];
        node.command(words)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let both = [begin(), begin()];
    // One of them has begun.
    while !marks.join("runs").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    fs::write(marks.join("go"), "").unwrap();
    let said = both.map(|child| {
        Ended::of(child.wait_with_output().unwrap())
            .is(0)
            .stderr
            .clone()
    });
    assert_eq!(
        said.iter().filter(|said| said.contains("CACHED")).count(),
        1,
        "{said:?}"
    );
    assert_eq!(fs::read_to_string(marks.join("runs")).unwrap(), "x\n");
}

#[test]
fn a_daemon_that_is_killed_in_the_middle_leaks_nothing() {
    let node = Node::new();
    let (_, kept) = step(&node, &["--cache-key", "kept"], "echo 1 > /var/tmp/kept");
    step(&node, &["--run", "r"], "echo 2 > /var/tmp/of-the-run");
    assert_eq!(names(&node, "snapshots").len(), 2);
    let mut going = node::Running::start(node.command([
        "build-step",
        "--driver",
        "native",
        "--cache-key",
        "cut",
        "--",
        "sh",
        "-c",
        "echo begun; exec sleep 1000",
    ]));
    assert_eq!(going.line(), "begun");
    node.kill_daemon();
    let code = going.child.wait().unwrap().code();
    assert_eq!(code, Some(125));
    // The next daemon ends what was going on, and what was a run's goes with that.
    let left = || {
        let jobs = node.dauer("ps -aq").is(0).stdout;
        (
            jobs,
            names(&node, "snapshots").len(),
            names(&node, "sandboxes").len(),
        )
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while left() != (String::new(), 1, 0) {
        assert!(std::time::Instant::now() < deadline, "{:?}", left());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let (_, again) = step(&node, &["--cache-key", "kept"], "exit 9");
    assert_eq!(
        (&again["cached"], &again["snapshot"]),
        (&Value::Bool(true), &kept["snapshot"])
    );
}

#[test]
fn whoever_goes_away_ends_the_step() {
    let node = Node::new();
    let mut going = node::Running::start(node.command([
        "build-step",
        "--driver",
        "native",
        "--cache-key",
        "k",
        "--",
        "sh",
        "-c",
        "echo begun; exec sleep 1000",
    ]));
    assert_eq!(going.line(), "begun");
    going.child.kill().unwrap();
    going.child.wait().unwrap();
    // The next one of its key has its turn when it is cleared away, and runs.
    let (ended, view) = step(&node, &["--cache-key", "k"], "echo again");
    assert_eq!(
        (ended.is(0).stdout.as_str(), &view["kept"]),
        ("again\n", &Value::Bool(true))
    );
}

#[test]
fn the_least_recently_used_makes_room_and_pinned_ones_stay() {
    let node = Node::new();
    let _daemon = node.serve(&["--cache-max-entries", "2"]);
    for key in ["a", "b"] {
        step(&node, &["--cache-key", key], "true").0.is(0);
    }
    node.dauer("cache pin a").is(0);
    step(&node, &["--cache-key", "c"], "true").0.is(0);
    let keys = || {
        let mut keys: Vec<String> = entries(&node)
            .iter()
            .map(|entry| entry["key"].as_str().unwrap().to_owned())
            .collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(), ["a", "c"]);
    assert_eq!(names(&node, "snapshots").len(), 2);
    let stat: Value = serde_json::from_str(&node.dauer("cache stat --json").is(0).stdout).unwrap();
    assert_eq!(
        (stat["count"].as_u64(), stat["entries_max"].as_u64()),
        (Some(2), Some(2))
    );
    assert!(
        node.dauer("cache clean")
            .is(0)
            .stdout
            .starts_with("c\n1 entries")
    );
    assert_eq!(keys(), ["a"]);
    node.dauer("cache rm a").is(0);
    assert_eq!(names(&node, "snapshots").len(), 0);
}

#[test]
fn run_with_a_key_is_a_step_too() {
    let node = Node::new();
    let words = [
        "run",
        "--driver",
        "native",
        "--cache-key",
        "k",
        "--",
        "sh",
        "-c",
        "echo ran",
    ];
    assert_eq!(node.run(words).is(0).stdout, "ran\n");
    let again = node.run(words).is(0);
    assert_eq!(again.stdout, "");
    assert!(again.stderr.contains("CACHED"), "{}", again.stderr);
    assert!(
        node.run(["run", "--cache-key", "k", "--name", "x", "--", "true"])
            .is(125)
            .stderr
            .contains("--name")
    );
}
