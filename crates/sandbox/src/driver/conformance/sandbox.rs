//! A sandbox as a case uses it: what the shim does, in a few lines.

use super::Bench;
use crate::driver::{AgentStdio, Driver, Incarnation, Running, Verification};
use crate::host::{copy, process};
use crate::spec::Origin;
use crate::{Error, SandboxSpec};
use dauer_core::{CheckpointId, Image, Network, SandboxId};
use dauer_wire::frame::Frame;
use dauer_wire::guest::{Command, ExitStatus, FromGuest, Resume, Start, ToGuest};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a case failed, in words.
#[derive(Debug)]
pub(super) struct Failure(String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<nix::errno::Errno> for Failure {
    fn from(errno: nix::errno::Errno) -> Self {
        Self(errno.to_string())
    }
}

/// Fails with what was expected where the two differ.
pub(super) fn expect<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &T,
    expected: &T,
) -> Result<(), Failure> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: found {found:?}, expected {expected:?}").into())
    }
}

/// A live sandbox and the ends of its pipes.
pub(super) struct Sandbox {
    pub(super) driver: Arc<dyn Driver>,
    pub(super) incarnation: Incarnation,
    pub(super) running: Running,
    to_agent: File,
    from_agent: File,
    raw: File,
    sessions: u64,
}

impl Bench {
    /// A spec of a sandbox that has nothing special.
    pub(super) fn spec(&self) -> SandboxSpec {
        SandboxSpec {
            id: SandboxId(uuid::Uuid::new_v4().simple().to_string()[..16].to_owned()),
            generation: 1,
            origin: Origin::Fresh,
            job: "conformance".to_owned(),
            host_name: crate::HOST_NAME.to_owned(),
            driver: self.driver.clone(),
            image: Image::Host,
            argv: vec!["/bin/sleep".to_owned(), "1000".to_owned()],
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
            layout: self.layout.clone(),
            guest_binary: self.guest.clone(),
        }
    }

    pub(super) fn incarnation(&self, spec: SandboxSpec) -> Result<Incarnation, Failure> {
        let scratch = self.layout.sandbox(&spec.id).incarnation(spec.generation);
        std::fs::create_dir_all(&scratch)?;
        Ok(Incarnation {
            instance: spec.id.instance(spec.generation),
            scratch,
            spec,
        })
    }

    /// Starts a sandbox and its job.
    pub(super) fn start(&self, spec: SandboxSpec) -> Result<Sandbox, Failure> {
        let incarnation = self.incarnation(spec)?;
        let mut sandbox = Sandbox::make(self, incarnation, |driver, incarnation, stdio| {
            driver.prepare(incarnation)?;
            driver.start(incarnation, stdio)
        })?;
        let spec = sandbox.incarnation.spec.clone();
        let command = Command {
            argv: spec.argv,
            env: spec.env,
            workdir: spec.workdir,
            user: spec.user,
            tty: None,
            stdin: spec.stdin,
        };
        let shared_network = spec.network == Network::Host;
        sandbox.send(ToGuest::Start(Start {
            job: spec.job,
            generation: 1,
            shared_network,
            command,
        }))?;
        Ok(sandbox)
    }

    /// A sandbox of the next generation out of what [`Sandbox::freeze`] kept.
    pub(super) fn thaw(
        &self,
        spec: SandboxSpec,
        generation: u32,
        from: &Path,
    ) -> Result<Sandbox, Failure> {
        self.thaw_once(spec, generation, from, || Ok(()))
    }

    /// The same once the image is found to be whole.
    pub(super) fn thaw_once(
        &self,
        mut spec: SandboxSpec,
        generation: u32,
        from: &Path,
        verify: impl FnOnce() -> Result<(), Error> + Send + 'static,
    ) -> Result<Sandbox, Failure> {
        spec.generation = generation;
        spec.origin = Origin::Checkpoint {
            checkpoint: CheckpointId("conformance".to_owned()),
            after_loss: false,
        };
        let incarnation = self.incarnation(spec)?;
        let driver = self.driver();
        for (number, (_, upper)) in driver.uppers(&incarnation).iter().enumerate() {
            std::fs::create_dir_all(upper)?;
            copy::tree(&from.join("disk").join(number.to_string()), upper)?;
        }
        let mut sandbox = Sandbox::make(self, incarnation, |driver, incarnation, stdio| {
            driver.prepare(incarnation)?;
            let checkpointer = driver.checkpointer().ok_or(Error::Gone)?;
            let verification = Verification::begin(verify)?;
            checkpointer.restore(incarnation, &from.join("memory"), stdio, verification)
        })?;
        sandbox.send(ToGuest::Resume(Resume {
            generation,
            wall_clock_ms: 0,
            entropy: String::new(),
            job: None,
            host_name: None,
        }))?;
        Ok(sandbox)
    }
}

impl Sandbox {
    fn make(
        bench: &Bench,
        incarnation: Incarnation,
        launch: impl FnOnce(&dyn Driver, &Incarnation, AgentStdio) -> Result<Running, Error>,
    ) -> Result<Self, Failure> {
        // SAFETY: a plain system call.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
        let driver = bench.driver();
        driver.check(&incarnation.spec)?;
        let ((input, to_agent), (from_agent, output), (raw_read, raw)) = (
            pipe2(OFlag::O_CLOEXEC)?,
            pipe2(OFlag::O_CLOEXEC)?,
            pipe2(OFlag::O_CLOEXEC)?,
        );
        let launched = launch(
            driver.as_ref(),
            &incarnation,
            AgentStdio { input, output, raw },
        );
        let running = match launched {
            Ok(running) => running,
            Err(error) => {
                driver.destroy(&incarnation.instance, &incarnation.scratch)?;
                return Err(error.into());
            }
        };
        let (to_agent, from_agent, raw) = (
            File::from(to_agent),
            File::from(from_agent),
            File::from(raw_read),
        );
        Ok(Self {
            driver,
            incarnation,
            running,
            to_agent,
            from_agent,
            raw,
            sessions: 0,
        })
    }

    pub(super) fn send(&mut self, message: ToGuest) -> Result<(), Failure> {
        Ok(message.into_frame().write_to(&mut self.to_agent)?)
    }

    /// The next message; `None` when the agent is gone.
    pub(super) fn next(&mut self) -> Result<Option<FromGuest>, Failure> {
        match Frame::read_from(&mut self.from_agent)? {
            Some(frame) => Ok(Some(FromGuest::from_frame(frame)?)),
            None => Ok(None),
        }
    }

    /// Until the job (session 0) has ended.
    pub(super) fn job_status(&mut self) -> Result<ExitStatus, Failure> {
        loop {
            match self.next()?.ok_or("the agent is gone")? {
                FromGuest::Exited { session: 0, status } => return Ok(status),
                FromGuest::StartFailed {
                    session: 0,
                    failure,
                } => return Err(failure.message.into()),
                other => ignore(&other),
            }
        }
    }

    /// Runs a shell script beside the job: exit code, and what it wrote to both streams.
    pub(super) fn sh(&mut self, script: &str) -> Result<(i32, String), Failure> {
        self.sessions += 1;
        let number = self.sessions;
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let env = [(
            "PATH".to_owned(),
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        )];
        let command = Command {
            argv,
            env: env.into(),
            ..Command::default()
        };
        self.send(ToGuest::Exec {
            session: number,
            command,
        })?;
        let mut text = Vec::new();
        loop {
            match self.next()?.ok_or("the agent is gone")? {
                FromGuest::Output { session, bytes, .. } if session == number => text.extend(bytes),
                FromGuest::Exited { session, status } if session == number => {
                    let code = status
                        .code
                        .unwrap_or_else(|| 128 + status.signal.unwrap_or(0));
                    return Ok((code, String::from_utf8_lossy(&text).trim_end().to_owned()));
                }
                FromGuest::StartFailed { session, failure } if session == number => {
                    return Err(failure.message.into());
                }
                other => ignore(&other),
            }
        }
    }

    /// The same, where the script is expected to succeed.
    pub(super) fn sh_ok(&mut self, script: &str) -> Result<String, Failure> {
        match self.sh(script)? {
            (0, text) => Ok(text),
            (code, text) => Err(format!("`{script}` exited with {code}: {text}").into()),
        }
    }

    /// One line of input for the job, and the line it answers with on its raw output.
    pub(super) fn ask(&mut self, line: &str) -> Result<String, Failure> {
        self.send(ToGuest::Input {
            session: 0,
            bytes: format!("{line}\n").into_bytes(),
        })?;
        self.raw_line()
    }

    pub(super) fn raw_line(&mut self) -> Result<String, Failure> {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.raw.read(&mut byte)? == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// Reads what is left of the raw output, without waiting for more.
    pub(super) fn raw_rest(&mut self) -> Result<String, Failure> {
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        while poll(
            &mut [PollFd::new(self.raw.as_fd(), PollFlags::POLLIN)],
            PollTimeout::ZERO,
        )? > 0
        {
            match self.raw.read(&mut buffer)? {
                0 => break,
                length => text.extend_from_slice(&buffer[..length]),
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Asks the agent to hold still, and pauses.
    pub(super) fn hold(&mut self) -> Result<(), Failure> {
        self.send(ToGuest::Quiesce)?;
        loop {
            match self.next()?.ok_or("the agent is gone")? {
                FromGuest::Quiesced(_) => break,
                other => ignore(&other),
            }
        }
        Ok(self
            .driver
            .checkpointer()
            .ok_or("no checkpointer")?
            .pause(&self.incarnation)?)
    }

    /// The opposite of [`Sandbox::hold`].
    pub(super) fn go_on(&mut self) -> Result<(), Failure> {
        self.driver
            .checkpointer()
            .ok_or("no checkpointer")?
            .resume(&self.incarnation)?;
        let generation = self.incarnation.spec.generation;
        self.send(ToGuest::Resume(Resume {
            generation,
            wall_clock_ms: 0,
            entropy: String::new(),
            job: None,
            host_name: None,
        }))
    }

    /// Saves memory and changed files into `into`; it stays paused.
    pub(super) fn freeze(&mut self, into: &Path) -> Result<(), Failure> {
        self.hold()?;
        let memory = into.join("memory");
        std::fs::create_dir_all(&memory)?;
        self.driver
            .checkpointer()
            .ok_or("no checkpointer")?
            .save(&self.incarnation, &memory)?;
        for (number, (_, upper)) in self.driver.uppers(&self.incarnation).iter().enumerate() {
            let to: PathBuf = into.join("disk").join(number.to_string());
            std::fs::create_dir_all(&to)?;
            copy::tree(upper, &to)?;
        }
        Ok(())
    }

    /// Ends it, twice, because that must be safe; then the process itself must be gone.
    pub(super) fn destroy(&mut self) -> Result<(), Failure> {
        for _ in 0..2 {
            self.driver
                .destroy(&self.incarnation.instance, &self.incarnation.scratch)?;
        }
        let left = process::of_instance(&self.incarnation.instance, &self.incarnation.scratch)?;
        expect("processes after destroy", &left, &Vec::new())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A case that failed before its end: nothing may be left for the next one. What goes wrong here is seen there.
        let _ = self
            .driver
            .destroy(&self.incarnation.instance, &self.incarnation.scratch);
    }
}

fn ignore(message: &FromGuest) {
    match message {
        FromGuest::Hello(_)
        | FromGuest::Started { .. }
        | FromGuest::StartFailed { .. }
        | FromGuest::Exited { .. }
        | FromGuest::Output { .. }
        | FromGuest::Consumed { .. }
        | FromGuest::Request { .. }
        | FromGuest::Quiesced(_) => {}
    }
}
