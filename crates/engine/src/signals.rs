//! Signals: sent by callers and kept, waited for by the job, awake or asleep.

use crate::runner::{Message, Runner};
use crate::{Engine, Error};
use dauer_core::{EventKind, Job, JobId, Json, Signal, State, Then, Timestamp, Wait};
use dauer_store::SignalFor;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// So many signals wait for a job at most.
const WAITING_MAX: u64 = 10_000;

/// How long a long poll is held.
const POLL: Duration = Duration::from_secs(20);

/// What the job waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitCall {
    /// Of the signal.
    pub name: String,
    /// The job's key: repeated with the same one, the same signal comes.
    pub token: String,
    /// Counted from the first call with the token.
    pub timeout_ms: Option<u64>,
    /// Sleep until it comes.
    pub suspend: bool,
}

/// What came of a wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited {
    /// This signal. No other wait gets it.
    Signalled(Signal),
    /// None, in all the time there was.
    TimedOut,
    /// None yet: ask again with the same token.
    Pending,
}

/// What a runner answers to a wait.
pub(crate) enum Told {
    /// It is over.
    Over(Waited),
    /// No signal is there; none is waited for after this.
    Nothing { give_up_at: Option<Timestamp> },
    /// The job cannot take one now: it is being frozen, or it is not the one that asked.
    NotNow,
}

impl Engine {
    /// Sends a signal to a job that has not ended. On disk when this returns its id: the sender's key where it gave one, and a
    /// key that was used before sends nothing.
    ///
    /// # Errors
    /// `Conflict` where it has ended, or too many wait already.
    pub async fn signal(
        &self,
        id: &JobId,
        name: &str,
        payload: Json,
        key: Option<String>,
    ) -> Result<String, Error> {
        if let Some(key) = &key
            && self.store().has_signal(id, key).await?
        {
            return Ok(key.clone());
        }
        if self.store().signals_waiting(id).await? >= WAITING_MAX {
            return Err(Error::Conflict(format!(
                "{WAITING_MAX} signals wait for the job already: let it take some first"
            )));
        }
        let signal_id = key.unwrap_or_else(crate::submit::random_id);
        let signal = Signal {
            job: id.clone(),
            id: signal_id.clone(),
            name: name.to_owned(),
            payload,
            sent_at: self.now(),
        };
        self.tell(id, EventKind::SignalSent(signal)).await?;
        Ok(signal_id)
    }

    /// A job, and what it left as its result where it has ended; with `wait` when it has ended or after 20 s.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn result(&self, id: &JobId, wait: bool) -> Result<(Job, Option<Json>), Error> {
        let job = match wait {
            true => match tokio::time::timeout(POLL, self.wait(id)).await {
                Ok(ended) => ended?,
                Err(_) => self.job(id).await?,
            },
            false => self.job(id).await?,
        };
        let output = match job.state.is_terminal() {
            true => self.store().output(id).await?,
            false => None,
        };
        Ok((job, output))
    }

    /// The job waits for a signal: returns it, or when its time is over, or after 20 s. With `suspend` it is put to sleep and this
    /// never returns to it; the copy that wakes calls again. One that somebody else woke waits awake.
    ///
    /// # Errors
    /// `Unsupported` where it is to sleep and cannot be frozen; `Failed` where its freeze failed.
    pub async fn self_wait(
        &self,
        job: &JobId,
        generation: u32,
        call: &WaitCall,
    ) -> Result<Waited, Error> {
        let mut changes = self.subscribe(job);
        let poll_until = Instant::now() + POLL;
        let mut asleep = !call.suspend;
        loop {
            changes.mark_unchanged();
            let mut wait_until = poll_until;
            match self.ask_for_signal(job, generation, call).await? {
                Told::Over(waited) => return Ok(waited),
                Told::Nothing { give_up_at } => {
                    if !asleep {
                        self.sleep_for_signal(job, generation, call, give_up_at)
                            .await?;
                        asleep = true;
                    }
                    if let Some(give_up_at) = give_up_at {
                        let left = Duration::from_millis(give_up_at.since(self.now()));
                        wait_until = wait_until.min(Instant::now() + left);
                    }
                }
                Told::NotNow => {
                    let present = self.job(job).await?;
                    if present.generation != generation || present.state.is_terminal() {
                        return Ok(Waited::Pending);
                    }
                }
            }
            match tokio::time::timeout_at(wait_until, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => changes = self.subscribe(job),
                Err(_) if wait_until < poll_until => {}
                Err(_) => return Ok(Waited::Pending),
            }
            if call.suspend {
                self.check_sleep(job, call).await?;
            }
        }
    }

    async fn ask_for_signal(
        &self,
        job: &JobId,
        generation: u32,
        call: &WaitCall,
    ) -> Result<Told, Error> {
        let (answer, told) = oneshot::channel();
        let call = call.clone();
        let message = Message::Wait {
            generation,
            call,
            answer,
        };
        self.send(job, message);
        told.await
            .map_err(|_| Error::Failed("the engine is shutting down".into()))?
    }

    /// Asks for the freeze of a wait, once: a key of its own remembers it over the restore.
    async fn sleep_for_signal(
        &self,
        job: &JobId,
        generation: u32,
        call: &WaitCall,
        give_up_at: Option<Timestamp>,
    ) -> Result<(), Error> {
        let record: Job = self.job(job).await?;
        if let Some(why) = self.cannot_freeze(&record.spec) {
            return Err(Error::Unsupported(why));
        }
        let then = Then::Suspend {
            wake_at: give_up_at,
            waits_for: Some(call.name.clone()),
        };
        self.self_checkpoint(job, generation, &sleep_token(call), then)
            .await?;
        self.check_sleep(job, call).await
    }

    async fn check_sleep(&self, job: &JobId, call: &WaitCall) -> Result<(), Error> {
        match self.known_status(job, &sleep_token(call)).await? {
            Some(status) if status.status == "failed" => {
                let why = status.message.unwrap_or_default();
                Err(Error::Failed(format!(
                    "the job could not be put to sleep: {why}; it goes on without"
                )))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// The key of the freeze that a wait asks for.
fn sleep_token(call: &WaitCall) -> String {
    format!("wait-for-signal:{}", call.token)
}

impl Runner {
    /// Gives a wait the signal that it has or that is next; only here one is taken, so none is taken twice.
    pub(crate) async fn serve_wait(
        &mut self,
        generation: u32,
        call: &WaitCall,
    ) -> Result<Told, Error> {
        if generation != self.job.generation || self.job.state != State::Running {
            return Ok(Told::NotNow);
        }
        let store = self.engine.store().clone();
        let found = store
            .signal_for(&self.job.id, &call.name, &call.token)
            .await?;
        if let Some(SignalFor::Taken(signal)) = found {
            return Ok(Told::Over(Waited::Signalled(signal)));
        }
        let wait = store.wait(&self.job.id, &call.token).await?;
        if wait.as_ref().is_some_and(|wait| wait.timed_out) {
            return Ok(Told::Over(Waited::TimedOut));
        }
        if let Some(SignalFor::Waiting(signal)) = found {
            let taken = EventKind::SignalTaken {
                signal: signal.id.clone(),
                name: signal.name.clone(),
                token: call.token.clone(),
            };
            let over = Told::Over(Waited::Signalled(signal));
            return self.commit_wait(taken, over).await;
        }
        let now = self.engine.now();
        let give_up_at = match (wait.as_ref(), call.timeout_ms) {
            (None, None) => return Ok(Told::Nothing { give_up_at: None }),
            (Some(wait), _) => wait.give_up_at,
            (None, Some(ms)) => now.plus_ms(ms),
        };
        let timed_out = give_up_at <= now;
        if wait.is_some() && !timed_out {
            let give_up_at = Some(give_up_at);
            return Ok(Told::Nothing { give_up_at });
        }
        let noted = EventKind::WaitNoted(Wait {
            job: self.job.id.clone(),
            token: call.token.clone(),
            give_up_at,
            timed_out,
        });
        let told = if timed_out {
            Told::Over(Waited::TimedOut)
        } else {
            let give_up_at = Some(give_up_at);
            Told::Nothing { give_up_at }
        };
        self.commit_wait(noted, told).await
    }

    async fn commit_wait(&mut self, event: EventKind, told: Told) -> Result<Told, Error> {
        let generation = Some(self.job.generation);
        match self.apply_told(generation, event).await {
            Ok(_) => Ok(told),
            Err(Error::Busy(_)) => Ok(Told::NotNow),
            Err(error) => Err(error),
        }
    }

    /// Whether a signal of this name waits to be taken.
    pub(crate) async fn has_signal_waiting(&self, name: &str) -> Result<bool, Error> {
        // No wait of a job has the empty key.
        let found = self
            .engine
            .store()
            .signal_for(&self.job.id, name, "")
            .await?;
        Ok(found.is_some())
    }
}
