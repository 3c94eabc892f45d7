//! A daemon of its own for each test, with folders of its own, and never left behind.

// Each test file uses its part of this.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Folders for one daemon. Dropping it removes its jobs and ends its daemon.
pub(crate) struct Node {
    folder: tempfile::TempDir,
}

impl Node {
    pub(crate) fn new() -> Self {
        let guest = Path::new(env!("CARGO_BIN_EXE_dauer")).with_file_name("dauer-guest");
        assert!(
            guest.is_file(),
            "{} is missing: build it with scripts/build",
            guest.display()
        );
        Self {
            // Its own prefix says whose it is, should a run be cut off.
            folder: tempfile::Builder::new()
                .prefix("dauer-cli-test-")
                .tempdir()
                .unwrap(),
        }
    }

    /// A folder for the test's own files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A command with this daemon, with no input.
    pub(crate) fn command<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dauer"));
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DAUER_"))
        {
            // The agent that is linked statically: images have no libraries for another one.
            if name == "DAUER_GUEST" {
                continue;
            }
            command.env_remove(name);
        }
        command
            .env("DAUER_DATA_DIR", self.data())
            .env("DAUER_RUN_DIR", self.path("run"))
            .current_dir(self.folder.path())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command line without quotes in it to its end.
    pub(crate) fn dauer(&self, line: &str) -> Ended {
        self.run(line.split_whitespace())
    }

    /// The same from words.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ended {
        Ended::of(self.command(arguments).output().unwrap())
    }

    /// A script in a sandbox of the driver that is always there.
    pub(crate) fn script(&self, script: &str) -> Ended {
        self.run(["run", "--driver", "native", "--", "sh", "-c", script])
    }

    /// The same in the background, under this name.
    pub(crate) fn detached(&self, name: &str, script: &str) -> String {
        let started = self.run([
            "run", "--driver", "native", "--detach", "--name", name, "--", "sh", "-c", script,
        ]);
        started.is(0).stdout.trim().to_owned()
    }

    /// Returns once the record says that the job runs, which is a moment after its first output may be seen.
    pub(crate) fn wait_until_started(&self, job: &str) {
        let mut events = Running::start(self.command(["events", "-f", "--json", job]));
        loop {
            let event: serde_json::Value = serde_json::from_str(&events.line()).unwrap();
            if event["to"] == "running" && event["operation"].is_null() {
                break;
            }
        }
        events.child.kill().unwrap();
        events.child.wait().unwrap();
    }

    /// Registers what this YAML says.
    pub(crate) fn define(&self, text: &str) -> Ended {
        fs::write(self.path("definition.yaml"), text).unwrap();
        self.dauer("def apply definition.yaml")
    }

    /// The id of the job that this command line hands over.
    pub(crate) fn submit(&self, line: &str) -> String {
        self.dauer(line).is(0).stdout.trim().to_owned()
    }

    /// Whether this machine freezes with this driver.
    pub(crate) fn freezes(&self, driver: &str) -> bool {
        let info: serde_json::Value =
            serde_json::from_str(&self.dauer("info --json").is(0).stdout).unwrap();
        let drivers = info["drivers"].as_array().unwrap();
        drivers
            .iter()
            .any(|one| one["name"] == driver && one["checkpoints"] == true)
    }

    pub(crate) fn inspect(&self, job: &str) -> serde_json::Value {
        serde_json::from_str(&self.dauer(&format!("inspect {job}")).is(0).stdout).unwrap()
    }

    /// Runs a daemon in the foreground with these arguments; returns when it is ready.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Served {
        let mut command = self.command(["serve"]);
        command.args(arguments).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains(" ready ") {
            line.clear();
            assert_ne!(
                said.read_line(&mut line).unwrap(),
                0,
                "the daemon did not come up"
            );
        }
        // What it says later must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        let info: serde_json::Value =
            serde_json::from_str(&self.dauer("info --json").is(0).stdout).unwrap();
        let url = info["listen"].as_str().unwrap_or_default().to_owned();
        Served { child, url }
    }

    pub(crate) fn daemon_pid(&self) -> i32 {
        fs::read_to_string(self.path("run/dauer.pid"))
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    }

    /// kill -9, and wait until it is gone.
    pub(crate) fn kill_daemon(&self) {
        kill(self.daemon_pid(), 9);
    }
}

/// A daemon in the foreground, which ends when this is dropped.
pub(crate) struct Served {
    child: Child,
    /// Its address on the network.
    pub(crate) url: String,
}

impl Served {
    /// The address without what is before it.
    pub(crate) fn address(&self) -> &str {
        self.url.split("://").nth(1).unwrap()
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        kill(self.pid(), 15);
        self.child.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !self.path("run/dauer.pid").exists() {
            return;
        }
        let jobs = self.dauer("ps -aq").stdout;
        if !jobs.is_empty() {
            self.run(["rm", "-f"].into_iter().chain(jobs.split_whitespace()));
        }
        kill(self.daemon_pid(), 15);
    }
}

/// A definition in YAML of a script for the driver that is always there.
pub(crate) fn shell(definition: &str, script: &str) -> String {
    format!(
        "name: {definition}\nversion: 1.0.0\nruntime_type: native\nconfig:\n  argv: [sh, -c, '{script}']\n"
    )
}

/// Signals a process that is not a child of ours, and returns when it is gone.
pub(crate) fn kill(pid: i32, signal: i32) {
    use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
    // SAFETY: pidfd_open takes a number and returns a new descriptor or -1.
    let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return;
    }
    // SAFETY: it is new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) };
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::try_from(signal).unwrap(),
    );
    let mut waiting = [nix::poll::PollFd::new(
        fd.as_fd(),
        nix::poll::PollFlags::POLLIN,
    )];
    assert_eq!(
        nix::poll::poll(&mut waiting, 20_000_u16),
        Ok(1),
        "process {pid} is still there"
    );
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            bytes: output.stdout,
        }
    }

    /// It ended with this code.
    #[track_caller]
    pub(crate) fn is(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// It said one line, of Dauer, with this in it, and nothing else.
    #[track_caller]
    pub(crate) fn says(self, part: &str) -> Self {
        assert!(self.stderr.starts_with("dauer: "), "{:?}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        assert!(
            self.stderr.contains(part),
            "{:?} is not in {:?}",
            part,
            self.stderr
        );
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        assert_eq!(self.stdout, "");
        self
    }
}

/// A command that runs, and its output line by line.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line it writes; waits for it.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        self.lines
            .next()
            .expect("it ended without another line")
            .unwrap()
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Closes the reading end of its output; returns the exit code.
    pub(crate) fn stop_reading(self) -> Option<i32> {
        let Self { mut child, lines } = self;
        drop(lines);
        child.wait().unwrap().code()
    }

    /// The lines that are left, and the exit code.
    pub(crate) fn end(mut self) -> (Vec<String>, Option<i32>) {
        drop(self.child.stdin.take());
        let rest = self.lines.map(Result::unwrap).collect();
        (rest, self.child.wait().unwrap().code())
    }
}
