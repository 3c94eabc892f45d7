//! Which jobs a schedule makes when moments of it have come.
//!
//! One moment, or after downtime several: first [`CatchUp`] says which of them count, then each of those in its turn meets the
//! job of the one before, and [`Overlap`] says what happens.

use crate::{CatchUp, JobId, Overlap, Schedule, Timestamp};

/// A moment that is later than this was missed: a daemon that is restarted or updated is back within it.
pub const MISSED_AFTER_MS: u64 = 10_000;

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firing {
    /// A job for each of these moments, in this order.
    pub fire: Vec<Timestamp>,
    /// Each of those jobs waits until the one before has ended; the first of them for the former.
    pub one_by_one: bool,
    /// The former is to be cancelled.
    pub replaces_former: bool,
    /// Moments that came to nothing.
    pub skipped: u64,
}

/// How many of the newest moments matter to the schedule.
#[must_use]
pub fn wanted(catch_up: CatchUp) -> u32 {
    match catch_up {
        CatchUp::None | CatchUp::One => 1,
        CatchUp::All { max } => max.max(1),
    }
}

/// What to do at `now`, when these moments have come and the job of the last firing lives or not.
#[must_use]
pub fn plan(schedule: &Schedule, come: &[Timestamp], former_lives: bool, now: Timestamp) -> Firing {
    let wanted = usize::try_from(wanted(schedule.catch_up)).unwrap_or(usize::MAX);
    let count = come.len();
    let mut counting = &come[count.saturating_sub(wanted)..];
    let on_time = |at: &Timestamp| now.since(*at) <= MISSED_AFTER_MS;
    if schedule.catch_up == CatchUp::None && !counting.last().is_some_and(on_time) {
        counting = &[];
    }
    let (fire, one_by_one, replaces_former) = match (schedule.overlap, counting) {
        (_, []) => (&[][..], false, false),
        (Overlap::Allow, all) => (all, false, false),
        (Overlap::Queue, all) => (all, true, false),
        (Overlap::Skip, _) if former_lives => (&[][..], false, false),
        // The job of the first lives when the turn of the others comes.
        (Overlap::Skip, [first, ..]) => (std::slice::from_ref(first), false, false),
        // Each replaces the one before it, which never began.
        (Overlap::Replace, [.., last]) => (std::slice::from_ref(last), true, former_lives),
    };
    Firing {
        fire: fire.to_vec(),
        one_by_one,
        replaces_former,
        skipped: u64::try_from(count - fire.len()).unwrap_or(u64::MAX),
    }
}

/// The record after a firing whose jobs have these ids.
#[must_use]
pub fn fired(
    schedule: &Schedule,
    firing: &Firing,
    jobs: &[JobId],
    next: Option<Timestamp>,
) -> Schedule {
    assert_eq!(
        firing.fire.len(),
        jobs.len(),
        "invariant: each moment that fires has one job"
    );
    let mut after = schedule.clone();
    after.version += 1;
    after.next_at = next;
    after.skipped += firing.skipped;
    after.fired += u64::try_from(jobs.len()).unwrap_or(u64::MAX);
    after.last_error = None;
    if let (Some(at), Some(job)) = (firing.fire.last(), jobs.last()) {
        after.last_at = Some(*at);
        after.last_job = Some(job.clone());
    }
    if firing.replaces_former {
        after.ending.extend(schedule.last_job.clone());
    }
    after
}

/// The record after a firing whose jobs could not be made.
#[must_use]
pub fn failed(
    schedule: &Schedule,
    firing: &Firing,
    next: Option<Timestamp>,
    why: String,
) -> Schedule {
    let lost = u64::try_from(firing.fire.len()).unwrap_or(u64::MAX);
    Schedule {
        version: schedule.version + 1,
        next_at: next,
        skipped: schedule.skipped + firing.skipped + lost,
        last_error: Some(why),
        ..schedule.clone()
    }
}
