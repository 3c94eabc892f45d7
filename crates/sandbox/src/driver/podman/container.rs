//! One container as Podman knows it, found by its name alone.

use super::tools::Tools;
use crate::driver::{common, tool};
use crate::host::cgroup;
use crate::{Error, Layout, files};
use dauer_core::SandboxId;
use std::fs;
use std::path::{Path, PathBuf};

/// In the scratch folder, and in the data folder.
pub(super) const FOLDER: &str = "podman";

/// How Podman begins the name of a container's cgroup, which its id follows.
pub(super) const CGROUP: &str = "libpod-";

/// The label with the data folder of the daemon a container belongs to.
pub(super) const DATA_LABEL: &str = "dauer.data";

/// A container that is there, or is to be.
pub(super) struct Container {
    /// Also its name in Podman.
    instance: String,
    /// `scratch/podman`; exists where this process made the container.
    pub(super) folder: PathBuf,
    data: PathBuf,
}

impl Container {
    pub(super) fn of(instance: &str, scratch: &Path) -> Self {
        Self {
            instance: instance.to_owned(),
            folder: scratch.join(FOLDER),
            // The scratch folder is `sandboxes/<id>/run.<generation>` in it.
            data: scratch.ancestors().nth(3).unwrap_or(scratch).to_owned(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.instance
    }

    /// Where Podman writes its id.
    pub(super) fn id_file(&self) -> PathBuf {
        self.folder.join("id")
    }

    /// Where the runtime writes the pid of its first process.
    pub(super) fn pid_file(&self) -> PathBuf {
        self.folder.join("pid")
    }

    /// What the tools had to say.
    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Podman refuses to write over what an earlier try has left.
    pub(super) fn clear_the_way(&self) -> Result<(), Error> {
        for file in [self.id_file(), self.pid_file()] {
            files::remove_file(&file)?;
        }
        Ok(())
    }

    pub(super) fn id(&self) -> Result<String, Error> {
        let path = self.id_file();
        let text =
            fs::read_to_string(&path).map_err(Error::io(format!("read {}", path.display())))?;
        Ok(text.trim().to_owned())
    }

    pub(super) fn pid(&self) -> Result<i32, Error> {
        let path = self.pid_file();
        let text =
            fs::read_to_string(&path).map_err(Error::io(format!("read {}", path.display())))?;
        text.trim().parse().map_err(|_| Error::Tool {
            tool: "podman".to_owned(),
            status: "no pid".to_owned(),
            output: text,
        })
    }

    /// Stops its processes, or lets them go on; its keeper is left alone.
    pub(super) fn set_frozen(&self, frozen: bool) -> Result<(), Error> {
        let cgroup = format!("{}/{CGROUP}{}", self.instance, self.id()?);
        cgroup::set_frozen(&cgroup, frozen)
    }

    /// Strikes it out of Podman's records; its processes are dead. One that never was is no error.
    pub(super) fn remove(&self) -> Result<(), Error> {
        if tool::find("podman").is_none() {
            // Uninstalled meanwhile: nobody is left whose records could show it.
            return Ok(());
        }
        let tools = Tools::of(&self.instance, &self.data)?;
        let log = tempfile::NamedTempFile::new().map_err(Error::io("make a temporary file"))?;
        let remove = || {
            let words = ["rm", "--force", "--ignore", "--time=0", &self.instance];
            tools.plain(&words, log.path())
        };
        // Where its keeper was killed too, Podman has to find out first that it does not run: then it fails, once.
        remove().or_else(|_| remove())
    }
}

/// Removes the containers of this data folder whose sandbox has no folder any more; returns their names. Errors: `Tool`, `Io`.
pub(crate) fn sweep(layout: &Layout) -> Result<Vec<String>, Error> {
    // Made with the first container, so that a daemon that never used Podman does not ask it.
    if !layout.data.join(FOLDER).exists() || tool::find("podman").is_none() {
        return Ok(Vec::new());
    }
    let tools = Tools::of("", &layout.data)?;
    let log = tempfile::NamedTempFile::new().map_err(Error::io("make a temporary file"))?;
    let filter = format!("--filter=label={DATA_LABEL}={}", layout.data.display());
    tools.plain(&["ps", "--all", &filter, "--format={{.Names}}"], log.path())?;
    let names = fs::read_to_string(log.path()).map_err(Error::io("read the list of containers"))?;
    let mut swept = Vec::new();
    for name in names.lines() {
        let Some((id, generation)) = parts(name) else {
            continue;
        };
        let folder = layout.sandbox(&id);
        if !folder.path().exists() {
            let scratch = folder.incarnation(generation);
            common::destroy(name, &scratch)?;
            Container::of(name, &scratch).remove()?;
            swept.push(name.to_owned());
        }
    }
    Ok(swept)
}

/// Sandbox and generation out of the name of an instance.
fn parts(instance: &str) -> Option<(SandboxId, u32)> {
    let (id, generation) = instance.strip_prefix("dauer-")?.rsplit_once('-')?;
    let id = SandboxId(id.to_owned());
    let generation = generation.parse().ok()?;
    // Nothing that only looks like one of ours.
    (id.instance(generation) == instance).then_some((id, generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_without_a_sandbox_is_swept_and_one_of_others_is_not() {
        if !crate::host::userns::is_root() || tool::find("podman").is_none() {
            println!("skipped: needs root and podman");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let layout = Layout {
            data: at("data"),
            run: at("run"),
        };
        fs::create_dir_all(layout.data.join(FOLDER)).unwrap();
        let id = || SandboxId(uuid::Uuid::new_v4().simple().to_string()[..16].to_owned());
        let (stray, kept, foreign) = (id(), id(), id());
        fs::create_dir_all(layout.sandbox(&kept).path()).unwrap();
        let podman = |words: &[&str]| {
            std::process::Command::new("podman")
                .args(words)
                .status()
                .unwrap()
                .success()
        };
        for (id, data) in [(&stray, "data"), (&kept, "data"), (&foreign, "elsewhere")] {
            let label = format!("--label={DATA_LABEL}={}", at(data).display());
            let name = format!("--name={}", id.instance(1));
            assert!(podman(&[
                "create",
                "--network=none",
                &name,
                &label,
                "--rootfs",
                "/",
                "true"
            ]));
        }
        let swept = sweep(&layout).unwrap();
        let left =
            [&stray, &kept, &foreign].map(|id| podman(&["container", "exists", &id.instance(1)]));
        for id in [&stray, &kept, &foreign] {
            podman(&["rm", "--force", "--ignore", &id.instance(1)]);
        }
        assert_eq!(swept, [stray.instance(1)]);
        assert_eq!(left, [false, true, true]);
    }

    #[test]
    fn a_name_tells_its_sandbox_and_only_names_of_ours_do() {
        let id = SandboxId("0123456789abcdef".to_owned());
        assert_eq!(parts(&id.instance(12)), Some((id, 12)));
        for other in ["dauer", "dauer-x", "web-1", "dauer-0123456789abcdef-1x"] {
            assert_eq!(parts(other), None, "{other}");
        }
    }
}
