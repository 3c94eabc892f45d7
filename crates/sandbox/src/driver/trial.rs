//! One sandbox from the start to the end in a process of its own, to see whether a driver works here.

use super::{AgentStdio, Driver, Incarnation, by_name, probe};
use crate::host::process;
use crate::host::root::make_folder;
use crate::spec::Origin;
use crate::{Error, Layout, SandboxSpec};
use dauer_core::{Image, Network, SandboxId};
use dauer_wire::frame::Frame;
use dauer_wire::guest::{Command, FromGuest, Start, ToGuest};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{ForkResult, fork, pipe2};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// A sandbox that is not done by then hangs.
const TRIAL_MAX: Duration = Duration::from_secs(30);

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Report {
    /// A program ran.
    pub(super) ran: bool,
    /// Its memory was saved.
    pub(super) froze: bool,
    /// What went wrong, or what is missing for freezing.
    pub(super) problem: Option<String>,
}

/// Tries a driver. Errors: `Io` where no trial was possible, which says nothing about the driver.
pub(super) fn run(layout: &Layout, driver: &str, guest: &Path) -> Result<Report, Error> {
    // Short names: a socket's path has at most 107 bytes, and this one is to be no longer than that of a real sandbox.
    let folder = tempfile::Builder::new()
        .prefix(".try")
        .tempdir_in(&layout.data);
    let folder = folder.map_err(Error::io(format!(
        "make a folder in {}",
        layout.data.display()
    )))?;
    let incarnation = incarnation(folder.path(), driver, guest);
    make_folder(&incarnation.scratch)?;
    let driver = by_name(driver)?;
    if let Err(error) = driver.check(&incarnation.spec) {
        return Ok(Report {
            problem: Some(error.to_string()),
            ..Report::default()
        });
    }
    let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(Error::os("make a pipe"))?;
    // SAFETY: glibc's fork leaves its allocator usable in the child, which takes no other lock of this program; a deadline ends it if
    // that should ever be wrong.
    let report = match unsafe { fork() }.map_err(Error::os("fork"))? {
        ForkResult::Child => {
            drop(read);
            become_shim();
            let report = attempt(driver.as_ref(), &incarnation);
            // Nobody to tell where this fails; the parent sees an end without a report.
            let _ = serde_json::to_vec(&report).map(|bytes| File::from(write).write_all(&bytes));
            // SAFETY: leaves at once: the parent's own exit code must not run twice.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(write);
            collect(child.as_raw(), read)
        }
    };
    driver.destroy(&incarnation.instance, &incarnation.scratch)?;
    report
}

fn collect(child: i32, read: OwnedFd) -> Result<Report, Error> {
    // SAFETY: a plain system call; the descriptor is new.
    let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, child, 0) };
    let pidfd = Errno::result(pidfd).map_err(Error::os("watch the trial"))?;
    // SAFETY: as above.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd as i32) };
    let ended = process::wait_readable(pidfd.as_fd(), Instant::now() + TRIAL_MAX)?;
    if !ended {
        // SAFETY: a plain system call on our own child, which is not waited for yet.
        unsafe { libc::kill(child, libc::SIGKILL) };
    }
    process::Child { pid: child, pidfd }.wait()?;
    if !ended {
        return Err(Error::os("try a sandbox")(Errno::ETIMEDOUT));
    }
    let mut bytes = Vec::new();
    File::from(read)
        .read_to_end(&mut bytes)
        .map_err(Error::io("read the report of the trial"))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::io("read the report of the trial")(e.into()))
}

/// What a shim is before it prepares: leader of a session, parent of orphans, and gone with whoever asked.
fn become_shim() {
    process::reset_signals();
    // SAFETY: plain system calls; a process just forked is no group leader, so none of them can fail.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::setsid();
    }
}

fn incarnation(folder: &Path, driver: &str, guest: &Path) -> Incarnation {
    let id = SandboxId(uuid::Uuid::new_v4().simple().to_string()[..16].to_owned());
    let layout = Layout {
        data: folder.to_path_buf(),
        run: folder.join("run"),
    };
    let spec = SandboxSpec {
        id: id.clone(),
        generation: 0,
        origin: Origin::Fresh,
        job: "trial".to_owned(),
        host_name: crate::HOST_NAME.to_owned(),
        driver: driver.to_owned(),
        image: Image::Host,
        argv: vec![
            "/bin/sh".to_owned(),
            "-c".to_owned(),
            "read -r line".to_owned(),
        ],
        env: BTreeMap::new(),
        workdir: None,
        user: None,
        tty: false,
        stdin: true,
        mounts: Vec::new(),
        inject: None,
        cpu_millis: None,
        memory_bytes: None,
        network: Network::None,
        publish: Vec::new(),
        keep_disk: None,
        layout,
        guest_binary: guest.to_path_buf(),
    };
    Incarnation {
        instance: id.instance(0),
        scratch: folder.join("s"),
        spec,
    }
}

fn attempt(driver: &dyn Driver, incarnation: &Incarnation) -> Report {
    let mut report = Report::default();
    report.problem = match try_all(driver, incarnation, &mut report) {
        Ok(()) => None,
        Err(error) => Some(error.to_string()),
    };
    report
}

fn try_all(
    driver: &dyn Driver,
    incarnation: &Incarnation,
    report: &mut Report,
) -> Result<(), Error> {
    let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(Error::os("make a pipe"));
    let ((input, to_agent), (from_agent, output), (_raw_read, raw)) = (pipe()?, pipe()?, pipe()?);
    driver.prepare(incarnation)?;
    driver.start(incarnation, AgentStdio { input, output, raw })?;
    let (mut to_agent, mut from_agent) = (File::from(to_agent), File::from(from_agent));
    let start = ToGuest::Start(start(&incarnation.spec));
    start
        .into_frame()
        .write_to(&mut to_agent)
        .map_err(Error::io("talk to the guest agent"))?;
    until_started(&mut from_agent)?;
    report.ran = true;
    let Some(checkpointer) = driver.checkpointer() else {
        // A driver that could freeze with one more tool says which; for the others nothing is missing.
        return if probe::can_have_checkpoints(driver.name()) {
            driver.freezable(&incarnation.spec)
        } else {
            Ok(())
        };
    };
    checkpointer.pause(incarnation)?;
    let memory = incarnation.scratch.join("memory");
    make_folder(&memory)?;
    checkpointer.save(incarnation, &memory)?;
    report.froze = true;
    Ok(())
}

fn start(spec: &SandboxSpec) -> Start {
    Start {
        job: spec.job.clone(),
        generation: spec.generation,
        shared_network: false,
        command: Command {
            argv: spec.argv.clone(),
            stdin: true,
            ..Command::default()
        },
    }
}

/// Until the job runs: from then on the agent listens for its requests, which is what CRIU of another time fails at.
fn until_started(from_agent: &mut File) -> Result<(), Error> {
    let failed = |message: String| Error::StartFailed { code: 125, message };
    loop {
        let frame = Frame::read_from(from_agent).map_err(Error::io("listen to the guest agent"))?;
        let Some(frame) = frame else {
            return Err(failed("the guest agent ended at once".to_owned()));
        };
        match FromGuest::from_frame(frame).map_err(Error::io("listen to the guest agent"))? {
            FromGuest::Started { .. } => return Ok(()),
            FromGuest::StartFailed { failure, .. } => return Err(failed(failure.message)),
            FromGuest::Exited { status, .. } => {
                return Err(failed(format!("the program ended at once: {status:?}")));
            }
            FromGuest::Hello(_)
            | FromGuest::Output { .. }
            | FromGuest::Consumed { .. }
            | FromGuest::Request { .. }
            | FromGuest::Quiesced(_) => {}
        }
    }
}
