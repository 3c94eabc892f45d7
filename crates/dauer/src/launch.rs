//! Starts the daemon when none runs: detached, in its own session, exactly one.
//!
//! Several commands may come to that at the same moment: the start lock lets one of them do it, the others find the
//! daemon when they get the lock. The daemon says through a pipe (its standard input) when it is ready, or why not.

use crate::failure::Failure;
use crate::settings::Settings;
use dauer_client::{Host, Remote};
use inotify::{Inotify, WatchMask};
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What the daemon writes to its ready pipe before it closes it.
pub(crate) const READY: &str = "ready";

/// The same where another daemon holds the data folder.
pub(crate) const BUSY: &str = "busy";

/// A daemon's log is put aside when it has grown to this.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// A daemon that was started by somebody else recovers its jobs before it answers.
const START_MAX: Duration = Duration::from_secs(60);

/// After so long without a socket, whoever held the data folder may be gone.
const BUSY_WAIT: Duration = Duration::from_secs(1);

/// Between two looks at an address of the network.
const REMOTE_PAUSE: Duration = Duration::from_millis(250);

/// Returns when a daemon answers at the socket of these settings.
pub(crate) fn ensure(settings: &Settings) -> Result<(), Failure> {
    make_folder(&settings.layout.data)?;
    let lock = settings.layout.data.join("start.lock");
    let file = open_private(&lock, false)?;
    let _alone = Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Failure::new(format!("cannot lock {}: {errno}", lock.display())))?;
    if answers(&settings.host) {
        return Ok(());
    }
    let deadline = Instant::now() + START_MAX;
    loop {
        match start(settings)?.as_str() {
            READY => return Ok(()),
            // Started by hand just now, or about to die: whichever shows.
            BUSY if Instant::now() < deadline => {
                if wait_for_socket(&settings.host, BUSY_WAIT).is_ok() {
                    return Ok(());
                }
            }
            BUSY => {
                return Err(Failure::new(format!(
                    "a daemon holds {} but does not answer at {}; give both the same --run-dir",
                    settings.layout.data.display(),
                    settings.host
                )));
            }
            why => {
                return Err(Failure::new(format!(
                    "the daemon could not start: {}; its log is {}",
                    if why.is_empty() { "it died" } else { why },
                    log_path(settings).display()
                )));
            }
        }
    }
}

fn log_path(settings: &Settings) -> std::path::PathBuf {
    settings.layout.data.join("daemon.log")
}

/// Starts the daemon and returns what it said through its ready pipe.
fn start(settings: &Settings) -> Result<String, Failure> {
    let log = open_log(&log_path(settings))?;
    let binary =
        std::env::current_exe().map_err(Failure::because("cannot find the dauer binary"))?;
    let (mut ready, ready_end) = io::pipe().map_err(Failure::because("cannot make a pipe"))?;
    let mut command = Command::new(binary);
    command
        .arg("--data-dir")
        .arg(&settings.layout.data)
        .arg("--run-dir")
        .arg(&settings.layout.run);
    if let Some(config) = &settings.config {
        command.arg("--config").arg(config);
    }
    command
        .args(["serve", "--started-by-command"])
        .current_dir("/")
        .env_remove("DAUER_HOST")
        .stdin(Stdio::from(ready_end))
        .stdout(
            log.try_clone()
                .map_err(Failure::because("cannot open the daemon's log"))?,
        )
        .stderr(log);
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            // The daemon outlives this command: it must not hold open what the command was given, such as
            // a pipe that somebody waits to see closed.
            nix::libc::close_range(
                3,
                nix::libc::c_uint::MAX,
                nix::libc::CLOSE_RANGE_CLOEXEC as nix::libc::c_int,
            );
            Ok(())
        });
    }
    command
        .spawn()
        .map_err(Failure::because("cannot start the daemon"))?;
    // The command holds the other end of the pipe; without this the end of the daemon would not be seen.
    drop(command);
    let mut said = String::new();
    ready
        .read_to_string(&mut said)
        .map_err(Failure::because("cannot hear from the daemon"))?;
    Ok(said.trim().to_owned())
}

fn open_log(path: &Path) -> Result<File, Failure> {
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
        let aside = path.with_extension("log.1");
        std::fs::rename(path, &aside)
            .map_err(Failure::because("cannot put the daemon's log aside"))?;
    }
    open_private(path, true)
}

/// Opens or makes a file that only this user can read.
pub(crate) fn open_private(path: &Path, append: bool) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    if append {
        options.append(true)
    } else {
        options.write(true)
    };
    options
        .open(path)
        .map_err(Failure::because(format!("cannot open {}", path.display())))
}

/// Makes a folder that only this user can enter; one that exists is left as it is.
pub(crate) fn make_folder(path: &Path) -> Result<(), Failure> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Failure::because(format!(
            "cannot make {} (choose another with --data-dir and --run-dir)",
            path.display()
        )))
}

fn answers(host: &Host) -> bool {
    match host {
        Host::Unix(path) => connects(path),
        Host::Remote(remote) => reaches(remote),
    }
}

/// Whether somebody listens at this socket; its path may be longer than a socket address.
pub(crate) fn connects(path: &Path) -> bool {
    use std::os::fd::AsRawFd as _;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return false;
    };
    let Ok(folder) = File::open(folder) else {
        return false;
    };
    let short = Path::new("/proc/self/fd")
        .join(folder.as_raw_fd().to_string())
        .join(name);
    UnixStream::connect(short).is_ok()
}

/// Returns when somebody listens at the socket: tries again whenever something changes in its folder.
pub(crate) fn wait_for_socket(host: &Host, at_most: Duration) -> io::Result<()> {
    let path = match host {
        Host::Unix(path) => path,
        Host::Remote(remote) => return wait_for_remote(remote, at_most),
    };
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut changes = Inotify::init()?;
    changes
        .watches()
        .add(folder, WatchMask::CREATE | WatchMask::MOVED_TO)?;
    let deadline = Instant::now() + at_most;
    while !connects(path) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("nobody listens at {}", path.display()),
            ));
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut waiting = [PollFd::new(changes.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut buffer = [0; 4096];
        // What changed does not matter, only that something did.
        changes.read_events(&mut buffer)?.for_each(drop);
    }
    Ok(())
}

/// Whether somebody listens at this address.
fn reaches(remote: &Remote) -> bool {
    TcpStream::connect((remote.name(), remote.port())).is_ok()
}

/// The same over the network, where nothing says that somebody came.
fn wait_for_remote(remote: &Remote, at_most: Duration) -> io::Result<()> {
    let deadline = Instant::now() + at_most;
    while !reaches(remote) {
        if Instant::now() >= deadline {
            let text = format!("nobody listens at {remote}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        std::thread::sleep(REMOTE_PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_socket_that_appears_later_is_found_also_behind_a_long_path() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(120));
        std::fs::create_dir(&long).unwrap();
        let host = Host::Unix(long.join("s"));
        let waiting = std::thread::spawn(move || wait_for_socket(&host, Duration::from_secs(20)));
        let short = folder.path().join("s");
        let _listener = UnixListener::bind(&short).unwrap();
        std::fs::rename(&short, long.join("s")).unwrap();
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn nobody_comes() {
        let folder = tempfile::tempdir().unwrap();
        let error = wait_for_socket(
            &Host::Unix(folder.path().join("s")),
            Duration::from_millis(20),
        )
        .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
