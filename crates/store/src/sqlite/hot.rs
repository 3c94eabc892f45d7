//! Records in memory: those that were read last, and never one that is not the newest committed.
//!
//! ```text
//! writer   take out what is to be written · COMMIT · answer
//! reader   look here · else read the file, and put it here only if nothing was committed meanwhile
//! ```
//!
//! A record that is being committed is in the file or not yet, but never here.

use dauer_core::{Job, JobId};
use lru::LruCache;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many are kept; each is some kilobytes.
const RECORDS_MAX: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");

/// Shared by all clones of a store.
#[derive(Clone)]
pub(super) struct Hot {
    shared: Arc<Mutex<Records>>,
}

struct Records {
    jobs: LruCache<String, Arc<Job>>,
    /// Grows before and after each commit.
    commits: u64,
    committing: bool,
    /// Nothing is kept: others commit too.
    off: bool,
}

/// What a reader remembers of the moment at which it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Began(u64);

impl Hot {
    pub(super) fn new() -> Self {
        let records = Records {
            jobs: LruCache::new(RECORDS_MAX),
            commits: 0,
            committing: false,
            off: false,
        };
        Self {
            shared: Arc::new(Mutex::new(records)),
        }
    }

    /// From now on.
    pub(super) fn keep_nothing(&self) {
        let mut records = self.records();
        records.off = true;
        records.jobs.clear();
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        // Every change below leaves it whole.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record, or what is needed to put it here once it was read.
    pub(super) fn get(&self, id: &str) -> Result<Arc<Job>, Began> {
        let mut records = self.records();
        match records.jobs.get(id) {
            Some(job) => Ok(Arc::clone(job)),
            None => Err(Began(records.commits)),
        }
    }

    /// A record was read by a reader that began then.
    pub(super) fn was_read(&self, began: Began, job: &Arc<Job>) {
        let mut records = self.records();
        if !records.off && !records.committing && records.commits == began.0 {
            records.jobs.put(job.id.0.clone(), Arc::clone(job));
        }
    }

    /// These are about to be committed.
    pub(super) fn committing<'a>(&self, ids: impl Iterator<Item = &'a JobId>) {
        let mut records = self.records();
        records.committing = true;
        records.commits += 1;
        for id in ids {
            records.jobs.pop(&id.0);
        }
    }

    /// They are, or were given up.
    pub(super) fn committed(&self) {
        let mut records = self.records();
        records.committing = false;
        records.commits += 1;
    }
}

impl std::fmt::Debug for Hot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hot").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::sample;

    #[test]
    fn what_was_read_before_a_commit_or_while_one_went_on_is_not_kept() {
        let hot = Hot::new();
        let old = Arc::new(sample::job(1));
        let id = old.id.clone();
        let began = hot.get(&id.0).unwrap_err();
        hot.committing([&id].into_iter());
        hot.was_read(began, &old);
        let during = hot.get(&id.0).unwrap_err();
        hot.was_read(during, &old);
        assert!(hot.get(&id.0).is_err());
        hot.committed();
        hot.was_read(during, &old);
        let after = hot.get(&id.0).unwrap_err();
        hot.was_read(after, &old);
        assert_eq!(hot.get(&id.0), Ok(old));
        hot.committing([&id].into_iter());
        assert!(hot.get(&id.0).is_err());
    }
}
