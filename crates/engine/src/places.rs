//! Who has a sandbox on this node, and a place in a queue: counted with each commit, so that the scheduler never asks the store
//! for it. [`dauer_core::plan::places`] decides; this is the one copy of it, which everybody asks.

use dauer_core::plan::admission::Limits;
use dauer_core::plan::places::{Chosen, Places as Plan};
use dauer_core::plan::turn::{Ask, Due};
use dauer_core::{Job, JobId, Timestamp};
use std::sync::{Mutex, MutexGuard};

/// What the sandboxes of this node take, and what is promised to jobs whose admission is not committed yet.
pub(crate) struct Places {
    plan: Mutex<Plan>,
}

/// A place that is kept for a job, until its record says that it has one or this is dropped.
pub(crate) struct Promise<'a> {
    places: &'a Places,
    due: Due,
    at: Timestamp,
    begun: bool,
}

impl Promise<'_> {
    /// How far back the turns of its queue are counted, where this is one of them.
    pub(crate) fn counted_ms(&self) -> Option<u64> {
        self.places.plan().counted_ms(&self.due)
    }

    /// The record of the job says that it began.
    pub(crate) fn kept(mut self, now: Timestamp) {
        self.begun = true;
        self.places.plan().begun(&self.due, self.at, now);
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        if !self.begun {
            self.places.plan().take_back(&self.due, self.at);
        }
    }
}

impl Places {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            plan: Mutex::new(Plan::new(limits)),
        }
    }

    pub(crate) fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("no panic while held")
    }

    pub(crate) fn is_anything_up(&self) -> bool {
        self.plan().taken().live > 0
    }

    /// What this record, which was just committed, takes now. True where it takes less than before.
    pub(crate) fn note(&self, job: &Job) -> bool {
        self.plan().note(job)
    }

    /// A job takes nothing any more, whatever its record says. True where it took something.
    pub(crate) fn forget(&self, job: &JobId) -> bool {
        self.plan().forget(job)
    }

    /// No sandbox more may rise; who comes now waits behind those that may be waiting.
    pub(crate) fn are_taken(&self) -> bool {
        self.plan().are_taken()
    }

    /// What to ask the store for.
    pub(crate) fn ask(&self, now: Timestamp, window: usize) -> Ask {
        self.plan().ask(now, window)
    }

    /// When a rate lets somebody pass whom it holds back now.
    pub(crate) fn opens_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.plan().opens_at(now)
    }

    /// Of those that are due, the ones whose turn it is, with a place kept for each; and whether others find no room.
    pub(crate) fn choose(&self, waiting: Vec<Due>, now: Timestamp) -> (Vec<Promise<'_>>, bool) {
        let Chosen { turns, some_wait } = self.plan().choose(waiting, now);
        let promised = turns.into_iter().map(|due| Promise {
            places: self,
            due,
            at: now,
            begun: false,
        });
        (promised.collect(), some_wait)
    }

    /// Keeps a place for a job that just came and is due, if there is room and nobody waits before it.
    pub(crate) fn welcome(&self, job: &Job, now: Timestamp) -> Option<Promise<'_>> {
        let due = Due::of(job);
        let welcome = self.plan().welcome(&due, now);
        welcome.then(|| Promise {
            places: self,
            due,
            at: now,
            begun: false,
        })
    }
}

impl Promise<'_> {
    /// Whose it is.
    pub(crate) fn due(&self) -> &Due {
        &self.due
    }
}
