//! The embedded driver: namespaces, an overlay root and a system call filter, by this program alone. Needs nothing installed and no
//! root; cannot freeze memory.
//!
//! ```text
//! shim ── clone3 (user, pid, mount, net, ipc, uts) ──► child: waits
//!   writes uid_map, gid_map; joins cgroups; "go" ────► child: runs the prepared steps (only system calls),
//!   reads the fault pipe until end of file              drops capabilities, filter, exec ──► guest agent, pid 1
//! ```
//!
//! The steps are prepared before the clone because the shim has threads by then: the child must not allocate.

mod child;
mod steps;

use super::{
    AgentStdio, Checkpointer, Driver, INSTANCE_VARIABLE, Incarnation, Running, agent, common,
    seccomp,
};
use crate::host::cgroup::{self, Cgroup, Limits};
use crate::host::process::{self, Child, Exec};
use crate::host::root::Root;
use crate::host::{nat, userns};
use crate::{Error, SandboxSpec};
use dauer_core::Network;
use dauer_wire::guest::GUEST_BINARY;
use nix::fcntl::OFlag;
use nix::unistd::{getpid, gettid, pipe2};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The driver that is always there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

impl Native {
    /// It has no configuration.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

fn limits(spec: &SandboxSpec) -> Limits {
    Limits {
        cpu_millis: spec.cpu_millis,
        memory_bytes: spec.memory_bytes,
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    pipe2(OFlag::O_CLOEXEC).map_err(Error::os("make a pipe"))
}

impl Driver for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn check(&self, spec: &SandboxSpec) -> Result<(), Error> {
        common::check(spec, self.name())?;
        cgroup::check_limits(&limits(spec))
    }

    fn freezable(&self, _spec: &SandboxSpec) -> Result<(), Error> {
        Err(Error::Unsupported(
            "driver native cannot checkpoint memory: use gvisor or runc".to_owned(),
        ))
    }

    fn prepare(&self, incarnation: &Incarnation) -> Result<(), Error> {
        let root = common::prepare(incarnation)?;
        steps::make_points(incarnation, &root)
    }

    fn start(&self, incarnation: &Incarnation, stdio: AgentStdio) -> Result<Running, Error> {
        let (_, agent) = agent::install(&incarnation.spec.layout, &incarnation.spec.guest_binary)?;
        let root = Root::plan(incarnation)?;
        let steps = steps::plan(incarnation, &root, &agent)?;
        let filter = seccomp::program()?;
        let env = [
            (
                "PATH",
                OsStr::new("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ),
            ("HOME", OsStr::new("/root")),
            (INSTANCE_VARIABLE, OsStr::new(&incarnation.instance)),
        ];
        let exec = Exec::new(Path::new(GUEST_BINARY), &[GUEST_BINARY, "init"], &env)?;
        let cgroup = Cgroup::create(&incarnation.instance, &limits(&incarnation.spec))?;
        let (go_read, go_write) = pipe()?;
        let (fault_read, fault_write) = pipe()?;
        let plan = child::Plan {
            go: go_read.as_fd(),
            go_other: go_write.as_fd(),
            fault: fault_write.as_fd(),
            stdio: &stdio,
            steps: &steps,
            filter: &filter,
            exec: &exec,
            // The signal comes when the thread ends that made the child, so it is only right for one that never does.
            dies_with_parent: gettid() == getpid(),
        };
        // SAFETY: `Plan::run` makes only system calls, on what was prepared above.
        let child = unsafe {
            process::clone(
                child::namespaces(incarnation.spec.network),
                cgroup.folder(),
                || plan.run(),
            )
        }
        .map_err(refused)?;
        drop((go_read, fault_write));
        let introduced = introduce(&child, incarnation, &cgroup);
        if let Err(error) = introduced {
            // Without a word on `go` it ends by itself.
            drop(go_write);
            child.wait()?;
            return Err(error);
        }
        File::from(go_write)
            .write_all(b"!")
            .map_err(Error::io("start the sandbox"))?;
        let mut fault = Vec::new();
        File::from(fault_read)
            .read_to_end(&mut fault)
            .map_err(Error::io("start the sandbox"))?;
        match child::Fault::read(&fault) {
            None => Ok(Running { pid: child.pid }),
            Some(fault) => {
                child.wait()?;
                Err(fault.explain(&steps))
            }
        }
    }

    fn destroy(&self, instance: &str, scratch: &Path) -> Result<(), Error> {
        common::destroy(instance, scratch)
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
        None
    }
}

fn refused(errno: nix::errno::Errno) -> Error {
    Error::Unsupported(format!(
        "driver native cannot make namespaces here ({errno}): allow user namespaces (sysctl user.max_user_namespaces) or run dauer as root"
    ))
}

/// What only the parent can do for the child: its ids, its cgroups, its network.
fn introduce(child: &Child, incarnation: &Incarnation, cgroup: &Cgroup) -> Result<(), Error> {
    let write = |file: &str, text: &str| {
        let path = format!("/proc/{}/{file}", child.pid);
        std::fs::write(&path, text).map_err(Error::io(format!("write {path}")))
    };
    let map = if userns::is_root() {
        userns::IDENTITY_MAP
    } else {
        "0 0 1"
    };
    write("uid_map", map)?;
    write("gid_map", map)?;
    let pid = std::ffi::CString::new(child.pid.to_string()).expect("digits");
    for procs in cgroup.join() {
        process::write_raw(procs, &pid).map_err(Error::os("join a cgroup"))?;
    }
    if incarnation.spec.network == Network::Nat {
        let path = format!("/proc/{}/ns/net", child.pid);
        let namespace: OwnedFd = File::open(&path)
            .map_err(Error::io(format!("open {path}")))?
            .into();
        nat::connect(incarnation, &namespace)?;
    }
    Ok(())
}
