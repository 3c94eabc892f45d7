//! A request for a checkpoint, on its way to the runner. Requests that come while an operation is in flight wait their turn:
//! the state frozen by the one in flight may be older than the request. Those that wait collapse into one where they can.

use crate::asker::{self, Asker};
use crate::runner::{InFlight, Message, Runner};
use crate::{Engine, Error};
use dauer_core::{Checkpoint, CheckpointId, EventKind, JobId, Operation, State, Then, TokenStatus};
use std::sync::Arc;
use tokio::sync::oneshot;

/// The end of a request that waits.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// Somebody wants a checkpoint.
pub(crate) struct Ask {
    /// The job's own key, where the job asked.
    pub(crate) token: Option<String>,
    /// The incarnation that asked, where the job did: what an earlier one asked was rolled back or answered.
    pub(crate) generation: Option<u32>,
    /// What comes after.
    pub(crate) then: Then,
    /// Who asked, wherever it is heard at last.
    pub(crate) asker: Option<Arc<Asker>>,
    /// Answered when the request is committed.
    pub(crate) accepted: Option<Answer<()>>,
    /// Answered when the checkpoint is committed.
    pub(crate) done: Option<Answer<Checkpoint>>,
}

impl Ask {
    /// A request of a caller; the receiver gets the committed checkpoint.
    pub(crate) fn by_a_caller(then: Then) -> (Self, oneshot::Receiver<Result<Checkpoint, Error>>) {
        let (done, receiver) = oneshot::channel();
        (
            Self {
                token: None,
                generation: None,
                then,
                asker: asker::current(),
                accepted: None,
                done: Some(done),
            },
            receiver,
        )
    }

    /// A request of the job itself; the receiver hears when it is committed.
    pub(crate) fn by_the_job(
        generation: u32,
        token: &str,
        then: Then,
    ) -> (Self, oneshot::Receiver<Result<(), Error>>) {
        let (accepted, receiver) = oneshot::channel();
        let token = Some(token.to_owned());
        (
            Self {
                token,
                generation: Some(generation),
                then,
                asker: asker::current(),
                accepted: Some(accepted),
                done: None,
            },
            receiver,
        )
    }

    /// It will not be done.
    pub(crate) fn refuse(self, error: &Error) {
        // A caller that went away needs no answer.
        if let Some(accepted) = self.accepted {
            let _gone = accepted.send(Err(error.clone()));
        }
        if let Some(done) = self.done {
            let _gone = done.send(Err(error.clone()));
        }
    }

    /// One checkpoint serves both: neither has a key of its own, and both go on afterwards.
    pub(crate) fn joins(&self, other: &Self) -> bool {
        self.token.is_none()
            && other.token.is_none()
            && self.then == Then::Continue
            && other.then == Then::Continue
    }
}

impl Engine {
    /// Hands a request to the job's runner.
    pub(crate) fn ask_checkpoint(&self, job: &JobId, ask: Ask) -> Result<(), Error> {
        self.send(job, Message::Ask(ask));
        Ok(())
    }
}

impl Runner {
    /// Starts the checkpoint that waits longest, if one may start now.
    pub(crate) async fn serve_asks(&mut self) {
        while !self.asks.is_empty() {
            match (self.job.state, self.job.operation) {
                // Woken when one is given back or over.
                (State::Running, None)
                    if self.job.locks_held(self.engine.now()).next().is_some() =>
                {
                    return;
                }
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
                self.no_longer_queued(&ask);
                ask.refuse(&Error::Conflict("asked by an earlier incarnation".into()));
                continue;
            }
            if self.was_asked_before(&ask).await {
                self.no_longer_queued(&ask);
                if let Some(accepted) = ask.accepted {
                    let _gone = accepted.send(Ok(()));
                }
                continue;
            }
            if let Some(name) = ask.then.waits_for()
                && self.signal_waits(name).await
            {
                // What it would sleep for is there.
                ask.then = Then::Continue;
            }
            let mut done: Vec<_> = ask.done.take().into_iter().collect();
            let (joining, waiting): (Vec<_>, Vec<_>) =
                self.asks.drain(..).partition(|other| ask.joins(other));
            done.extend(joining.into_iter().filter_map(|other| other.done));
            self.asks = waiting.into();
            self.begin_checkpoint(ask, done).await;
        }
    }

    /// A client that repeats its request while the first one is being accepted must not get two checkpoints.
    async fn was_asked_before(&self, ask: &Ask) -> bool {
        let Some(token) = &ask.token else {
            return false;
        };
        match self.engine.store().token(&self.job.id, token).await {
            Ok(known) => known.is_some_and(|known| match known.status {
                TokenStatus::Requested | TokenStatus::Done { .. } => true,
                TokenStatus::Failed { .. } => false,
            }),
            Err(error) => {
                tracing::warn!(job = %self.job.id, %error, "looking for a key");
                false
            }
        }
    }

    /// A store that cannot be read is no reason to refuse: asleep, the job still wakes for what comes.
    async fn signal_waits(&self, name: &str) -> bool {
        match self.has_signal_waiting(name).await {
            Ok(waits) => waits,
            Err(error) => {
                tracing::warn!(job = %self.job.id, %error, "looking for a signal before a sleep");
                false
            }
        }
    }

    async fn begin_checkpoint(&mut self, mut ask: Ask, done: Vec<Answer<Checkpoint>>) {
        let checkpoint = CheckpointId(crate::submit::random_id());
        self.in_flight = Some(InFlight { done, error: None });
        let event = EventKind::CheckpointAsked {
            checkpoint,
            token: ask.token.clone(),
            then: ask.then.clone(),
        };
        self.asker = ask.asker.take();
        let result = self.apply_told(None, event).await;
        self.asker = None;
        if let Err(error) = &result {
            self.settle_in_flight(Err(error.clone()));
        }
        self.no_longer_queued(&ask);
        if let Some(accepted) = ask.accepted.take() {
            let _gone = accepted.send(result.map(|_| ()));
        }
    }

    /// Takes a request into the queue. One with a key that waits there already is the same one.
    pub(crate) fn enqueue(&mut self, ask: Ask) {
        if let Some(token) = &ask.token {
            let mut queued = self.entry.queued.lock().expect("no panic while held");
            if queued.contains(token) {
                drop(queued);
                // Its caller asks for the key's status instead.
                return ask.refuse(&Error::Busy("it is asked for already".into()));
            }
            queued.push(token.clone());
        }
        self.asks.push_back(ask);
    }

    fn no_longer_queued(&self, ask: &Ask) {
        if let Some(token) = &ask.token {
            let mut queued = self.entry.queued.lock().expect("no panic while held");
            queued.retain(|other| other != token);
        }
    }

    fn refuse_asks(&mut self, why: &str) {
        for ask in std::mem::take(&mut self.asks) {
            self.no_longer_queued(&ask);
            ask.refuse(&Error::Conflict(why.to_owned()));
        }
    }

    pub(crate) async fn checkpoint_taken(
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

    pub(crate) fn settle_in_flight(&mut self, result: Result<Checkpoint, Error>) {
        let Some(in_flight) = self.in_flight.take() else {
            return;
        };
        for done in in_flight.done {
            // A caller that went away needs no answer.
            let _gone = done.send(result.clone());
        }
    }
}
