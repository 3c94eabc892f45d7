//! What differs between the OCI runtimes.

use super::{SOCKET, STATE_FOLDER, tool};
use crate::driver::capabilities;
use crate::host::userns;
use crate::{Error, SandboxSpec};
use dauer_core::{Network, SandboxId};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Which runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// runsc: a kernel of its own in user space.
    Gvisor,
    /// runc: namespaces; checkpoints by CRIU.
    Runc,
    /// crun: namespaces.
    Crun,
}

impl Profile {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "gvisor" => Some(Self::Gvisor),
            "runc" => Some(Self::Runc),
            "crun" => Some(Self::Crun),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gvisor => "gvisor",
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }

    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Gvisor => "runsc",
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }

    /// The command that installs it.
    pub(super) fn install(self) -> &'static str {
        super::super::probe::install_command(self.name())
    }

    /// Options before the verb. `--root=<folder>` is one argument: it names the sandbox in every process of the runtime.
    pub(super) fn options(self, scratch: &Path, log: &Path, network: Network) -> Vec<OsString> {
        let with = |name: &str, value: &Path| {
            let mut option = OsString::from(name);
            option.push(value);
            option
        };
        let mut options = vec![
            with("--root=", &scratch.join(STATE_FOLDER)),
            with("--log=", log),
        ];
        match self {
            Self::Gvisor => {
                let network = match network {
                    Network::None => "--network=none",
                    Network::Nat => "--network=sandbox",
                    Network::Host => "--network=host",
                };
                let fixed = ["--platform=systrap", "--ignore-cgroups", "--overlay2=none"];
                options.extend([network].into_iter().chain(fixed).map(OsString::from));
                // Or an open connection to the outside would make every checkpoint fail; so it breaks, and the program sees that.
                options.push(OsString::from("--net-disconnect-ok=true"));
            }
            Self::Runc => options.extend(self.criu().map(|criu| with("--criu=", &criu))),
            // It is started inside its cgroup already.
            Self::Crun => options.push(OsString::from("--cgroup-manager=disabled")),
        }
        options
    }

    /// What the agent may do.
    pub(super) fn agent_capabilities(self) -> Vec<&'static str> {
        match self {
            // Nobody else can name a host that its own kernel keeps.
            Self::Gvisor => capabilities::names_of_a_naming_agent(),
            Self::Runc | Self::Crun => capabilities::names().to_vec(),
        }
    }

    /// The file of an image that this runtime reads when it has set itself up, from the beginning to the end.
    pub(super) fn gate(self) -> &'static str {
        match self {
            Self::Gvisor => "pages_meta.img",
            Self::Runc | Self::Crun => "pstree.img",
        }
    }

    pub(super) fn criu(self) -> Option<PathBuf> {
        match self {
            Self::Runc => tool::find_criu(),
            Self::Gvisor | Self::Crun => None,
        }
    }

    /// Whether it can freeze memory; else why not. Errors: `Unsupported`.
    pub(super) fn check_checkpoints(self) -> Result<(), Error> {
        let refuse = |why: &str| {
            Err(Error::Unsupported(format!(
                "driver {} cannot checkpoint memory: {why}",
                self.name()
            )))
        };
        match self {
            Self::Gvisor => Ok(()),
            Self::Runc if !userns::is_root() => refuse("CRIU needs root; use gvisor"),
            Self::Runc if self.criu().is_none() => {
                refuse("CRIU is not installed; install it (see dauer doctor) or use gvisor")
            }
            Self::Runc => Ok(()),
            Self::Crun => refuse("use gvisor or runc"),
        }
    }
}

/// A socket's path has at most 107 bytes; runsc puts its own into the state folder.
pub(super) fn check_socket_path(spec: &SandboxSpec) -> Result<(), Error> {
    // A job that is only being created has no sandbox yet; all ids have one length, and generations have few digits.
    let scratch = spec
        .layout
        .sandbox(&SandboxId("0123456789abcdef".to_owned()))
        .incarnation(1_000_000);
    let socket = scratch.join(STATE_FOLDER).join(SOCKET);
    let excess = socket.as_os_str().len().saturating_sub(107);
    if excess > 0 {
        return Err(Error::Unsupported(format!(
            "the path of the data folder {} is {excess} bytes too long for driver gvisor: use a shorter --data-dir",
            spec.layout.data.display()
        )));
    }
    Ok(())
}

/// A word of a command line.
pub(super) fn os(text: &'static str) -> &'static OsStr {
    OsStr::new(text)
}
