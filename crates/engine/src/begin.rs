//! A job for which there is a place when it comes: it is accepted and admitted in one commit.

use crate::commit::change_of;
use crate::engine::Live;
use crate::places::Promise;
use crate::runner::{Letter, Runner};
use crate::{Engine, Error, submit};
use dauer_core::ledger::Life;
use dauer_core::{Effect, Event, Job, Verdict, decide};
use dauer_store::{Change, NewJob};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// What such a job begins with.
struct Beginning {
    new: NewJob,
    change: Change,
    effects: Vec<Effect>,
    /// Answered when it is committed.
    answer: oneshot::Sender<Result<Job, dauer_store::Error>>,
}

impl Engine {
    /// Adds the job, and starts it in the same commit where it is due, there is room and nobody waits before it; else the
    /// scheduler hears of it. Returns when that is committed. Errors: as `Store::create_all`.
    pub(crate) async fn add(&self, new: NewJob) -> Result<Job, dauer_store::Error> {
        if self.inline().is_some() && new.job.is_inline() {
            let job = new.job.clone();
            let begun = self.add_inline(vec![new]).await?.pop();
            return Ok(begun.map_or(job, Arc::unwrap_or_clone));
        }
        let now = self.now();
        let due = new.job.blocked_by.is_empty() && new.job.wake_at.is_none_or(|at| at <= now);
        let turn = due.then(|| self.places().welcome(&new.job, now)).flatten();
        let promised = turn.as_ref().and_then(|_| self.pools().promise(&new.job));
        let event = Event {
            at: now,
            generation: None,
            chance: submit::random_number(),
            kind: self.admission(
                promised.clone(),
                turn.as_ref().and_then(Promise::counted_ms),
            ),
            life: Life::default(),
        };
        if let (Some(turn), Verdict::Move(movement)) = (turn, decide(&new.job, &event)) {
            let (change, effects) = change_of(*movement, new.job.state, now, None);
            let begun = self.begin(new, change, effects).await;
            if let (Err(_), Some(sandbox)) = (&begun, &promised) {
                self.promise_no_longer(sandbox);
            }
            let begun = begun?;
            turn.kept(self.now());
            return Ok(begun);
        }
        if let Some(sandbox) = &promised {
            self.promise_no_longer(sandbox);
        }
        let job = new.job.clone();
        self.store().create_all(vec![new]).await?;
        self.accepted();
        self.schedule_changed().notify_one();
        Ok(job)
    }

    async fn begin(
        &self,
        new: NewJob,
        change: Change,
        effects: Vec<Effect>,
    ) -> Result<Job, dauer_store::Error> {
        let (answer, told) = oneshot::channel();
        let (id, job) = (new.job.id.clone(), new.job.clone());
        let beginning = Beginning {
            new,
            change,
            effects,
            answer,
        };
        // Whoever asks something of it from now on asks this runner.
        self.register(&id, |entry, messages| {
            begin(Runner::of(self.clone(), entry, job), beginning, messages)
        });
        told.await.unwrap_or_else(|_| {
            let stopped = std::io::Error::other("the engine is shutting down");
            Err(dauer_store::Error::Backend(Arc::new(stopped)))
        })
    }
}

/// The life of a runner whose job is not there yet.
async fn begin(
    mut runner: Runner,
    beginning: Beginning,
    mut messages: mpsc::UnboundedReceiver<Letter>,
) {
    let Beginning {
        new,
        change,
        effects,
        answer,
    } = beginning;
    let job = Arc::clone(&change.job);
    if let Err(error) = runner
        .engine
        .store()
        .create_begun(vec![new], vec![change])
        .await
    {
        runner.engine.heed(&error);
        let not_found = Error::NotFound(job.id.0.clone());
        let entry = Arc::<Live>::clone(&runner.entry);
        runner
            .engine
            .leave_with(&job.id, &entry, &mut messages, &not_found);
        // Nobody waits any more: nothing was made.
        let _gone = answer.send(Err(error));
        return;
    }
    runner.job = Arc::unwrap_or_clone(job);
    runner.engine.committed(&runner.job);
    tracing::debug!(job = %runner.job.id, "accepted and admitted");
    // Nobody waits any more: it runs all the same.
    let _gone = answer.send(Ok(runner.job.clone()));
    for effect in effects {
        if let Some((generation, event)) = runner.perform(effect).await {
            runner.apply(generation, event).await;
        }
    }
    runner.live(messages).await;
}
