//! A session's standard streams: pipes or a terminal, the child's ends and ours.

use super::plan::other_failure;
use dauer_wire::guest::{Command, StartFailure, Stream, WindowSize};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

/// Both ends.
pub(super) struct Streams {
    /// For the child's 0, 1 and 2. All are close-on-exec and above 2.
    pub(super) child: [OwnedFd; 3],
    pub(super) ours: Ours,
}

/// What the agent keeps.
pub(super) struct Ours {
    pub(super) input: Option<File>,
    pub(super) outputs: Vec<(Stream, File)>,
    pub(super) terminal: Option<Arc<File>>,
}

impl Streams {
    /// `stdout`: where the standard output goes directly, without a pipe of ours (not with a terminal).
    pub(super) fn open(
        command: &Command,
        stdout: Option<&OwnedFd>,
        owner: u32,
    ) -> Result<Self, StartFailure> {
        match command.tty {
            Some(size) => Self::terminal(command.stdin, size, owner)
                .map_err(|error| other_failure(format!("no terminal in the sandbox: {error}"))),
            None => Self::pipes(command.stdin, stdout)
                .map_err(|error| other_failure(format!("no pipes for the command: {error}"))),
        }
    }

    fn pipes(stdin: bool, stdout: Option<&OwnedFd>) -> io::Result<Self> {
        let (child_in, input) = if stdin {
            let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
            (read, Some(write.into()))
        } else {
            (File::open("/dev/null")?.into(), None)
        };
        let mut outputs = Vec::new();
        let child_out = match stdout {
            Some(raw) => raw.try_clone()?,
            None => {
                let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
                outputs.push((Stream::Stdout, read.into()));
                write
            }
        };
        let (read, child_err) = pipe2(OFlag::O_CLOEXEC)?;
        outputs.push((Stream::Stderr, read.into()));
        Ok(Self {
            child: [child_in, child_out, child_err],
            ours: Ours {
                input,
                outputs,
                terminal: None,
            },
        })
    }

    fn terminal(stdin: bool, size: WindowSize, owner: u32) -> io::Result<Self> {
        let (master, slave) = open_terminal(owner)?;
        resize(&master, size);
        let ours = Ours {
            input: if stdin {
                Some(master.try_clone()?)
            } else {
                None
            },
            outputs: vec![(Stream::Tty, master.try_clone()?)],
            terminal: Some(Arc::new(master)),
        };
        Ok(Self {
            child: [slave.try_clone()?, slave.try_clone()?, slave],
            ours,
        })
    }
}

fn open_terminal(owner: u32) -> io::Result<(File, OwnedFd)> {
    let open = |path: &str| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(path)
    };
    let master = open("/dev/pts/ptmx").or_else(|_| open("/dev/ptmx"))?;
    let (unlock, mut number): (libc::c_int, libc::c_int) = (0, 0);
    // SAFETY: both requests take a pointer to an int, which lives through the call.
    unsafe {
        if libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) < 0
            || libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) < 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    let slave = open(&format!("/dev/pts/{number}"))?;
    // Only convenience for programs that open /dev/tty by name; an unprivileged sandbox knows only one user anyway.
    let _ = std::os::unix::fs::fchown(&slave, Some(owner), None);
    Ok((master, slave.into()))
}

/// Sets a terminal's size; the kernel tells its foreground group. Failing is harmless: the size is a hint.
pub(super) fn resize(terminal: &File, size: WindowSize) {
    let size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the request takes a pointer to a winsize, which lives through the call.
    unsafe {
        libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size);
    }
}
