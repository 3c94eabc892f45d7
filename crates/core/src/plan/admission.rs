//! Which of the jobs that are due may have a sandbox now: a node has room for so many, and for so many at once on their way up.
//!
//! A job waits in the store, at no cost, until it is due and there is room. Whoever is chosen, the record decides: a job that
//! was ended meanwhile ignores its admission.

use crate::{Job, JobId, Operation, Priority, State, Timestamp};
use std::cmp::Reverse;

/// What a node has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sandboxes that live at once.
    pub live_max: usize,
    /// Of those, on their way up at once: starting is what costs processors.
    pub rising_max: usize,
}

/// What is taken of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Sandboxes that live, or are about to.
    pub live: usize,
    /// Of those, on their way up.
    pub rising: usize,
}

/// What one job takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A sandbox on its way up.
    Rising,
    /// One that is up, or being cleaned up.
    Up,
}

/// A job that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub job: JobId,
    /// Its priority.
    pub priority: Priority,
    /// Since when it is due.
    pub wake_at: Timestamp,
    /// It sleeps in a checkpoint; otherwise it begins from its start.
    pub suspended: bool,
}

/// What this record takes of its node; nothing while it waits, sleeps or has ended.
#[must_use]
pub fn place(job: &Job) -> Option<Place> {
    match (job.state, job.operation) {
        (_, Some(Operation::Starting | Operation::Waking | Operation::Restarting)) => {
            Some(Place::Rising)
        }
        (
            _,
            Some(
                Operation::Checkpointing
                | Operation::Suspending
                | Operation::Terminating
                | Operation::Exiting,
            ),
        )
        | (State::Running, None) => Some(Place::Up),
        (
            State::Pending
            | State::Suspended
            | State::PendingRetry
            | State::Completed
            | State::Failed
            | State::Cancelled
            | State::Stopped
            | State::Error,
            None,
        ) => None,
    }
}

/// How many more sandboxes may begin to rise now.
#[must_use]
pub fn room(limits: Limits, taken: Taken) -> usize {
    let live = limits.live_max.saturating_sub(taken.live);
    let rising = limits.rising_max.saturating_sub(taken.rising);
    live.min(rising)
}

/// The ones whose turn it is, in their order: by priority, then by how long they are due.
#[must_use]
pub fn choose(mut waiting: Vec<Due>, room: usize) -> Vec<Due> {
    waiting.sort_by(|one, other| turn(one).cmp(&turn(other)));
    waiting.truncate(room);
    waiting
}

fn turn(due: &Due) -> (Reverse<Priority>, Timestamp, &JobId) {
    (Reverse(due.priority), due.wake_at, &due.job)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(job: &str, priority: Priority, wake_at: i64) -> Due {
        Due {
            job: job.into(),
            priority,
            wake_at: Timestamp(wake_at),
            suspended: false,
        }
    }

    #[test]
    fn the_urgent_come_first_then_the_oldest() {
        let waiting = vec![
            due("d", Priority::Normal, 5),
            due("a", Priority::Low, 1),
            due("c", Priority::Normal, 4),
            due("b", Priority::Critical, 9),
            due("e", Priority::Normal, 4),
        ];
        let chosen = |room| -> String {
            choose(waiting.clone(), room)
                .iter()
                .map(|due| due.job.as_str().to_owned())
                .collect()
        };
        assert_eq!(chosen(9), "bceda");
        assert_eq!(chosen(2), "bc");
        assert_eq!(chosen(0), "");
    }

    #[test]
    fn there_is_room_for_the_fewer_of_both_and_never_less_than_none() {
        let limits = Limits {
            live_max: 10,
            rising_max: 4,
        };
        let room = |live, rising| room(limits, Taken { live, rising });
        assert_eq!(room(0, 0), 4);
        assert_eq!(room(3, 3), 1);
        assert_eq!(room(9, 0), 1);
        // Somebody woke a job by hand, for which there was no room.
        assert_eq!(room(11, 5), 0);
    }

    #[test]
    fn what_waits_sleeps_or_has_ended_takes_nothing() {
        let mut job = Job::new("j".into(), crate::spec::sample(), Timestamp(0));
        for state in State::ALL {
            job.state = state;
            job.operation = None;
            let expected = (state == State::Running).then_some(Place::Up);
            assert_eq!(place(&job), expected, "{state}");
            job.operation = Some(Operation::Exiting);
            assert_eq!(place(&job), Some(Place::Up));
            job.operation = Some(Operation::Waking);
            assert_eq!(place(&job), Some(Place::Rising));
        }
    }
}
