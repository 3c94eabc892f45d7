//! The same worker with each SDK, in real sandboxes: lock, checkpoint, kill -9, signals, sleep, suspended wait, kill -9, result.

mod node;

use node::{Node, Running};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a run looks like from outside.
const SEEN: [&str; 18] = [
    "params 3",
    "held",
    "checkpoint taken",
    "first 1",
    "-- killed",
    "checkpoint restored",
    "first 1",
    "second 2",
    "restored true false",
    "-- suspended",
    "slept",
    "-- suspended",
    "decision ann",
    "-- killed",
    "decision ann",
    "end now",
    "-- error",
    // What was done twice stands once in the memory of the one that came to its end.
    "failed; 7; exit_code; params 3; held; checkpoint restored; first 1; second 2; slept; decision ann; end now",
];

fn sdk(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../sdk")
        .join(path)
        .canonicalize()
        .unwrap_or_default()
}

fn has(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// A worker, and the client that drives it.
enum Worker {
    /// A script beside this test.
    Python(&'static str),
    Node,
    /// With the client for Python.
    Rust,
}

impl Worker {
    /// What runs it, or what is missing.
    fn command(&self, driver: &str) -> Result<Command, &'static str> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk");
        let worker = match self {
            Self::Python(script) => here.join(script),
            Self::Rust => {
                let dauer = Path::new(env!("CARGO_BIN_EXE_dauer"));
                let worker = dauer.with_file_name("examples/sdk_worker");
                assert!(
                    worker.is_file(),
                    "{} is missing: cargo build --release -p dauer --examples",
                    worker.display()
                );
                worker
            }
            Self::Node => {
                let index = sdk("typescript/dist/index.js");
                if !has("node") || !index.is_file() {
                    return Err("node or sdk/typescript/dist is missing; ./test node builds it");
                }
                let mut command = Command::new("node");
                command.arg(here.join("drive.mjs")).arg(driver).arg(index);
                return Ok(command);
            }
        };
        if !has("python3") {
            return Err("there is no python3");
        }
        let mut command = Command::new("python3");
        command.arg(here.join("drive.py")).arg(driver).arg(worker);
        command.env("PYTHONPATH", sdk("python/src"));
        Ok(command)
    }
}

/// What happens to the daemon at each line that is seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Daemon {
    Lives,
    Dies,
}

#[track_caller]
fn check(test: &str, worker: &Worker, driver: &str, daemon: Daemon) {
    let node = Node::new();
    if !node.freezes(driver) {
        println!("skipped: {test}: this machine cannot freeze with {driver}");
        return;
    }
    let mut command = match worker.command(driver) {
        Ok(command) => command,
        Err(missing) => {
            println!("skipped: {test}: {missing}");
            return;
        }
    };
    command.env("DAUER_RUN_DIR", node.path("run"));
    command.env("DAUER_DATA_DIR", node.data());
    command.env_remove("DAUER_HOST");
    let mut drive = Running::start(command);
    for expected in SEEN {
        assert_eq!(drive.line().to_lowercase(), expected);
        if daemon == Daemon::Dies {
            node.kill_daemon();
            // A command starts it again.
            node.dauer("ps").is(0);
        }
    }
    assert_eq!(drive.end(), (vec![], Some(0)));
}

macro_rules! workers {
    ($($name:ident: $worker:expr, $driver:literal, $daemon:ident;)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name), &$worker, $driver, Daemon::$daemon);
        })*
    };
}

workers! {
    python_on_gvisor: Worker::Python("worker.py"), "gvisor", Lives;
    python_on_runc: Worker::Python("worker.py"), "runc", Lives;
    asyncio_on_gvisor: Worker::Python("worker_aio.py"), "gvisor", Lives;
    asyncio_on_runc: Worker::Python("worker_aio.py"), "runc", Lives;
    node_on_gvisor: Worker::Node, "gvisor", Lives;
    node_on_runc: Worker::Node, "runc", Lives;
    rust_on_gvisor: Worker::Rust, "gvisor", Lives;
    rust_on_runc: Worker::Rust, "runc", Lives;
    python_on_gvisor_while_the_daemon_dies: Worker::Python("worker.py"), "gvisor", Dies;
    node_on_runc_while_the_daemon_dies: Worker::Node, "runc", Dies;
    asyncio_on_runc_while_the_daemon_dies: Worker::Python("worker_aio.py"), "runc", Dies;
    rust_on_gvisor_while_the_daemon_dies: Worker::Rust, "gvisor", Dies;
}
