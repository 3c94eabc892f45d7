//! One task for each live job: it alone changes the job's record.
//!
//! ```text
//! message ─► decide ─► commit ─► answer ─► effects ─► (results are messages again)
//! ```
//!
//! It lives while the job does: a suspended or ended job whose effects are done has no task. Whatever goes wrong between
//! any two lines, the record says what was about to happen, and `reconcile` begins there.

use crate::ask::{Answer, Ask};
use crate::asker::Asker;
use crate::engine::Live;
use crate::meter::Known;
use crate::own::Unwritten;
use crate::signals::{Told, WaitCall};
use crate::{Caller, Engine, Error, scheduler};
use dauer_core::{Checkpoint, CheckpointId, EventKind, Intent, Job, JobId, Operation, Progress};
use dauer_sandbox::protocol::Phase;
use dauer_sandbox::{Link, LinkEvent, LinkEvents};
use dauer_wire::http::Handles;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What a runner hears.
pub(crate) enum Message {
    /// A caller or the clock speaks.
    Event {
        /// The incarnation it is about, where the job speaks.
        generation: Option<u32>,
        event: EventKind,
        answer: Option<Answer<Job>>,
    },
    /// Somebody wants a checkpoint.
    Ask(Ask),
    /// The shim finished a checkpoint, or did not.
    CheckpointTaken {
        generation: u32,
        checkpoint: CheckpointId,
        result: Result<Checkpoint, Error>,
    },
    /// The job waits for a signal.
    Wait {
        generation: u32,
        call: WaitCall,
        answer: Answer<Told>,
    },
    /// The job says how far it is.
    Progress {
        generation: u32,
        progress: Progress,
        answer: Answer<()>,
    },
    /// Look at what is really there.
    Reconcile { answer: Option<Answer<Job>> },
    /// The record and all data are to go.
    Remove { answer: Option<Answer<()>> },
}

/// A message, and who asks for what it says.
pub(crate) struct Letter {
    /// Absent where nobody does.
    pub(crate) asker: Option<Arc<Asker>>,
    pub(crate) message: Message,
}

/// The checkpoint in flight and who waits for it.
pub(crate) struct InFlight {
    pub(crate) done: Vec<Answer<Checkpoint>>,
    /// Why it failed, in more detail than the journal's line.
    pub(crate) error: Option<Error>,
}

/// The actor.
pub(crate) struct Runner {
    pub(crate) engine: Engine,
    pub(crate) entry: Arc<Live>,
    pub(crate) job: Job,
    /// Who asks for what is being done now.
    pub(crate) asker: Option<Arc<Asker>>,
    pub(crate) link: Option<Link>,
    pub(crate) events: Option<LinkEvents>,
    /// What was heard before the loop came to listen.
    heard: Option<LinkEvent>,
    pub(crate) asks: VecDeque<Ask>,
    pub(crate) in_flight: Option<InFlight>,
    pub(crate) unwritten: Unwritten,
    /// An effect failed for a passing reason: look again then.
    pub(crate) look_again_at: Option<Instant>,
    pub(crate) look_again_after: Duration,
    /// Since when the incarnation is on its way up.
    pub(crate) rising_since: Option<(u32, Instant)>,
    /// A task ends the jobs below this one.
    pub(crate) ends_children: bool,
    /// It has no record any more, or not here: why.
    pub(crate) gone: Option<Error>,
    /// For the ledger.
    pub(crate) known: Known,
}

/// The first pause before an effect that failed is tried again; it doubles up to 30 s.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(500);

impl Runner {
    /// Runs until the job is settled and nobody wants anything of it.
    pub(crate) async fn run(
        engine: Engine,
        id: JobId,
        entry: Arc<Live>,
        mut messages: mpsc::UnboundedReceiver<Letter>,
    ) {
        let job = match engine.job(&id).await {
            Ok(job) => match engine.held_elsewhere(&job).await {
                Ok(None) => Ok(job),
                Ok(Some(error)) | Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        match job {
            Ok(job) => Self::of(engine, entry, job).live(messages).await,
            Err(error) => engine.leave_with(&id, &entry, &mut messages, &error),
        }
    }

    pub(crate) fn of(engine: Engine, entry: Arc<Live>, job: Job) -> Self {
        Self {
            engine,
            entry,
            job,
            asker: None,
            link: None,
            events: None,
            heard: None,
            asks: VecDeque::new(),
            in_flight: None,
            unwritten: Unwritten::default(),
            look_again_at: None,
            look_again_after: LOOK_AGAIN,
            rising_since: None,
            ends_children: false,
            gone: None,
            known: Known::default(),
        }
    }

    pub(crate) async fn live(mut self, mut messages: mpsc::UnboundedReceiver<Letter>) {
        let runner = &mut self;
        let id = runner.job.id.clone();
        loop {
            runner.serve_asks().await;
            if runner.is_settled() && runner.engine.leave(&id, &runner.entry, &messages) {
                return;
            }
            if let Some(why) = &runner.gone {
                let engine = &runner.engine;
                engine.leave_with(&id, &runner.entry, &mut messages, why);
                return;
            }
            runner.watch_the_rise();
            let alarm = runner.next_alarm();
            tokio::select! {
                message = messages.recv() => match message {
                    Some(letter) => runner.open(letter).await,
                    // The engine was shut down: the shims work on alone.
                    None => return,
                },
                event = next_event(&mut runner.heard, &mut runner.events) => runner.hear_shim(event).await,
                () = sleep_until(alarm) => runner.ring().await,
            }
        }
    }

    fn is_settled(&self) -> bool {
        let quiet = self.job.state.is_terminal() || scheduler::waits(&self.job);
        // What becomes of a function is heard of by others.
        (quiet && self.job.operation.is_none() || self.job.is_inline())
            && !self.job.is_ending_children()
            && self.asks.is_empty()
            && self.look_again_at.is_none()
    }

    async fn open(&mut self, letter: Letter) {
        self.asker = letter.asker;
        self.hear(letter.message).await;
        self.asker = None;
    }

    async fn hear(&mut self, message: Message) {
        match message {
            Message::Event {
                generation,
                event,
                answer,
            } => {
                self.write_progress().await;
                self.apply_answering(generation, event, answer).await;
            }
            Message::Ask(ask) => self.enqueue(ask),
            Message::Wait {
                generation,
                call,
                answer,
            } => {
                let told = self.serve_wait(generation, &call).await;
                // The job may be asking again over another connection.
                let _gone = answer.send(told);
            }
            Message::Progress {
                generation,
                progress,
                answer,
            } => {
                self.note_progress(generation, progress).await;
                let _gone = answer.send(Ok(()));
            }
            Message::CheckpointTaken {
                generation,
                checkpoint,
                result,
            } => self.checkpoint_taken(generation, checkpoint, result).await,
            Message::Reconcile { answer } => {
                self.reconcile().await;
                if let Some(answer) = answer {
                    // Nobody may be waiting any more.
                    let _gone = answer.send(Ok(self.job.clone()));
                }
            }
            Message::Remove { answer } => {
                let result = self.remove().await;
                if let Some(answer) = answer {
                    let _gone = answer.send(result);
                }
            }
        }
    }

    async fn hear_shim(&mut self, event: LinkEvent) {
        let generation = Some(self.job.generation);
        if !matches!(event, LinkEvent::Request { .. }) {
            self.write_progress().await;
        }
        match event {
            LinkEvent::Request { id, request } => self.serve_request(id, request),
            LinkEvent::Closed => {
                self.disconnect();
                self.note_silence();
                self.reconcile().await;
            }
            LinkEvent::State {
                phase,
                shim_pid,
                sandbox_pid,
                job_pid,
                life,
            } => {
                self.note_pids(shim_pid, sandbox_pid, job_pid);
                self.note_life(life);
                match phase {
                    Phase::Starting => {}
                    Phase::Running => {
                        self.apply(generation, EventKind::Started).await;
                        // Asked to end while it was on its way up, when there was nobody to tell.
                        if self.job.operation == Some(Operation::Terminating) {
                            self.terminate().await;
                        }
                    }
                    Phase::Frozen { checkpoint } => {
                        self.apply(generation, EventKind::CheckpointPublished(*checkpoint))
                            .await
                    }
                    Phase::Ended { exit } => {
                        let ended = self.note_exit(&exit);
                        self.apply(generation, EventKind::Ended(ended)).await;
                    }
                }
            }
        }
    }

    fn serve_request(&self, id: u64, mut request: dauer_wire::guest::ApiRequest) {
        let Some(link) = self.link.clone() else {
            return;
        };
        let caller = Caller {
            job: self.job.id.clone(),
            generation: self.job.generation,
        };
        request
            .headers
            .insert(crate::REQUEST_HEADER.into(), id.to_string());
        let engine = self.engine.clone();
        tokio::spawn(async move {
            let response = engine.answer(caller, request).await;
            link.respond(id, response);
        });
    }

    pub(crate) fn connect(&mut self, link: Link, events: LinkEvents) {
        *self.entry.link.lock().expect("no panic while held") = Some(link.clone());
        self.link = Some(link);
        self.events = Some(events);
    }

    pub(crate) fn disconnect(&mut self) {
        *self.entry.link.lock().expect("no panic while held") = None;
        self.entry.handles.send_replace(None);
        self.link = None;
        self.events = None;
        self.heard = None;
    }

    /// Keeps the first word of an adopted shim for the loop, and its pids for whoever asks meanwhile.
    pub(crate) fn heard_first(&mut self, event: Option<LinkEvent>) {
        if let Some(LinkEvent::State {
            shim_pid,
            sandbox_pid,
            job_pid,
            ..
        }) = &event
        {
            self.note_pids(*shim_pid, *sandbox_pid, *job_pid);
        }
        self.heard = event;
    }

    fn note_pids(&self, shim_pid: i32, sandbox_pid: Option<i32>, job_pid: Option<i32>) {
        let sandbox = self.job.sandbox.as_ref();
        self.set_handles(Handles {
            sandbox: sandbox.map_or_else(String::new, |id| id.0.clone()),
            sandbox_pid,
            shim_pid: Some(shim_pid),
            job_pid,
        });
    }

    fn set_handles(&self, handles: Handles) {
        self.entry.handles.send_replace(Some(handles));
    }

    /// The checkpoint in flight of the record, if there is one.
    pub(crate) fn intended_checkpoint(&self) -> Option<CheckpointId> {
        match &self.job.intent {
            Some(Intent::Checkpoint { checkpoint, .. }) => Some(checkpoint.clone()),
            Some(Intent::Wake { .. } | Intent::End { .. }) | None => None,
        }
    }
}

async fn next_event(heard: &mut Option<LinkEvent>, events: &mut Option<LinkEvents>) -> LinkEvent {
    if let Some(event) = heard.take() {
        return event;
    }
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
