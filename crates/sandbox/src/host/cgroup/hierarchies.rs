//! Which cgroup hierarchies this machine has, and where sandboxes go in them.

use std::path::{Path, PathBuf};

/// The folder in every hierarchy that holds all sandboxes.
pub(super) const PARENT: &str = "dauer";

/// The hierarchies of this machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    /// The version 2 tree.
    pub(super) unified: Option<PathBuf>,
    /// Its controllers.
    controllers: String,
    /// Version 1 hierarchies by mount point.
    pub(super) legacy: Vec<PathBuf>,
}

impl Machine {
    pub(super) fn look() -> Self {
        let base = Path::new("/sys/fs/cgroup");
        let unified = [base.to_path_buf(), base.join("unified")]
            .into_iter()
            .find(|folder| folder.join("cgroup.controllers").exists());
        let controllers = unified
            .as_ref()
            .and_then(|folder| std::fs::read_to_string(folder.join("cgroup.controllers")).ok())
            .unwrap_or_default();
        let mut legacy = Vec::new();
        if unified.as_deref() != Some(base) {
            for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
                let path = entry.path();
                // Names such as `cpu` are often links to `cpu,cpuacct`; both are the same hierarchy.
                let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                if !is_link && path.join("cgroup.procs").exists() && Some(&path) != unified.as_ref()
                {
                    legacy.push(path);
                }
            }
        }
        Self {
            unified,
            controllers,
            legacy,
        }
    }

    pub(super) fn has_controller(&self, name: &str) -> bool {
        self.controllers
            .split_whitespace()
            .any(|controller| controller == name)
    }

    /// The version 1 hierarchy of a controller.
    pub(super) fn legacy_of(&self, name: &str) -> Option<&PathBuf> {
        self.legacy.iter().find(|folder| {
            let folder = folder
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            folder.split(',').any(|controller| controller == name)
        })
    }

    /// The folder of version 2 that sandboxes go below: at the top for root, else the delegated ancestor nearest to the top.
    pub(super) fn unified_parent(&self) -> Option<PathBuf> {
        let top = self.unified.as_ref()?;
        if writable(top) {
            return Some(top.join(PARENT));
        }
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let mut candidate = top.clone();
        for part in Path::new(own).components() {
            candidate.push(part);
            if writable(&candidate) {
                return Some(candidate.join(PARENT));
            }
        }
        None
    }

    /// Every folder there may be for `instance`.
    pub(super) fn folders(&self, instance: &str) -> Vec<PathBuf> {
        let legacy = self.legacy.iter().map(|folder| folder.join(PARENT));
        legacy
            .chain(self.unified_parent())
            .map(|parent| parent.join(instance))
            .collect()
    }
}

/// Whether this user may make cgroups there and move processes to them.
pub(super) fn writable(folder: &Path) -> bool {
    let procs = folder.join("cgroup.procs");
    nix::unistd::access(&procs, nix::unistd::AccessFlags::W_OK).is_ok()
        && nix::unistd::access(folder, nix::unistd::AccessFlags::W_OK).is_ok()
}
