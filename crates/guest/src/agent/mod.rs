//! Pid 1 of a sandbox: takes frames from the shim, runs the job and the sessions beside it, and ends with the job.
//!
//! Blocking threads only. A restored epoll set cannot be trusted, a thread blocked in `read` or on a futex can.
//!
//! ```text
//!   main      reads ToGuest, forks, signals; never waits for anything but the channel
//!   reaper    waitid for everything, also for orphans
//!   pump n    a session's output → frames; sends Exited last
//!   feed n    a session's input ← frames
//!   relay     accepts on loopback, a thread a connection
//! ```
//!
//! Locks are taken in this order: outbox, then sessions or calls. Nothing sends while it holds one of the latter.

mod account;
mod channel;
mod feed;
mod launch;
mod network;
mod outbox;
mod plan;
mod pump;
mod reaper;
mod sessions;
mod streams;
mod unlinked;
mod window;

pub(crate) use outbox::{Outbox, Turn};

use crate::relay::{Calls, Relay};
use dauer_wire::guest::{
    Command, ExitStatus, FromGuest, PROTOCOL, Resume, Start, StartFailure, ToGuest,
};
use dauer_wire::guest::{Quiesced, Scope, Signal};
use sessions::Sessions;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

/// Enough for every thread here; small, because each page touched goes into every checkpoint.
const STACK_BYTES: usize = 128 << 10;

/// What all threads share. Leaked at the start: it lives as long as the process.
pub(crate) struct Agent {
    pub(crate) outbox: Outbox,
    pub(crate) calls: Calls,
    sessions: Sessions,
    /// The raw pipe that is the job's standard output.
    stdout: OwnedFd,
    generation: AtomicU32,
    /// Known from Start on.
    api: OnceLock<String>,
    /// Another one in a fork.
    job: Mutex<String>,
}

/// Runs the agent until the job has ended.
pub(crate) fn run() -> ExitCode {
    if std::process::id() != 1 {
        // Elsewhere kill(-1) would end the host's processes, not a sandbox's.
        eprintln!("dauer: init runs only as pid 1 of a sandbox");
        return ExitCode::from(2);
    }
    // Nobody can read a panic's text here, and an agent without one of its threads only looks alive.
    std::panic::set_hook(Box::new(|_| die(101)));
    keep_small();
    let channel = match channel::take_over() {
        Ok(channel) => channel,
        Err(error) => {
            eprintln!("dauer: cannot take over the channel: {error}");
            return ExitCode::from(1);
        }
    };
    let agent: &'static Agent = Box::leak(Box::new(Agent {
        outbox: Outbox::new(channel.to_shim),
        calls: Calls::default(),
        sessions: Sessions::default(),
        stdout: channel.job_stdout,
        generation: AtomicU32::new(0),
        api: OnceLock::new(),
        job: Mutex::default(),
    }));
    agent.outbox.send(FromGuest::Hello(PROTOCOL));
    channel::serve(agent, channel.from_shim)
}

/// Ends the sandbox: what is left of it has no shim or no agent.
pub(crate) fn die(code: i32) -> ! {
    sessions::kill_everything();
    // SAFETY: always sound; skips destructors and flushes, of which none matter here.
    unsafe { libc::_exit(code) }
}

/// Starts a thread with a small stack.
pub(crate) fn spawn_thread(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> std::io::Result<()> {
    thread::Builder::new()
        .name(name.into())
        .stack_size(STACK_BYTES)
        .spawn(body)
        .map(drop)
}

/// One malloc arena instead of one a thread, and the usual mask for what the job creates.
fn keep_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: called before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
    // SAFETY: always sound.
    unsafe {
        libc::umask(0o022);
    }
}

impl Agent {
    /// Does what one frame asks. Quiesce and Resume are the channel's business.
    fn handle(&'static self, message: ToGuest) {
        match message {
            ToGuest::Start(start) => self.start(start),
            ToGuest::Exec { session, command } => self.launch(session, &command),
            ToGuest::Signal { session, signal } => self.signal(session, signal),
            ToGuest::Input { session, bytes } => self.sessions.input(session, bytes),
            ToGuest::Resize { session, size } => self.sessions.resize(session, size),
            ToGuest::Consumed { session, bytes } => self.sessions.consumed(session, bytes as usize),
            ToGuest::Close { session } => self.sessions.close(session),
            ToGuest::Response { id, response } => self.calls.answer(id, response),
            ToGuest::Quiesce | ToGuest::Resume(_) => {}
        }
    }

    fn start(&'static self, start: Start) {
        self.generation.store(start.generation, Ordering::Relaxed);
        if !start.shared_network {
            network::raise_loopback();
        }
        let relay = match Relay::bind(start.shared_network) {
            Ok(relay) => relay,
            Err(error) => {
                return self.job_failed(format!("cannot serve the runtime API inside: {error}"));
            }
        };
        let api = format!("http://127.0.0.1:{}", relay.port());
        if self.api.set(api).is_err() {
            return; // A second Start changes nothing: the job of the first one runs.
        }
        self.lock_job().clone_from(&start.job);
        // The program first: starting it beside threads costs more, and its first connection waits for the relay in the kernel.
        self.launch(0, &start.command);
        let threads = spawn_thread("reaper", move || reaper::run(&self.sessions))
            .and_then(|()| spawn_thread("relay", move || relay.serve(self)));
        if threads.is_err() {
            die(1);
        }
    }

    fn job_failed(&self, message: String) {
        self.start_failed(0, StartFailure { code: 125, message });
    }

    /// Reports that a session did not come to be. Without its job a sandbox has nothing left to do.
    fn start_failed(&self, session: u64, failure: StartFailure) {
        let message = FromGuest::StartFailed { session, failure };
        if session == 0 {
            self.outbox.turn().send_last(message);
        }
        self.outbox.send(message);
    }

    fn launch(&'static self, session: u64, command: &Command) {
        let surroundings = self.surroundings();
        if let Err(failure) = launch::launch(self, session, command, &surroundings) {
            self.start_failed(session, failure);
        }
    }

    /// Last in every environment.
    fn surroundings(&self) -> Vec<(String, String)> {
        let api = self
            .api
            .get()
            .map(|api| ("DAUER_API".to_owned(), api.clone()));
        let job = ("DAUER_JOB_ID".to_owned(), self.lock_job().clone());
        api.into_iter().chain([job]).collect()
    }

    fn lock_job(&self) -> MutexGuard<'_, String> {
        // A name is always whole.
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, session: u64, signal: Signal) {
        match signal.scope {
            Scope::All => sessions::signal_everything(signal.signal),
            Scope::Group => self.sessions.signal(session, signal.signal, true),
            Scope::Main => self.sessions.signal(session, signal.signal, false),
        }
    }

    /// Stops all senders at a frame boundary; Quiesced is the last frame until Resume.
    fn quiesce(&self) {
        self.outbox.hold();
        let unlinked_files = unlinked::find();
        self.outbox
            .turn_although_held()
            .send(FromGuest::Quiesced(Quiesced { unlinked_files }));
    }

    /// Goes on. In a new incarnation the far end of every session is gone, and so is every request that was under way.
    fn resume(&'static self, resume: &Resume) {
        let before = self.generation.swap(resume.generation, Ordering::Relaxed);
        let other = resume
            .job
            .as_ref()
            .is_some_and(|job| *job != *self.lock_job());
        if before != resume.generation || other {
            self.become_the_job(resume);
            self.sessions.close_all_but_the_job();
            let mut turn = self.outbox.turn_although_held();
            self.calls.send_again(&mut turn);
        }
        self.outbox.release();
    }

    /// In a fork the sandbox is another job's from here on.
    fn become_the_job(&self, resume: &Resume) {
        if let Some(job) = &resume.job {
            self.lock_job().clone_from(job);
        }
        if let Some(name) = &resume.host_name {
            // Not allowed where the runtime has set it before anything ran.
            let _ = nix::unistd::sethostname(name);
        }
    }

    /// The job's first process has ended: ends the rest, sends what is left, then the last frame of all.
    fn job_ended(&self, status: ExitStatus) -> ! {
        self.sessions.wait_for_the_others();
        self.outbox
            .turn()
            .send_last(FromGuest::Exited { session: 0, status })
    }
}
