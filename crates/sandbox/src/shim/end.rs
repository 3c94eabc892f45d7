//! The owner: waits for what ends the incarnation, records it, removes everything.
//!
//! ```text
//! how it ended → (files kept) → log complete → exit.json by rename → told → fsync → destroyed → socket removed → exit
//! ```
//!
//! The socket goes last: as long as it is there, the daemon cleans up by name after a shim that died on the way.

use super::start::{self, Ready};
use super::state::Shim;
use super::{Asker, Occurrence, agent, clock, failure, keep};
use crate::protocol::{ExitRecord, Phase};
use crate::{Error, files};
use dauer_wire::guest::{ExitStatus, StartFailure};
use std::fs::File;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// A fresh sandbox's agent says Hello and starts the job within milliseconds; a loaded machine may take seconds.
const START_MAX: Duration = Duration::from_secs(60);
/// Between the death of a sandbox and the end of its pipes.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);
/// A daemon that does not read what it asked for gets no more time.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// A connection that says nothing gets no more time.
const LET_IN_MAX: Duration = Duration::from_millis(500);

/// Runs the incarnation to its end; returns the exit code of the shim. The body of a thread.
pub(super) fn own(shim: &Arc<Shim>, ready: Ready, occurrences: &Receiver<Occurrence>) -> i32 {
    let mut askers = Vec::new();
    let record = match start::start(shim, ready) {
        Ok(()) => wait(shim, occurrences, &mut askers),
        Err(error) => failure(&shim.incarnation.spec, &error),
    };
    let record = match keep::wanted(shim, &record) {
        Some(id) => {
            see_it_gone(occurrences, &mut askers);
            match destroy(shim) {
                Ok(()) => keep::keep(shim, id, record),
                // It may still write: the record says why nothing is kept.
                Err(error) => keep::unkept(record, &error),
            }
        }
        None => record,
    };
    conclude(shim, &record);
    let destroyed = destroy(shim);
    if let Err(error) = &destroyed {
        eprintln!("shim: {error}");
    }
    // A checkpoint that was being taken fails now; nothing of it may stay behind.
    drop(
        shim.checkpointing
            .lock()
            .unwrap_or_else(PoisonError::into_inner),
    );
    askers.extend(occurrences.try_iter().filter_map(asker));
    for asker in askers {
        asker(
            destroyed
                .as_ref()
                .copied()
                .map_err(|error| Error::Refused(error.to_string())),
        );
    }
    if destroyed.is_ok()
        && let Err(error) = files::remove_file(&shim.folder.socket(shim.generation()))
    {
        eprintln!("shim: {error}");
    }
    shim.door.let_everybody_in(LET_IN_MAX);
    shim.flush(FLUSH_MAX);
    i32::from(destroyed.is_err())
}

fn asker(occurrence: Occurrence) -> Option<Asker> {
    match occurrence {
        Occurrence::DestroyAsked(asker) => Some(asker),
        Occurrence::Started
        | Occurrence::StartFailed(_)
        | Occurrence::Exited(_)
        | Occurrence::ChannelClosed
        | Occurrence::SandboxEnded => None,
    }
}

/// Waits for whatever ends the incarnation.
fn wait(shim: &Shim, occurrences: &Receiver<Occurrence>, askers: &mut Vec<Asker>) -> ExitRecord {
    let mut deadline = (shim.phase() == Phase::Starting).then(|| Instant::now() + START_MAX);
    let mut dying = false;
    loop {
        match next(occurrences, deadline) {
            Some(Occurrence::Started) => {
                if !dying {
                    deadline = None;
                }
            }
            Some(Occurrence::Exited(status)) => return exited(shim, status),
            Some(Occurrence::StartFailed(failure)) => {
                return ExitRecord::StartFailed {
                    failure,
                    at: clock::now().0,
                };
            }
            // The agent's last frames may still be in the channel.
            Some(Occurrence::SandboxEnded) => {
                dying = true;
                deadline = Some(Instant::now() + LAST_WORDS_MAX);
            }
            Some(Occurrence::ChannelClosed) => return vanished(shim),
            Some(Occurrence::DestroyAsked(asker)) => match measure_and_destroy(shim) {
                Ok(()) => {
                    askers.push(asker);
                    return destroyed(shim, occurrences);
                }
                // It lives on; who asked may try again.
                Err(error) => asker(Err(error)),
            },
            None if dying => return vanished(shim),
            None => {
                let seconds = START_MAX.as_secs();
                let message = format!("the sandbox did not come up within {seconds} s");
                return ExitRecord::StartFailed {
                    failure: StartFailure { code: 125, message },
                    at: clock::now().0,
                };
            }
        }
    }
}

/// A sandbox whose program has ended ends by itself, and by then has written out what it held back.
fn see_it_gone(occurrences: &Receiver<Occurrence>, askers: &mut Vec<Asker>) {
    let deadline = Some(Instant::now() + LAST_WORDS_MAX);
    loop {
        match next(occurrences, deadline) {
            Some(Occurrence::SandboxEnded) | None => return,
            Some(Occurrence::DestroyAsked(asker)) => askers.push(asker),
            Some(
                Occurrence::Started
                | Occurrence::StartFailed(_)
                | Occurrence::Exited(_)
                | Occurrence::ChannelClosed,
            ) => {}
        }
    }
}

/// `None` at the deadline.
fn next(occurrences: &Receiver<Occurrence>, deadline: Option<Instant>) -> Option<Occurrence> {
    match deadline {
        None => occurrences.recv().ok(),
        Some(deadline) => occurrences
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .ok(),
    }
}

fn out_of_memory(shim: &Shim) -> bool {
    shim.driver
        .as_ref()
        .is_some_and(|driver| driver.was_out_of_memory(&shim.incarnation))
}

fn exited(shim: &Shim, status: ExitStatus) -> ExitRecord {
    let at = clock::now().0;
    shim.measure();
    ExitRecord::Exited {
        status,
        out_of_memory: out_of_memory(shim),
        at,
        life: shim.life(),
        unkept: None,
    }
}

fn vanished(shim: &Shim) -> ExitRecord {
    let at = clock::now().0;
    shim.measure();
    match shim.phase() {
        Phase::Starting => {
            let said = shim.output.complaint();
            let why = if said.is_empty() {
                "its agent said nothing"
            } else {
                said.as_str()
            };
            let message = format!("the sandbox ended before the program was started: {why}");
            ExitRecord::StartFailed {
                failure: StartFailure { code: 125, message },
                at,
            }
        }
        Phase::Running | Phase::Frozen { .. } | Phase::Ended { .. } => ExitRecord::Lost {
            at,
            out_of_memory: out_of_memory(shim),
            life: shim.life(),
        },
    }
}

/// The record of an incarnation that was killed on demand. It may have ended by itself just before.
fn destroyed(shim: &Shim, occurrences: &Receiver<Occurrence>) -> ExitRecord {
    let at = clock::now().0;
    if let Phase::Frozen { checkpoint } = shim.phase() {
        return ExitRecord::Suspended {
            checkpoint: checkpoint.id,
            at,
        };
    }
    let deadline = Some(Instant::now() + LAST_WORDS_MAX);
    loop {
        match next(occurrences, deadline) {
            Some(Occurrence::Exited(status)) => return exited(shim, status),
            Some(Occurrence::StartFailed(failure)) => {
                return ExitRecord::StartFailed { failure, at };
            }
            Some(Occurrence::Started | Occurrence::SandboxEnded | Occurrence::DestroyAsked(_)) => {}
            Some(Occurrence::ChannelClosed) | None => {
                let status = ExitStatus {
                    code: None,
                    signal: Some(libc::SIGKILL),
                };
                return ExitRecord::Exited {
                    status,
                    out_of_memory: false,
                    at,
                    life: shim.life(),
                    unkept: None,
                };
            }
        }
    }
}

/// Makes the end known: first to those who read files, then to those who listen, then to the disk.
fn conclude(shim: &Shim, record: &ExitRecord) {
    shim.output.complete();
    agent::hang_up(shim);
    let path = shim.folder.exit(shim.generation());
    while let Err(error) = files::write_json(&path, record, files::Durable::No) {
        // Without this file the job counts as lost; nothing tells when a full disk has room again.
        eprintln!("shim: {error}");
        std::thread::sleep(Duration::from_millis(500));
    }
    shim.enter(Phase::Ended {
        exit: record.clone(),
    });
    shim.output.sync();
    let synced = File::open(&path)
        .and_then(|file| file.sync_data())
        .and_then(|()| files::sync_folder(shim.folder.path()));
    if let Err(error) = synced {
        eprintln!("shim: {} cannot be written out: {error}", path.display());
    }
}

/// What it used is forgotten with what is destroyed.
fn measure_and_destroy(shim: &Shim) -> Result<(), Error> {
    shim.measure();
    destroy(shim)
}

fn destroy(shim: &Shim) -> Result<(), Error> {
    match &shim.driver {
        Some(driver) => driver.destroy(&shim.incarnation.instance, &shim.incarnation.scratch),
        None => Ok(()),
    }
}
