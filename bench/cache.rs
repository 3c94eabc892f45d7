//! How long a step takes that was run before: `cargo bench -p dauer --bench cache [-- RUNS]`.
//!
//! In the library, from the call to the result; and as a command, from its start to its end, beside a command that only asks the daemon
//! (`dauer cache stat`) and one that asks nobody (`dauer version`). The first run of the step, which makes a sandbox, stands for itself.
//! The driver is `native`, which is always there. Medians of RUNS (201) and what 99 of 100 take at most. $TMPDIR; needs dauer-guest beside
//! dauer, or DAUER_GUEST.

use dauer::{Action, Policy, Steps, Surroundings};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 201;

fn main() {
    // `cargo bench` passes `--bench`.
    let runs = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(RUNS);
    let dauer = Path::new(env!("CARGO_BIN_EXE_dauer"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(library(dauer, &folder.path().join("library"), runs));
    commands(dauer, folder.path(), runs);
}

fn guest(dauer: &Path) -> PathBuf {
    let named = std::env::var_os("DAUER_GUEST").map(PathBuf::from);
    named.unwrap_or_else(|| dauer.with_file_name("dauer-guest"))
}

async fn library(dauer: &Path, data: &Path, runs: usize) {
    let steps = Steps::builder(data, dauer).guest(guest(dauer)).open().await;
    let steps = steps.expect("they open");
    let action = || Action {
        cmd: ["sh", "-c", "echo x > /var/tmp/x"]
            .map(str::to_owned)
            .into(),
        around: Surroundings {
            driver: Some("native".to_owned()),
            ..Surroundings::default()
        },
        ..Action::default()
    };
    let mut times = Vec::new();
    for run in 0..=runs {
        let executor = steps.executor().expect("it is open");
        let policy = Policy::Cache {
            key: "bench".to_owned(),
        };
        let begun = Instant::now();
        let executed = executor.execute(action(), policy, &mut ()).await;
        times.push(begun.elapsed());
        assert_eq!(executed.expect("it runs").cached, run > 0);
    }
    steps.close().await;
    println!("library, the first time: {}", ms(times.remove(0)));
    show("library, cached", times);
}

fn commands(dauer: &Path, folder: &Path, runs: usize) {
    let command = |words: &[&str]| {
        let mut command = Command::new(dauer);
        command
            .args(words)
            .env("DAUER_DATA_DIR", folder.join("data"))
            .env("DAUER_RUN_DIR", folder.join("run"))
            .env("DAUER_GUEST", guest(dauer))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let time = |words: &[&str]| {
        let begun = Instant::now();
        let status = command(words).status().expect("it starts");
        assert!(status.success(), "{words:?}");
        begun.elapsed()
    };
    time(&["cache", "stat"]);
    let step = [
        "build-step",
        "--driver",
        "native",
        "--cache-key",
        "bench",
        "--",
        "true",
    ];
    println!("command, the first time: {}", ms(time(&step)));
    let (mut cached, mut asking, mut nothing) = (Vec::new(), Vec::new(), Vec::new());
    // By turns, so that whatever else the machine does is in all of them alike.
    for _ in 0..runs {
        cached.push(time(&step));
        asking.push(time(&["cache", "stat"]));
        nothing.push(time(&["version"]));
    }
    show("command, cached", cached);
    show("dauer cache stat", asking);
    show("dauer version", nothing);
    let pid = std::fs::read_to_string(folder.join("run/dauer.pid")).expect("it runs");
    // Nothing to do where it has ended by itself.
    let _ = Command::new("kill").arg(pid.trim()).status();
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: usize| ms(times[(times.len() - 1) * part / 100]);
    println!("{what}: median {}, 99 of 100 {}", at(50), at(99));
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
