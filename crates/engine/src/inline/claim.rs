//! Giving many jobs their turn at once.

use super::{Call, Host, Running, event};
use crate::commit::change_of;
use crate::places::Promise;
use crate::scheduler::waits;
use crate::{Engine, Error};
use dauer_core::{EventKind, Job, JobId, State, Verdict, decide};
use dauer_store::{Change, NewJob};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use tokio_util::sync::CancellationToken;

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
    fn announce(&self, job: &Job) -> bool {
        let mut running = self.running();
        if running.contains_key(&job.id) {
            return false;
        }
        let entry = Running {
            job: job.clone(),
            cancelled: CancellationToken::new(),
            call: Call::Coming,
        };
        running.insert(job.id.clone(), entry);
        self.changed_count(&running);
        true
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
                    if host.announce(&change.job) {
                        sources.push((change.job.clone(), turn));
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
                    match Error::from(error) {
                        Error::Store(dauer_store::Error::Conflict { .. }) | Error::NotFound(_) => {
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

    /// Adds a job whose turn it is, in one commit with its beginning, and calls its function.
    pub(crate) async fn add_inline(
        &self,
        host: &Host,
        new: NewJob,
        turn: Promise<'_>,
    ) -> Result<Job, dauer_store::Error> {
        let event = event(self, None, host.claim(&turn));
        let change: Option<Change> = match decide(&new.job, &event) {
            Verdict::Move(movement) if !host.is_closing() => {
                Some(change_of(*movement, new.job.state, event.at, None).0)
            }
            Verdict::Move(_) | Verdict::Ignore(_) | Verdict::Refuse(_) => None,
        };
        let Some(change) = change else {
            let job = new.job.clone();
            self.store().create_all(vec![new]).await?;
            self.accepted();
            return Ok(job);
        };
        let job = change.job.clone();
        // Its id is new: nobody else gives it its turn.
        host.announce(&job);
        if let Err(error) = self.store().create_begun(new, change).await {
            host.forget(&job.id);
            return Err(error);
        }
        turn.kept(self.now());
        self.committed(&job);
        self.begun(host, job.clone());
        Ok(job)
    }

    fn begun(&self, host: &Host, job: Job) {
        if job.state == State::Running {
            self.call(job);
        } else {
            host.forget(&job.id);
        }
    }
}
