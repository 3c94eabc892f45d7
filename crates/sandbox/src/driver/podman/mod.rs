//! Containers of Podman: made, named and labelled by Podman, so that its own commands show and reach them; driven like any other sandbox.
//!
//! ```text
//! shim ── podman run ── conmon ── runc ── guest agent
//!           │             └ a script of ours: gives it the agent's pipes, and for a thaw has it restore in place of create
//!           └ through the command line, because only that sees the mounts of the shim's own namespace
//!
//! scratch/podman/      the script, the container's id and pid, what the tools had to say
//! /dauer/<instance>/   in every cgroup hierarchy: libpod-<id> is the container, conmon its keeper, podman our own tools
//! ```
//!
//! Freezing asks the runtime that Podman uses, for Podman's own verb cannot hold a container still while its files are copied.
//! Why this way: docs/decisions/0024-podman-by-its-command-line.md

mod checkpoint;
mod conmon;
mod container;
mod options;
mod rootless;
mod script;
mod tools;

use super::{AgentStdio, Checkpointer, Driver, Incarnation, Running, agent, common, criu};
use crate::host::cgroup::{self, Limits};
use crate::host::root::make_folder;
use crate::host::userns;
use crate::{Error, SandboxSpec};
use container::Container;
pub(crate) use container::sweep;
use dauer_core::Network;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use tools::Tools;

/// The driver's name.
const NAME: &str = "podman";

/// How long a keeper may take to end after its container; one that takes longer is killed.
const KEEPER_MAX: Duration = Duration::from_secs(2);

/// The driver that calls Podman.
#[derive(Debug, Default)]
pub struct Podman {
    /// Where versions and digests of tools are remembered; known from the first incarnation on.
    cache: OnceLock<PathBuf>,
    /// The network namespaces of incarnations of this process: Podman names them by descriptor, and looks them up again.
    networks: Mutex<Vec<OwnedFd>>,
    criu_is_informed: criu::Informed,
}

impl Podman {
    /// It has no configuration.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has Podman make the container and `conmon` start, or restore, what is in it.
    fn launch(
        &self,
        incarnation: &Incarnation,
        agent: &Path,
        stdio: &AgentStdio,
        from: Option<&conmon::Image>,
    ) -> Result<Running, Error> {
        let tools = Tools::of(&incarnation.instance, &incarnation.spec.layout.data)?;
        let network = common::network(incarnation)?;
        let container = Container::of(&incarnation.instance, &incarnation.scratch);
        container.clear_the_way()?;
        let keeper = conmon::write(
            &container.folder,
            &tools,
            &incarnation.instance,
            stdio,
            from,
        )?;
        let options = options::of(incarnation, agent, network.as_ref(), &container)?;
        match from {
            None => tools.run(&container, &keeper, &options)?,
            Some(_) => {
                tools.create(&container, &options)?;
                tools.initialize(&container, &keeper)?;
                tools.declare_started(&container);
            }
        }
        let pid = container.pid()?;
        let mut networks = self.networks.lock().expect("no holder panics");
        networks.extend(network);
        Ok(Running { pid })
    }
}

fn limits(spec: &SandboxSpec) -> Limits {
    Limits {
        cpu_millis: spec.cpu_millis,
        memory_bytes: spec.memory_bytes,
    }
}

impl Driver for Podman {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self, spec: &SandboxSpec) -> Result<(), Error> {
        tools::check()?;
        common::check(spec, NAME)?;
        options::check(spec)?;
        cgroup::check_limits(&limits(spec))
    }

    fn freezable(&self, spec: &SandboxSpec) -> Result<(), Error> {
        checkpoint::check_tools()?;
        match spec.network {
            Network::None | Network::Nat => Ok(()),
            Network::Host => Err(Error::Unsupported(common::HOST_NETWORK.to_owned())),
        }
    }

    fn prepare(&self, incarnation: &Incarnation) -> Result<(), Error> {
        let data = &incarnation.spec.layout.data;
        // Set once per process; a second incarnation of the same process has the same data folder.
        let _ = self.cache.set(data.join("tools.json"));
        for folder in [data, &incarnation.scratch] {
            make_folder(&folder.join(container::FOLDER))?;
        }
        common::prepare(incarnation).map(drop)
    }

    fn start(&self, incarnation: &Incarnation, stdio: AgentStdio) -> Result<Running, Error> {
        let agent = agent::of_fresh(incarnation)?;
        self.launch(incarnation, &agent, &stdio, None)
    }

    fn destroy(&self, instance: &str, scratch: &Path) -> Result<(), Error> {
        // The container first: its keeper then writes down for Podman how it ended, and ends too.
        cgroup::destroy_below(instance, container::CGROUP)?;
        cgroup::wait_until_empty(instance, Instant::now() + KEEPER_MAX)?;
        common::destroy(instance, scratch)?;
        Container::of(instance, scratch).remove()
    }

    fn was_out_of_memory(&self, incarnation: &Incarnation) -> bool {
        cgroup::was_out_of_memory(&incarnation.instance)
    }

    fn memory_bytes(&self, incarnation: &Incarnation) -> u64 {
        common::memory_bytes(incarnation)
    }

    fn uppers(&self, incarnation: &Incarnation) -> Vec<(String, PathBuf)> {
        common::uppers(incarnation)
    }

    fn checkpointer(&self) -> Option<&dyn Checkpointer> {
        (userns::is_root() && checkpoint::check_tools().is_ok()).then_some(self)
    }
}
