//! `podman` and what it calls: where they are, and how they are called.

use super::container::{Container, FOLDER};
use super::rootless::Storage;
use crate::Error;
use crate::driver::{INSTANCE_VARIABLE, probe, tool};
use crate::host::cgroup::{Cgroup, Limits};
use crate::host::run::{Tool, View};
use crate::host::userns;
use nix::unistd::geteuid;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Where distributions put `conmon` when it is in no PATH.
const CONMON: [&str; 3] = [
    "/usr/libexec/podman/conmon",
    "/usr/local/libexec/podman/conmon",
    "/usr/lib/podman/conmon",
];

/// The tools of this machine, as one instance calls them.
pub(super) struct Tools {
    pub(super) podman: PathBuf,
    pub(super) conmon: PathBuf,
    pub(super) runc: Option<PathBuf>,
    instance: String,
    /// An ordinary user's storage; root's is where Podman itself wants it.
    storage: Option<Storage>,
}

/// Refuses a machine without them. Errors: `Unsupported` with the command that installs them.
pub(super) fn check() -> Result<(), Error> {
    podman()?;
    conmon().map(drop)
}

pub(super) fn podman() -> Result<PathBuf, Error> {
    tool::find("podman").ok_or_else(|| missing("podman"))
}

fn conmon() -> Result<PathBuf, Error> {
    let known = CONMON.iter().map(PathBuf::from).find(|path| path.is_file());
    tool::find("conmon")
        .or(known)
        .ok_or_else(|| missing("conmon"))
}

/// Of all the runtimes of Podman the one that can freeze.
pub(super) fn runc() -> Option<PathBuf> {
    tool::find("runc")
}

fn missing(program: &str) -> Error {
    Error::Unsupported(format!(
        "driver podman needs {program}, which is not installed: {}",
        probe::install_command("podman")
    ))
}

impl Tools {
    pub(super) fn of(instance: &str, data: &Path) -> Result<Self, Error> {
        let runc = runc();
        Ok(Self {
            podman: podman()?,
            conmon: conmon()?,
            storage: (!userns::is_root()).then(|| Storage::of(data.join(FOLDER), runc.clone())),
            runc,
            instance: instance.to_owned(),
        })
    }

    /// Makes a container and starts it.
    pub(super) fn run(
        &self,
        container: &Container,
        keeper: &Path,
        options: &[OsString],
    ) -> Result<(), Error> {
        let mut words = self.global(Some(keeper));
        words.extend(["run", "--detach"].map(OsString::from));
        words.extend_from_slice(options);
        self.make("run", &words, &container.log())
    }

    /// Writes a container down and starts nothing.
    pub(super) fn create(&self, container: &Container, options: &[OsString]) -> Result<(), Error> {
        let mut words = self.global(None);
        words.push("create".into());
        words.extend_from_slice(options);
        self.make("create", &words, &container.log())
    }

    /// Lets the keeper restore what `podman create` has only written down.
    pub(super) fn initialize(&self, container: &Container, keeper: &Path) -> Result<(), Error> {
        let mut words = self.global(Some(keeper));
        words.extend(["init", &self.instance].map(OsString::from));
        self.make("init", &words, &container.log())
    }

    /// Tells Podman that what was restored runs, or its records would call it initialized, and its other commands refuse it. runc is asked for its
    /// version in place of starting what runs already.
    pub(super) fn declare_started(&self, container: &Container) {
        let mut words = self.global(None);
        words.push("--runtime-flag=version".into());
        words.extend(["start", &self.instance].map(OsString::from));
        if let Err(error) = self.make("start", &words, &container.log()) {
            // It runs all the same, and is found by name whatever Podman takes it for.
            tracing::warn!(%error, instance = self.instance, "Podman does not know that it runs");
        }
    }

    /// A verb that makes nothing, with its arguments. What it prints is in `log`.
    pub(super) fn plain(&self, words: &[&str], log: &Path) -> Result<(), Error> {
        let mut all = self.global(None);
        all.extend(words.iter().map(OsString::from));
        let verb = words.first().copied().unwrap_or_default();
        self.call(verb, &all, log, None)
    }

    /// Options before the verb.
    fn global(&self, keeper: Option<&Path>) -> Vec<OsString> {
        // Podman's own default for cgroups depends on systemd; ours are found by name.
        let mut words: Vec<OsString> = ["--cgroup-manager=cgroupfs", "--log-level=error"]
            .map(OsString::from)
            .to_vec();
        if self.runc.is_some() {
            // By name: it goes into Podman's records, which outlive this version of Dauer.
            words.push("--runtime=runc".into());
            if let (Some(_), Some(criu)) = (keeper, tool::find_criu()) {
                words.push(with("--runtime-flag=criu=", &criu));
            }
        }
        words.extend(keeper.map(|keeper| with("--conmon=", keeper)));
        words.extend(self.storage.iter().flat_map(Storage::options));
        words
    }

    /// Runs it inside the instance's cgroup: whoever kills the instance kills also a tool that is about to make more of it.
    fn make(&self, verb: &str, words: &[OsString], log: &Path) -> Result<(), Error> {
        let cgroup = Cgroup::create(&format!("{}/podman", self.instance), &Limits::default())?;
        self.call(verb, words, log, Some(&cgroup))
    }

    fn call(
        &self,
        verb: &str,
        words: &[OsString],
        log: &Path,
        cgroup: Option<&Cgroup>,
    ) -> Result<(), Error> {
        let outside = self.storage.is_some() && !geteuid().is_root();
        let unshare = outside.then(namespaces).transpose()?;
        let mut argv = Vec::new();
        if let Some(unshare) = &unshare {
            // A daemon that cleans up after a shim is not in the namespace in which this user is root.
            let options = ["--user", "--map-root-user", "--mount"].map(OsStr::new);
            argv.push(unshare.as_os_str());
            argv.extend(options);
        }
        argv.push(self.podman.as_os_str());
        argv.extend(words.iter().map(OsString::as_os_str));
        let mut env = tool::environment();
        let home = self
            .storage
            .as_ref()
            .map_or(Path::new("/root"), Storage::home);
        env.push(("HOME", home.as_os_str()));
        let configuration = self
            .storage
            .as_ref()
            .map(Storage::configuration)
            .transpose()?;
        if let Some(path) = &configuration {
            env.push(("CONTAINERS_CONF", path.as_os_str()));
        }
        env.push((INSTANCE_VARIABLE, OsStr::new(&self.instance)));
        let tool = Tool {
            name: format!("podman {verb}"),
            program: unshare.as_ref().unwrap_or(&self.podman),
            argv,
            env,
            log,
            stdio: None,
            cgroup: cgroup.and_then(Cgroup::folder),
            join: cgroup.map(Cgroup::join).unwrap_or_default(),
            view: View::Unchanged,
        };
        tool.run()
    }
}

fn namespaces() -> Result<PathBuf, Error> {
    tool::find("unshare").ok_or_else(|| missing("unshare"))
}

/// An option and its value as one word.
pub(super) fn with(name: &str, value: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(value);
    option
}
