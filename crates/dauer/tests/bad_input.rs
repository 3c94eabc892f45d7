//! What is wrong gets one line that says what to do, and the right exit code.

mod node;

use node::Node;

#[test]
fn a_job_that_cannot_be_is_refused_with_one_line() {
    let node = Node::new();
    for (line, part) in [
        ("run --driver warp -- true", "native"),
        (
            "run --driver native --image /nowhere.tar -- true",
            "/nowhere.tar",
        ),
        ("run --driver native", "after --"),
        (
            "run --driver native --workdir /not/there -- true",
            "/not/there",
        ),
        (
            "run --driver native --workdir not/absolute -- true",
            "absolute",
        ),
        ("run --driver native --timeout soon -- true", "1h30m"),
        ("run --driver native --env 1=2 -- true", "variable"),
        (
            "run --driver native --env DAUER_API=http://evil -- true",
            "DAUER_API",
        ),
        (
            "run --driver native --env-file /nowhere -- true",
            "/nowhere",
        ),
        (
            "run --driver native --mount /not/there:/x -- true",
            "/not/there",
        ),
        ("run --driver native --mount /tmp -- true", "SRC:DST"),
        (
            "run --driver native --inject /not/there -- true",
            "/not/there",
        ),
        ("run --driver native --publish 80:80 -- true", "nat"),
        ("run --driver native --memory lots -- true", "512m"),
        ("run --driver native --name .x -- true", "name"),
        ("run --driver native -t -- true", "terminal"),
        (
            "run --driver native --user nobody-of-this-name -- true",
            "nobody-of-this-name",
        ),
    ] {
        let ended = node.dauer(line);
        assert_eq!(ended.code, Some(125), "{line}: {}", ended.stderr);
        ended.says(part);
    }
}

#[test]
fn a_call_that_cannot_be_is_refused_with_one_line() {
    let node = Node::new();
    node.detached("sleeper", "sleep 1000");
    for (line, code, part) in [
        ("checkpoint sleeper", 1, "native"),
        ("suspend sleeper", 1, "native"),
        ("suspend --for soon sleeper", 2, "3d"),
        ("resume sleeper", 1, "running"),
        ("rm sleeper", 1, "--force"),
        ("checkpoint nobody", 1, "nobody"),
        ("logs nobody", 1, "nobody"),
        ("kill --signal NOPE sleeper", 2, "TERM"),
        ("checkpoint --self", 1, "inside a job"),
        ("frobnicate", 2, "dauer --help"),
        ("ps --frobnicate", 2, "dauer ps --help"),
        ("--host https://127.0.0.1:1 ps", 1, "127.0.0.1:1"),
        ("--host https:// ps", 1, "host:port"),
        (
            "--host unix:///nowhere/dauer.sock ps",
            1,
            "/nowhere/dauer.sock",
        ),
        ("--config /nowhere.toml ps", 1, "/nowhere.toml"),
        ("cp one two", 1, "JOB:PATH"),
    ] {
        let ended = node.dauer(line);
        assert_eq!(ended.code, Some(code), "{line}: {}", ended.stderr);
        ended.says(part);
    }
    assert_eq!(node.inspect("sleeper")["state"], "running");
}

#[test]
fn a_name_in_use_names_who_has_it() {
    let node = Node::new();
    let id = node.detached("taken", "true");
    node.dauer("run --driver native --name taken -- true")
        .is(125)
        .says(&id);
}

#[test]
fn what_needs_no_daemon_starts_none() {
    let node = Node::new();
    assert!(node.dauer("--help").is(0).stdout.contains("dauer run"));
    assert!(node.dauer("version").is(0).stdout.starts_with("dauer "));
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            node.dauer(&format!("completion {shell}"))
                .is(0)
                .stdout
                .contains("checkpoint")
        );
    }
    let doctor: serde_json::Value =
        serde_json::from_str(&node.dauer("doctor --json").stdout).unwrap();
    assert!(
        doctor
            .as_array()
            .unwrap()
            .iter()
            .any(|driver| driver["name"] == "native")
    );
    assert!(!node.path("run").exists() && !node.data().join("dauer.db").exists());
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    let node = Node::new();
    std::fs::create_dir_all(node.data()).unwrap();
    std::fs::write(
        node.data().join("dauer.db"),
        b"this is no database, and long enough to be looked at",
    )
    .unwrap();
    node.dauer("ps").is(1).says("dauer.db");
}
