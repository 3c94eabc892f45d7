//! What lies below upper folders: one read-only folder, or several of which the first that has a path decides.

use super::changes::{is_opaque, is_whiteout};
use crate::Error;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

/// A read-only folder, and where in a sandbox it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// On the host.
    pub folder: PathBuf,
    /// Inside, absolute.
    pub point: PathBuf,
}

impl Layer {
    /// One that begins at the root.
    #[must_use]
    pub fn of_root(folder: PathBuf) -> Self {
        let point = PathBuf::from("/");
        Self { folder, point }
    }
}

/// Read-only folders, the topmost first.
#[derive(Clone, Copy, Debug)]
pub struct Below<'a>(pub &'a [Layer]);

impl<'a> Below<'a> {
    /// Each layer that may have this path, with the path as it is below it.
    fn layers<'p>(self, path: &'p Path) -> impl Iterator<Item = (&'a Path, &'p Path)> {
        self.0.iter().filter_map(move |layer| {
            let within = path.strip_prefix(&layer.point).ok()?;
            Some((layer.folder.as_path(), within))
        })
    }

    /// What is seen at this path, absolute inside.
    pub(super) fn look(self, path: &Path) -> Result<Option<Metadata>, Error> {
        for (layer, within) in self.layers(path) {
            let at = layer.join(within);
            if let Ok(meta) = fs::symlink_metadata(&at) {
                return Ok((!is_whiteout(&at, &meta)?).then_some(meta));
            }
            if self.0.len() > 1 && hides(layer, within)? {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// The names that are seen in the folder at this path.
    pub(super) fn names(self, path: &Path) -> Result<BTreeSet<OsString>, Error> {
        let mut names = BTreeSet::new();
        for (layer, within) in self.layers(path) {
            // Not every layer has it, and one may have something else there: what is seen is asked for each name.
            let Ok(entries) = fs::read_dir(layer.join(within)) else {
                continue;
            };
            for entry in entries {
                let entry = entry.map_err(Error::io(format!("list {}", layer.display())))?;
                names.insert(entry.file_name());
            }
        }
        let mut seen = BTreeSet::new();
        for name in names {
            if self.look(&path.join(&name))?.is_some() {
                seen.insert(name);
            }
        }
        Ok(seen)
    }
}

/// Whether a layer that does not have this path keeps it from being seen in those below.
fn hides(layer: &Path, within: &Path) -> Result<bool, Error> {
    for above in within.ancestors().skip(1) {
        if above.as_os_str().is_empty() {
            break;
        }
        let at = layer.join(above);
        if let Ok(meta) = fs::symlink_metadata(&at) {
            return Ok(!meta.is_dir() || is_opaque(&at)?);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::{Mode, SFlag, mknod};

    #[test]
    fn the_topmost_layer_that_has_a_path_decides() {
        let folder = tempfile::tempdir().unwrap();
        let layer = |name: &str| folder.path().join(name);
        for path in ["low/d/a", "low/d/b", "low/e/c", "top/e/x"] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::create_dir(layer("top/d")).unwrap();
        mknod(&layer("top/d/a"), SFlag::S_IFCHR, Mode::empty(), 0).unwrap();
        fs::write(layer("top/f"), "in the place of a folder").unwrap();
        fs::create_dir_all(layer("low/f/g")).unwrap();
        let layers = [layer("top"), layer("low")].map(Layer::of_root);
        let below = Below(&layers);
        let seen = |path: &str| below.look(Path::new(path)).unwrap().is_some();
        assert!(
            !seen("/d/a")
                && seen("/d/b")
                && seen("/e/c")
                && seen("/e/x")
                && seen("/f")
                && !seen("/f/g")
        );
        let names = below.names(Path::new("/d")).unwrap();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["b"]);
        assert_eq!(below.names(Path::new("/e")).unwrap().len(), 2);
    }
}
