//! Processes: a clone that runs prepared system calls before `exec`, and finding and ending what is left over.

use crate::Error;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The crate libc has it as a number of 32 bits, in which it is zero.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A child, by pid and by a descriptor that cannot come to mean another process.
#[derive(Debug)]
pub struct Child {
    /// Its pid.
    pub pid: i32,
    /// Readable once it has ended.
    pub pidfd: OwnedFd,
}

/// Clones this process with these namespace `flags` and, where given, straight into a cgroup of version 2 (joining one afterwards costs
/// up to 20 ms of waiting in the kernel). The child runs `in_child`, which must end in `exec` or return an exit code.
///
/// # Safety
/// The process may have threads, so `in_child` may only make system calls on what was prepared before: no allocation, no locks.
pub unsafe fn clone(
    flags: u64,
    cgroup: Option<BorrowedFd<'_>>,
    in_child: impl FnOnce() -> i32,
) -> Result<Child, Errno> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all-zero is a valid clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child gets a copy of this thread; the pointers in `args` are valid for the call.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    };
    match Errno::result(pid)? {
        0 => {
            let code = in_child();
            // SAFETY: leaves at once without running anything of this process's own exit.
            unsafe { libc::_exit(code) }
        }
        pid => {
            // SAFETY: the kernel just made this descriptor for us.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Child {
                pid: i32::try_from(pid).expect("pids fit"),
                pidfd,
            })
        }
    }
}

impl Child {
    /// Waits until it has ended and takes its status: exit code, or 128 + signal.
    pub fn wait(&self) -> Result<i32, Error> {
        loop {
            // SAFETY: a zeroed siginfo is valid, and waitid fills it.
            let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
            let id = self.pidfd.as_raw_fd() as libc::id_t;
            // SAFETY: as above.
            let result = unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED) };
            match Errno::result(result) {
                Ok(_) => {
                    // SAFETY: waitid has filled the fields of an ended child.
                    let status = unsafe { info.si_status() };
                    return Ok(if info.si_code == libc::CLD_EXITED {
                        status
                    } else {
                        128 + status
                    });
                }
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(Error::os(format!("wait for process {}", self.pid))(errno));
                }
            }
        }
    }
}

/// Strings as `exec` takes them, made before the clone.
#[derive(Debug)]
pub struct Exec {
    program: CString,
    // Read through the pointers only; they point into the heap and stay valid when the struct moves.
    _strings: Vec<CString>,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
}

impl Exec {
    /// A program by its absolute path.
    pub fn new<A: AsRef<OsStr>>(
        program: &Path,
        argv: &[A],
        env: &[(&str, &OsStr)],
    ) -> Result<Self, Error> {
        let mut strings = Vec::with_capacity(argv.len() + env.len());
        for argument in argv {
            strings.push(c_string(argument.as_ref())?);
        }
        for (name, value) in env {
            let mut text = std::ffi::OsString::from(format!("{name}="));
            text.push(value);
            strings.push(c_string(&text)?);
        }
        let pointers = |strings: &[CString]| {
            strings
                .iter()
                .map(|s| s.as_ptr())
                .chain([std::ptr::null()])
                .collect::<Vec<_>>()
        };
        let (arguments, variables) = strings.split_at(argv.len());
        let (argv, envp) = (pointers(arguments), pointers(variables));
        Ok(Self {
            program: c_string(program.as_os_str())?,
            argv,
            envp,
            _strings: strings,
        })
    }

    /// Becomes the program; returns only if that failed.
    pub fn exec(&self) -> Errno {
        // SAFETY: both arrays end in a null pointer and point to strings that live.
        unsafe {
            libc::execve(
                self.program.as_ptr(),
                self.argv.as_ptr(),
                self.envp.as_ptr(),
            )
        };
        Errno::last()
    }
}

/// A path as the kernel takes it.
pub fn c_string(text: &OsStr) -> Result<CString, Error> {
    CString::new(text.as_bytes())
        .map_err(|_| Error::Invalid(format!("{text:?} contains a zero byte")))
}

/// Makes three descriptors 0, 1 and 2 and closes all others. Only system calls: for use after [`clone`].
pub fn take_stdio(
    input: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
    error: BorrowedFd<'_>,
) -> Result<(), Errno> {
    // Copied above 2 first: a source may itself be one of 0, 1 and 2.
    let mut high = [0; 3];
    for (slot, fd) in high.iter_mut().zip([input, output, error]) {
        // SAFETY: plain system calls on numbers.
        *slot = Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD, 3) })?;
    }
    for (target, fd) in high.iter().enumerate() {
        // SAFETY: as above.
        Errno::result(unsafe { libc::dup2(*fd, target as libc::c_int) })?;
    }
    Ok(())
}

/// Closes every descriptor but 0, 1 and 2 when the program starts.
pub fn close_others_on_exec() -> Result<(), Errno> {
    // SAFETY: a plain system call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    Errno::result(result).map(drop)
}

/// Undoes what a child inherits from a shim: blocked and ignored signals.
pub fn reset_signals() {
    // SAFETY: plain system calls on local data; failing ones (KILL, STOP) change nothing.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        for signal in 1..32 {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Writes `text` to an open file such as `cgroup.procs`. Only a system call: for use after [`clone`].
pub fn write_raw(fd: BorrowedFd<'_>, text: &CStr) -> Result<(), Errno> {
    // SAFETY: the buffer is valid for its length.
    let written = unsafe { libc::write(fd.as_raw_fd(), text.as_ptr().cast(), text.count_bytes()) };
    Errno::result(written).map(drop)
}

/// Kills these processes and waits until each has ended. One that `still_ours` no longer recognizes is left alone.
pub fn kill_and_wait(
    pids: &[i32],
    still_ours: impl Fn(i32) -> bool,
    deadline: Instant,
) -> Result<(), Error> {
    let mut opened = Vec::new();
    for &pid in pids {
        // SAFETY: a plain system call on a number.
        match Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }) {
            // SAFETY: the kernel just made this descriptor for us.
            Ok(fd) => opened.push((pid, unsafe { OwnedFd::from_raw_fd(fd as i32) })),
            Err(Errno::ESRCH | Errno::EINVAL) => {}
            Err(errno) => return Err(Error::os(format!("open process {pid}"))(errno)),
        }
    }
    // Checked after the descriptor is open: a number that was given to another process in between is seen here.
    opened.retain(|(pid, _)| still_ours(*pid));
    for (pid, fd) in &opened {
        let none = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: a plain system call on a descriptor.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                fd.as_raw_fd(),
                libc::SIGKILL,
                none,
                0,
            )
        };
        match Errno::result(result) {
            Ok(_) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(Error::os(format!("kill process {pid}"))(errno)),
        }
    }
    for (pid, fd) in &opened {
        if !wait_readable(fd.as_fd(), deadline)? {
            return Err(Error::os(format!("wait for the end of process {pid}"))(
                Errno::ETIMEDOUT,
            ));
        }
    }
    Ok(())
}

/// Waits until the descriptor is readable; false at the deadline.
pub fn wait_readable(fd: BorrowedFd<'_>, deadline: Instant) -> Result<bool, Error> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout =
            PollTimeout::try_from(left.min(Duration::from_secs(60))).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(Error::os("poll")(errno)),
        }
    }
}

/// The processes that carry `DAUER_INSTANCE=<instance>` or name `folder` as `--root` of a runtime: how a sandbox is found where there is no cgroup.
pub fn of_instance(instance: &str, scratch: &Path) -> Result<Vec<i32>, Error> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").map_err(Error::io("read /proc"))? {
        let entry = entry.map_err(Error::io("read /proc"))?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if is_of_instance(pid, instance, scratch) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// See [`of_instance`]. Never this process itself.
#[must_use]
pub fn is_of_instance(pid: i32, instance: &str, scratch: &Path) -> bool {
    if pid == std::process::id().cast_signed() {
        return false;
    }
    let has = |file: &str, wanted: &[u8]| {
        // Unreadable: another user's, or gone. Neither is ours.
        std::fs::read(format!("/proc/{pid}/{file}"))
            .is_ok_and(|bytes| bytes.split(|byte| *byte == 0).any(|word| word == wanted))
    };
    let mut root = b"--root=".to_vec();
    root.extend_from_slice(
        scratch
            .join(crate::driver::oci::STATE_FOLDER)
            .as_os_str()
            .as_bytes(),
    );
    has(
        "environ",
        format!("{}={instance}", crate::driver::INSTANCE_VARIABLE).as_bytes(),
    ) || has("cmdline", &root)
}
