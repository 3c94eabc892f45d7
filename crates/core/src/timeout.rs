//! The times a job has, and which of them is over first.
//!
//! ```text
//! due ──queue timeout──► admitted ──attempt timeout──► ended ──delay──► due ──► admitted ──► …
//!                        └───────────── timeout of the whole job ─────────────────────────►
//! ```
//!
//! The queue timeout runs from each moment at which the job is due to begin (also again: to be tried once more) until it has a
//! place; one that sleeps and is due to wake is past it. The attempt's timeout runs while its sandbox does. The job's runs from
//! when its first attempt begins until it has ended, also between attempts. The last two stand still while the job is
//! suspended, unless its spec says `timeouts_while_suspended`. All that count are moments of the record, so that a daemon that
//! was away finds them as they were.

use crate::{End, Job, State, Timestamp};

/// One of a job's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// Of the whole job. The first: where several are over at once, this one leaves nothing to try.
    Job,
    /// Of waiting for its turn.
    Queue,
    /// Of the attempt.
    Attempt,
}

impl Limit {
    /// The end that follows when it is over.
    #[must_use]
    pub fn end(self) -> End {
        match self {
            Self::Job => End::JobTimeout,
            Self::Queue => End::QueueTimeout,
            Self::Attempt => End::Timeout,
        }
    }

    /// A line for a person.
    pub(crate) fn said(self, job: &Job) -> String {
        let (ms, line) = match self {
            Self::Attempt => (job.spec.timeout_ms, "the attempt ran longer than"),
            Self::Job => (
                job.spec.job_timeout_ms,
                "the job, with all of its attempts, took longer than",
            ),
            Self::Queue => (
                job.spec.queue_timeout_ms,
                "it waited for its turn longer than",
            ),
        };
        match ms.unwrap_or_default() {
            ms if ms % 1000 == 0 => format!("{line} {} s", ms / 1000),
            ms => format!("{line} {ms} ms"),
        }
    }
}

/// Which of its times is over first, and when. None where nothing is counted now.
#[must_use]
pub fn next_limit(job: &Job) -> Option<(Timestamp, Limit)> {
    let begins = match job.state {
        State::Pending | State::PendingRetry => true,
        State::Running | State::Suspended => false,
        State::Completed | State::Failed | State::Cancelled | State::Stopped | State::Error => {
            return None;
        }
    };
    let queue = job.spec.queue_timeout_ms.zip(job.wake_at);
    let queue = queue
        .filter(|_| begins)
        .map(|(ms, due)| (due.plus_ms(ms), Limit::Queue));
    let whole = job.job_deadline_at.map(|at| (at, Limit::Job));
    let attempt = job.deadline_at.map(|at| (at, Limit::Attempt));
    [whole, queue, attempt].into_iter().flatten().min()
}

/// The same of a job that waits, for which nobody but the scheduler looks at the clock.
pub(crate) fn expires_at(job: &Job) -> Option<Timestamp> {
    match job.state {
        State::Pending | State::PendingRetry | State::Suspended => {
            next_limit(job).map(|(at, _)| at)
        }
        State::Running
        | State::Completed
        | State::Failed
        | State::Cancelled
        | State::Stopped
        | State::Error => None,
    }
}

/// The time of the whole job goes on, or begins.
pub(crate) fn start_of_job(job: &mut Job, at: Timestamp) {
    if job.job_deadline_at.is_none() {
        job.job_deadline_at = job.job_timeout_left_ms.map(|left| at.plus_ms(left));
    }
}

/// A sandbox runs: all of its time goes on.
pub(crate) fn start(job: &mut Job, at: Timestamp) {
    start_of_job(job, at);
    if job.deadline_at.is_none() {
        job.deadline_at = job.timeout_left_ms.map(|left| at.plus_ms(left));
    }
}

/// The attempt has no sandbox for a while.
pub(crate) fn pause_attempt(job: &mut Job, at: Timestamp) {
    if let Some(deadline) = job.deadline_at.take() {
        job.timeout_left_ms = Some(deadline.since(at));
    }
}

/// The job sleeps.
pub(crate) fn suspend(job: &mut Job, at: Timestamp) {
    if job.spec.timeouts_while_suspended {
        return;
    }
    pause_attempt(job, at);
    if let Some(deadline) = job.job_deadline_at.take() {
        job.job_timeout_left_ms = Some(deadline.since(at));
    }
}

/// Another attempt has all of an attempt's time.
pub(crate) fn renew_attempt(job: &mut Job) {
    job.deadline_at = None;
    job.timeout_left_ms = job.spec.timeout_ms;
}

/// As before the first attempt.
pub(crate) fn renew(job: &mut Job) {
    renew_attempt(job);
    job.job_deadline_at = None;
    job.job_timeout_left_ms = job.spec.job_timeout_ms;
}

/// Nothing is counted any more.
pub(crate) fn stop(job: &mut Job) {
    job.deadline_at = None;
    job.timeout_left_ms = None;
    job.job_deadline_at = None;
    job.job_timeout_left_ms = None;
}
