//! HTTP clients that people use, inside real sandboxes: each goes through checkpoint, suspend, lock, signal and exit. It
//! gives up each answer at first, so that its connection fails around the freeze; the same token gets it success.

mod node;

use node::{Node, Running};
use std::process::Command;

/// Where `scripts/deps` puts what Python does not bring.
const PYTHON_PACKAGES: &str = "/usr/local/lib/dauer/test-python";

const PYTHON: &str = include_str!("clients/worker.py");
const NODE: &str = include_str!("clients/worker.mjs");
const SHELL: &str = include_str!("clients/worker.sh");

/// Why this machine cannot run it, if it cannot.
fn lacks(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("PYTHONPATH", PYTHON_PACKAGES)
        .stdin(std::process::Stdio::null());
    match command.output() {
        Ok(output) if output.status.success() => None,
        Ok(_) | Err(_) => Some(format!("{program} {} fails", arguments.join(" "))),
    }
}

/// Runs the program with this client to its end and looks at what it saw.
fn goes_through(test: &str, driver: &str, probe: (&str, &[&str]), command: &[&str]) {
    if let Some(why) = lacks(probe.0, probe.1) {
        println!("skipped: {test}: {why} (scripts/deps installs it)");
        return;
    }
    let node = Node::new();
    if !node.freezes(driver) {
        println!("skipped: {test}: {driver} cannot freeze here");
        return;
    }
    let packages = format!("PYTHONPATH={PYTHON_PACKAGES}");
    let start = [
        "run", "--detach", "--name", "w", "--driver", driver, "--env", &packages, "--",
    ];
    node.run(start.iter().chain(command)).is(0);
    let mut events = Running::start(node.command(["events", "-f", "--json", "w"]));
    let mut sleeps = 0;
    while sleeps < 2 {
        let line = events.line();
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        let ended = ["completed", "failed"].contains(&event["to"].as_str().unwrap());
        assert!(!ended, "{line}\n{}", log(&node));
        if event["to"] == "suspended" && event["operation"].is_null() {
            sleeps += 1;
        }
    }
    events.child.kill().unwrap();
    events.child.wait().unwrap();
    let view = node.inspect("w");
    assert_eq!(view["waits_for"], "go", "{view:#}");
    node.run(["signal", "w", "go", r#"{"n": 7}"#]).is(0);
    let result = node.dauer("result --wait w");
    assert_eq!(result.code, Some(0), "{}\n{}", result.stderr, log(&node));
    let seen: serde_json::Value = serde_json::from_str(&result.stdout).unwrap();
    let expected = serde_json::json!({
        "checkpoint": [200, "taken"],
        "suspend": [200, "restored", 2],
        "lock": [201, 1],
        "unlock": [204, 0],
        "signal": [200, "signalled", {"n": 7}],
        "same": true,
        "checkpoints": 3,
        "failed": true,
    });
    assert_eq!(seen, expected, "{}", log(&node));
    node.dauer("wait w").is(0);
}

fn log(node: &Node) -> String {
    let log = node.dauer("logs w");
    format!("{}{}", log.stdout, log.stderr)
}

macro_rules! clients_with {
    ($driver:ident) => {
        mod $driver {
            use super::*;

            fn goes_through(name: &str, probe: (&str, &[&str]), command: &[&str]) {
                let driver = stringify!($driver);
                super::goes_through(&format!("{driver}::{name}"), driver, probe, command);
            }

            fn python(name: &str, import: &str, client: &str) {
                goes_through(
                    name,
                    ("python3", &["-c", import]),
                    &["python3", "-c", PYTHON, client],
                );
            }

            fn node(name: &str, client: &str) {
                goes_through(
                    name,
                    ("node", &["-e", "fetch"]),
                    &["node", "--input-type=module", "-e", NODE, client],
                );
            }

            #[test]
            fn python_urllib() {
                python("python_urllib", "import urllib.request", "urllib");
            }

            #[test]
            fn python_requests() {
                python("python_requests", "import requests", "requests");
            }

            #[test]
            fn python_httpx() {
                python("python_httpx", "import httpx", "httpx");
            }

            #[test]
            fn python_one_connection() {
                python("python_one_connection", "import http.client", "keep-alive");
            }

            #[test]
            fn node_fetch() {
                node("node_fetch", "fetch");
            }

            #[test]
            fn node_agent() {
                node("node_agent", "agent");
            }

            #[test]
            fn curl() {
                goes_through("curl", ("curl", &["--version"]), &["sh", "-c", SHELL]);
            }
        }
    };
}

clients_with!(gvisor);
clients_with!(runc);
