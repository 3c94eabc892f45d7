//! The shim as a process: what it keeps of its parent (nothing), and how it stays small.

use crate::Error;
use crate::layout::SandboxDir;
use nix::sys::signal::{SigHandler, Signal, signal};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

/// Enough for every thread here that runs no tool and hashes nothing.
const STACK_BYTES: usize = 64 << 10;
/// For threads that call drivers.
const LARGE_STACK_BYTES: usize = 1 << 20;

/// Before anything else: own session, no terminal signals, orphans of the sandbox come here, small heap. Returns the socket the daemon
/// bound and passed as standard input, if it did.
pub(super) fn settle() -> Result<Option<UnixListener>, Error> {
    // SAFETY: the first thing this process does, on one thread; nothing else owns descriptors above 2.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 10);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 64 << 10);
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
        libc::umask(0o022);
    }
    give_open_files_back();
    // Fails only where a person started it as the leader of a session, which is as good.
    let _ = nix::unistd::setsid();
    nix::unistd::chdir("/").map_err(Error::os("change to /"))?;
    nix::sys::prctl::set_child_subreaper(true).map_err(Error::os("become a subreaper"))?;
    for name in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGQUIT,
        Signal::SIGPIPE,
    ] {
        // SAFETY: ignoring needs no handler.
        unsafe { signal(name, SigHandler::SigIgn) }.map_err(Error::os("ignore a signal"))?;
    }
    take_listener()
}

/// The daemon takes many; a program in a sandbox must not see that.
fn give_open_files_back() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let given = std::env::var(crate::OPEN_FILES_VARIABLE).ok();
    if let (Some(soft), Ok((_, hard))) = (
        given.and_then(|text| text.parse().ok()),
        getrlimit(Resource::RLIMIT_NOFILE),
    ) {
        // Lowering it below what is allowed cannot fail.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
    }
}

fn take_listener() -> Result<Option<UnixListener>, Error> {
    let mut listens: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: an integer and its size.
    let result = unsafe {
        libc::getsockopt(
            0,
            libc::SOL_SOCKET,
            libc::SO_ACCEPTCONN,
            (&raw mut listens).cast(),
            &mut length,
        )
    };
    let listener = if result == 0 && listens == 1 {
        // SAFETY: a fresh copy of descriptor 0, ours alone.
        let copy = unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3) };
        if copy < 0 {
            return Err(Error::io("take the socket")(io::Error::last_os_error()));
        }
        // SAFETY: as above.
        Some(UnixListener::from(unsafe { OwnedFd::from_raw_fd(copy) }))
    } else {
        None
    };
    let null = File::open("/dev/null").map_err(Error::io("open /dev/null"))?;
    replace(0, &null)?;
    Ok(listener)
}

/// What the shim and its libraries print goes into the sandbox's `shim.log`.
pub(super) fn print_into(folder: &SandboxDir) -> Result<(), Error> {
    let path = folder.diagnostics();
    let log = File::options().create(true).append(true).open(&path);
    let log = log.map_err(Error::io(format!("open {}", path.display())))?;
    replace(1, &log)?;
    replace(2, &log)
}

fn replace(number: i32, file: &File) -> Result<(), Error> {
    // SAFETY: descriptors 0 to 2 belong to no Rust object.
    match unsafe { libc::dup2(file.as_raw_fd(), number) } {
        -1 => Err(Error::io("replace a standard descriptor")(
            io::Error::last_os_error(),
        )),
        _ => Ok(()),
    }
}

/// Starts a thread that copies, waits and forwards.
pub(super) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    spawn_sized(name, STACK_BYTES, body)
}

/// Starts a thread that calls a driver.
pub(super) fn spawn_large(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    spawn_sized(name, LARGE_STACK_BYTES, body)
}

fn spawn_sized(
    name: &str,
    stack_bytes: usize,
    body: impl FnOnce() + Send + 'static,
) -> Result<(), Error> {
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(stack_bytes);
    thread
        .spawn(body)
        .map(drop)
        .map_err(Error::io(format!("start the thread {name}")))
}

/// A pipe that no program started here inherits: (reading end, writing end).
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(Error::os("make a pipe"))
}

/// Asks for a larger pipe, so that a fast job and a busy machine do not wait for each other at every 64 KiB.
pub(super) fn enlarge(pipe: BorrowedFd<'_>) {
    // Only a wish: an ordinary user over the quota for pipes keeps the small one.
    // SAFETY: a valid descriptor.
    unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, 1 << 20) };
}

/// Gives freed memory back after something large.
pub(super) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: always sound.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// So many random bytes as hexadecimal.
pub(super) fn entropy(bytes: usize) -> Result<String, Error> {
    let mut buffer = vec![0u8; bytes];
    // SAFETY: a buffer of the given length; at most 256 bytes come whole.
    let got = unsafe { libc::getrandom(buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    if usize::try_from(got) != Ok(bytes) {
        return Err(Error::io("get random bytes")(io::Error::last_os_error()));
    }
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Waits until this process has one thread: one that was joined may still be on its way out of the kernel, which refuses a new user
/// namespace as long as it is there.
pub(super) fn wait_until_alone() {
    for _ in 0..1000 {
        // What cannot be known here, the namespace call itself reports.
        if std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count) == 1 {
            return;
        }
        std::thread::yield_now();
    }
}
