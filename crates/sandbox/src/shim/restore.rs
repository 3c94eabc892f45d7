//! Before a restore: is the checkpoint whole and made for a machine like this one? And its files put in place.

use super::start::From;
use crate::driver::{Driver, Incarnation};
use crate::host::root::{self, Piece, Root, make_folder};
use crate::host::userns;
use crate::snapshot::Reader;
use crate::{Error, Origin, disk, files};
use std::path::Path;

/// What this incarnation begins from. The uppers of a checkpoint are copied to where `prepare` will mount them, or linked to where it stacks its own
/// on them; nothing of a memory is verified yet, and until its reader is dropped nobody takes its content away. Errors: `BadImage` for what can
/// never be restored here; `NoSpace`; `Io`.
pub(super) fn begin(incarnation: &Incarnation) -> Result<From, Error> {
    let spec = &incarnation.spec;
    let Some(checkpoint) = spec.origin.checkpoint() else {
        return Ok(From::Fresh);
    };
    if !userns::is_root() {
        // Owners are part of what is verified, and the manifest names them as they are in there.
        userns::enter()?;
    }
    let reader = Reader::open(&spec.layout, checkpoint)?;
    let scratch = &incarnation.scratch;
    make_folder(scratch)?;
    let root = Root::plan(incarnation)?;
    // What is put in place for these pieces is for the same ones in every plan to come.
    root.record(scratch)?;
    for (point, saved) in reader.manifest().saved_uppers(reader.folder()) {
        let place = |piece: &Piece| piece.point == Path::new(&point);
        let Some(number) = root.pieces.iter().position(place) else {
            // Where nothing was changed it does not matter that this machine does not have that file system, or no longer.
            if disk::is_empty(&saved)? {
                continue;
            }
            return Err(Error::BadImage(format!(
                "checkpoint {checkpoint} has changed files on {point}, which is no file system here"
            )));
        };
        let piece = &root.pieces[number];
        // Of an earlier try of this same incarnation.
        let below = root::below(scratch, number);
        files::remove_tree(&piece.upper)?;
        files::remove_tree(&below)?;
        match &spec.origin {
            // A program that begins has no file open yet. One that goes on may have the same one open to read and to write: those of two layers
            // are two files.
            Origin::Files { .. } if piece.can_be_stacked(&below) => {
                disk::link_tree(&saved, &below)?;
            }
            Origin::Fresh | Origin::Files { .. } | Origin::Checkpoint { .. } => {
                disk::copy_tree(&saved, &piece.upper)?;
            }
        }
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
