//! What each driver can do on this machine, found out by doing it: a sandbox with a job and the agent's listening socket is started, frozen
//! and destroyed. Remembered until a tool, the kernel, the agent or the user changes.

use super::tool::{self, Known, Stamp};
use super::trial;
use crate::host::root::make_folder;
use crate::{Error, Layout};
use dauer_wire::http::DriverView;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// All drivers, best first: what isolates most among those that freeze memory, then the others.
const ORDER: [&str; 5] = ["gvisor", "runc", "crun", "native", "podman"];

/// What every driver can do here, best first.
#[must_use]
pub fn all(layout: &Layout) -> Vec<DriverView> {
    ORDER.iter().map(|driver| one(layout, driver)).collect()
}

/// What `auto` means here: the first that can freeze memory, else the first that works. Errors: `Unsupported` with what is missing.
pub fn best(layout: &Layout) -> Result<String, Error> {
    let mut views = Vec::new();
    for driver in ORDER {
        let view = one(layout, driver);
        if view.usable && view.checkpoints {
            return Ok(view.name);
        }
        views.push(view);
    }
    match views.iter().find(|view| view.usable) {
        Some(view) => Ok(view.name.clone()),
        None => {
            let missing: Vec<_> = views
                .iter()
                .flat_map(|view| &view.missing)
                .map(String::as_str)
                .collect();
            Err(Error::Unsupported(format!(
                "no driver works here: {}",
                missing.join("; ")
            )))
        }
    }
}

/// The command that installs what a driver needs.
pub(crate) fn install_command(driver: &str) -> &'static str {
    match driver {
        "gvisor" => {
            "sudo scripts/deps gvisor (or: sudo apt-get install runsc, version 20240729 or newer)"
        }
        "runc" => {
            "sudo scripts/deps runc criu (or: sudo apt-get install runc, and CRIU 4.2 or newer)"
        }
        "podman" => {
            "sudo scripts/deps podman runc criu (or: sudo apt-get install podman conmon runc, and CRIU 4.2 or newer)"
        }
        "crun" => "sudo scripts/deps crun (or: sudo apt-get install crun)",
        _ => "sudo sysctl user.max_user_namespaces=15000",
    }
}

/// The guest agent on this machine: `$DAUER_GUEST`, else beside this program.
fn guest_binary() -> Result<PathBuf, Error> {
    let path = match std::env::var_os("DAUER_GUEST") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()
            .map_err(Error::io("find this program"))?
            .with_file_name("dauer-guest"),
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Unsupported(format!(
        "the guest agent {} is not there: build it with scripts/build",
        path.display()
    )))
}

/// Everything that an earlier finding depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ground {
    tools: Vec<Stamp>,
    kernel: String,
    user: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Finding {
    ground: Ground,
    view: DriverView,
}

fn one(layout: &Layout, name: &str) -> DriverView {
    let mut view = DriverView {
        name: name.to_owned(),
        usable: false,
        checkpoints: false,
        version: None,
        missing: Vec::new(),
        install: None,
    };
    match look(layout, &mut view) {
        Ok(Some(known)) => return known,
        Ok(None) => {}
        Err(error) => view.missing.push(error.to_string()),
    }
    if !view.missing.is_empty() {
        view.install = Some(install_command(name).to_owned());
    }
    view
}

/// Fills `view`, or returns what was found earlier on the same ground.
fn look(layout: &Layout, view: &mut DriverView) -> Result<Option<DriverView>, Error> {
    let guest = guest_binary()?;
    let (program, criu) = match view.name.as_str() {
        "gvisor" => (Some("runsc"), None),
        "runc" => (Some("runc"), tool::find_criu()),
        "crun" => (Some("crun"), None),
        "podman" => (Some("podman"), tool::find_criu()),
        _ => (None, None),
    };
    let found = program.and_then(tool::find);
    if let (Some(program), None) = (program, &found) {
        return Err(Error::Unsupported(format!("{program} is not installed")));
    }
    let ground = ground(&[found.as_deref(), criu.as_deref(), Some(&guest)])?;
    let cache = layout.data.join("probe.json");
    let mut findings: Vec<Finding> = tool::read_cache(&cache);
    if let Some(finding) = findings
        .iter()
        .find(|finding| finding.view.name == view.name && finding.ground == ground)
    {
        return Ok(Some(finding.view.clone()));
    }
    make_folder(&layout.data)?;
    view.version = Some(match &found {
        Some(program) => Known::of(program, Some(&layout.data.join("tools.json")))?.version,
        None => format!("dauer {}", env!("CARGO_PKG_VERSION")),
    });
    let report = trial::run(layout, &view.name, &guest)?;
    view.usable = report.ran;
    view.checkpoints = report.froze;
    view.missing.extend(report.problem);
    if !view.missing.is_empty() {
        view.install = Some(install_command(&view.name).to_owned());
    }
    findings.retain(|finding| finding.view.name != view.name);
    findings.push(Finding {
        ground,
        view: view.clone(),
    });
    tool::write_cache(&cache, &findings)?;
    Ok(None)
}

fn ground(tools: &[Option<&Path>]) -> Result<Ground, Error> {
    let kernel = nix::sys::utsname::uname().map_err(Error::os("ask for the kernel's release"))?;
    Ok(Ground {
        tools: tools
            .iter()
            .flatten()
            .map(|path| Stamp::of(path))
            .collect::<Result<_, _>>()?,
        kernel: kernel.release().to_string_lossy().into_owned(),
        user: nix::unistd::geteuid().as_raw(),
    })
}

/// Whether this driver is one that could freeze memory with all of its tools.
pub(super) fn can_have_checkpoints(driver: &str) -> bool {
    matches!(driver, "gvisor" | "runc" | "podman")
}
