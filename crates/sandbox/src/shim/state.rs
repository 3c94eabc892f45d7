//! What the threads of a shim share.

use super::door::Door;
use super::outbox::Outbox;
use super::output::Output;
use super::session::Session;
use super::window::Window;
use super::{Occurrence, clock, reaper};
use crate::driver::{Driver, Incarnation};
use crate::host::cgroup;
use crate::layout::SandboxDir;
use crate::link::request_frame;
use crate::protocol::{Event, Phase, kind};
use crate::{Error, files};
use dauer_core::ledger::Life;
use dauer_wire::frame::Frame;
use dauer_wire::guest::{ApiRequest, Quiesced, ToGuest};
use std::collections::{BTreeMap, HashMap};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One incarnation.
pub(super) struct Shim {
    pub(super) incarnation: Incarnation,
    pub(super) folder: SandboxDir,
    /// Absent where the spec names one that does not exist.
    pub(super) driver: Option<Arc<dyn Driver>>,
    pub(super) output: Output,
    /// Frames to the agent.
    pub(super) agent: Outbox,
    /// The job's own input.
    pub(super) stdin: Window,
    pub(super) door: Door,
    pub(super) occurrences: Sender<Occurrence>,
    pub(super) reaper: Arc<reaper::Shared>,
    /// Held while a checkpoint is taken: there is one at a time.
    pub(super) checkpointing: Mutex<()>,
    state: Mutex<State>,
    changed: Condvar,
}

/// What ties a shim to the outside and its threads to each other.
pub(super) struct Wiring {
    pub(super) door: Door,
    pub(super) occurrences: Sender<Occurrence>,
    pub(super) reaper: Arc<reaper::Shared>,
}

struct State {
    phase: Phase,
    life: Life,
    sandbox_pid: Option<i32>,
    job_pid: Option<i32>,
    /// Without an answer yet, by number.
    requests: BTreeMap<u64, ApiRequest>,
    control: Option<Control>,
    sessions: HashMap<u64, Arc<Session>>,
    session_last: u64,
    quiesced: Option<Quiesced>,
    agent_gone: bool,
    whose: Whose,
}

/// Whose a sandbox is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whose {
    /// Empty while it waits for a job.
    pub(super) job: String,
    pub(super) host_name: String,
}

/// The present control connection.
pub(super) struct Control {
    pub(super) outbox: Arc<Outbox>,
    pub(super) stream: UnixStream,
}

impl Shim {
    pub(super) fn new(
        incarnation: Incarnation,
        folder: SandboxDir,
        driver: Option<Arc<dyn Driver>>,
        output: Output,
        wiring: Wiring,
    ) -> Self {
        // Sessions of an earlier incarnation live on in the memory of a restored agent: their numbers are not used again.
        let session_last = u64::from(incarnation.spec.generation) << 32;
        let whose = Whose {
            job: incarnation.spec.job.clone(),
            host_name: incarnation.spec.host_name.clone(),
        };
        Self {
            incarnation,
            folder,
            driver,
            output,
            agent: Outbox::default(),
            stdin: Window::default(),
            door: wiring.door,
            occurrences: wiring.occurrences,
            reaper: wiring.reaper,
            checkpointing: Mutex::new(()),
            state: Mutex::new(State {
                phase: Phase::Starting,
                life: Life::default(),
                sandbox_pid: None,
                job_pid: None,
                requests: BTreeMap::new(),
                control: None,
                sessions: HashMap::new(),
                session_last,
                quiesced: None,
                agent_gone: false,
                whose,
            }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn generation(&self) -> u32 {
        self.incarnation.spec.generation
    }

    /// The driver of a sandbox that came to be.
    pub(super) fn driver(&self) -> Result<&dyn Driver, Error> {
        self.driver.as_deref().ok_or(Error::Gone)
    }

    /// Something happened that the owner decides about. It is there as long as the process is.
    pub(super) fn tell(&self, occurrence: Occurrence) {
        let _ = self.occurrences.send(occurrence);
    }

    pub(super) fn phase(&self) -> Phase {
        self.state().phase.clone()
    }

    pub(super) fn job_pid(&self) -> Option<i32> {
        self.state().job_pid
    }

    pub(super) fn sandbox_pid(&self) -> Option<i32> {
        self.state().sandbox_pid
    }

    pub(super) fn event(&self) -> Event {
        self.state().event()
    }

    /// Goes into another phase and tells everybody.
    pub(super) fn enter(&self, phase: Phase) {
        self.change(|state| {
            // Before it has a job nobody pays for it.
            if phase == Phase::Running && !state.whose.job.is_empty() {
                // A freeze that was undone does not begin it anew.
                state.life.began_at.get_or_insert_with(clock::now);
            }
            state.phase = phase;
        });
    }

    /// Whose it is.
    pub(super) fn whose(&self) -> Whose {
        self.state().whose.clone()
    }

    /// It waits no longer. Errors: `Invalid` where it is another job's; true where it had none before.
    pub(super) fn give_to(&self, whose: Whose) -> Result<bool, Error> {
        let present = self.whose();
        if present.job == whose.job {
            return Ok(false);
        }
        if !present.job.is_empty() {
            return Err(Error::Invalid(format!(
                "the sandbox is that of job {} already",
                present.job
            )));
        }
        self.change(|state| {
            state.whose = whose;
            if state.phase == Phase::Running {
                state.life.began_at = Some(clock::now());
            }
        });
        Ok(true)
    }

    /// Notes what it has used so far, while that can still be asked for.
    pub(super) fn measure(&self) {
        let used = cgroup::used(&self.incarnation.instance);
        let life = &mut self.state().life;
        life.cpu_ms = used.cpu_ms.or(life.cpu_ms);
        life.memory_bytes = used.memory_bytes.or(life.memory_bytes);
    }

    pub(super) fn life(&self) -> Life {
        self.state().life
    }

    pub(super) fn set_sandbox_pid(&self, pid: i32) {
        self.change(|state| state.sandbox_pid = Some(pid));
    }

    /// Not told by itself: a phase follows.
    pub(super) fn set_job_pid(&self, pid: i32) {
        self.state().job_pid = Some(pid);
    }

    /// The job's first process runs: told at once, also while the runtime is still busy with itself.
    pub(super) fn started(&self, pid: i32) {
        self.change(|state| {
            state.job_pid = Some(pid);
            if state.phase == Phase::Starting {
                state.phase = Phase::Running;
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let event = state.event();
        if let Some(control) = &state.control {
            control.outbox.push(Frame::json(kind::EVENT, 0, &event));
        }
        self.changed.notify_all();
        // Under the lock, so that an older state cannot overwrite a newer one. Only a hint, so a full disk does no harm.
        if let Err(error) = files::write_json(
            &self.folder.handles(self.generation()),
            &event,
            files::Durable::No,
        ) {
            eprintln!("shim: {error}");
        }
    }

    /// Waits until the sandbox has come up or ended.
    pub(super) fn wait_until_started(&self) -> Phase {
        let mut state = self.state();
        while state.phase == Phase::Starting {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.phase.clone()
    }

    /// Waits until the runtime is done with making the sandbox, or it ended: before, a runtime would not know it.
    pub(super) fn wait_until_made(&self) {
        let mut state = self.state();
        while state.sandbox_pid.is_none() && !matches!(state.phase, Phase::Ended { .. }) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A new control connection: it hears the state and every request without an answer; the one before it ends.
    pub(super) fn adopt(&self, control: Control) {
        let mut state = self.state();
        control
            .outbox
            .push(Frame::json(kind::EVENT, 0, &state.event()));
        for (id, request) in &state.requests {
            control.outbox.push(request_frame(*id, request.clone()));
        }
        if let Some(older) = state.control.replace(control) {
            older.end();
        }
    }

    /// A control connection ended; a newer one stays.
    pub(super) fn forget_control(&self, outbox: &Arc<Outbox>) {
        let mut state = self.state();
        if state
            .control
            .as_ref()
            .is_some_and(|control| Arc::ptr_eq(&control.outbox, outbox))
        {
            state.control = None;
        }
    }

    /// Everything that was said reaches the daemon, if it still listens.
    pub(super) fn flush(&self, at_most: Duration) {
        let (control, sessions) = {
            let state = self.state();
            let control = state
                .control
                .as_ref()
                .map(|control| Arc::clone(&control.outbox));
            (
                control,
                state.sessions.values().cloned().collect::<Vec<_>>(),
            )
        };
        let deadline = Instant::now() + at_most;
        let left = || deadline.saturating_duration_since(Instant::now());
        if let Some(outbox) = control {
            outbox.flush(left());
        }
        for session in sessions {
            session.outbox.flush(left());
        }
    }

    /// The job asks; the daemon hears of it now or when there is one.
    pub(super) fn ask(&self, id: u64, request: ApiRequest) {
        let mut state = self.state();
        if let Some(control) = &state.control {
            control.outbox.push(request_frame(id, request.clone()));
        }
        state.requests.insert(id, request);
    }

    /// The daemon answers. A second answer, of an older daemon, goes nowhere.
    pub(super) fn answer(&self, id: u64, response: dauer_wire::guest::ApiResponse) {
        if self.state().requests.remove(&id).is_some() {
            self.agent
                .push(ToGuest::Response { id, response }.into_frame());
        }
    }

    /// Gives a session its number.
    pub(super) fn add_session(&self, session: &Arc<Session>) -> u64 {
        let mut state = self.state();
        state.session_last += 1;
        let number = state.session_last;
        state.sessions.insert(number, Arc::clone(session));
        number
    }

    pub(super) fn session(&self, number: u64) -> Option<Arc<Session>> {
        self.state().sessions.get(&number).cloned()
    }

    pub(super) fn remove_session(&self, number: u64) -> Option<Arc<Session>> {
        self.state().sessions.remove(&number)
    }

    pub(super) fn sessions(&self) -> Vec<Arc<Session>> {
        self.state().sessions.values().cloned().collect()
    }

    pub(super) fn set_quiesced(&self, quiesced: Quiesced) {
        self.state().quiesced = Some(quiesced);
        self.changed.notify_all();
    }

    /// Waits for the agent to hold still. Errors: `Gone`; `Refused` at the deadline.
    pub(super) fn wait_until_quiesced(&self, at_most: Duration) -> Result<Quiesced, Error> {
        let deadline = Instant::now() + at_most;
        let mut state = self.state();
        loop {
            if let Some(quiesced) = state.quiesced.take() {
                return Ok(quiesced);
            }
            if state.agent_gone {
                return Err(Error::Gone);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seconds = at_most.as_secs();
                return Err(Error::Refused(format!(
                    "the sandbox did not hold still within {seconds} s: try again"
                )));
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// An answer to an earlier Quiesce that came too late says nothing about the next one.
    pub(super) fn forget_quiesced(&self) {
        self.state().quiesced = None;
    }

    /// The channel ended. Whoever waits for the agent does so no longer.
    pub(super) fn agent_is_gone(&self) {
        self.agent.close();
        self.stdin.close();
        self.state().agent_gone = true;
        self.changed.notify_all();
    }
}

impl State {
    fn event(&self) -> Event {
        Event::State {
            phase: self.phase.clone(),
            shim_pid: std::process::id().cast_signed(),
            sandbox_pid: self.sandbox_pid,
            job_pid: self.job_pid,
            life: self.life,
        }
    }
}

impl Control {
    /// Closes it from both sides.
    pub(super) fn end(&self) {
        self.outbox.close();
        // Closed by the other side already: as well.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}
