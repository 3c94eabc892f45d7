//! Before a restore: is the checkpoint whole and made for a machine like this one? And its files put in place.

use super::start::From;
use crate::driver::{Driver, Incarnation};
use crate::host::userns;
use crate::snapshot::Reader;
use crate::{Error, Origin, disk, files};

/// What this incarnation begins from. For a checkpoint: its uppers are copied to where `prepare` will mount them; nothing of it is verified yet,
/// and until its reader is dropped nobody takes its content away. Errors: `BadImage` for what can never be restored here; `NoSpace`; `Io`.
pub(super) fn begin(incarnation: &Incarnation, driver: &dyn Driver) -> Result<From, Error> {
    let spec = &incarnation.spec;
    let Some(checkpoint) = spec.origin.checkpoint() else {
        return Ok(From::Fresh);
    };
    if !userns::is_root() {
        // Owners are part of what is verified, and the manifest names them as they are in there.
        userns::enter()?;
    }
    let reader = Reader::open(&spec.layout, checkpoint)?;
    let uppers = driver.uppers(incarnation);
    for (point, saved) in reader.manifest().saved_uppers(reader.folder()) {
        let upper = uppers
            .iter()
            .find(|(own, _)| *own == point)
            .map(|(_, upper)| upper);
        let Some(upper) = upper else {
            // Where nothing was changed it does not matter that this machine does not have that file system, or no longer.
            if disk::is_empty(&saved)? {
                continue;
            }
            return Err(Error::BadImage(format!(
                "checkpoint {checkpoint} has changed files on {point}, which is no file system here"
            )));
        };
        // Of an earlier try of this same incarnation.
        files::remove_tree(upper)?;
        disk::copy_tree(&saved, upper)?;
    }
    match &spec.origin {
        Origin::Fresh | Origin::Files { .. } => {
            // Nothing else verifies them: the program begins at once.
            reader.manifest().verify(reader.folder())?;
            Ok(From::Fresh)
        }
        Origin::Checkpoint { .. } if !reader.manifest().has_memory() => Err(Error::BadImage(
            format!("{checkpoint} has no memory: a program can only begin anew on its files"),
        )),
        Origin::Checkpoint { .. } => Ok(From::Checkpoint(Box::new(reader))),
    }
}

/// Refuses what this machine or its tools cannot restore. After `prepare`, by which the driver knows where it keeps what it has found out about
/// its tools: asking them anew takes longer than some restores. Errors: `BadImage`.
pub(super) fn check_machine(from: &From, driver: &dyn Driver) -> Result<(), Error> {
    let From::Checkpoint(reader) = from else {
        return Ok(());
    };
    let checkpointer = driver.checkpointer().ok_or_else(|| {
        Error::BadImage(format!(
            "driver {} cannot restore checkpoints",
            driver.name()
        ))
    })?;
    reader.manifest().check_machine(&checkpointer.identity()?)
}
