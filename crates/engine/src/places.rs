//! Who has a sandbox on this node: counted with each commit, so that the scheduler never asks the store for it.

use dauer_core::plan::admission::{Limits, Place, Taken, place, room};
use dauer_core::{Job, JobId};
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

/// What the sandboxes of this node take, and what is promised to jobs whose admission is not committed yet.
pub(crate) struct Places {
    limits: Limits,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    jobs: HashMap<JobId, Place>,
    promised: HashSet<JobId>,
    /// Some wait although they are due: who comes now has to wait behind them.
    queue: bool,
}

impl Held {
    fn room(&self, limits: Limits) -> usize {
        let promised = self
            .promised
            .iter()
            .filter(|job| !self.jobs.contains_key(*job))
            .count();
        let rising = self.jobs.values().filter(|place| **place == Place::Rising);
        let taken = Taken {
            live: self.jobs.len() + promised,
            rising: rising.count() + promised,
        };
        room(limits, taken)
    }
}

/// A place that is kept for a job until this is dropped, by when its record says that it has one.
pub(crate) struct Promise<'a> {
    places: &'a Places,
    job: JobId,
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        self.places.lock().promised.remove(&self.job);
    }
}

impl Places {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            held: Mutex::default(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().expect("no panic while held")
    }

    pub(crate) fn is_anything_up(&self) -> bool {
        !self.lock().jobs.is_empty()
    }

    /// What this record, which was just committed, takes now. True where it takes less than before.
    pub(crate) fn note(&self, job: &Job) -> bool {
        let mut held = self.lock();
        let now = place(job);
        let before = match now {
            Some(now) => held.jobs.insert(job.id.clone(), now),
            None => held.jobs.remove(&job.id),
        };
        match (before, now) {
            (Some(_), None) | (Some(Place::Rising), Some(Place::Up)) => true,
            (None, _) | (Some(_), Some(Place::Rising)) | (Some(Place::Up), Some(Place::Up)) => {
                false
            }
        }
    }

    /// A job takes nothing any more, whatever its record says. True where it took something.
    pub(crate) fn forget(&self, job: &JobId) -> bool {
        self.lock().jobs.remove(job).is_some()
    }

    /// How many more may begin to rise.
    pub(crate) fn room(&self) -> usize {
        self.lock().room(self.limits)
    }

    /// Whether jobs wait for room.
    pub(crate) fn set_queue(&self, queue: bool) {
        self.lock().queue = queue;
    }

    /// Keeps a place for a job whose turn it is.
    pub(crate) fn promise(&self, job: &JobId) -> Promise<'_> {
        self.lock().promised.insert(job.clone());
        Promise {
            places: self,
            job: job.clone(),
        }
    }

    /// Keeps a place for a job that just came, if there is room and nobody waits before it.
    pub(crate) fn promise_to_newcomer(&self, job: &JobId) -> Option<Promise<'_>> {
        let mut held = self.lock();
        if held.queue || held.room(self.limits) == 0 {
            return None;
        }
        held.promised.insert(job.clone());
        Some(Promise {
            places: self,
            job: job.clone(),
        })
    }
}
