//! What a program leaves that ended well: the files it changed, published as a snapshot without memory.
//!
//! ```text
//! exit 0 ─ sandbox gone ─ uppers linked ─ digests ─ manifest ─ fsync ─ rename ─ exit.json
//! ```
//!
//! Before the end is told: whoever hears of it finds the snapshot, or in the record of the end why there is none.

use super::checkpoint::{Unpublished, blank, save_upper};
use super::state::Shim;
use crate::driver::Identity;
use crate::protocol::ExitRecord;
use crate::snapshot::Digests;
use crate::{Error, files};
use dauer_core::CheckpointId;
use std::fs;

/// Which snapshot is to be made of this end, if any is.
pub(super) fn wanted<'a>(shim: &'a Shim, record: &ExitRecord) -> Option<&'a CheckpointId> {
    match record {
        ExitRecord::Exited { status, .. } if status.code == Some(0) => {
            shim.incarnation.spec.keep_disk.as_ref()
        }
        ExitRecord::Exited { .. }
        | ExitRecord::StartFailed { .. }
        | ExitRecord::RestoreFailed { .. }
        | ExitRecord::Lost { .. }
        | ExitRecord::Suspended { .. } => None,
    }
}

/// The same end, once the files are kept; or with the reason for which they are not.
pub(super) fn keep(shim: &Shim, id: &CheckpointId, record: ExitRecord) -> ExitRecord {
    match publish(shim, id) {
        Ok(()) => record,
        Err(error) => unkept(record, &error),
    }
}

/// The same end, with the reason for which nothing is kept of it.
pub(super) fn unkept(mut record: ExitRecord, error: &Error) -> ExitRecord {
    eprintln!("shim: its files are not kept: {error}");
    if let ExitRecord::Exited { unkept, .. } = &mut record {
        *unkept = Some(error.to_string());
    }
    record
}

/// Nothing of the sandbox lives any more, so nothing writes to its files.
fn publish(shim: &Shim, id: &CheckpointId) -> Result<(), Error> {
    let layout = &shim.incarnation.spec.layout;
    let driver = shim.driver()?;
    let partial = layout.partial_snapshot(id);
    let uppers = driver.uppers(&shim.incarnation);
    let unpublished = Unpublished { shim, id };
    files::remove_tree(&partial)?;
    fs::create_dir_all(&partial).map_err(Error::io(format!("make {}", partial.display())))?;
    for (number, (_, upper)) in uppers.iter().enumerate() {
        save_upper(shim, number, upper, &partial, true)?;
    }
    // Files are read by any driver: its version is for people.
    let identity = match driver.checkpointer() {
        Some(checkpointer) => checkpointer.identity()?,
        None => Identity {
            driver: driver.name().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            digest: String::new(),
        },
    };
    let mut manifest = blank(shim, id, identity, &uppers)?;
    manifest.describe(&partial, &Digests::new())?;
    manifest.write(&partial)?;
    unpublished.publish()
}
