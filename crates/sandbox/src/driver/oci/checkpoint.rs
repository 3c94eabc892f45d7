//! Freezing with memory: `runsc checkpoint`, and `runc checkpoint` with CRIU.

use super::profile::{Profile, os};
use super::{Oci, SOCKET, STATE_FOLDER, control, tool};
use crate::driver::gate::Gate;
use crate::driver::{
    AgentStdio, Checkpointer, Driver, Identity, Incarnation, Running, Verification, agent, common,
    criu,
};
use crate::host::cgroup;
use crate::snapshot::{Digests, Follow, Intake};
use crate::{Error, files};
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The files of a gVisor image, in the order in which the sandbox takes them.
const IMAGE_FILES: [&str; 3] = ["checkpoint.img", "pages_meta.img", "pages.img"];

/// A sandbox with at most so much memory in use writes through the page cache, which for a few pages is quicker than a pipe. More goes past it: whoever
/// else syncs a file would have to wait for all that is on its way to the disk, and the sandbox with it.
const THROUGH_CACHE_BYTES_MAX: u64 = 32 << 20;

/// The release whose control protocol for checkpoints is known; any other is asked by its own tool.
const DIRECT_RELEASE: &str = "20240729";

impl Oci {
    /// gVisor: over the socket, else by the command line.
    fn control(
        &self,
        incarnation: &Incarnation,
        method: &str,
        verb: &'static str,
    ) -> Result<(), Error> {
        let socket = incarnation.scratch.join(STATE_FOLDER).join(SOCKET);
        match control::call(&socket, method) {
            Ok(()) => Ok(()),
            // Another version may speak otherwise; its own tool knows how.
            Err(_) => self.command(incarnation, &[os(verb)]),
        }
    }

    fn save_gvisor(&self, incarnation: &Incarnation, into: &Path) -> Result<Digests, Error> {
        if self.identity()?.version.contains(DIRECT_RELEASE)
            && let Ok(known) = Self::save_over_the_socket(incarnation, into)
        {
            return Ok(known);
        }
        // Whatever the reason was, its own tool says it better; it wants an empty folder.
        for name in IMAGE_FILES {
            files::remove_file(&into.join(name))?;
        }
        let verb = [
            os("checkpoint"),
            os("--leave-running"),
            os("--compression=none"),
            os("--direct"),
            os("--image-path"),
            into.as_os_str(),
        ];
        self.command(incarnation, &verb).map(|()| Digests::new())
    }

    fn save_over_the_socket(incarnation: &Incarnation, into: &Path) -> Result<Digests, String> {
        let open = |name: &str| {
            let mut options = fs::File::options();
            options.read(true).write(true).create_new(true).mode(0o644);
            options.open(into.join(name)).map_err(|e| e.to_string())
        };
        let socket = incarnation.scratch.join(STATE_FOLDER).join(SOCKET);
        let [state, table, pages] = IMAGE_FILES;
        let (state, table) = (open(state)?, open(table)?);
        if common::memory_bytes(incarnation) <= THROUGH_CACHE_BYTES_MAX {
            let file = open(pages)?;
            let follow =
                Follow::of(into, |name| name == IMAGE_FILES[2]).map_err(|e| e.to_string())?;
            control::checkpoint(&socket, [state.as_fd(), table.as_fd(), file.as_fd()])?;
            return Ok(follow.finish());
        }
        let intake = Intake::into(&into.join(pages)).map_err(|e| e.to_string())?;
        control::checkpoint(
            &socket,
            [state.as_fd(), table.as_fd(), intake.writer().as_fd()],
        )?;
        let digested = intake.finish().map_err(|e| e.to_string())?;
        Ok(Digests::from([(pages.to_owned(), digested)]))
    }

    fn save_runc(&self, incarnation: &Incarnation, into: &Path) -> Result<Digests, Error> {
        self.criu_is_informed.inform(incarnation);
        let work = criu::work_folder(incarnation)?;
        let verb = [
            os("checkpoint"),
            os("--leave-running"),
            os("--file-locks"),
            os("--tcp-established"),
            os("--image-path"),
            into.as_os_str(),
            os("--work-path"),
            work.as_os_str(),
        ];
        // CRIU only ever adds to the files of pages; others may get a new beginning.
        let follow = Follow::of(into, |name| name.starts_with("pages-"))?;
        self.command(incarnation, &verb)
            .map_err(|e| criu::with_log(e, &work.join("dump.log")))?;
        Ok(follow.finish())
    }
}

impl Checkpointer for Oci {
    fn identity(&self) -> Result<Identity, Error> {
        let cache = self.cache.get().map(PathBuf::as_path);
        let runtime = tool::Known::of(&self.runtime()?, cache)?;
        let (mut version, mut digest) = (runtime.version, runtime.digest);
        if let Some(criu) = self.profile.criu() {
            let criu = tool::Known::of(&criu, cache)?;
            version = format!("{version}, criu {}", criu.version);
            digest = format!("{digest}+{}", criu.digest);
        }
        Ok(Identity {
            driver: self.name().to_owned(),
            version,
            digest,
        })
    }

    fn keeps_unlinked_files(&self) -> bool {
        match self.profile {
            // CRIU puts their contents into the image.
            Profile::Runc => true,
            // Opens files of the host by their path again.
            Profile::Gvisor | Profile::Crun => false,
        }
    }

    fn pause(&self, incarnation: &Incarnation) -> Result<(), Error> {
        match self.profile {
            Profile::Gvisor => self.control(incarnation, "containerManager.Pause", "pause"),
            Profile::Runc | Profile::Crun => cgroup::set_frozen(&incarnation.instance, true),
        }
    }

    fn resume(&self, incarnation: &Incarnation) -> Result<(), Error> {
        match self.profile {
            Profile::Gvisor => self.control(incarnation, "containerManager.Resume", "resume"),
            Profile::Runc | Profile::Crun => cgroup::set_frozen(&incarnation.instance, false),
        }
    }

    fn save(&self, incarnation: &Incarnation, into: &Path) -> Result<Digests, Error> {
        let saved = match self.profile {
            Profile::Gvisor => self.save_gvisor(incarnation, into),
            Profile::Runc => self.save_runc(incarnation, into),
            Profile::Crun => self.profile.check_checkpoints().map(|()| Digests::new()),
        };
        // Asking for the size takes some milliseconds, in which the sandbox would stand still for nothing.
        let known = saved
            .map_err(|error| common::explain_space(error, into, self.memory_bytes(incarnation)))?;
        agent::save_records(incarnation, into)?;
        Ok(known)
    }

    fn restore(
        &self,
        incarnation: &Incarnation,
        from: &Path,
        stdio: AgentStdio,
        verification: Verification,
    ) -> Result<Running, Error> {
        let agent = agent::of_checkpoint(incarnation, from)?;
        let renamed = match self.profile {
            Profile::Runc => criu::renamed(from, &incarnation.spec.host_name)?,
            // Its agent does that itself.
            Profile::Gvisor | Profile::Crun => None,
        };
        let gate = Gate::before(
            from,
            &incarnation.scratch,
            self.profile.gate(),
            renamed,
            verification,
        )?;
        let image = gate.folder().as_os_str();
        let result = match self.profile {
            // Not past the page cache: that is where the verification leaves all of it.
            Profile::Gvisor => self.launch(
                incarnation,
                &[os("restore"), os("--image-path"), image],
                &agent,
                stdio,
            ),
            Profile::Runc => {
                self.criu_is_informed.inform(incarnation);
                let work = criu::work_folder(incarnation)?;
                let verb: [&OsStr; 7] = [
                    os("restore"),
                    os("--file-locks"),
                    os("--tcp-established"),
                    os("--image-path"),
                    image,
                    os("--work-path"),
                    work.as_os_str(),
                ];
                self.launch(incarnation, &verb, &agent, stdio)
                    .map_err(|e| criu::with_log(e, &work.join("restore.log")))
            }
            Profile::Crun => Err(self
                .profile
                .check_checkpoints()
                .err()
                .unwrap_or(Error::Gone)),
        };
        gate.finish(result)
    }
}
