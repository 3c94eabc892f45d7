//! A runner's one way to change its job: decide, commit, answer, then act.

use crate::ask::Answer;
use crate::asker::Asker;
use crate::children::has_ended_with_children;
use crate::runner::Runner;
use crate::{Error, submit};
use dauer_core::{
    Effect, Event, EventKind, Intent, Job, Move, State, Timestamp, Verdict, Why, decide,
};
use dauer_store::{Change, NewEntry};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What of a move is committed, and what is done after that.
pub(crate) fn change_of(
    movement: Move,
    from: State,
    at: Timestamp,
    asker: Option<&Asker>,
) -> (Change, Vec<Effect>) {
    let (by, why) = Asker::words(asker);
    let entry = NewEntry {
        at,
        event: movement.event.into(),
        from: Some(from),
        detail: movement.detail,
        by,
        why,
    };
    let change = Change {
        entry: (!movement.quiet).then_some(entry),
        job: Arc::new(movement.job),
        checkpoint: movement.checkpoint,
        token: movement.token,
        forget_tokens: movement.forget_tokens,
        kept: movement.kept,
    };
    (change, movement.effects)
}

impl Runner {
    /// Decides, commits, acts; follows up on what the effects report at once.
    pub(crate) async fn apply(&mut self, generation: Option<u32>, kind: EventKind) {
        self.apply_answering(generation, kind, None).await;
    }

    /// The same, and what became of it.
    pub(crate) async fn apply_told(
        &mut self,
        generation: Option<u32>,
        kind: EventKind,
    ) -> Result<Job, Error> {
        let (answer, told) = tokio::sync::oneshot::channel();
        self.apply_answering(generation, kind, Some(answer)).await;
        told.await
            .unwrap_or_else(|_| Err(Error::Failed("the engine is shutting down".into())))
    }

    pub(crate) async fn apply_answering(
        &mut self,
        generation: Option<u32>,
        kind: EventKind,
        mut answer: Option<Answer<Job>>,
    ) {
        if self.job.is_inline() {
            return self.apply_inline(generation, kind, answer).await;
        }
        let mut asker = self.asker.clone();
        let mut queue = VecDeque::from([(generation, kind)]);
        while let Some((generation, kind)) = queue.pop_front() {
            let event = Event {
                at: self.engine.now(),
                generation,
                chance: submit::random_number(),
                kind,
                life: self.life(),
            };
            let result = match decide(&self.job, &event) {
                Verdict::Move(movement) => {
                    // What follows from it, nobody asked for.
                    let asker = asker.take();
                    self.carry_out(*movement, asker.as_deref(), &mut answer, &mut queue)
                        .await
                }
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
        asker: Option<&Asker>,
        answer: &mut Option<Answer<Job>>,
        queue: &mut VecDeque<(Option<u32>, EventKind)>,
    ) -> Result<(), Error> {
        if movement.event == "released"
            && self.job.spec.remove_on_exit
            && self.job.state.is_terminal()
            && !self.job.is_ending_children()
        {
            // Stays unsettled until it is removed, so that a daemon that dies before removes it at its next start.
            self.engine.let_go(&self.job.id);
            self.remove_when_read();
            return Ok(());
        }
        let below_have_ended = movement.event == "children_ended";
        let failed = movement.event == "checkpoint_failed";
        let event = movement.event;
        let committed = movement.checkpoint.clone();
        let (change, effects) = change_of(movement, self.job.state, self.engine.now(), asker);
        self.commit(change).await?;
        tracing::debug!(job = %self.job.id, event, state = %self.job.state, "committed");
        if let Some(answer) = answer.take() {
            let _gone = answer.send(Ok(self.job.clone()));
        }
        match committed {
            Some(checkpoint) => {
                self.engine.storage().rests(&checkpoint.id);
                self.settle_in_flight(Ok(checkpoint));
            }
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
        if below_have_ended && self.job.spec.remove_on_exit && has_ended_with_children(&self.job) {
            // The jobs below it took longer than its own sandbox.
            self.engine.let_go(&self.job.id);
            self.remove_when_read();
        }
        for effect in effects {
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
                    if stored == *change.job {
                        break;
                    }
                    return Err(self.lost_the_race(stored).await);
                }
                Err(dauer_store::Error::Conflict { .. }) => {
                    let stored = self.engine.job(&self.job.id).await?;
                    return Err(self.lost_the_race(stored).await);
                }
                Err(error @ (dauer_store::Error::NoSpace(_) | dauer_store::Error::Backend(_))) => {
                    tracing::warn!(job = %self.job.id, %error, "commit failed; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                Err(error) => {
                    self.engine.heed(&error);
                    let error = Error::from(error);
                    self.gone = Some(error.clone());
                    return Err(error);
                }
            }
        }
        self.job = Arc::unwrap_or_clone(change.job);
        self.engine.committed(&self.job);
        Ok(())
    }

    /// Somebody else wrote this job: their record stands, and this runner begins again from it.
    async fn lost_the_race(&mut self, stored: Job) -> Error {
        match self.engine.held_elsewhere(&stored).await {
            // Another node was first to begin it.
            Ok(Some(error)) => {
                self.gone = Some(error.clone());
                return error;
            }
            Ok(None) => {}
            // What is looked at next says it again.
            Err(error) => tracing::warn!(job = %self.job.id, %error, "asking who holds a job"),
        }
        if self.engine.nodes().is_shared() {
            tracing::debug!(job = %self.job.id, ours = self.job.version, theirs = stored.version, "another node was first");
            self.job = stored;
            self.look_again_at = Some(Instant::now());
            return Error::Conflict(
                "the job was changed by somebody else: look at it again".into(),
            );
        }
        tracing::error!(job = %self.job.id, ours = self.job.version, theirs = stored.version, "lost the version race");
        self.job = stored;
        self.look_again_at = Some(Instant::now());
        Error::Conflict("the job was changed by somebody else: look at it again".into())
    }
}
