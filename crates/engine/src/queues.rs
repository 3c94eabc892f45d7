//! Queues: their settings, kept in the store and counted by `places`; and pausing all of them after an incident.

use crate::watchers::Watchers;
use crate::{Engine, Error, asker};
use dauer_core::{Job, JobId, Queue, State};
use dauer_store::{DaemonRun, Sleeper, Waiting};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Daemons that ended badly so close to each other are one incident.
const INCIDENT_MS: u64 = 10 * 60_000;

/// What is set of the queues of a node.
#[derive(Default)]
pub(crate) struct Queues {
    /// One at a time sets something: what is kept and what is counted agree.
    setting: tokio::sync::Mutex<()>,
    /// Why nothing begins, where that is so.
    all_paused: Mutex<Option<String>>,
    /// Some job waits, or waited, for another one: only then the end of a job is told to others.
    followed: AtomicBool,
    /// A job has completed under this daemon.
    completed: AtomicBool,
    /// Who waits for batches, by their handles.
    pub(crate) batches: Watchers,
}

impl Queues {
    /// From now on the end of a job is told to those that wait for it.
    pub(crate) fn set_followed(&self) {
        self.followed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn are_followed(&self) -> bool {
        self.followed.load(Ordering::SeqCst)
    }
}

/// A queue, and who is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueState {
    /// What is set.
    pub queue: Queue,
    /// Its jobs that have a place.
    pub running: usize,
    /// Its jobs that are due and wait for their turn.
    pub due: u64,
    /// Its jobs whose time has not come.
    pub later: u64,
}

impl Engine {
    /// What was set before this daemon began, and the turns that still count. Before anything is admitted.
    pub(crate) async fn load_queues(&self) -> Result<(), Error> {
        for queue in self.store().queues().await? {
            self.apply(queue).await?;
        }
        for turn in self.store().turns().await? {
            let mut plan = self.places().plan();
            let counts = plan.queue(&turn.queue).and_then(Queue::looks_back_ms);
            if counts.is_some() {
                plan.remember(&turn);
            }
        }
        if self.store().has_followers().await? {
            self.queue_settings().set_followed();
        }
        let (paused, crashes) = (self.config().paused, self.config().pause_after_crashes);
        let limit = usize::try_from(crashes).unwrap_or(usize::MAX);
        let now = self.now();
        let before = match self.store().daemon_started(now, limit).await {
            Ok(before) => before,
            // A full disk, for one: what lives has to be looked after all the same.
            Err(error) => {
                tracing::warn!(%error, "noting that this daemon began");
                Vec::new()
            }
        };
        let since = now.minus_ms(INCIDENT_MS);
        let bad = |run: &DaemonRun| !run.ended_well && !run.completed && run.started_at >= since;
        let incident = limit > 0 && before.len() == limit && before.iter().all(bad);
        let why = match (paused, incident) {
            (true, _) => "the daemon was started with --paused".to_owned(),
            (false, true) => format!(
                "the last {crashes} daemons died within {} minutes, and no job completed",
                INCIDENT_MS / 60_000
            ),
            (false, false) => return Ok(()),
        };
        tracing::warn!("{why}: no job begins until `dauer queue resume --all`");
        self.places().plan().set_nothing_begins(true);
        *self.paused() = Some(why);
        Ok(())
    }

    /// Counts by what is set now, by whichever daemon.
    pub(crate) async fn read_queues_again(&self) -> Result<(), Error> {
        let _alone = self.queue_settings().setting.lock().await;
        let kept = self.store().queues().await?;
        let known: Vec<Queue> = self.places().plan().queues().cloned().collect();
        for gone in known
            .iter()
            .filter(|one| kept.iter().all(|queue| queue.name != one.name))
        {
            self.places().plan().remove_queue(&gone.name);
        }
        let changed: Vec<Queue> = kept
            .into_iter()
            .filter(|queue| !known.contains(queue))
            .collect();
        for queue in changed {
            self.apply(queue).await?;
        }
        self.schedule_changed().notify_one();
        Ok(())
    }

    /// A commit was made of a job that has ended, perhaps not for the first time: whoever waits for that hears of it.
    pub(crate) fn has_ended(&self, job: &Job) {
        let queues = self.queue_settings();
        if let Some(batch) = &job.spec.batch {
            queues.batches.publish(&JobId(batch.clone()), job.version);
        }
        if queues.are_followed() {
            self.spawn_telling(job.id.clone(), Some(job.state));
        }
        if job.state == State::Completed && !queues.completed.swap(true, Ordering::SeqCst) {
            let engine = self.clone();
            tokio::spawn(async move {
                if let Err(error) = engine.store().daemon_completed_a_job().await {
                    tracing::warn!(%error, "noting that a job completed");
                }
            });
        }
    }

    fn paused(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        let all_paused = &self.queue_settings().all_paused;
        all_paused.lock().expect("no panic while held")
    }

    /// Counts by these settings from now on.
    async fn apply(&self, queue: Queue) -> Result<(), Error> {
        let (name, keeps) = (queue.name.clone(), queue.hold_while_suspended);
        self.places().plan().set_queue(queue);
        if !keeps {
            return Ok(());
        }
        let sleepers = self.store().sleepers(&name).await?;
        for Sleeper { job, key } in &sleepers {
            self.places().plan().keep(job, &name, key.as_deref());
        }
        // Who left in between was counted by its commit before it was by this.
        let still = self.store().sleepers(&name).await?;
        for gone in sleepers.iter().filter(|one| !still.contains(one)) {
            self.places().plan().keep_no_longer(&gone.job);
        }
        Ok(())
    }

    /// Sets all that a queue holds back. Returns when that is kept; who passes now begins.
    ///
    /// # Errors
    /// `InvalidField`.
    pub async fn set_queue(&self, queue: Queue) -> Result<QueueState, Error> {
        self.edit_queue(&queue.name.clone(), |present| *present = queue)
            .await
    }

    /// Lets nothing of a queue begin, or again.
    ///
    /// # Errors
    /// `InvalidField`.
    pub async fn pause_queue(&self, name: &str, paused: bool) -> Result<QueueState, Error> {
        self.edit_queue(name, |queue| queue.paused = paused).await
    }

    async fn edit_queue(
        &self,
        name: &str,
        edit: impl FnOnce(&mut Queue),
    ) -> Result<QueueState, Error> {
        let _alone = self.queue_settings().setting.lock().await;
        let present = self.places().plan().queue(name).cloned();
        let mut queue = present.unwrap_or_else(|| Queue::new(name));
        edit(&mut queue);
        queue
            .check()
            .map_err(|(field, text)| Error::invalid(field, text))?;
        let said = serde_json::to_string(&queue).ok();
        let audit = asker::audit("queue_set", format!("queue {name}"), said);
        self.store().set_queue(queue.clone(), audit).await?;
        self.apply(queue).await?;
        self.schedule_changed().notify_one();
        self.queue(name).await
    }

    /// Forgets what is set for a queue: its jobs stay and are held back by nothing.
    ///
    /// # Errors
    /// `NoQueue` where nothing is set.
    pub async fn remove_queue(&self, name: &str) -> Result<(), Error> {
        let _alone = self.queue_settings().setting.lock().await;
        let audit = asker::audit("queue_removed", format!("queue {name}"), None);
        match self.store().remove_queue(name, audit).await {
            Err(dauer_store::Error::NotFound(name)) => return Err(Error::NoQueue(name)),
            result => result?,
        }
        self.places().plan().remove_queue(name);
        self.schedule_changed().notify_one();
        Ok(())
    }

    /// The queues with settings or with jobs that wait or run, and the default one, by name.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn queues(&self) -> Result<Vec<QueueState>, Error> {
        let waiting = self.store().waiting(self.now()).await?;
        let mut waiting: BTreeMap<String, Waiting> = waiting
            .into_iter()
            .map(|one| (one.queue.clone(), one))
            .collect();
        let plan = self.places().plan();
        let set = plan.queues().map(|queue| queue.name.clone());
        let names = set
            .chain(plan.busy_queues().map(str::to_owned))
            .chain(waiting.keys().cloned())
            .chain([dauer_core::DEFAULT_QUEUE.to_owned()]);
        let names: std::collections::BTreeSet<String> = names.collect();
        let states = names.into_iter().map(|name| {
            let waiting = waiting.remove(&name);
            QueueState {
                running: plan.running(&name),
                due: waiting.as_ref().map_or(0, |waiting| waiting.due),
                later: waiting.as_ref().map_or(0, |waiting| waiting.later),
                queue: plan
                    .queue(&name)
                    .cloned()
                    .unwrap_or_else(|| Queue::new(&name)),
            }
        });
        Ok(states.collect())
    }

    /// One queue; of a name that is nowhere in use, one without limits.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn queue(&self, name: &str) -> Result<QueueState, Error> {
        let there = self.queues().await?.into_iter();
        let there = there.into_iter().find(|state| state.queue.name == name);
        Ok(there.unwrap_or_else(|| QueueState {
            queue: Queue::new(name),
            running: 0,
            due: 0,
            later: 0,
        }))
    }

    /// Why nothing begins in any queue, where that is so.
    #[must_use]
    pub fn all_paused(&self) -> Option<String> {
        self.paused().clone()
    }

    /// Lets nothing begin, in no queue, until this daemon ends; or again, and every queue that is paused resumes with it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn pause_all(&self, paused: bool) -> Result<(), Error> {
        if !paused {
            let names: Vec<String> = {
                let plan = self.places().plan();
                let paused = plan.queues().filter(|queue| queue.paused);
                paused.map(|queue| queue.name.clone()).collect()
            };
            for name in names {
                self.pause_queue(&name, false).await?;
            }
        }
        *self.paused() = paused.then(|| "somebody paused all queues".to_owned());
        self.places().plan().set_nothing_begins(paused);
        self.schedule_changed().notify_one();
        Ok(())
    }
}
