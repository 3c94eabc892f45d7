//! A PostgreSQL server of a test's own: on a free port, in a temporary folder, gone with the test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    folder: TempDir,
    data: PathBuf,
    binaries: PathBuf,
    settings: Vec<String>,
    port: u16,
    process: Option<Child>,
    schemas: AtomicU32,
}

impl Server {
    /// Starts one with these settings; nothing, and a line that says so, where the machine has none.
    pub(crate) fn start(settings: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        Self::start_in(folder, data, settings)
    }

    /// The same with its data in that folder, which must not be there yet.
    pub(crate) fn start_in(folder: TempDir, data: PathBuf, settings: &[&str]) -> Option<Self> {
        let Some(binaries) = binaries() else {
            println!("skipped: PostgreSQL is not installed here (package postgresql)");
            return None;
        };
        let mut server = Self {
            folder,
            data,
            binaries,
            settings: settings.iter().map(ToString::to_string).collect(),
            port: free_port(),
            process: None,
            schemas: AtomicU32::new(0),
        };
        give_away(server.folder.path());
        if let Some(parent) = server.data.parent() {
            give_away(parent);
        }
        let made = server
            .command("initdb")
            .args([
                "-U",
                "dauer",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "-N",
                "--wal-segsize=1",
                "-D",
            ])
            .arg(&server.data)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", said(&made.stderr));
        server.run();
        Some(server)
    }

    /// Starts the process again after [`Server::kill`]; back when it takes connections.
    pub(crate) fn run(&mut self) {
        let process = self.try_run();
        self.process =
            Some(process.unwrap_or_else(|said| panic!("the server did not start: {said}")));
    }

    /// The same; what it said where it did not start.
    pub(crate) fn try_run(&self) -> Result<Child, String> {
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(&self.data)
            .arg("-k")
            .arg(self.folder.path());
        let port = self.port.to_string();
        command.args(["-p", &port, "-c", "listen_addresses=127.0.0.1"]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut said = String::new();
        for line in lines.by_ref().map_while(Result::ok) {
            if line.contains("ready to accept connections") {
                // Whatever else it says must not fill the pipe.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(process);
            }
            said.push_str(&line);
            said.push('\n');
        }
        process.wait().unwrap();
        Err(said)
    }

    /// Kills it and all its processes as a crash of the machine would; its data stays.
    pub(crate) fn kill(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        // The first process first: it would take the end of the others for a fault and mend it.
        let others = children(process.id());
        process.kill().unwrap();
        process.wait().unwrap();
        for other in others {
            // Those that noticed have ended.
            let _ = nix::sys::signal::kill(other, nix::sys::signal::Signal::SIGKILL);
        }
    }

    /// The URL of a schema of its own that nobody used yet.
    pub(crate) fn fresh(&self) -> String {
        let number = self.schemas.fetch_add(1, Ordering::Relaxed);
        self.url(&format!("schema=s{number}"))
    }

    /// A URL with these parameters.
    pub(crate) fn url(&self, parameters: &str) -> String {
        at(self.port, parameters)
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its folder, where also its socket is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// One of its programs, as the user that it runs as. It ends when the thread ends that started it.
    pub(crate) fn command(&self, program: &str) -> Command {
        command(&self.binaries.join(program))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The processes that this one started.
fn children(process: u32) -> Vec<nix::unistd::Pid> {
    let path = format!("/proc/{process}/task/{process}/children");
    let listed = std::fs::read_to_string(path).unwrap_or_default();
    let pids = listed.split_whitespace().filter_map(|pid| pid.parse().ok());
    pids.map(nix::unistd::Pid::from_raw).collect()
}

/// The URL of whatever listens at that port in the server's stead.
pub(crate) fn at(port: u16, parameters: &str) -> String {
    format!("postgres://dauer@127.0.0.1:{port}/postgres?sslmode=disable&{parameters}")
}

/// A program as an ordinary user, also for root, whom PostgreSQL does not serve.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if nix::unistd::geteuid().is_root() {
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    }
    command
        .arg(program)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// A folder for that user.
pub(crate) fn give_away(folder: &Path) {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    nix::unistd::chown(folder, Some(nobody.uid), Some(nobody.gid)).unwrap();
}

/// A port that nobody listens at.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The newest PostgreSQL of Debian's, or the one in the path.
fn binaries() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut found: Vec<(u32, PathBuf)> = debian
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    found.sort();
    let in_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut all = found.into_iter().rev().map(|(_, path)| path).chain(in_path);
    all.find(|folder| folder.join("initdb").is_file())
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
