//! Freezing and thawing: runc and CRIU on Podman's containers.

use super::container::Container;
use super::{NAME, Podman, conmon, tools};
use crate::Error;
use crate::driver::gate::Gate;
use crate::driver::{
    AgentStdio, Checkpointer, Driver, Identity, Incarnation, Running, Verification, agent, common,
    criu, tool,
};
use crate::host::run::{Tool, View};
use crate::host::userns;
use crate::snapshot::{Digests, Follow};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The file of an image without which CRIU cannot go on, opened once it has set itself up.
const GATE: &str = "pstree.img";

/// Refuses where memory cannot be frozen. Errors: `Unsupported`.
pub(super) fn check_tools() -> Result<(), Error> {
    let refuse = |why: &str| {
        Err(Error::Unsupported(format!(
            "driver {NAME} cannot checkpoint memory: {why}"
        )))
    };
    if !userns::is_root() {
        return refuse("CRIU needs root; use gvisor");
    }
    if tools::runc().is_none() {
        return refuse("runc is not installed; install it (see dauer doctor) or use gvisor");
    }
    if tool::find_criu().is_none() {
        return refuse("CRIU is not installed; install it (see dauer doctor) or use gvisor");
    }
    Ok(())
}

fn container(incarnation: &Incarnation) -> Container {
    Container::of(&incarnation.instance, &incarnation.scratch)
}

impl Podman {
    fn dump(&self, incarnation: &Incarnation, into: &Path) -> Result<(), Error> {
        self.criu_is_informed.inform(incarnation);
        let container = container(incarnation);
        let id = container.id()?;
        let runc = tools::runc().ok_or(Error::Gone)?;
        let work = criu::work_folder(incarnation)?;
        let log = container.log();
        let (log_option, criu) = (
            tools::with("--log=", &log),
            tool::find_criu().map(|criu| tools::with("--criu=", &criu)),
        );
        let mut argv = vec![runc.as_os_str(), &log_option];
        argv.extend(criu.as_deref());
        argv.extend(
            [
                "checkpoint",
                "--leave-running",
                "--file-locks",
                "--tcp-established",
                "--image-path",
            ]
            .map(OsStr::new),
        );
        argv.extend([
            into.as_os_str(),
            OsStr::new("--work-path"),
            work.as_os_str(),
        ]);
        argv.push(OsStr::new(&id));
        let tool = Tool {
            name: "runc checkpoint".to_owned(),
            program: &runc,
            argv,
            env: tool::environment(),
            log: &log,
            stdio: None,
            cgroup: None,
            join: Vec::new(),
            view: View::Unchanged,
        };
        tool.run()
            .map_err(|error| criu::with_log(error, &work.join("dump.log")))
    }
}

impl Checkpointer for Podman {
    fn identity(&self) -> Result<Identity, Error> {
        let cache = self.cache.get().map(PathBuf::as_path);
        let mut versions = Vec::new();
        let mut digests = Vec::new();
        // Not conmon: it keeps a container, but is no part of it.
        let tools = [Some(tools::podman()?), tools::runc(), tool::find_criu()];
        for tool in tools.into_iter().flatten() {
            let known = tool::Known::of(&tool, cache)?;
            versions.push(known.version);
            digests.push(known.digest);
        }
        Ok(Identity {
            driver: self.name().to_owned(),
            version: versions.join(", "),
            digest: digests.join("+"),
        })
    }

    fn keeps_unlinked_files(&self) -> bool {
        // CRIU puts their contents into the image.
        true
    }

    fn pause(&self, incarnation: &Incarnation) -> Result<(), Error> {
        container(incarnation).set_frozen(true)
    }

    fn resume(&self, incarnation: &Incarnation) -> Result<(), Error> {
        container(incarnation).set_frozen(false)
    }

    fn save(&self, incarnation: &Incarnation, into: &Path) -> Result<Digests, Error> {
        // CRIU only ever adds to the files of pages; others may get a new beginning.
        let follow = Follow::of(into, |name| name.starts_with("pages-"))?;
        self.dump(incarnation, into)
            .map_err(|error| common::explain_space(error, into, self.memory_bytes(incarnation)))?;
        agent::save_records(incarnation, into)?;
        Ok(follow.finish())
    }

    fn restore(
        &self,
        incarnation: &Incarnation,
        from: &Path,
        stdio: AgentStdio,
        verification: Verification,
    ) -> Result<Running, Error> {
        let agent = agent::of_checkpoint(incarnation, from)?;
        let renamed = criu::renamed(from, &incarnation.spec.host_name)?;
        let gate = Gate::before(from, &incarnation.scratch, GATE, renamed, verification)?;
        self.criu_is_informed.inform(incarnation);
        let work = criu::work_folder(incarnation)?;
        let image = conmon::Image {
            folder: gate.folder().to_owned(),
            work: work.clone(),
        };
        let result = self
            .launch(incarnation, &agent, &stdio, Some(&image))
            .map_err(|error| criu::with_log(error, &work.join("restore.log")));
        // The ends of the pipes are the sandbox's alone from here on.
        drop(stdio);
        gate.finish(result)
    }
}
