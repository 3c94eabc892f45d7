//! `config.json`: what an OCI runtime is told to make.

use super::profile::Profile;
use crate::Error;
use crate::driver::hidden::Hidden;
use crate::driver::{INSTANCE_VARIABLE, Incarnation, capabilities, criu, mount_points, seccomp};
use crate::host::cgroup::Limits;
use crate::host::root::{Root, make_folder, merged};
use crate::host::{mounts, userns};
use dauer_core::Network;
use dauer_wire::guest::GUEST_BINARY;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Writes the bundle's `config.json`, and beside it CRIU's own configuration.
pub(super) fn write(
    bundle: &Path,
    profile: Profile,
    incarnation: &Incarnation,
    agent: &Path,
    network: Option<&str>,
    limits: &Limits,
) -> Result<(), Error> {
    let criu = criu::configure(bundle)?;
    let config = config(profile, incarnation, agent, network, limits, &criu)?;
    let path = bundle.join("config.json");
    let bytes = serde_json::to_vec(&config).expect("a JSON value serializes");
    std::fs::write(&path, bytes).map_err(Error::io(format!("write {}", path.display())))
}

fn config(
    profile: Profile,
    incarnation: &Incarnation,
    agent: &Path,
    network: Option<&str>,
    limits: &Limits,
    criu: &Path,
) -> Result<Value, Error> {
    let kept = capabilities::names();
    let agents = profile.agent_capabilities();
    let mut config = json!({
        "ociVersion": "1.0.2",
        "hostname": incarnation.spec.host_name,
        "root": { "path": merged(&incarnation.scratch), "readonly": false },
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": [GUEST_BINARY, "init"],
            "cwd": "/",
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME=/root",
                format!("{INSTANCE_VARIABLE}={}", incarnation.instance),
            ],
            "capabilities": { "bounding": kept, "effective": agents, "permitted": agents },
            "noNewPrivileges": true,
        },
        "mounts": all_mounts(profile, incarnation, agent)?,
        "linux": { "namespaces": namespaces(incarnation.spec.network, network) },
    });
    if profile == Profile::Gvisor {
        return Ok(config);
    }
    let hidden = Hidden::plan()?;
    config["linux"]["maskedPaths"] = json!(hidden.files);
    config["linux"]["readonlyPaths"] = json!(hidden.read_only);
    config["linux"]["seccomp"] = seccomp::oci();
    if profile == Profile::Runc {
        config["annotations"] = json!({ criu::CONFIGURATION_ANNOTATION: criu });
        if userns::is_root() {
            config["linux"]["cgroupsPath"] = json!(format!("/dauer/{}", incarnation.instance));
            config["linux"]["resources"] = resources(limits);
        }
    }
    Ok(config)
}

fn namespaces(network: Network, path: Option<&str>) -> Vec<Value> {
    let mut namespaces: Vec<_> = ["pid", "mount", "ipc", "uts"]
        .iter()
        .map(|kind| json!({ "type": kind }))
        .collect();
    match (network, path) {
        (Network::Host, _) => {}
        (Network::None | Network::Nat, Some(path)) => {
            namespaces.push(json!({ "type": "network", "path": path }))
        }
        (Network::None | Network::Nat, None) => namespaces.push(json!({ "type": "network" })),
    }
    namespaces
}

fn resources(limits: &Limits) -> Value {
    let mut resources = json!({});
    if let Some(bytes) = limits.memory_bytes {
        resources["memory"] = json!({ "limit": bytes });
    }
    if let Some(millis) = limits.cpu_millis {
        resources["cpu"] = json!({ "period": 100_000, "quota": u64::from(millis) * 100 });
    }
    resources
}

fn all_mounts(
    profile: Profile,
    incarnation: &Incarnation,
    agent: &Path,
) -> Result<Vec<Value>, Error> {
    let scratch = &incarnation.scratch;
    let root = Root::plan(incarnation)?;
    let mut binds = Binds {
        profile,
        scratch,
        mounts: Vec::new(),
    };
    // Those of an ordinary user are mounted inside the root folder already.
    for piece in root
        .pieces
        .iter()
        .filter(|piece| !piece.merged.starts_with(merged(scratch)))
    {
        binds.add(&piece.merged, &piece.point, false)?;
    }
    for bind in &root.binds {
        binds.add(&bind.source, &bind.target, bind.read_only)?;
    }
    for (destination, kind, options) in mount_points::KERNEL {
        // A kernel in user space has no message queues to show.
        if profile == Profile::Gvisor && kind == "mqueue" {
            continue;
        }
        let options: Vec<_> = options.split(',').collect();
        binds.mounts.push(
            json!({ "destination": destination, "type": kind, "source": kind, "options": options }),
        );
    }
    binds.add(agent, Path::new(dauer_wire::guest::GUEST_DIR), true)?;
    if profile != Profile::Gvisor {
        for folder in Hidden::plan()?.covered {
            binds.add(&scratch.join("empty"), Path::new(folder), true)?;
        }
    }
    for bind in mount_points::of_spec(incarnation)? {
        binds.add(&bind.source, &bind.target, bind.read_only)?;
    }
    Ok(binds.mounts)
}

/// Collects bind mounts.
struct Binds<'a> {
    profile: Profile,
    scratch: &'a Path,
    mounts: Vec<Value>,
}

impl Binds<'_> {
    fn add(&mut self, source: &Path, destination: &Path, read_only: bool) -> Result<(), Error> {
        let guarded = self.profile == Profile::Gvisor && read_only;
        let source = if guarded {
            self.read_only_view(source)?
        } else {
            source.to_path_buf()
        };
        let mode = if read_only { "ro" } else { "rw" };
        let options = ["rbind", "rprivate", mode];
        self.mounts.push(json!({ "destination": destination, "type": "bind", "source": source, "options": options }));
        Ok(())
    }

    /// gVisor refuses to open a file of a read-only mount for writing only after it has truncated it. So the file is read-only for gVisor too:
    /// a mount in the shim's own namespace.
    fn read_only_view(&self, source: &Path) -> Result<PathBuf, Error> {
        let folder = self.scratch.join("ro");
        make_folder(&folder)?;
        let view = folder.join(self.mounts.len().to_string());
        if mounts::is_folder(source)? {
            make_folder(&view)?;
        } else {
            std::fs::write(&view, "").map_err(Error::io(format!("make {}", view.display())))?;
        }
        mounts::bind(source, &view, true)?;
        Ok(view)
    }
}
