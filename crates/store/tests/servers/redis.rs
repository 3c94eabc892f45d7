//! A redis-server, or a valkey-server where there is none.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

/// So often another free port is looked for: between finding one and using it somebody else may take it.
const PORTS_MAX: usize = 20;

/// Ends with its owner, also in a panic, and with the process that started it, also where that is killed.
pub(crate) struct Server {
    process: Child,
    program: PathBuf,
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let in_each = |name: &&str| {
        places
            .iter()
            .map(|place| place.join(name))
            .find(|file| file.is_file())
    };
    PROGRAMS.iter().find_map(in_each)
}

impl Server {
    /// Starts one with these settings, such as `--appendfsync always`. Nothing, and a line that says so, where the machine has none.
    pub(crate) fn start(test: &str, settings: &[&str]) -> Option<Self> {
        let Some(program) = program() else {
            println!("skipped: {test}: no redis-server on this machine (package redis-server)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let settings: Vec<String> = settings.iter().map(|text| (*text).to_owned()).collect();
        for _ in 0..PORTS_MAX {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            if let Some(process) = run(&program, folder.path(), port, &settings) {
                return Some(Self {
                    process,
                    program,
                    folder,
                    port,
                    settings,
                });
            }
        }
        panic!("redis-server found no free port {PORTS_MAX} times");
    }

    /// One that syncs each write to its file before it answers.
    pub(crate) fn durable(test: &str) -> Option<Self> {
        Self::start(test, &["--appendonly", "yes", "--appendfsync", "always"])
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The address of a store of this name in it.
    pub(crate) fn url(&self, name: impl std::fmt::Display) -> String {
        format!("redis://127.0.0.1:{}?prefix={name}:", self.port)
    }

    /// As a crash of its process leaves it.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Again on the same port and files.
    pub(crate) fn start_again(&mut self) {
        self.process = run(&self.program, self.folder.path(), self.port, &self.settings)
            .expect("redis-server starts again");
    }

    /// What it did so far, by command: `info commandstats` and the like.
    pub(crate) fn cli(&self, args: &[&str]) -> String {
        let client = self
            .program
            .with_file_name(if self.program.ends_with("valkey-server") {
                "valkey-cli"
            } else {
                "redis-cli"
            });
        let output = Command::new(client)
            .args(["-p", &self.port.to_string()])
            .args(args)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Nothing where it ended before it was ready: its port was taken.
fn run(program: &Path, folder: &Path, port: u16, settings: &[String]) -> Option<Child> {
    // It dies with the thread that starts it here, which is the test's.
    let mut process = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(program)
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--daemonize",
            "no",
        ])
        .arg("--dir")
        .arg(folder)
        .args(settings)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let is_ready = lines
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.contains("Ready to accept connections"));
    if !is_ready {
        process.wait().unwrap();
        return None;
    }
    // Nobody reads on, and a full pipe would stop it.
    std::thread::spawn(move || lines.for_each(drop));
    Some(process)
}
