//! A restored sandbox that waited gets its job: who it is inside, and that the program goes on.

use super::start;
use super::state::{Shim, Whose};
use crate::Error;
use crate::protocol::Phase;
use std::fs::File;
use std::os::fd::AsRawFd;

/// Gives the sandbox to this job. The agent learns of it as after a freeze: what it was asked and could not answer yet is asked again,
/// now by the job. Safe to repeat.
pub(super) fn assign(shim: &Shim, job: String, host_name: String) -> Result<(), Error> {
    match shim.phase() {
        Phase::Running => {}
        Phase::Starting | Phase::Frozen { .. } | Phase::Ended { .. } => return Err(Error::Gone),
    }
    let waited = shim.give_to(Whose {
        job,
        host_name: host_name.clone(),
    })?;
    if !waited {
        return Ok(());
    }
    if let Err(error) = rename(shim, &host_name) {
        // In gVisor, whose kernel has a name of its own, the agent sets it; without root it stays what it is.
        eprintln!("shim: the host name inside stays as it was: {error}");
    }
    shim.agent.push(start::resume(shim)?);
    Ok(())
}

/// Sets the name in the namespace of the sandbox's first process, where it has one of its own.
fn rename(shim: &Shim, host_name: &str) -> Result<(), Error> {
    let Some(pid) = shim.sandbox_pid() else {
        return Ok(());
    };
    let path = |pid: &str| format!("/proc/{pid}/ns/uts");
    let of = |pid: &str| {
        std::fs::read_link(path(pid)).map_err(Error::io(format!("look at the namespaces of {pid}")))
    };
    let pid = pid.to_string();
    if of(&pid)? == of("self")? {
        return Ok(());
    }
    let namespace = File::open(path(&pid)).map_err(Error::io("open the sandbox's namespace"))?;
    let host_name = host_name.to_owned();
    // In a thread that ends: its namespace is another one from here on.
    let renamed = std::thread::spawn(move || {
        // SAFETY: takes a descriptor that is open and changes this thread alone.
        if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWUTS) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        nix::unistd::sethostname(&host_name).map_err(Into::into)
    });
    match renamed.join() {
        Ok(result) => result.map_err(Error::io("set the sandbox's host name")),
        Err(_) => Err(Error::Gone),
    }
}
