//! The shim: the small process that owns one incarnation of one sandbox, from its start to its end, whatever becomes of the daemon.
//!
//! ```text
//!  main       settles the process, prepares, then reaps orphans and notices the end of the sandbox
//!  owner      starts or restores the sandbox, then decides about its end; destroys; the only writer of exit.json
//!  from agent frames of the agent → log, sessions, requests            to agent  queue → frames
//!  raw        the job's standard output → log
//!  accept     shim.sock; a thread or two for each connection
//!  checkpoint while one is taken
//! ```
//!
//! Blocking threads with small stacks and no runtime: the goal is 4 MiB. Locks are never nested, but for the log's and
//! a queue's, which take no other.

mod agent;
mod assign;
mod checkpoint;
mod clock;
mod connection;
mod door;
mod end;
mod keep;
mod outbox;
mod output;
mod process;
mod reaper;
mod restore;
mod session;
mod start;
mod state;
mod turn;
mod window;

use crate::driver::{self, Incarnation};
use crate::layout::SandboxDir;
use crate::log::LogWriter;
use crate::protocol::ExitRecord;
use crate::{Error, Origin, SandboxSpec, files};
use dauer_wire::guest::{ExitStatus, StartFailure};
use door::Door;
use output::Output;
use reaper::Reaper;
use state::{Shim, Wiring};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;

/// What the owner hears of, in the order in which it happened.
pub(super) enum Occurrence {
    /// The job's first process runs.
    Started,
    /// It could not be started.
    StartFailed(StartFailure),
    /// It ended.
    Exited(ExitStatus),
    /// The agent says nothing any more.
    ChannelClosed,
    /// The sandbox's process ended.
    SandboxEnded,
    /// Somebody wants it ended; told by the owner itself, so that the answer is on its way before the shim ends.
    DestroyAsked(Asker),
}

/// Hears what became of a wish to destroy.
pub(super) type Asker = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Runs the incarnation that this `spec.json` describes to its end; returns the exit code of the process. How the sandbox ended is in
/// `exit.json`. Called by `main` before anything else: it expects one thread.
#[must_use]
pub fn run(spec_path: &Path) -> i32 {
    match begin(spec_path) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("shim: {error}");
            1
        }
    }
}

fn begin(spec_path: &Path) -> Result<i32, Error> {
    let listener = process::settle()?;
    let spec: SandboxSpec = files::read_json(spec_path)?
        .ok_or_else(|| Error::Invalid(format!("{} does not exist", spec_path.display())))?;
    // Held until the process ends; says who it is. Never opened again here: closing any descriptor of it would give the lock away.
    let Some(_lock) = files::lock(spec_path)? else {
        return Err(Error::Invalid(format!(
            "another shim runs {}",
            spec_path.display()
        )));
    };
    let folder = spec.layout.sandbox(&spec.id);
    process::print_into(&folder)?;
    let listener = match listener {
        Some(listener) => listener,
        None => bind(&folder, spec.generation)?,
    };
    let reaper = Reaper::new()?;
    let (sender, occurrences) = channel();
    let plan = Plan::make(spec.clone(), folder.clone());
    let wiring = Wiring {
        door: Door::new(listener),
        occurrences: sender.clone(),
        reaper: reaper.shared(),
    };
    let (shim, ready) = match plan.open(wiring) {
        Ok(opened) => opened,
        Err(error) => {
            // Nobody can be told over the socket yet; its end makes the daemon look for this file.
            files::write_json(
                &folder.exit(spec.generation),
                &failure(&spec, &error),
                files::Durable::Yes,
            )?;
            return Err(error);
        }
    };
    connection::accept(&shim)?;
    let owner = {
        let shim = Arc::clone(&shim);
        let reaper = reaper.shared();
        move || reaper.end(end::own(&shim, ready, &occurrences))
    };
    process::spawn_large("owner", owner)?;
    Ok(reaper.run(&sender))
}

/// Everything that comes before the first process of the sandbox.
fn ready(incarnation: &Incarnation, driver: &dyn driver::Driver) -> Result<start::From, Error> {
    let from = restore::begin(incarnation)?;
    process::wait_until_alone();
    driver.prepare(incarnation)?;
    restore::check_machine(&from, driver)?;
    Ok(from)
}

/// By hand, without a daemon: `dauer shim spec.json`.
fn bind(folder: &SandboxDir, generation: u32) -> Result<UnixListener, Error> {
    let path = folder.socket(generation);
    files::remove_file(&path)?;
    UnixListener::bind(&path).map_err(Error::io(format!("bind {}", path.display())))
}

/// What is known before there is a sandbox.
struct Plan {
    incarnation: Incarnation,
    folder: SandboxDir,
    driver: Result<Arc<dyn driver::Driver>, Error>,
    origin: Result<start::From, Error>,
}

impl Plan {
    /// All that needs the one thread. What fails here is recorded like any other failure to start, once there is somebody to tell.
    fn make(spec: SandboxSpec, folder: SandboxDir) -> Self {
        let incarnation = Incarnation {
            instance: spec.id.instance(spec.generation),
            scratch: folder.incarnation(spec.generation),
            spec,
        };
        let driver = driver::by_name(&incarnation.spec.driver);
        let origin = match &driver {
            Ok(driver) => ready(&incarnation, driver.as_ref()),
            // Reported with the driver.
            Err(_) => Err(Error::Gone),
        };
        Self {
            incarnation,
            folder,
            driver,
            origin,
        }
    }

    /// Log, pipes and the state that all threads share.
    fn open(self, wiring: Wiring) -> Result<(Arc<Shim>, start::Ready), Error> {
        let boundary = match &self.origin {
            Ok(start::From::Checkpoint(reader)) => {
                reader.manifest().log_offset_of(&self.incarnation.spec.job)
            }
            Ok(start::From::Fresh) | Err(_) => 0,
        };
        let log = LogWriter::open(&self.folder.log(), boundary)?;
        let (raw, raw_writer) = process::pipe()?;
        process::enlarge(raw.as_fd());
        let output = Output::new(log, raw, self.incarnation.spec.tty);
        let (driver, from) = match (self.driver, self.origin) {
            (Ok(driver), Ok(from)) => (Some(driver), Ok(from)),
            (Ok(driver), Err(error)) => (Some(driver), Err(error)),
            (Err(error), _) => (None, Err(error)),
        };
        let shim = Shim::new(self.incarnation, self.folder, driver, output, wiring);
        Ok((Arc::new(shim), start::Ready { from, raw_writer }))
    }
}

/// The record of an incarnation that did not come to be.
fn failure(spec: &SandboxSpec, error: &Error) -> ExitRecord {
    let at = clock::now().0;
    match (&spec.origin, error) {
        (Origin::Checkpoint { .. }, error) => ExitRecord::RestoreFailed {
            message: error.to_string(),
            bad_image: matches!(error, Error::BadImage(_)),
            at,
        },
        (Origin::Fresh | Origin::Files { .. }, Error::StartFailed { code, message }) => {
            ExitRecord::StartFailed {
                failure: StartFailure {
                    code: *code,
                    message: message.clone(),
                },
                at,
            }
        }
        (Origin::Fresh | Origin::Files { .. }, error) => ExitRecord::StartFailed {
            failure: StartFailure {
                code: 125,
                message: error.to_string(),
            },
            at,
        },
    }
}
