//! Giving many jobs their turn at once.

use super::{Host, Running, event};
use crate::commit::change_of;
use crate::places::Promise;
use crate::scheduler::waits;
use crate::{Engine, Error};
use dauer_core::{EventKind, Job, JobId, State, Timestamp, Verdict, decide};
use dauer_store::{Change, NewJob};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// What becomes of jobs whose turn it is.
pub(crate) struct Claimed<'a> {
    /// Those that are not inline.
    pub(crate) others: Vec<Promise<'a>>,
    /// At least one does not wait any more.
    pub(crate) progress: bool,
}

impl Host {
    /// Records that were just accepted, and the ids of the others.
    fn recall(&self, turns: &[Promise<'_>]) -> (HashMap<JobId, Job>, Vec<JobId>) {
        let mut recent = self.recent.lock().expect("no panic while held");
        let (mut found, mut missing) = (HashMap::with_capacity(turns.len()), Vec::new());
        for turn in turns {
            match recent.remove(&turn.due().job) {
                Some(job) => {
                    found.insert(job.id.clone(), job);
                }
                None => missing.push(turn.due().job.clone()),
            }
        }
        (found, missing)
    }

    /// Before its record is committed: whoever ends the job in between finds it here. False where somebody else gives it its
    /// turn, or has.
    fn announce(&self, job: &Arc<Job>) -> bool {
        let mut running = self.running();
        if running.contains_key(&job.id) {
            return false;
        }
        running.insert(job.id.clone(), Running::coming(job));
        self.changed_count(&running);
        true
    }

    /// The same of jobs that nobody else knows yet.
    fn announce_all(&self, jobs: &[Arc<Job>]) {
        let mut running = self.running();
        let coming = jobs
            .iter()
            .map(|job| (job.id.clone(), Running::coming(job)));
        running.extend(coming);
        self.changed_count(&running);
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn claim(&self, turn: &Promise<'_>) -> EventKind {
        EventKind::Claimed {
            process: self.process.clone(),
            counted_ms: turn.counted_ms(),
        }
    }
}

impl Engine {
    /// Gives their turn to those of these jobs that are inline, and calls their functions.
    pub(crate) async fn claim<'a>(
        &self,
        turns: Vec<Promise<'a>>,
    ) -> Result<Claimed<'a>, dauer_store::Error> {
        let Some(host) = self.inline() else {
            return Ok(Claimed {
                others: turns,
                progress: false,
            });
        };
        let (mut records, missing) = host.recall(&turns);
        if !missing.is_empty() {
            let read = self.store().jobs(missing).await?;
            records.extend(read.into_iter().map(|job| (job.id.clone(), job)));
        }
        let (mut others, mut mine, mut progress) = (Vec::new(), Vec::new(), false);
        for turn in turns {
            match records.remove(&turn.due().job) {
                Some(job) if job.is_inline() => mine.push((job, turn)),
                Some(_) => others.push(turn),
                // It was removed.
                None => progress = true,
            }
        }
        progress |= self.call_all(host, mine).await;
        Ok(Claimed { others, progress })
    }

    /// Commits that these jobs run, then calls their functions. False where none of them changed.
    async fn call_all(&self, host: &Host, jobs: Vec<(Job, Promise<'_>)>) -> bool {
        if host.is_closing() {
            return false;
        }
        let mut progress = false;
        let (mut changes, mut sources) = (
            Vec::with_capacity(jobs.len()),
            Vec::with_capacity(jobs.len()),
        );
        for (job, turn) in jobs {
            let event = event(self, None, host.claim(&turn));
            match decide(&job, &event) {
                Verdict::Move(movement) => {
                    let (change, _) = change_of(*movement, job.state, event.at, None);
                    let job = Arc::clone(&change.job);
                    if host.announce(&job) {
                        sources.push((job, turn));
                        changes.push(change);
                    } else {
                        progress = true;
                    }
                }
                // Somebody else was faster; or this is an old record, and the new one is asked for next.
                Verdict::Ignore(_) | Verdict::Refuse(_) => progress |= !waits(&job),
            }
        }
        if changes.is_empty() {
            return progress;
        }
        let results = self.store().commit_all(changes).await;
        let mut begun = Vec::with_capacity(sources.len());
        for ((job, turn), result) in sources.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    turn.kept(self.now());
                    begun.push(job);
                }
                Err(error) => {
                    host.forget(&job.id);
                    if self.heed(&error) {
                        continue;
                    }
                    match Error::from(error) {
                        Error::Store(dauer_store::Error::Conflict { .. })
                        | Error::HeldElsewhere { .. }
                        | Error::NotFound(_) => {
                            progress = true;
                        }
                        error => {
                            tracing::warn!(job = %job.id, %error, "a due job could not be started");
                        }
                    }
                }
            }
        }
        progress |= !begun.is_empty();
        self.committed_all(&begun);
        begun.into_iter().for_each(|job| self.begun(host, job));
        progress
    }

    /// Adds all of these jobs, or none; those that are inline and whose turn it is begin in the same commit, and their functions
    /// are called. Returns when that is committed, with the records of those that began.
    pub(crate) async fn add_inline(
        &self,
        new: Vec<NewJob>,
    ) -> Result<Vec<Arc<Job>>, dauer_store::Error> {
        let (answer, told) = oneshot::channel();
        // By a task of its own: a caller who stops waiting does not stop what is being written.
        tokio::spawn(add(self.clone(), new, answer));
        told.await.unwrap_or_else(|_| {
            let stopped = std::io::Error::other("the engine is shutting down");
            Err(dauer_store::Error::Backend(Arc::new(stopped)))
        })
    }

    /// The first change of a new inline job that is due, where there is room and nobody waits before it.
    fn begins(&self, host: &Host, job: &Job, now: Timestamp) -> Option<(Change, Promise<'_>)> {
        if !is_due(job, now) || !job.is_inline() || host.is_closing() {
            return None;
        }
        let turn = self.places().welcome(job, now)?;
        let event = event(self, None, host.claim(&turn));
        match decide(job, &event) {
            Verdict::Move(movement) => {
                Some((change_of(*movement, job.state, event.at, None).0, turn))
            }
            Verdict::Ignore(_) | Verdict::Refuse(_) => None,
        }
    }

    fn begun(&self, host: &Host, job: Arc<Job>) {
        if job.state == State::Running {
            self.call(job);
        } else {
            host.forget(&job.id);
        }
    }
}

fn is_due(job: &Job, now: Timestamp) -> bool {
    job.blocked_by.is_empty() && job.wake_at.is_none_or(|at| at <= now)
}

/// Answers as soon as it is committed.
async fn add(
    engine: Engine,
    new: Vec<NewJob>,
    answer: oneshot::Sender<Result<Vec<Arc<Job>>, dauer_store::Error>>,
) {
    let Some(host) = engine.inline() else { return };
    let now = engine.now();
    let many = new.len();
    let (mut changes, mut begun, mut turns) = (
        Vec::with_capacity(many),
        Vec::with_capacity(many),
        Vec::with_capacity(many),
    );
    let mut later = Vec::new();
    for NewJob { job, .. } in &new {
        match engine.begins(host, job, now) {
            Some((change, turn)) => {
                begun.push(Arc::clone(&change.job));
                turns.push(turn);
                changes.push(change);
            }
            None => later.push(job.clone()),
        }
    }
    // Their ids are new: nobody else gives them their turn.
    host.announce_all(&begun);
    if let Err(error) = engine.store().create_begun(new, changes).await {
        engine.heed(&error);
        begun.iter().for_each(|job| host.forget(&job.id));
        // Nobody waits any more: nothing was made.
        let _gone = answer.send(Err(error));
        return;
    }
    let now = engine.now();
    turns.into_iter().for_each(|turn| turn.kept(now));
    // Nobody waits any more: they run all the same.
    let _gone = answer.send(Ok(begun.clone()));
    engine.committed_all(&begun);
    if !later.is_empty() {
        // Whose time has not come may be asked to begin before: this would be an old record then.
        later.retain(|job| is_due(job, now));
        host.remember(later);
        engine.accepted();
        engine.schedule_changed().notify_one();
    }
    begun.into_iter().for_each(|job| engine.begun(host, job));
}
