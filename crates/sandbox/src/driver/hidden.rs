//! How what tells or changes something about the host is hidden without a tmpfs, which is how runtimes mask folders: CRIU
//! starts `tar` for each of those, at every freeze and at every thaw.

use super::mount_points;
use crate::Error;
use crate::host::mounts;
use std::path::Path;

/// What is done to each of those paths.
pub(super) struct Hidden {
    /// Covered by `/dev/null`.
    pub(super) files: Vec<&'static str>,
    /// Covered by an empty folder.
    pub(super) covered: Vec<&'static str>,
    /// Nothing can be changed in there. Folders of `/proc`, which no runtime lets a mount cover, tell no more than which devices there are.
    pub(super) read_only: Vec<&'static str>,
}

impl Hidden {
    pub(super) fn plan() -> Result<Self, Error> {
        let mut plan = Self {
            files: Vec::new(),
            covered: Vec::new(),
            read_only: mount_points::READ_ONLY.to_vec(),
        };
        for path in mount_points::MASKED {
            let list = if !Path::new(path).exists() || !mounts::is_folder(Path::new(path))? {
                &mut plan.files
            } else if path.starts_with("/proc/") {
                &mut plan.read_only
            } else {
                &mut plan.covered
            };
            list.push(path);
        }
        Ok(plan)
    }
}
