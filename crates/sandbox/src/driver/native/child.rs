//! The child of the native driver between `clone` and `exec`. Only system calls: its parent may have had threads.

use super::steps::{Action, Step};
use crate::Error;
use crate::driver::{AgentStdio, capabilities};
use crate::host::netns;
use crate::host::process::{Exec, close_others_on_exec, reset_signals, take_stdio};
use dauer_core::Network;
use nix::errno::Errno;
use seccompiler::BpfProgram;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Where something went wrong, as the number of the step or one of these.
mod stage {
    pub(super) const GO: u32 = 1_000_000;
    pub(super) const CGROUP: u32 = GO + 1;
    pub(super) const STDIO: u32 = GO + 2;
    pub(super) const CAPABILITIES: u32 = GO + 3;
    pub(super) const FILTER: u32 = GO + 4;
    pub(super) const EXEC: u32 = GO + 5;
}

/// The namespaces it is made in. That of cgroups comes later, when it is in its cgroup.
pub(super) fn namespaces(network: Network) -> u64 {
    let mut flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS;
    match network {
        Network::None | Network::Nat => flags |= libc::CLONE_NEWNET,
        Network::Host => {}
    }
    u64::from(flags.cast_unsigned())
}

/// Everything it needs.
pub(super) struct Plan<'a> {
    /// One byte comes when ids and cgroups are set.
    pub(super) go: BorrowedFd<'a>,
    /// The parent's end of it.
    pub(super) go_other: BorrowedFd<'a>,
    /// A [`Fault`] goes here; closed by a successful `exec`.
    pub(super) fault: BorrowedFd<'a>,
    pub(super) stdio: &'a AgentStdio,
    pub(super) steps: &'a [Step],
    pub(super) filter: &'a BpfProgram,
    pub(super) exec: &'a Exec,
    pub(super) dies_with_parent: bool,
}

impl Plan<'_> {
    /// Does not come back where all goes well.
    pub(super) fn run(&self) -> i32 {
        let (at, errno) = match self.try_run() {
            Ok(errno) => (stage::EXEC, errno),
            Err(fault) => fault,
        };
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&at.to_le_bytes());
        bytes[4..].copy_from_slice(&(errno as i32).to_le_bytes());
        // SAFETY: the buffer is valid for its length. Nothing can be done where even this fails: the parent sees an end without reason.
        unsafe { libc::write(self.fault.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
        125
    }

    fn try_run(&self) -> Result<Errno, (u32, Errno)> {
        self.wait_for_go().map_err(|errno| (stage::GO, errno))?;
        // SAFETY: plain system calls.
        unsafe {
            libc::setsid();
            libc::umask(0o022);
            if self.dies_with_parent {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            }
            Errno::result(libc::unshare(libc::CLONE_NEWCGROUP))
                .map_err(|errno| (stage::CGROUP, errno))?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            match step.action.perform() {
                Err(errno) if Some(errno) != step.tolerated => return Err((number as u32, errno)),
                Ok(()) | Err(_) => {}
            }
        }
        let (input, output, raw) = (
            self.stdio.input.as_fd(),
            self.stdio.output.as_fd(),
            self.stdio.raw.as_fd(),
        );
        take_stdio(input, output, raw)
            .and_then(|()| close_others_on_exec())
            .map_err(|errno| (stage::STDIO, errno))?;
        reset_signals();
        drop_capabilities().map_err(|errno| (stage::CAPABILITIES, errno))?;
        install_filter(self.filter).map_err(|errno| (stage::FILTER, errno))?;
        Ok(self.exec.exec())
    }

    fn wait_for_go(&self) -> Result<(), Errno> {
        let mut byte = 0_u8;
        // SAFETY: plain system calls; the buffer is one byte. The parent's end must not stay open here, or its death would not be seen.
        unsafe {
            libc::close(self.go_other.as_raw_fd());
            match Errno::result(libc::read(self.go.as_raw_fd(), (&raw mut byte).cast(), 1))? {
                1 => Ok(()),
                _ => Err(Errno::EPIPE),
            }
        }
    }
}

impl Action {
    fn perform(&self) -> Result<(), Errno> {
        let none = std::ptr::null::<libc::c_char>();
        // SAFETY: system calls on terminated strings that live as long as the plan.
        unsafe {
            let result = match self {
                Self::MakePrivate => libc::mount(
                    none,
                    c"/".as_ptr(),
                    none,
                    libc::MS_REC | libc::MS_PRIVATE,
                    std::ptr::null(),
                ),
                Self::Bind { source, target } => {
                    let flags = libc::MS_BIND | libc::MS_REC;
                    libc::mount(
                        source.as_ptr(),
                        target.as_ptr(),
                        none,
                        flags,
                        std::ptr::null(),
                    )
                }
                Self::SetReadOnly { target } => return set_read_only(target),
                Self::Mount {
                    kind,
                    target,
                    flags,
                    options,
                } => libc::mount(
                    kind.as_ptr(),
                    target.as_ptr(),
                    kind.as_ptr(),
                    *flags,
                    options.as_ptr().cast(),
                ),
                Self::Folder { path } => return unless_there(libc::mkdir(path.as_ptr(), 0o755)),
                Self::File { path } => {
                    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
                    let fd = Errno::result(libc::open(path.as_ptr(), flags, 0o644))?;
                    libc::close(fd)
                }
                Self::Link { to, path } => libc::symlink(to.as_ptr(), path.as_ptr()),
                Self::HostName { name } => libc::sethostname(name.as_ptr(), name.count_bytes()),
                Self::LoopbackUp => return netns::loopback_up(),
                Self::Pivot { root } => return pivot(root),
            };
            Errno::result(result).map(drop)
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::MakePrivate => "make mounts private".to_owned(),
            Self::Bind { source, target } => format!("bind {source:?} to {target:?}"),
            Self::SetReadOnly { target } => format!("make {target:?} read-only"),
            Self::Mount { kind, target, .. } => format!("mount {kind:?} on {target:?}"),
            Self::Folder { path } | Self::File { path } | Self::Link { path, .. } => {
                format!("make {path:?}")
            }
            Self::HostName { .. } => "set the host name".to_owned(),
            Self::LoopbackUp => "bring up loopback".to_owned(),
            Self::Pivot { root } => format!("change the root to {root:?}"),
        }
    }
}

fn unless_there(result: libc::c_int) -> Result<(), Errno> {
    match Errno::result(result) {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn set_read_only(target: &CStr) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the pointers are valid for the call, the size is that of the struct.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(result).map(drop)
}

fn pivot(root: &CStr) -> Result<(), Errno> {
    // The old root lands on top of the new one, where it is then unmounted.
    // SAFETY: system calls on terminated strings.
    unsafe {
        Errno::result(libc::chdir(root.as_ptr()))?;
        Errno::result(libc::syscall(
            libc::SYS_pivot_root,
            c".".as_ptr(),
            c".".as_ptr(),
        ))?;
        Errno::result(libc::umount2(c".".as_ptr(), libc::MNT_DETACH))?;
        Errno::result(libc::chdir(c"/".as_ptr())).map(drop)
    }
}

#[repr(C)]
struct CapabilityHead {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityWord {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Keeps docker's default set, also for programs that are started later.
fn drop_capabilities() -> Result<(), Errno> {
    const VERSION_3: u32 = 0x2008_0522;
    const NUMBERS_MAX: u32 = 63;
    let kept = capabilities::mask();
    for number in (0..=NUMBERS_MAX).filter(|number| kept & (1 << number) == 0) {
        // SAFETY: a plain system call.
        match Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) }) {
            // Beyond the last one this kernel knows.
            Err(Errno::EINVAL) => break,
            dropped => dropped?,
        };
    }
    let head = CapabilityHead {
        version: VERSION_3,
        pid: 0,
    };
    let word = |bits: u32| CapabilityWord {
        effective: bits,
        permitted: bits,
        inheritable: 0,
    };
    let words = [word((kept & 0xffff_ffff) as u32), word((kept >> 32) as u32)];
    // SAFETY: the structs have the layout of version 3 and live for the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const head, words.as_ptr()) };
    Errno::result(result).map(drop)
}

fn install_filter(filter: &BpfProgram) -> Result<(), Errno> {
    const SET_MODE_FILTER: libc::c_uint = 1;
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::E2BIG)?,
        // The kernel only reads; both structs have the layout of the kernel's sock_filter.
        filter: filter.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the program lives for the call.
    unsafe {
        Errno::result(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        Errno::result(libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            0,
            &raw const program,
        ))
        .map(drop)
    }
}

/// What the child reports instead of becoming the agent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    at: u32,
    errno: Errno,
}

impl Fault {
    /// `None`: it became the agent.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (at, errno) = bytes.split_first_chunk::<4>()?;
        let errno = Errno::from_raw(i32::from_le_bytes(errno.try_into().ok()?));
        Some(Self {
            at: u32::from_le_bytes(*at),
            errno,
        })
    }

    /// As an error with what was tried.
    pub(super) fn explain(self, steps: &[Step]) -> Error {
        let what = match self.at {
            stage::GO => "wait for its ids".to_owned(),
            stage::CGROUP => "make a cgroup namespace".to_owned(),
            stage::STDIO => "take its pipes".to_owned(),
            stage::CAPABILITIES => "drop capabilities".to_owned(),
            stage::FILTER => "install the system call filter".to_owned(),
            stage::EXEC => "start the guest agent".to_owned(),
            number => steps
                .get(number as usize)
                .map_or_else(|| format!("step {number}"), |step| step.action.describe()),
        };
        Error::os(format!("driver native: {what}"))(self.errno)
    }
}
