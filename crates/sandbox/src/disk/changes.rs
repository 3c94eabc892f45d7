//! What a sandbox changed, read off its upper folders.

use super::below::Below;
use super::tree::walk;
use super::xattr;
use crate::Error;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It was there and is another one now; of a folder: its entries, owner or mode.
    Modified,
    /// It is hidden.
    Deleted,
}

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Changed {
    /// Absolute, inside the sandbox. Bytes that are no text are shown as `\u{fffd}`.
    pub path: String,
    /// What happened.
    pub kind: ChangeKind,
}

/// What the kernel or Dauer puts into every sandbox.
const ARTEFACTS: [&str; 4] = ["/dev", "/proc", "/sys", "/run/dauer"];

/// Changes in these uppers (mount point inside, folder on the host) against the read-only root below, sorted by path. Mount points that only
/// exist because something is mounted there (`mount_points`) are no changes, nor are the folders made for them.
pub fn changes(
    uppers: &[(String, PathBuf)],
    below: Below<'_>,
    mount_points: &[String],
) -> Result<Vec<Changed>, Error> {
    let mut found = Vec::new();
    for (point, upper) in uppers {
        if upper.exists() {
            one_upper(Path::new(point), upper, below, &mut found)?;
        }
    }
    let artefacts: Vec<&Path> = ARTEFACTS
        .iter()
        .map(Path::new)
        .chain(mount_points.iter().map(Path::new))
        .collect();
    found.retain(|(path, _, _)| !artefacts.iter().any(|artefact| path.starts_with(artefact)));
    // Deepest first, so that a folder that held nothing but artefacts goes after what was in it.
    found.sort_by(|a, b| b.0.cmp(&a.0));
    let mut kept: Vec<(PathBuf, ChangeKind)> = Vec::new();
    for (path, kind, is_folder) in found {
        let made_for_artefact =
            is_folder && artefacts.iter().any(|artefact| artefact.starts_with(&path));
        if !made_for_artefact || kept.iter().any(|(below, _)| below.starts_with(&path)) {
            kept.push((path, kind));
        }
    }
    let mut changed: Vec<Changed> = kept
        .into_iter()
        .map(|(path, kind)| Changed {
            path: path.to_string_lossy().into_owned(),
            kind,
        })
        .collect();
    changed.sort();
    Ok(changed)
}

type Found = (PathBuf, ChangeKind, bool);

fn one_upper(
    point: &Path,
    upper: &Path,
    below: Below<'_>,
    found: &mut Vec<Found>,
) -> Result<(), Error> {
    walk(upper, |path, meta| {
        let inside = point.join(path.strip_prefix(upper).unwrap_or(path));
        let old = below.look(&inside)?;
        let is_folder = meta.is_dir();
        if is_whiteout(path, meta)? {
            // One over nothing is a leftover of a file that was made and deleted.
            if old.is_some() {
                found.push((inside, ChangeKind::Deleted, false));
            }
            return Ok(());
        }
        let Some(old) = old else {
            found.push((inside, ChangeKind::Added, is_folder));
            return Ok(());
        };
        if !is_folder || !old.is_dir() {
            found.push((inside, ChangeKind::Modified, is_folder));
            return Ok(());
        }
        if is_opaque(path)? {
            hidden_by(below, path, &inside, found)?;
        }
        let look = |meta: &Metadata| {
            (
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.mtime(),
                meta.mtime_nsec(),
            )
        };
        // An ancestor of a change is copied up unchanged.
        if look(meta) != look(&old) {
            found.push((inside, ChangeKind::Modified, true));
        }
        Ok(())
    })
}

/// A folder that was deleted and made again hides all that was in the old one.
fn hidden_by(
    below: Below<'_>,
    new: &Path,
    inside: &Path,
    found: &mut Vec<Found>,
) -> Result<(), Error> {
    for name in below.names(inside)? {
        if fs::symlink_metadata(new.join(&name)).is_err() {
            found.push((inside.join(name), ChangeKind::Deleted, false));
        }
    }
    Ok(())
}

pub(super) fn is_whiteout(path: &Path, meta: &Metadata) -> Result<bool, Error> {
    let kind = meta.file_type();
    if kind.is_char_device() {
        return Ok(meta.rdev() == 0);
    }
    if !kind.is_file() || meta.len() != 0 {
        return Ok(false);
    }
    let mark = xattr::overlay(path, c"trusted.overlay.whiteout", c"user.overlay.whiteout");
    Ok(mark
        .map_err(Error::io(format!("look at {}", path.display())))?
        .is_some())
}

pub(crate) fn is_opaque(path: &Path) -> Result<bool, Error> {
    let mark = xattr::overlay(path, c"trusted.overlay.opaque", c"user.overlay.opaque");
    Ok(mark
        .map_err(Error::io(format!("look at {}", path.display())))?
        .is_some_and(|value| value == b"y"))
}
