//! What `podman run` is told to make: the same sandbox that the other drivers make.

use super::container::{Container, DATA_LABEL};
use super::tools::with;
use super::{NAME, limits};
use crate::driver::hidden::Hidden;
use crate::driver::{INSTANCE_VARIABLE, Incarnation, capabilities, criu, mount_points, seccomp};
use crate::host::root::{Root, merged};
use crate::host::userns;
use crate::{Error, SandboxSpec};
use dauer_core::Network;
use dauer_wire::guest::{GUEST_BINARY, GUEST_DIR};
use nix::sys::resource::{Resource, getrlimit};
use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Folders in which Podman would show more of the host than the other drivers do: an empty one lies over each that is there.
const COVERED: [&str; 3] = ["/sys/fs/cgroup", "/sys/fs/selinux", "/sys/dev/block"];

/// What Podman raises, or lowers, its own limits to before it starts anything: without a privilege no container gets more.
const FILES_MAX: u64 = 1 << 20;
const PROCESSES_MAX: u64 = 1 << 15;

/// Podman takes paths apart at colons. Errors: `Unsupported`.
pub(super) fn check(spec: &SandboxSpec) -> Result<(), Error> {
    let mounts = spec
        .mounts
        .iter()
        .flat_map(|mount| [&mount.source, &mount.target]);
    let paths = mounts.map(Path::new).chain([spec.layout.data.as_path()]);
    for path in paths {
        check_path(path)?;
    }
    Ok(())
}

fn check_path(path: &Path) -> Result<(), Error> {
    if path.as_os_str().as_bytes().contains(&b':') {
        return Err(Error::Unsupported(format!(
            "driver {NAME} takes no path with a colon ({}): rename it or use another driver",
            path.display()
        )));
    }
    Ok(())
}

/// All that follows the verb.
pub(super) fn of(
    incarnation: &Incarnation,
    agent: &Path,
    network: Option<&OwnedFd>,
    container: &Container,
) -> Result<Vec<OsString>, Error> {
    let mut words: Vec<OsString> = [
        // Passes on what its keeper has for standard streams.
        "--log-driver=passthrough",
        "--user=0:0",
        "--workdir=/",
        "--pull=never",
        // Podman's own limits and helpers, which the other drivers do not have.
        "--pids-limit=-1",
        "--systemd=false",
        "--no-healthcheck",
        "--no-hosts",
        "--http-proxy=false",
        "--unsetenv-all",
        "--stop-timeout=0",
        "--cgroupns=host",
        // Its /dev/shm would be a folder of the host, and not be frozen with the rest.
        "--ipc=none",
        "--tmpfs=/dev/shm:rw,nosuid,nodev,noexec,mode=1777,notmpcopyup",
        "--tmpfs=/run:rw,nosuid,nodev,mode=755,notmpcopyup",
        "--cap-drop=all",
        "--security-opt=no-new-privileges",
        "--security-opt=label=disable",
        "--env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "--env=HOME=/root",
    ]
    .map(OsString::from)
    .to_vec();
    words.push(format!("--name={}", container.name()).into());
    words.push(format!("--hostname={}", incarnation.spec.host_name).into());
    words.push(format!("--env={INSTANCE_VARIABLE}={}", container.name()).into());
    words.push(with("--cidfile=", &container.id_file()));
    words.push(with("--pidfile=", &container.pid_file()));
    words.extend(capabilities::names().map(|name| format!("--cap-add={name}").into()));
    words.extend(labels(&incarnation.spec));
    words.extend(network_options(incarnation.spec.network, network));
    words.extend(limit_options(incarnation)?);
    words.extend(security(container)?);
    for mount in mounts(incarnation, agent)? {
        words.push(mount.word()?);
    }
    words.push("--rootfs".into());
    words.push(merged(&incarnation.scratch).into());
    words.extend([GUEST_BINARY, "init"].map(OsString::from));
    Ok(words)
}

fn labels(spec: &SandboxSpec) -> [OsString; 5] {
    [
        format!("--label=dauer.sandbox={}", spec.id),
        format!("--label=dauer.generation={}", spec.generation),
        format!("--label=dauer.job={}", spec.job),
        // Not all of it: one word of a command line has at most 128 KiB.
        format!(
            "--label=dauer.program={}",
            spec.argv.first().map_or("", String::as_str)
        ),
        format!("--label={DATA_LABEL}={}", spec.layout.data.display()),
    ]
    .map(OsString::from)
}

fn network_options(network: Network, namespace: Option<&OwnedFd>) -> Vec<OsString> {
    match (network, namespace) {
        (Network::None | Network::Nat, Some(namespace)) => {
            let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
            // The image's own names stay, or those that are mounted.
            vec![format!("--network=ns:{path}").into(), "--dns=none".into()]
        }
        (Network::None | Network::Nat, None) => vec!["--network=none".into()],
        (Network::Host, _) => vec!["--network=host".into(), "--dns=none".into()],
    }
}

fn limit_options(incarnation: &Incarnation) -> Result<Vec<OsString>, Error> {
    let mut words = Vec::new();
    // Podman asks for more than the hard limits, which takes a privilege that not every root has.
    let own_limits = [
        ("nofile", Resource::RLIMIT_NOFILE, FILES_MAX),
        ("nproc", Resource::RLIMIT_NPROC, PROCESSES_MAX),
    ];
    for (name, resource, max) in own_limits {
        let own = getrlimit(resource);
        let (soft, hard) = own.map_err(Error::os(format!("ask for the limit of {name}")))?;
        words.push(format!("--ulimit={name}={}:{}", soft.min(max), hard.min(max)).into());
    }
    let limits = limits(&incarnation.spec);
    if !userns::is_root() {
        words.push("--cgroups=disabled".into());
        // Podman's own belongs to a group that has no number here.
        words.push("--mount=type=devpts,destination=/dev/pts,mode=0620".into());
        return Ok(words);
    }
    words.push(format!("--cgroup-parent=/dauer/{}", incarnation.instance).into());
    if let Some(bytes) = limits.memory_bytes {
        words.push(format!("--memory={bytes}b").into());
        words.push(format!("--memory-swap={bytes}b").into());
    }
    if let Some(millis) = limits.cpu_millis {
        words.push("--cpu-period=100000".into());
        words.push(format!("--cpu-quota={}", u64::from(millis) * 100).into());
    }
    Ok(words)
}

fn security(container: &Container) -> Result<Vec<OsString>, Error> {
    let filter = container.folder.join("seccomp.json");
    let bytes = serde_json::to_vec(&seccomp::oci()).expect("a JSON value serializes");
    std::fs::write(&filter, bytes).map_err(Error::io(format!("write {}", filter.display())))?;
    let mut annotation =
        OsString::from(format!("--annotation={}=", criu::CONFIGURATION_ANNOTATION));
    annotation.push(criu::configure(&container.folder)?);
    let mut uncovered: Vec<&str> = COVERED.to_vec();
    uncovered.extend(Hidden::plan()?.covered);
    Ok(vec![
        with("--security-opt=seccomp=", &filter),
        annotation,
        // Mounts of ours lie there instead.
        format!("--security-opt=unmask={}", uncovered.join(":")).into(),
    ])
}

/// A bind mount.
struct Mount {
    source: PathBuf,
    target: PathBuf,
    read_only: bool,
}

impl Mount {
    fn word(&self) -> Result<OsString, Error> {
        check_path(&self.source)?;
        check_path(&self.target)?;
        let mut word = with("--volume=", &self.source);
        word.push(":");
        word.push(&self.target);
        word.push(if self.read_only { ":ro" } else { ":rw" });
        word.push(",rbind,rprivate");
        Ok(word)
    }
}

/// In order; where two have the same target, Podman wants the last alone.
fn mounts(incarnation: &Incarnation, agent: &Path) -> Result<Vec<Mount>, Error> {
    let scratch = &incarnation.scratch;
    let mut mounts: Vec<Mount> = Vec::new();
    let mut add = |source: PathBuf, target: PathBuf, read_only| {
        mounts.retain(|earlier| earlier.target != target);
        mounts.push(Mount {
            source,
            target,
            read_only,
        });
    };
    let root = Root::plan(incarnation)?;
    // Those of an ordinary user are mounted inside the root folder already.
    let apart = |merged_at: &Path| !merged_at.starts_with(merged(scratch));
    for piece in root.pieces.into_iter().filter(|piece| apart(&piece.merged)) {
        add(piece.merged, piece.point, false);
    }
    for bind in root.binds {
        add(bind.source, bind.target, bind.read_only);
    }
    let covered = COVERED.into_iter().chain(Hidden::plan()?.covered);
    for folder in covered.filter(|folder| Path::new(folder).is_dir()) {
        add(scratch.join("empty"), PathBuf::from(folder), true);
    }
    add(agent.to_owned(), PathBuf::from(GUEST_DIR), true);
    for bind in mount_points::of_spec(incarnation)? {
        add(bind.source, bind.target, bind.read_only);
    }
    Ok(mounts)
}
