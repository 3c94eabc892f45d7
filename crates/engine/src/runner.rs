//! One task for each live job: it alone changes the job's record.
//!
//! ```text
//! message ─► decide ─► commit ─► answer ─► effects ─► (results are messages again)
//! ```
//!
//! It lives while the job does: a suspended or ended job whose effects are done has no task. Whatever goes wrong between
//! any two lines, the record says what was about to happen, and `reconcile` begins there.

use crate::ask::{Answer, Ask};
use crate::engine::Live;
use crate::{Caller, Engine, Error};
use dauer_core::{
    Checkpoint, CheckpointId, Ended, Event, EventKind, Intent, Job, JobId, Move, Operation, State,
    Verdict, Why, decide,
};
use dauer_sandbox::protocol::Phase;
use dauer_sandbox::{Link, LinkEvent, LinkEvents};
use dauer_store::{Change, NewEntry};
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
    /// Look at what is really there.
    Reconcile { answer: Option<Answer<Job>> },
    /// The record and all data are to go.
    Remove { answer: Option<Answer<()>> },
}

/// The checkpoint in flight and who waits for it.
struct InFlight {
    done: Vec<Answer<Checkpoint>>,
    /// Why it failed, in more detail than the journal's line.
    error: Option<Error>,
}

/// The actor.
pub(crate) struct Runner {
    pub(crate) engine: Engine,
    pub(crate) entry: Arc<Live>,
    pub(crate) job: Job,
    pub(crate) link: Option<Link>,
    pub(crate) events: Option<LinkEvents>,
    asks: VecDeque<Ask>,
    in_flight: Option<InFlight>,
    /// An effect failed for a passing reason: look again then.
    pub(crate) look_again_at: Option<Instant>,
    pub(crate) look_again_after: Duration,
    /// Since when the incarnation is on its way up.
    rising_since: Option<(u32, Instant)>,
    gone: bool,
}

/// A sandbox that is not up after so long is given up.
const RISE_MAX: Duration = Duration::from_secs(180);

/// The first pause before an effect that failed is tried again; it doubles up to 30 s.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(500);

impl Runner {
    /// Runs until the job is settled and nobody wants anything of it.
    pub(crate) async fn run(
        engine: Engine,
        id: JobId,
        entry: Arc<Live>,
        mut messages: mpsc::UnboundedReceiver<Message>,
    ) {
        let job = match engine.job(&id).await {
            Ok(job) => job,
            Err(error) => {
                engine.leave_with(&id, &entry, &mut messages, &error);
                return;
            }
        };
        let mut runner = Self {
            engine,
            entry,
            job,
            link: None,
            events: None,
            asks: VecDeque::new(),
            in_flight: None,
            look_again_at: None,
            look_again_after: LOOK_AGAIN,
            rising_since: None,
            gone: false,
        };
        loop {
            runner.serve_asks().await;
            if runner.is_settled() && runner.engine.leave(&id, &runner.entry, &messages) {
                return;
            }
            if runner.gone {
                runner.engine.leave_with(
                    &id,
                    &runner.entry,
                    &mut messages,
                    &Error::NotFound(id.0.clone()),
                );
                return;
            }
            runner.watch_the_rise();
            let alarm = runner.next_alarm();
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => runner.hear(message).await,
                    // The engine was shut down: the shims work on alone.
                    None => return,
                },
                event = next_event(&mut runner.events) => runner.hear_shim(event).await,
                () = sleep_until(alarm) => runner.ring().await,
            }
        }
    }

    fn is_settled(&self) -> bool {
        let quiet = self.job.state.is_terminal()
            || matches!(self.job.state, State::Suspended | State::PendingRetry);
        quiet
            && self.job.operation.is_none()
            && self.asks.is_empty()
            && self.look_again_at.is_none()
    }

    async fn hear(&mut self, message: Message) {
        match message {
            Message::Event { event, answer } => self.apply_answering(None, event, answer).await,
            Message::Ask(ask) => self.asks.push_back(ask),
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
        match event {
            LinkEvent::Request { id, request } => self.serve_request(id, request),
            LinkEvent::Closed => {
                self.disconnect();
                self.reconcile().await;
            }
            LinkEvent::State {
                phase,
                shim_pid,
                sandbox_pid,
                job_pid,
            } => {
                self.set_handles(Handles {
                    sandbox: self
                        .job
                        .sandbox
                        .as_ref()
                        .map_or_else(String::new, |id| id.0.clone()),
                    sandbox_pid,
                    shim_pid: Some(shim_pid),
                    job_pid,
                });
                match phase {
                    Phase::Starting => {}
                    Phase::Running => self.apply(generation, EventKind::Started).await,
                    Phase::Frozen { checkpoint } => {
                        self.apply(generation, EventKind::CheckpointPublished(*checkpoint))
                            .await
                    }
                    Phase::Ended { exit } => {
                        let ended = crate::recover::ended(&exit);
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

    /// The next moment at which something is due without anybody saying so.
    fn next_alarm(&self) -> Option<Instant> {
        let kill_at = match &self.job.intent {
            Some(Intent::End { kill_at, .. })
                if self.job.operation == Some(Operation::Terminating) =>
            {
                Some(*kill_at)
            }
            Some(Intent::End { .. } | Intent::Checkpoint { .. } | Intent::Wake { .. }) | None => {
                None
            }
        };
        let due = match (kill_at, self.job.deadline_at.filter(|_| kill_at.is_none())) {
            (Some(kill_at), _) => Some(kill_at),
            (None, deadline) => deadline,
        };
        let due =
            due.map(|due| Instant::now() + Duration::from_millis(due.since(self.engine.now())));
        let given_up = self.rising_since.map(|(_, since)| since + RISE_MAX);
        [due, self.look_again_at, given_up]
            .into_iter()
            .flatten()
            .min()
    }

    /// Every state on the way has an end: notes since when a sandbox is on its way up.
    fn watch_the_rise(&mut self) {
        let rising = matches!(
            self.job.operation,
            Some(Operation::Starting | Operation::Waking | Operation::Restarting)
        );
        match self.rising_since {
            _ if !rising => self.rising_since = None,
            Some((generation, _)) if generation == self.job.generation => {}
            Some(_) | None => self.rising_since = Some((self.job.generation, Instant::now())),
        }
    }

    async fn give_up_the_rise(&mut self) {
        let message = format!("its sandbox was not up after {} s", RISE_MAX.as_secs());
        let ended = match self.job.operation {
            Some(Operation::Starting) => Ended::StartFailed { code: 125, message },
            _ => Ended::RestoreFailed {
                message,
                bad_image: false,
            },
        };
        self.apply(Some(self.job.generation), EventKind::Ended(ended))
            .await;
    }

    async fn ring(&mut self) {
        if self.look_again_at.is_some_and(|at| at <= Instant::now()) {
            self.look_again_at = None;
            self.look_again_after = (self.look_again_after * 2).min(Duration::from_secs(30));
            self.reconcile().await;
            return;
        }
        if self
            .rising_since
            .is_some_and(|(_, since)| since + RISE_MAX <= Instant::now())
        {
            self.rising_since = None;
            self.give_up_the_rise().await;
            return;
        }
        let now = self.engine.now();
        match self.job.intent {
            Some(Intent::End { kill_at, .. }) if kill_at <= now => {
                self.apply(None, EventKind::GraceOver).await
            }
            _ => self.apply(None, EventKind::DeadlineReached).await,
        }
    }

    /// Starts the checkpoint that waits longest, if one may start now.
    async fn serve_asks(&mut self) {
        while !self.asks.is_empty() {
            match (self.job.state, self.job.operation) {
                (State::Running, None) => {}
                (State::Running, Some(Operation::Terminating | Operation::Exiting)) => {
                    return self.refuse_asks("the job is ending");
                }
                (State::Pending | State::Running, _)
                | (State::Suspended, Some(Operation::Waking)) => return,
                (state, _) => return self.refuse_asks(&format!("the job is {state}, not running")),
            }
            let Some(mut ask) = self.asks.pop_front() else {
                return;
            };
            if ask
                .generation
                .is_some_and(|generation| generation != self.job.generation)
            {
                // Asked by an incarnation that is gone; the code asks again.
                ask.refuse(&Error::Conflict("asked by an earlier incarnation".into()));
                continue;
            }
            let mut done: Vec<_> = ask.done.take().into_iter().collect();
            let (joining, waiting): (Vec<_>, Vec<_>) =
                self.asks.drain(..).partition(|other| ask.joins(other));
            done.extend(joining.into_iter().filter_map(|other| other.done));
            self.asks = waiting.into();
            self.begin_checkpoint(ask, done).await;
        }
    }

    async fn begin_checkpoint(&mut self, ask: Ask, done: Vec<Answer<Checkpoint>>) {
        let checkpoint = CheckpointId(crate::submit::random_id());
        self.in_flight = Some(InFlight { done, error: None });
        let event = EventKind::CheckpointAsked {
            checkpoint,
            token: ask.token,
            then: ask.then,
        };
        let (answer, accepted) = tokio::sync::oneshot::channel();
        self.apply_answering(None, event, Some(answer)).await;
        let result = accepted
            .await
            .unwrap_or_else(|_| Err(Error::Failed("the engine is shutting down".into())));
        if let Err(error) = &result {
            self.settle_in_flight(Err(error.clone()));
        }
        if let Some(accepted) = ask.accepted {
            let _gone = accepted.send(result.map(|_| ()));
        }
    }

    fn refuse_asks(&mut self, why: &str) {
        for ask in self.asks.drain(..) {
            ask.refuse(&Error::Conflict(why.to_owned()));
        }
    }

    async fn checkpoint_taken(
        &mut self,
        generation: u32,
        checkpoint: CheckpointId,
        result: Result<Checkpoint, Error>,
    ) {
        let event = match result {
            Ok(checkpoint) => EventKind::CheckpointPublished(checkpoint),
            Err(error) => {
                if generation == self.job.generation && self.link.is_none() {
                    // The shim went away meanwhile: what became of the image is for reconcile to find out.
                    return;
                }
                let message = error.to_string();
                if let Some(in_flight) = &mut self.in_flight {
                    in_flight.error = Some(error);
                }
                EventKind::CheckpointFailed {
                    checkpoint,
                    message,
                }
            }
        };
        self.apply(Some(generation), event).await;
    }

    fn settle_in_flight(&mut self, result: Result<Checkpoint, Error>) {
        let Some(in_flight) = self.in_flight.take() else {
            return;
        };
        for done in in_flight.done {
            // A caller that went away needs no answer.
            let _gone = done.send(result.clone());
        }
    }

    /// Decides, commits, acts; follows up on what the effects report at once.
    pub(crate) async fn apply(&mut self, generation: Option<u32>, kind: EventKind) {
        self.apply_answering(generation, kind, None).await;
    }

    async fn apply_answering(
        &mut self,
        generation: Option<u32>,
        kind: EventKind,
        mut answer: Option<Answer<Job>>,
    ) {
        let mut queue = VecDeque::from([(generation, kind)]);
        while let Some((generation, kind)) = queue.pop_front() {
            let event = Event {
                at: self.engine.now(),
                generation,
                kind,
            };
            let result = match decide(&self.job, &event) {
                Verdict::Move(movement) => self.carry_out(*movement, &mut answer, &mut queue).await,
                Verdict::Ignore(why) => {
                    self.ignored(&event.kind, why).await;
                    Ok(())
                }
                Verdict::Refuse(refusal) => Err(refusal.into()),
            };
            if let Some(answer) = answer.take() {
                let _gone = answer.send(result.map(|()| self.job.clone()));
            }
        }
    }

    /// An image that nobody wants any more must not stay.
    async fn ignored(&self, kind: &EventKind, why: Why) {
        if let EventKind::CheckpointPublished(checkpoint) = kind
            && why != Why::AlreadyDone
            && let Err(error) = self.engine.node().remove_snapshot(&checkpoint.id).await
        {
            tracing::warn!(job = %self.job.id, %error, "an unwanted image stays until the next start");
        }
    }

    async fn carry_out(
        &mut self,
        movement: Move,
        answer: &mut Option<Answer<Job>>,
        queue: &mut VecDeque<(Option<u32>, EventKind)>,
    ) -> Result<(), Error> {
        if movement.event == "released"
            && self.job.spec.remove_on_exit
            && self.job.state.is_terminal()
        {
            // Stays unsettled until it is removed, so that a daemon that dies before removes it at its next start.
            self.remove_when_read();
            return Ok(());
        }
        let failed = movement.event == "checkpoint_failed";
        let (event, detail, token) = (movement.event, movement.detail, movement.token);
        let committed = movement.checkpoint.clone();
        let change = Change {
            entry: NewEntry {
                at: self.engine.now(),
                event: event.to_owned(),
                from: Some(self.job.state),
                detail,
            },
            job: movement.job,
            checkpoint: movement.checkpoint,
            token,
            forget_requested_tokens: movement.forget_requested_tokens,
        };
        self.commit(change).await?;
        tracing::debug!(job = %self.job.id, event, state = %self.job.state, "committed");
        if let Some(answer) = answer.take() {
            let _gone = answer.send(Ok(self.job.clone()));
        }
        match committed {
            Some(checkpoint) => self.settle_in_flight(Ok(checkpoint)),
            None if failed => {
                let error = self
                    .in_flight
                    .as_mut()
                    .and_then(|in_flight| in_flight.error.take());
                let error = error.unwrap_or_else(|| {
                    Error::Failed(self.job.last_error.clone().unwrap_or_default())
                });
                self.settle_in_flight(Err(error));
            }
            None if !matches!(self.job.intent, Some(Intent::Checkpoint { .. })) => {
                self.settle_in_flight(Err(Error::Conflict(
                    "the job ended or was lost before its checkpoint was taken".into(),
                )));
            }
            None => {}
        }
        for effect in movement.effects {
            if let Some(follow_up) = self.perform(effect).await {
                queue.push_back(follow_up);
            }
        }
        Ok(())
    }

    /// Commits, trying for as long as it takes: what happened has happened, and only a record makes it count.
    async fn commit(&mut self, change: Change) -> Result<(), Error> {
        let mut pause = Duration::from_millis(50);
        loop {
            match self.engine.store().commit(change.clone()).await {
                Ok(()) => break,
                Err(dauer_store::Error::Conflict { found, .. }) if found == change.job.version => {
                    // A commit whose answer was lost: look it up, never guess.
                    let stored = self.engine.job(&self.job.id).await?;
                    if stored == change.job {
                        break;
                    }
                    return Err(self.lost_the_race(stored));
                }
                Err(dauer_store::Error::Conflict { .. }) => {
                    let stored = self.engine.job(&self.job.id).await?;
                    return Err(self.lost_the_race(stored));
                }
                Err(error @ (dauer_store::Error::NoSpace(_) | dauer_store::Error::Backend(_))) => {
                    tracing::warn!(job = %self.job.id, %error, "commit failed; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                Err(error) => {
                    self.gone = true;
                    return Err(error.into());
                }
            }
        }
        self.job = change.job;
        self.engine.committed(&self.job);
        Ok(())
    }

    /// Somebody else wrote this job: their record stands, and this runner begins again from it.
    fn lost_the_race(&mut self, stored: Job) -> Error {
        tracing::error!(job = %self.job.id, ours = self.job.version, theirs = stored.version, "lost the version race");
        self.job = stored;
        self.look_again_at = Some(Instant::now());
        Error::Conflict("the job was changed by somebody else: look at it again".into())
    }

    async fn remove(&mut self) -> Result<(), Error> {
        if !self.job.state.is_terminal() {
            return Err(Error::Conflict(format!("the job is {}", self.job.state)));
        }
        let checkpoints = self.engine.store().checkpoints(&self.job.id).await?;
        // The record goes first: files without a record are found and removed at the next start, a record without files is not.
        self.engine
            .store()
            .remove(&self.job.id, self.job.version)
            .await?;
        self.gone = true;
        self.engine.removed(&self.job.id);
        for checkpoint in checkpoints {
            self.engine.node().remove_snapshot(&checkpoint.id).await?;
        }
        if let Some(sandbox) = &self.job.sandbox {
            self.engine
                .node()
                .destroy(sandbox, self.job.generation, &self.job.spec.driver)
                .await?;
            self.engine.node().remove(sandbox).await?;
        }
        Ok(())
    }

    pub(crate) fn connect(&mut self, link: Link, events: LinkEvents) {
        *self.entry.link.lock().expect("no panic while held") = Some(link.clone());
        self.link = Some(link);
        self.events = Some(events);
    }

    pub(crate) fn disconnect(&mut self) {
        *self.entry.link.lock().expect("no panic while held") = None;
        *self.entry.handles.lock().expect("no panic while held") = None;
        self.link = None;
        self.events = None;
    }

    fn set_handles(&self, handles: Handles) {
        *self.entry.handles.lock().expect("no panic while held") = Some(handles);
    }

    /// The checkpoint in flight of the record, if there is one.
    pub(crate) fn intended_checkpoint(&self) -> Option<CheckpointId> {
        match &self.job.intent {
            Some(Intent::Checkpoint { checkpoint, .. }) => Some(checkpoint.clone()),
            Some(Intent::Wake { .. } | Intent::End { .. }) | None => None,
        }
    }
}

impl Engine {
    /// A runner that has no record tells everybody who wrote to it, and leaves.
    fn leave_with(
        &self,
        id: &JobId,
        entry: &Arc<Live>,
        messages: &mut mpsc::UnboundedReceiver<Message>,
        error: &Error,
    ) {
        loop {
            while let Ok(message) = messages.try_recv() {
                match message {
                    Message::Event {
                        answer: Some(answer),
                        ..
                    }
                    | Message::Reconcile {
                        answer: Some(answer),
                    } => {
                        let _gone = answer.send(Err(error.clone()));
                    }
                    Message::Remove {
                        answer: Some(answer),
                    } => {
                        let _gone = answer.send(Err(error.clone()));
                    }
                    Message::Ask(ask) => ask.refuse(error),
                    Message::Event { answer: None, .. }
                    | Message::Reconcile { answer: None }
                    | Message::Remove { answer: None }
                    | Message::CheckpointTaken { .. } => {}
                }
            }
            if self.leave(id, entry, messages) {
                return;
            }
        }
    }
}

async fn next_event(events: &mut Option<LinkEvents>) -> LinkEvent {
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
