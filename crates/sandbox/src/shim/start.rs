//! From pipes to a sandbox whose agent answers.

use super::state::Shim;
use super::{Occurrence, agent, clock, process, turn};
use crate::driver::{AgentStdio, Driver, Running, Verification};
use crate::protocol::Phase;
use crate::snapshot::{Manifest, Reader};
use crate::{Error, Origin};
use dauer_wire::guest::{Resume, ToGuest};
use dauer_wire::http::Marker;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What the sandbox begins from, checked.
pub(super) enum From {
    /// The image and nothing else.
    Fresh,
    /// A checkpoint whose files are already in the new uppers.
    Checkpoint(Box<Reader>),
}

/// Everything that was to be done with one thread is done, or has failed.
pub(super) struct Ready {
    pub(super) from: Result<From, Error>,
    pub(super) raw_writer: OwnedFd,
}

/// Starts or restores the sandbox. A restored one runs when this returns; a fresh one runs once its agent has said so.
pub(super) fn start(shim: &Arc<Shim>, ready: Ready) -> Result<(), Error> {
    let from = ready.from?;
    let driver = shim.driver()?;
    let (agent_input, to_agent) = process::pipe()?;
    let (from_agent, agent_output) = process::pipe()?;
    let stdio = AgentStdio {
        input: agent_input,
        output: agent_output,
        raw: ready.raw_writer,
    };
    let channel = Channel {
        from: from_agent,
        to: to_agent,
    };
    let pid = match &from {
        From::Fresh => {
            agent::instruct(shim);
            // Before the runtime is done with what it does after it has started the agent.
            channel.attend(shim)?;
            match driver.start(&shim.incarnation, stdio) {
                Ok(running) => Some(running.pid),
                // The program may have run and ended before the runtime looked for it: then the agent tells how.
                Err(error) if shim.job_pid().is_some() => {
                    eprintln!("shim: {error}");
                    None
                }
                Err(error) => return Err(with_complaint(shim, error)),
            }
        }
        From::Checkpoint(reader) => {
            let running = restore(shim, driver, reader, stdio)?;
            // Before the first byte of the new incarnation: its output waits in the pipe until now.
            shim.output.mark(&marker(shim, reader.manifest()))?;
            channel.attend(shim)?;
            Some(running.pid)
        }
    };
    let output = Arc::clone(shim);
    process::spawn("raw", move || output.output.run())?;
    if let Some(pid) = pid {
        shim.set_sandbox_pid(pid);
        if !shim.reaper.watch(pid)? {
            // What the agent said before is still in the channel.
            shim.tell(Occurrence::SandboxEnded);
        }
    }
    if let From::Checkpoint(reader) = from {
        shim.agent.push(resume(shim)?);
        if let Some(pid) = reader.manifest().job_pid {
            shim.set_job_pid(pid);
        }
        shim.enter(Phase::Running);
    }
    Ok(())
}

fn restore(
    shim: &Shim,
    driver: &dyn Driver,
    reader: &Reader,
    stdio: AgentStdio,
) -> Result<Running, Error> {
    let folder = reader.folder().to_owned();
    let memory = folder.join("memory");
    let _turn = turn::take(&shim.incarnation.spec.layout);
    let checkpointer = driver.checkpointer().ok_or(Error::Gone)?;
    let whole = reader.manifest().clone();
    let verification = Verification::begin(move || whole.verify(&folder))?;
    checkpointer
        .restore(&shim.incarnation, &memory, stdio, verification)
        .map_err(|error| with_complaint(shim, error))
}

/// Our ends of the agent's pipes.
struct Channel {
    from: OwnedFd,
    to: OwnedFd,
}

impl Channel {
    /// Hears what the agent says and tells it what there is to tell, from now on.
    fn attend(self, shim: &Arc<Shim>) -> Result<(), Error> {
        let (listener, talker) = (Arc::clone(shim), Arc::clone(shim));
        process::spawn("from agent", move || {
            agent::listen(&listener, File::from(self.from))
        })?;
        process::spawn("to agent", move || {
            agent::talk(&talker, File::from(self.to))
        })
    }
}

/// Lets the agent go on after a freeze, as this incarnation.
pub(super) fn resume(shim: &Shim) -> Result<dauer_wire::frame::Frame, Error> {
    let whose = shim.whose();
    let resume = Resume {
        generation: shim.generation(),
        job: Some(whose.job),
        host_name: Some(whose.host_name),
        wall_clock_ms: clock::now().0,
        entropy: process::entropy(32)?,
    };
    Ok(ToGuest::Resume(resume).into_frame())
}

fn marker(shim: &Shim, manifest: &Manifest) -> Marker {
    let spec = &shim.incarnation.spec;
    match &spec.origin {
        Origin::Checkpoint {
            after_loss: true,
            checkpoint,
        } => Marker::Restored {
            checkpoint: checkpoint.to_string(),
            generation: shim.generation(),
            log_offset: manifest.log_offset_of(&spec.job),
        },
        Origin::Checkpoint {
            after_loss: false, ..
        } if manifest.job.as_str() != spec.job => Marker::Forked {
            job: manifest.job.to_string(),
            checkpoint: manifest.id.to_string(),
            generation: shim.generation(),
        },
        Origin::Checkpoint {
            after_loss: false, ..
        }
        | Origin::Files { .. }
        | Origin::Fresh => Marker::Woken {
            generation: shim.generation(),
        },
    }
}

/// Runtimes print their own errors where the job's output was to go.
fn with_complaint(shim: &Shim, error: Error) -> Error {
    match error {
        Error::Tool {
            tool,
            status,
            output,
        } => {
            let parts = [output, shim.output.complaint()];
            let output = parts
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join("; ");
            Error::Tool {
                tool,
                status,
                output,
            }
        }
        other => other,
    }
}
