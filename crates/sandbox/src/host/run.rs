//! Command line tools, run to their end, with what they have to say in a log.

use crate::Error;
use crate::host::process::{
    Child, Exec, clone, close_others_on_exec, reset_signals, take_stdio, write_raw,
};
use nix::errno::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// What a tool is not to see, because it would refuse to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Everything as it is.
    Unchanged,
    /// The mixed cgroup hierarchies look like version 2 alone (for crun).
    PureCgroup2,
    /// No network settings of the kernel (gVisor of Debian takes some for the host's own namespace).
    NoNetworkSettings,
}

/// A runtime's command line tool, run to its end.
pub struct Tool<'a> {
    /// `runsc restore`: for errors.
    pub name: String,
    /// Absolute path.
    pub program: &'a Path,
    /// All arguments, the name of the program first.
    pub argv: Vec<&'a OsStr>,
    /// The whole environment.
    pub env: Vec<(&'a str, &'a OsStr)>,
    /// Where it writes what it has to say; shown when it fails.
    pub log: &'a Path,
    /// Fd 0, 1 and 2; without them null and twice the log.
    pub stdio: Option<crate::driver::AgentStdio>,
    /// Started in this cgroup of version 2.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Each gets a `0` written: `cgroup.procs` files of version 1.
    pub join: Vec<BorrowedFd<'a>>,
    /// What it sees of the machine.
    pub view: View,
}

impl Tool<'_> {
    /// Runs it. Errors: `Tool` with the end of its log.
    pub fn run(self) -> Result<(), Error> {
        let start_of_log = std::fs::metadata(self.log).map_or(0, |meta| meta.len());
        let child = self.spawn()?;
        let status = child.wait()?;
        if status == 0 {
            return Ok(());
        }
        let status = if status > 128 {
            format!("signal {}", status - 128)
        } else {
            format!("exit code {status}")
        };
        Err(Error::Tool {
            tool: self.name.clone(),
            status,
            output: tail(self.log, start_of_log),
        })
    }

    fn spawn(&self) -> Result<Child, Error> {
        let exec = Exec::new(self.program, &self.argv, &self.env)?;
        let open = |path: &Path, write: bool| {
            File::options()
                .read(!write)
                .append(write)
                .create(write)
                .open(path)
                .map_err(Error::io(format!("open {}", path.display())))
        };
        let quiet = if self.stdio.is_none() {
            Some((open(Path::new("/dev/null"), false)?, open(self.log, true)?))
        } else {
            None
        };
        let (input, output, error) = match (&self.stdio, &quiet) {
            (Some(stdio), _) => (stdio.input.as_fd(), stdio.output.as_fd(), stdio.raw.as_fd()),
            (None, Some((null, log))) => (null.as_fd(), log.as_fd(), log.as_fd()),
            (None, None) => unreachable!("opened above where there is no stdio"),
        };
        let in_child = || {
            let prepared = self
                .join
                .iter()
                .try_for_each(|procs| write_raw(*procs, c"0"))
                .and_then(|()| self.view.set_up())
                .and_then(|()| take_stdio(input, output, error))
                .and_then(|()| close_others_on_exec());
            reset_signals();
            match prepared {
                Ok(()) => {
                    exec.exec();
                    127
                }
                Err(_) => 125,
            }
        };
        // SAFETY: the closure makes system calls on what was prepared above, and nothing else.
        unsafe { clone(0, self.cgroup, in_child) }
            .map_err(Error::os(format!("start {}", self.name)))
    }
}

impl View {
    /// Covers what is not to be seen, in a mount namespace of its own. Only system calls.
    fn set_up(self) -> Result<(), Errno> {
        let (kind, point) = match self {
            Self::Unchanged => return Ok(()),
            Self::PureCgroup2 => (c"cgroup2", c"/sys/fs/cgroup"),
            Self::NoNetworkSettings => (c"tmpfs", c"/proc/sys/net"),
        };
        // SAFETY: constant, terminated strings.
        unsafe {
            Errno::result(libc::unshare(libc::CLONE_NEWNS))?;
            Errno::result(libc::mount(
                kind.as_ptr(),
                point.as_ptr(),
                kind.as_ptr(),
                0,
                std::ptr::null(),
            ))
            .map(drop)
        }
    }
}

/// The last lines written to a log after `start`, on one line.
pub fn tail(log: &Path, start: u64) -> String {
    const BYTES_MAX: u64 = 1000;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(end.saturating_sub(BYTES_MAX))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join("; "),
        Err(e) => format!("its log {} cannot be read: {e}", log.display()),
    }
}
