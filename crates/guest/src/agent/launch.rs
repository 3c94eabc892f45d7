//! Starts a session's program: a child in the same memory, the few steps it may take there, exec.

use super::plan::{Plan, other_failure};
use super::sessions::Session;
use super::streams::Streams;
use super::window::Window;
use super::{Agent, feed, pump, spawn_thread};
use dauer_wire::guest::{Command, FromGuest, StartFailure};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::Arc;

/// Runs `command` as this session and says so; its pump reports everything after that.
pub(super) fn launch(
    agent: &'static Agent,
    id: u64,
    command: &Command,
    surroundings: &[(String, String)],
) -> Result<(), StartFailure> {
    let plan = Plan::new(command, surroundings)?;
    let raw_stdout = (id == 0).then_some(&agent.stdout);
    let Streams { child, ours } = Streams::open(command, raw_stdout, plan.account.uid)?;
    let no_pipe = |error: nix::Error| other_failure(format!("no pipes for the command: {error}"));
    let (ended, alive) = pipe2(OFlag::O_CLOEXEC).map_err(no_pipe)?;
    let window = Arc::new(Window::new(id != 0));
    let input = ours
        .input
        .as_ref()
        .map(|_| Arc::new(feed::Input::default()));
    let pid = agent.sessions.start(id, || {
        let stdio = [
            child[0].as_raw_fd(),
            child[1].as_raw_fd(),
            child[2].as_raw_fd(),
        ];
        let pid = fork_and_exec(&plan, stdio, command.tty.is_some())?;
        Ok(Session {
            pid,
            terminal: ours.terminal,
            input: input.clone(),
            window: window.clone(),
            alive: Some(alive),
            status: None,
        })
    })?;
    agent.outbox.send(FromGuest::Started { session: id, pid });
    // Ours must go, or the end of the output would never be seen.
    drop(child);
    let threads = || -> io::Result<()> {
        if let (Some(file), Some(input)) = (ours.input, input) {
            let is_terminal = command.tty.is_some();
            spawn_thread("feed", move || {
                feed::run(agent, id, &input, file, is_terminal)
            })?;
        }
        let pump = pump::Pump {
            agent,
            id,
            outputs: ours.outputs,
            ended,
            window,
        };
        spawn_thread("pump", move || pump.run())
    };
    threads().map_err(|error| {
        agent.sessions.close(id);
        other_failure(format!("no thread for the command: {error}"))
    })
}

/// The child calls little and nothing deep.
const CHILD_STACK_BYTES: usize = 32 << 10;

/// What the child was doing when it failed; travels as one byte.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Step {
    Streams = 1,
    Terminal = 2,
    Workdir = 3,
    User = 4,
    Exec = 5,
}

/// Forks; returns the child's pid once it runs its program.
fn fork_and_exec(plan: &Plan, stdio: [RawFd; 3], terminal: bool) -> Result<i32, StartFailure> {
    let argv = pointers(&plan.argv);
    let env = pointers(&plan.env);
    let (read, write) = pipe2(OFlag::O_CLOEXEC)
        .map_err(|error| other_failure(format!("cannot start a process: {error}")))?;
    let child = Child {
        plan,
        argv: &argv,
        env: &env,
        stdio,
        terminal,
        report: write.as_raw_fd(),
    };
    // SAFETY: the child only makes system calls on what was prepared above, and never returns.
    let pid = unsafe { spawn(&child) };
    if pid < 0 {
        return Err(other_failure(format!(
            "cannot start a process: {}",
            io::Error::last_os_error()
        )));
    }
    drop(write);
    let mut report = Vec::new();
    // A pipe of ours does not fail; if it did, the program would be taken for running and its exit be seen by the reaper.
    let _ = File::from(read).read_to_end(&mut report);
    let [step, errno @ ..] = &report[..] else {
        return Ok(pid);
    };
    // SAFETY: collects our own child, which is about to exit. ECHILD where the reaper was faster.
    unsafe {
        libc::waitpid(pid, ptr::null_mut(), 0);
    }
    Err(explain(
        plan,
        *step,
        i32::from_le_bytes(errno.try_into().unwrap_or_default()),
    ))
}

/// What the child is to do.
struct Child<'a> {
    plan: &'a Plan,
    argv: &'a [*const libc::c_char],
    env: &'a [*const libc::c_char],
    stdio: [RawFd; 3],
    terminal: bool,
    report: RawFd,
}

/// Starts the child in this process's own memory, which stands still meanwhile, as `vfork` does: to copy a process only to replace it
/// costs a tenth of what gVisor takes to start at all. Returns its pid, or -1 with errno.
///
/// # Safety
/// The child shares this thread's errno and everything else: async-signal-safe calls only.
unsafe fn spawn(child: &Child) -> i32 {
    extern "C" fn body(child: *mut libc::c_void) -> libc::c_int {
        // SAFETY: given below; alive until the child is another program or gone.
        unsafe {
            let child = &*child.cast::<Child>();
            let step = become_command(
                child.plan,
                child.argv,
                child.env,
                child.stdio,
                child.terminal,
            );
            report_and_exit(child.report, step)
        }
    }
    let mut stack = vec![0_u128; CHILD_STACK_BYTES / size_of::<u128>()];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: stacks grow downwards from a multiple of 16; with CLONE_VFORK the child has left this one when the call returns.
    unsafe {
        let top = stack.as_mut_ptr().add(stack.len());
        let child = ptr::from_ref(child).cast_mut();
        libc::clone(body, top.cast(), flags, child.cast())
    }
}

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts
        .iter()
        .map(|text| text.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// Returns only if a step failed, with errno as that left it.
///
/// # Safety
/// Async-signal-safe calls only.
unsafe fn become_command(
    plan: &Plan,
    argv: &[*const libc::c_char],
    env: &[*const libc::c_char],
    stdio: [RawFd; 3],
    terminal: bool,
) -> Step {
    // SAFETY: plain system calls on numbers and on memory that was prepared before.
    unsafe {
        libc::setsid();
        for (number, fd) in stdio.into_iter().enumerate() {
            if libc::dup2(fd, number as RawFd) < 0 {
                return Step::Streams;
            }
        }
        if terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
            return Step::Terminal;
        }
        default_signals();
        if libc::chdir(plan.workdir.as_ptr()) < 0 {
            return Step::Workdir;
        }
        if plan.account.asked && !become_user(plan) {
            return Step::User;
        }
        exec(&plan.candidates, argv, env);
        Step::Exec
    }
}

/// The agent ignores SIGPIPE, and ignored signals would stay so over the exec.
unsafe fn default_signals() {
    // SAFETY: an all-zero sigaction is SIG_DFL with an empty mask. SIGKILL and SIGSTOP refuse, which is right.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        for signal in 1..=64 {
            libc::sigaction(signal, &raw const default, ptr::null_mut());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Raw system calls: libc's own would try to tell the other threads, which do not exist after a fork.
unsafe fn become_user(plan: &Plan) -> bool {
    let account = &plan.account;
    // SAFETY: the groups were prepared before.
    unsafe {
        let same = libc::getuid() == account.uid && libc::getgid() == account.gid;
        let groups = libc::syscall(
            libc::SYS_setgroups,
            account.groups.len(),
            account.groups.as_ptr(),
        );
        // An unprivileged user namespace forbids setgroups; there the one user it has is who we are already.
        if groups < 0 && !same {
            return false;
        }
        same || (libc::syscall(libc::SYS_setgid, account.gid) == 0
            && libc::syscall(libc::SYS_setuid, account.uid) == 0)
    }
}

/// As execvp, but a file that is no program is not handed to a shell. Returns with the errno that says most.
unsafe fn exec(candidates: &[CString], argv: &[*const libc::c_char], env: &[*const libc::c_char]) {
    // SAFETY: all pointers were prepared before and end with a null.
    unsafe {
        let errno = libc::__errno_location();
        let mut refused = false;
        for candidate in candidates {
            libc::execve(candidate.as_ptr(), argv.as_ptr(), env.as_ptr());
            match *errno {
                libc::EACCES => refused = true,
                libc::ENOENT | libc::ENOTDIR => {}
                _ => return,
            }
        }
        *errno = if refused { libc::EACCES } else { libc::ENOENT };
    }
}

unsafe fn report_and_exit(report: RawFd, step: Step) -> ! {
    // SAFETY: writes five bytes of its own stack to a pipe that holds more.
    unsafe {
        let errno = (*libc::__errno_location()).to_le_bytes();
        let bytes = [step as u8, errno[0], errno[1], errno[2], errno[3]];
        libc::write(report, bytes.as_ptr().cast(), bytes.len());
        libc::_exit(127)
    }
}

/// What a failed step means, as shells put it.
fn explain(plan: &Plan, step: u8, errno: i32) -> StartFailure {
    let cause = io::Error::from_raw_os_error(errno);
    let program = plan
        .argv
        .first()
        .map(|program| lossy(program))
        .unwrap_or_default();
    let workdir = lossy(&plan.workdir);
    let failure = |code, message| StartFailure { code, message };
    match step {
        step if step == Step::Workdir as u8 && errno == libc::ENOENT => {
            other_failure(format!("workdir {workdir} is not there"))
        }
        step if step == Step::Workdir as u8 => {
            other_failure(format!("cannot enter workdir {workdir}: {cause}"))
        }
        step if step == Step::User as u8 => other_failure(format!(
            "cannot become user {}:{}: {cause}",
            plan.account.uid, plan.account.gid
        )),
        step if step == Step::Terminal as u8 => {
            other_failure(format!("cannot take the terminal: {cause}"))
        }
        step if step == Step::Streams as u8 => {
            other_failure(format!("cannot connect the standard streams: {cause}"))
        }
        _ => match errno {
            libc::ENOENT | libc::ENOTDIR if plan.candidates.len() == 1 && is_there(plan) => {
                failure(
                    127,
                    format!(
                        "{program}: the interpreter or loader that it names is not in the sandbox"
                    ),
                )
            }
            libc::ENOENT | libc::ENOTDIR => {
                failure(127, format!("{program}: not found in the sandbox"))
            }
            libc::EACCES => failure(
                126,
                format!("{program}: not executable (permission denied)"),
            ),
            libc::ENOEXEC => failure(
                126,
                format!("{program}: not a program (no #! line and no known format)"),
            ),
            _ => failure(126, format!("{program}: {cause}")),
        },
    }
}

fn lossy(text: &CStr) -> String {
    text.to_string_lossy().into_owned()
}

/// Whether the one file tried exists, seen from the command's folder.
fn is_there(plan: &Plan) -> bool {
    let folder = lossy(&plan.workdir);
    plan.candidates
        .first()
        .is_some_and(|file| std::path::Path::new(&folder).join(lossy(file)).exists())
}
