//! Checkpoints out of and into this node, each by a process of its own (`dauer snapshot-stream`): it becomes root of a user namespace where the
//! daemon is an ordinary user, because a manifest names owners as they are in there, and what it reads and unpacks is not in the daemon's memory.

use crate::driver;
use crate::host::userns;
use crate::snapshot::{self, Manifest};
use crate::{Error, Layout, image};
use dauer_core::CheckpointId;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// What is wrong is with the stream, or with this machine for it.
pub const REFUSED: i32 = 3;

/// See [`run`].
#[must_use]
pub(crate) fn command(binary: &Path, layout: &Layout, verb: &str, id: &CheckpointId) -> Command {
    let mut command = Command::new(binary);
    command
        .args(["snapshot-stream", verb])
        .args([&layout.data, &layout.run])
        .arg(id.as_str())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What `main` calls for `snapshot-stream export|import DATA RUN ID`; returns the exit code: 0, 1, or [`REFUSED`]. An export is written to
/// the standard output, and what is known of it is read from the standard input, as JSON or nothing; an import is read from the standard
/// input, and then its head is the output. Errors are one line. Expects one thread.
#[must_use]
pub fn run(arguments: &[String]) -> i32 {
    let [verb, data, run, id] = arguments else {
        eprintln!("dauer: snapshot-stream is for dauer itself");
        return 2;
    };
    let layout = Layout {
        data: data.into(),
        run: run.into(),
    };
    match carry(verb, &layout, &CheckpointId(id.clone())) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("dauer: {error}");
            match error {
                Error::BadImage(_) | Error::Invalid(_) | Error::Unsupported(_) => REFUSED,
                Error::NoSpace { .. }
                | Error::Gone
                | Error::Registry(_)
                | Error::StartFailed { .. }
                | Error::Tool { .. }
                | Error::Refused(_)
                | Error::Io { .. } => 1,
            }
        }
    }
}

fn carry(verb: &str, layout: &Layout, id: &CheckpointId) -> Result<(), Error> {
    if !userns::is_root() {
        userns::enter()?;
    }
    match verb {
        "export" => {
            let mut about = Vec::new();
            let read = io::stdin().lock().read_to_end(&mut about);
            read.map_err(Error::io("read what is known of it"))?;
            let about = serde_json::from_slice(&about).ok();
            snapshot::export(layout, id, about, io::stdout().lock()).map(drop)
        }
        "import" => {
            let input = io::stdin().lock();
            let head =
                snapshot::import(layout, id, input, |manifest| check_here(layout, manifest))?;
            let text = serde_json::to_vec(&head)
                .map_err(|e| Error::io("write its head")(io::Error::other(e)))?;
            io::stdout()
                .write_all(&text)
                .map_err(Error::io("write its head"))
        }
        other => Err(Error::Invalid(format!("{other:?} is not export or import"))),
    }
}

/// Refuses what could never be restored on this machine: another driver or version of it, another processor, an image that is not here.
fn check_here(layout: &Layout, manifest: &Manifest) -> Result<(), Error> {
    image::check(layout, &manifest.image)?;
    if !manifest.has_memory() {
        // Files are read by any driver.
        return Ok(());
    }
    let driver = driver::by_name(&manifest.identity.driver)?;
    let checkpointer = driver.checkpointer().ok_or_else(|| {
        Error::Unsupported(format!(
            "driver {} cannot restore checkpoints",
            driver.name()
        ))
    })?;
    manifest.check_machine(&checkpointer.identity()?)
}
