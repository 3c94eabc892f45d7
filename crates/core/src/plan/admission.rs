//! What a node has room for, and what a job takes of it.

use crate::{Job, JobSpec, Operation, State};

/// What a node has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sandboxes that live at once.
    pub live_max: usize,
    /// Of those, on their way up at once: starting is what costs processors.
    pub rising_max: usize,
    /// Thousandths of a processor that live jobs ask for, all together.
    pub cpu_millis_max: u64,
    /// Bytes of memory that live jobs ask for, all together.
    pub memory_bytes_max: u64,
}

impl Limits {
    /// What a single job can ask for.
    #[must_use]
    pub fn at_most(&self) -> Wants {
        Wants {
            cpu_millis: Some(u32::try_from(self.cpu_millis_max).unwrap_or(u32::MAX)),
            memory_bytes: Some(self.memory_bytes_max),
        }
    }
}

/// What a job asks for of its node. One that does not say takes only one of the places that `live_max` limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Thousandths of a processor.
    pub cpu_millis: Option<u32>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
}

impl Wants {
    /// What this spec asks for.
    #[must_use]
    pub fn of(spec: &JobSpec) -> Self {
        Self {
            cpu_millis: spec.cpu_millis,
            memory_bytes: spec.memory_bytes,
        }
    }

    /// Whether it asks for no more than this; what is not said there is no limit.
    #[must_use]
    pub fn fits_into(self, most: Self) -> bool {
        let within = |wanted: Option<u64>, most: Option<u64>| match (wanted, most) {
            (Some(wanted), Some(most)) => wanted <= most,
            (_, _) => true,
        };
        within(
            self.cpu_millis.map(u64::from),
            most.cpu_millis.map(u64::from),
        ) && within(self.memory_bytes, most.memory_bytes)
    }
}

/// What one job takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A sandbox on its way up.
    Rising,
    /// One that is up, or being cleaned up.
    Up,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

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
