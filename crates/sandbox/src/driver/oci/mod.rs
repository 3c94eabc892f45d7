//! One driver for OCI runtimes, with a profile for each: gVisor (runsc), runc and crun.
//!
//! ```text
//! scratch/bundle/config.json   written at each start and restore
//! scratch/oci/                 the runtime's own state, one root per instance: nothing can be mistaken for another's
//! scratch/oci.log              what the tools had to say
//! ```
//!
//! To destroy takes no tool: everything is in the instance's cgroup, which is killed and removed.

mod bundle;
mod checkpoint;
mod control;
mod profile;

use super::{AgentStdio, Checkpointer, Driver, Incarnation, Running, agent, common, criu, tool};
use crate::host::cgroup::{self, Cgroup, Limits};
use crate::host::root::make_folder;
use crate::host::run::{Tool, View};
use crate::host::userns;
use crate::{Error, SandboxSpec};
use dauer_core::Network;
use profile::Profile;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

/// Of the runtime's state, in the scratch folder.
pub(crate) const STATE_FOLDER: &str = "oci";

/// The one container of each state folder.
const CONTAINER: &str = "box";

/// What gVisor calls the control socket of that container.
const SOCKET: &str = "runsc-box.sock";

/// The memory of gVisor's own processes, on top of what the job may use.
const GVISOR_OVERHEAD_BYTES: u64 = 96 << 20;

/// A driver that calls an OCI runtime.
#[derive(Debug)]
pub struct Oci {
    profile: Profile,
    /// Where versions and digests of tools are remembered; known from the first incarnation on.
    cache: OnceLock<PathBuf>,
    /// The network namespaces of incarnations of this process: `config.json` names them by descriptor, and runc looks them up again
    /// at each checkpoint.
    networks: Mutex<Vec<OwnedFd>>,
    /// CRIU was shown what is known of this kernel.
    criu_is_informed: criu::Informed,
}

impl Oci {
    /// `gvisor`, `runc` or `crun`. Errors: `Invalid`.
    pub fn new(name: &str) -> Result<Self, Error> {
        let profile = Profile::from_name(name).ok_or_else(|| {
            Error::Invalid(format!(
                "{name:?} is no OCI driver: use gvisor, runc or crun"
            ))
        })?;
        Ok(Self {
            profile,
            cache: OnceLock::new(),
            networks: Mutex::default(),
            criu_is_informed: criu::Informed::default(),
        })
    }

    fn runtime(&self) -> Result<PathBuf, Error> {
        let program = self.profile.program();
        tool::find(program).ok_or_else(|| {
            Error::Unsupported(format!(
                "driver {} needs {program}, which is not installed: {}",
                self.profile.name(),
                self.profile.install()
            ))
        })
    }

    fn limits(&self, spec: &SandboxSpec) -> Limits {
        let overhead = if self.profile == Profile::Gvisor {
            GVISOR_OVERHEAD_BYTES
        } else {
            0
        };
        Limits {
            cpu_millis: spec.cpu_millis,
            memory_bytes: spec
                .memory_bytes
                .map(|bytes| bytes.saturating_add(overhead)),
        }
    }

    /// `run` or `restore`: writes the bundle, then lets the runtime make the container and reads its pid.
    fn launch(
        &self,
        incarnation: &Incarnation,
        verb: &[&OsStr],
        agent: &Path,
        stdio: AgentStdio,
    ) -> Result<Running, Error> {
        let scratch = &incarnation.scratch;
        let program = self.runtime()?;
        let network = self.network(incarnation)?;
        let namespace = network
            .as_ref()
            .map(|fd| format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd()));
        let bundle = scratch.join("bundle");
        make_folder(&bundle)?;
        bundle::write(
            &bundle,
            self.profile,
            incarnation,
            agent,
            namespace.as_deref(),
            &self.limits(&incarnation.spec),
        )?;
        let pid_file = bundle.join("pid");
        // runc joins a cgroup it makes itself; the others are started inside.
        let cgroup = match self.profile {
            Profile::Runc => None,
            Profile::Gvisor | Profile::Crun => Some(Cgroup::create(
                &incarnation.instance,
                &self.limits(&incarnation.spec),
            )?),
        };
        let log = scratch.join("oci.log");
        let options = self
            .profile
            .options(scratch, &log, incarnation.spec.network);
        let mut argv = vec![program.as_os_str()];
        argv.extend(options.iter().map(OsString::as_os_str));
        argv.extend_from_slice(verb);
        argv.extend([
            OsStr::new("--detach"),
            OsStr::new("--bundle"),
            bundle.as_os_str(),
        ]);
        argv.extend([
            OsStr::new("--pid-file"),
            pid_file.as_os_str(),
            OsStr::new(CONTAINER),
        ]);
        let verb = verb
            .first()
            .map(|verb| verb.to_string_lossy())
            .unwrap_or_default();
        let mut env = tool::environment();
        env.push((super::INSTANCE_VARIABLE, OsStr::new(&incarnation.instance)));
        let tool = Tool {
            name: format!("{} {verb}", self.profile.program()),
            program: &program,
            argv,
            env,
            log: &log,
            stdio: Some(stdio),
            cgroup: cgroup.as_ref().and_then(Cgroup::folder),
            join: cgroup.as_ref().map(Cgroup::join).unwrap_or_default(),
            view: self.view(incarnation.spec.network),
        };
        tool.run()?;
        let text = fs::read_to_string(&pid_file)
            .map_err(Error::io(format!("read {}", pid_file.display())))?;
        let pid = text.trim().parse().map_err(|_| Error::Tool {
            tool: self.profile.program().to_owned(),
            status: "no pid".to_owned(),
            output: text,
        })?;
        self.networks
            .lock()
            .expect("no holder panics")
            .extend(network);
        Ok(Running { pid })
    }

    fn view(&self, network: Network) -> View {
        match (self.profile, network) {
            (Profile::Crun, _) if Path::new("/sys/fs/cgroup/unified").exists() => View::PureCgroup2,
            (Profile::Gvisor, Network::Nat) => View::NoNetworkSettings,
            (Profile::Gvisor | Profile::Runc | Profile::Crun, _) => View::Unchanged,
        }
    }

    /// A network namespace by descriptor, where the runtime is not to make one itself: with runc's own, loopback is down after a restore.
    fn network(&self, incarnation: &Incarnation) -> Result<Option<OwnedFd>, Error> {
        match (incarnation.spec.network, self.profile) {
            (Network::None, Profile::Gvisor) => Ok(None),
            (Network::None | Network::Host | Network::Nat, _) => common::network(incarnation),
        }
    }

    /// Runs a verb that takes the container and nothing else to its end.
    fn command(&self, incarnation: &Incarnation, verb: &[&OsStr]) -> Result<(), Error> {
        let program = self.runtime()?;
        let log = incarnation.scratch.join("oci.log");
        let options = self
            .profile
            .options(&incarnation.scratch, &log, incarnation.spec.network);
        let mut argv = vec![program.as_os_str()];
        argv.extend(options.iter().map(OsString::as_os_str));
        argv.extend_from_slice(verb);
        argv.push(OsStr::new(CONTAINER));
        let name = verb
            .first()
            .map(|verb| verb.to_string_lossy())
            .unwrap_or_default();
        let tool = Tool {
            name: format!("{} {name}", self.profile.program()),
            program: &program,
            argv,
            env: tool::environment(),
            log: &log,
            stdio: None,
            cgroup: None,
            join: Vec::new(),
            view: View::Unchanged,
        };
        tool.run()
    }
}

impl Driver for Oci {
    fn name(&self) -> &'static str {
        self.profile.name()
    }

    fn check(&self, spec: &SandboxSpec) -> Result<(), Error> {
        self.runtime()?;
        common::check(spec, self.profile.name())?;
        cgroup::check_limits(&self.limits(spec))?;
        if !userns::is_root() && self.profile == Profile::Crun {
            return Err(Error::Unsupported(
                "driver crun needs root: use gvisor or native".to_owned(),
            ));
        }
        if self.profile == Profile::Gvisor {
            profile::check_socket_path(spec)?;
        }
        Ok(())
    }

    fn freezable(&self, spec: &SandboxSpec) -> Result<(), Error> {
        self.profile.check_checkpoints()?;
        match spec.network {
            Network::None | Network::Nat => Ok(()),
            Network::Host => Err(Error::Unsupported(common::HOST_NETWORK.to_owned())),
        }
    }

    fn prepare(&self, incarnation: &Incarnation) -> Result<(), Error> {
        let data = &incarnation.spec.layout.data;
        // Set once per process; a second incarnation of the same process has the same data folder.
        let _ = self.cache.set(data.join("tools.json"));
        make_folder(&incarnation.scratch.join(STATE_FOLDER))?;
        common::prepare(incarnation).map(drop)
    }

    fn start(&self, incarnation: &Incarnation, stdio: AgentStdio) -> Result<Running, Error> {
        let agent = agent::of_fresh(incarnation)?;
        self.launch(incarnation, &[OsStr::new("run")], &agent, stdio)
    }

    fn destroy(&self, instance: &str, scratch: &Path) -> Result<(), Error> {
        common::destroy(instance, scratch)?;
        for folder in [STATE_FOLDER, "bundle"] {
            let path = scratch.join(folder);
            match fs::remove_dir_all(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io(format!("remove {}", path.display()))(e));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
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
        match self.profile {
            Profile::Gvisor => Some(self),
            Profile::Runc => self
                .profile
                .check_checkpoints()
                .is_ok()
                .then_some(self as &dyn Checkpointer),
            Profile::Crun => None,
        }
    }
}
