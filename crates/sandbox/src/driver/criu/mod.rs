//! CRIU as every driver needs it that freezes memory by way of runc.

mod kdat;
mod uts;

pub(in crate::driver) use uts::renamed;

use super::Incarnation;
use super::tool;
use crate::Error;
use crate::host::root::make_folder;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Its own configuration. The network needs no lock: nothing but the sandbox's own loopback carries a connection that is kept. Its one
/// cgroup is made and limited anew for each incarnation, by the runtime: reading and writing every value of every controller
/// would be for nothing.
const CONFIGURATION: &str =
    "network-lock skip\nmanage-cgroups=ignore\nghost-limit 1073741824\nlink-remap\n";

/// The annotation by which runc tells CRIU where its configuration is.
pub(super) const CONFIGURATION_ANNOTATION: &str = "org.criu.config";

/// Writes the configuration into `folder` and says where it is.
pub(super) fn configure(folder: &Path) -> Result<PathBuf, Error> {
    let path = folder.join("criu.conf");
    std::fs::write(&path, CONFIGURATION).map_err(Error::io(format!("write {}", path.display())))?;
    Ok(path)
}

/// Whether CRIU was shown in this process what is known of the kernel.
#[derive(Debug, Default)]
pub(super) struct Informed(OnceLock<()>);

impl Informed {
    /// To be called before CRIU is started, in the shim's own mount namespace.
    pub(super) fn inform(&self, incarnation: &Incarnation) {
        self.0.get_or_init(|| {
            if let Some(criu) = tool::find_criu() {
                kdat::show(&incarnation.spec.layout.data, &criu);
            }
        });
    }
}

/// Where one run of CRIU leaves its log.
pub(super) fn work_folder(incarnation: &Incarnation) -> Result<PathBuf, Error> {
    let folder = incarnation.scratch.join("criu");
    make_folder(&folder)?;
    Ok(folder)
}

/// Adds to a failure of the runtime what CRIU wrote into its own log.
pub(super) fn with_log(error: Error, log: &Path) -> Error {
    let errors = std::fs::read_to_string(log).unwrap_or_default();
    let mut errors: Vec<_> = errors
        .lines()
        .filter(|line| line.contains("Error ("))
        .map(str::trim)
        .collect();
    match error {
        Error::Tool {
            tool,
            status,
            output,
        } if !errors.is_empty() => {
            errors.truncate(3);
            Error::Tool {
                tool,
                status,
                output: format!("{}; {output}", errors.join("; ")),
            }
        }
        other => other,
    }
}
