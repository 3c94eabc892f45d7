//! The table of what runs: the job (session 0) and the programs started beside it.

use super::feed::Input;
use super::plan::other_failure;
use super::window::Window;
use super::{spawn_thread, streams};
use dauer_wire::guest::{ExitStatus, StartFailure, WindowSize};
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// From the hangup of a closed session to its end by force.
const HANGUP_GRACE: Duration = Duration::from_secs(2);

/// How long the end of everything may take: the dead are collected in milliseconds; a process in a system call that cannot be
/// interrupted, or a session whose reader is slow, does not keep the sandbox.
const END_GRACE: Duration = Duration::from_millis(500);

/// All sessions.
#[derive(Default)]
pub(super) struct Sessions {
    table: Mutex<Table>,
    changed: Condvar,
}

#[derive(Default)]
struct Table {
    live: HashMap<u64, Session>,
    /// Grows with each fork: tells the reaper that there may be a child again.
    forks: u64,
    childless: bool,
    /// The job has ended; nothing new starts.
    ending: bool,
}

/// One of them.
pub(super) struct Session {
    /// Its first process, which leads its process group.
    pub(super) pid: i32,
    pub(super) terminal: Option<Arc<File>>,
    pub(super) input: Option<Arc<Input>>,
    pub(super) window: Arc<Window>,
    /// Closed at the end: what the pump waits for.
    pub(super) alive: Option<OwnedFd>,
    pub(super) status: Option<ExitStatus>,
}

impl Sessions {
    /// Runs `fork` and enters its session before its end can be noticed.
    pub(super) fn start(
        &self,
        id: u64,
        fork: impl FnOnce() -> Result<Session, StartFailure>,
    ) -> Result<i32, StartFailure> {
        let mut table = self.lock();
        if table.ending {
            return Err(other_failure("the job has ended"));
        }
        if table.live.contains_key(&id) {
            return Err(other_failure(format!("session {id} runs already")));
        }
        let session = fork()?;
        let pid = session.pid;
        table.live.insert(id, session);
        table.forks += 1;
        table.childless = false;
        self.changed.notify_all();
        Ok(pid)
    }

    pub(super) fn is_live(&self, id: u64) -> bool {
        self.lock().live.contains_key(&id)
    }

    pub(super) fn status(&self, id: u64) -> Option<ExitStatus> {
        self.lock().live.get(&id).and_then(|session| session.status)
    }

    /// Forgets a session that has ended and said so.
    pub(super) fn remove(&self, id: u64) {
        if let Some(session) = self.lock().live.remove(&id) {
            session.abandon_input();
        }
        self.changed.notify_all();
    }

    pub(super) fn input(&self, id: u64, bytes: Vec<u8>) {
        // Input for a session that has ended meanwhile has no one to read it, and nobody waits for it to be consumed.
        if let Some(input) = self
            .lock()
            .live
            .get(&id)
            .and_then(|session| session.input.clone())
        {
            input.push(bytes);
        }
    }

    pub(super) fn resize(&self, id: u64, size: WindowSize) {
        if let Some(terminal) = self
            .lock()
            .live
            .get(&id)
            .and_then(|session| session.terminal.clone())
        {
            streams::resize(&terminal, size);
        }
    }

    pub(super) fn consumed(&self, id: u64, bytes: usize) {
        if let Some(session) = self.lock().live.get(&id) {
            session.window.consumed(bytes);
        }
    }

    /// Signals a session's first process, or the whole group. After its end: nobody, for the pid may be another's.
    pub(super) fn signal(&self, id: u64, signal: i32, group: bool) {
        let table = self.lock();
        if let Some(session) = table
            .live
            .get(&id)
            .filter(|session| session.status.is_none())
        {
            kill(if group { -session.pid } else { session.pid }, signal);
        }
    }

    /// Hangs up: nothing more is sent of the session, and what does not end by itself is ended.
    pub(super) fn close(&self, id: u64) {
        let mut table = self.lock();
        let Some(session) = table.live.remove(&id) else {
            return;
        };
        session.window.close();
        session.abandon_input();
        if session.status.is_none() {
            hang_up(session.pid);
        }
        self.changed.notify_all();
    }

    pub(super) fn close_all_but_the_job(&self) {
        let ids: Vec<u64> = self
            .lock()
            .live
            .keys()
            .copied()
            .filter(|id| *id != 0)
            .collect();
        ids.into_iter().for_each(|id| self.close(id));
    }

    /// Collects a dead child and lets its session know, in one step as seen by everybody else.
    pub(super) fn reap(&self, pid: i32) {
        let mut table = self.lock();
        let mut status = 0;
        // SAFETY: the pointer is valid for the call. WNOHANG: a failed start collects its own child.
        if unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } != pid {
            return;
        }
        if let Some(session) = table
            .live
            .values_mut()
            .find(|session| session.pid == pid && session.status.is_none())
        {
            session.status = Some(exit_status(status));
            session.alive = None;
        }
    }

    pub(super) fn forks(&self) -> u64 {
        self.lock().forks
    }

    /// For the reaper: there was no child after `forks` forks.
    pub(super) fn wait_for_fork_after(&self, forks: u64) {
        let mut table = self.lock();
        if table.forks == forks {
            table.childless = true;
            self.changed.notify_all();
        }
        while table.forks == forks {
            table = self
                .changed
                .wait(table)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends every process and waits until all are collected.
    pub(super) fn end_everything(&self) {
        self.lock().ending = true;
        kill_everything();
        self.wait_until(|table| table.childless);
    }

    /// Waits for the ends of all other sessions to be told.
    pub(super) fn wait_for_the_others(&self) {
        self.wait_until(|table| table.live.keys().all(|id| *id == 0));
    }

    fn wait_until(&self, reached: impl Fn(&Table) -> bool) {
        let give_up_at = Instant::now() + END_GRACE;
        let mut table = self.lock();
        while !reached(&table) {
            let left = give_up_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            table = self
                .changed
                .wait_timeout(table, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn abandon_input(&self) {
        if let Some(input) = &self.input {
            input.abandon();
        }
    }
}

fn exit_status(status: i32) -> ExitStatus {
    if libc::WIFSIGNALED(status) {
        ExitStatus {
            code: None,
            signal: Some(libc::WTERMSIG(status)),
        }
    } else {
        ExitStatus {
            code: Some(libc::WEXITSTATUS(status)),
            signal: None,
        }
    }
}

fn hang_up(group: i32) {
    kill(-group, libc::SIGHUP);
    let force = move || {
        thread::sleep(HANGUP_GRACE);
        kill(-group, libc::SIGKILL);
    };
    if spawn_thread("hangup", force).is_err() {
        // Without a thread to wait there is no grace.
        kill(-group, libc::SIGKILL);
    }
}

fn kill(target: i32, signal: i32) {
    // SAFETY: always sound. ESRCH is what was wanted; other errors have nobody to tell.
    unsafe {
        libc::kill(target, signal);
    }
}

/// Signals every process but the agent.
pub(super) fn signal_everything(signal: i32) {
    kill(-1, signal);
}

/// Ends every process but the agent.
pub(super) fn kill_everything() {
    signal_everything(libc::SIGKILL);
}
