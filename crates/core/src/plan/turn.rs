//! Whose turn it is: the order of the jobs that wait, and which of them are asked for at all.

use super::admission::Wants;
use crate::{Job, JobId, Priority, State, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

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
    /// The queue it waits in.
    pub queue: String,
    /// Its concurrency key.
    pub key: Option<String>,
    /// What it asks for of its node.
    pub wants: Wants,
}

impl Due {
    /// A job that waits, as the scheduler sees it.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        Self {
            job: job.id.clone(),
            priority: job.spec.priority,
            wake_at: job.wake_at.unwrap_or(job.created_at),
            suspended: job.state == State::Suspended,
            queue: job.spec.queue().to_owned(),
            key: job.spec.concurrency_key.clone(),
            wants: Wants::of(&job.spec),
        }
    }
}

/// So much earlier than it is due a job of this priority has its turn. What is due later than that comes behind one of the
/// lowest priority: this is the longest that newcomers pass it.
#[must_use]
pub fn head_start_ms(priority: Priority) -> u64 {
    const MINUTE: u64 = 60_000;
    match priority {
        Priority::Low => 0,
        Priority::Normal => MINUTE,
        Priority::High => 10 * MINUTE,
        Priority::Critical => 60 * MINUTE,
    }
}

/// What a job that is due since then has its place in the order by.
#[must_use]
pub fn turn_at(priority: Priority, wake_at: Timestamp) -> Timestamp {
    wake_at.minus_ms(head_start_ms(priority))
}

/// Puts them into the order of their turns.
pub fn sort(waiting: &mut [Due]) {
    waiting.sort_by(|one, other| {
        let turn = |due: &Due| turn_at(due.priority, due.wake_at);
        (turn(one), &one.job).cmp(&(turn(other), &other.job))
    });
}

/// Which of the jobs that are due are asked for: those that nothing of their queue holds back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// At most so many, the first in turn.
    pub limit: usize,
    /// Nothing begins, in no queue; what sleeps wakes.
    pub nothing_begins: bool,
    /// The queues that hold something back.
    pub gates: BTreeMap<String, Gates>,
    /// None that asks for more than this.
    pub at_most: Wants,
}

/// What a queue lets pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    /// Of the jobs that begin or are tried again.
    pub begins: Gate,
    /// Of those that wake.
    pub wakes: Gate,
}

/// Who passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// Everybody …
    #[default]
    Open,
    /// … but those with one of these concurrency keys.
    But(BTreeSet<String>),
    /// Nobody.
    Shut,
}

impl Gate {
    /// Whether a job of this key passes.
    #[must_use]
    pub fn lets(&self, key: Option<&str>) -> bool {
        match self {
            Self::Open => true,
            Self::But(keys) => key.is_none_or(|key| !keys.contains(key)),
            Self::Shut => false,
        }
    }
}

impl Ask {
    /// For the first of all that are due.
    #[must_use]
    pub fn anything(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// What this queue lets pass of those that wake, or of the others.
    #[must_use]
    pub fn gate(&self, queue: &str, wakes: bool) -> &Gate {
        match (self.gates.get(queue), wakes) {
            (_, false) if self.nothing_begins => &Gate::Shut,
            (Some(gates), false) => &gates.begins,
            (Some(gates), true) => &gates.wakes,
            (None, _) => &Gate::Open,
        }
    }

    /// Whether this is one of those asked for, wherever in the order.
    #[must_use]
    pub fn accepts(&self, due: &Due) -> bool {
        self.gate(&due.queue, due.suspended)
            .lets(due.key.as_deref())
            && due.wants.fits_into(self.at_most)
    }
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
            queue: "default".into(),
            key: None,
            wants: Wants::default(),
        }
    }

    #[test]
    fn the_urgent_have_a_head_start_and_no_more() {
        const HOUR: i64 = 3_600_000;
        let mut waiting = [
            due("low", Priority::Low, HOUR),
            due("urgent in time", Priority::Critical, 2 * HOUR - 1),
            due("urgent too late", Priority::Critical, 2 * HOUR + 1),
            due("as old", Priority::Low, HOUR),
            due("normal", Priority::Normal, HOUR),
        ];
        sort(&mut waiting);
        let order: Vec<&str> = waiting.iter().map(|due| due.job.as_str()).collect();
        assert_eq!(
            order,
            [
                "normal",
                "urgent in time",
                "as old",
                "low",
                "urgent too late"
            ]
        );
    }

    #[test]
    fn a_gate_lets_pass_who_is_not_held_back() {
        let mut ask = Ask::anything(9);
        let mut job = due("a", Priority::Low, 0);
        assert!(ask.accepts(&job));
        let full: BTreeSet<String> = ["k".to_owned()].into();
        let gates = Gates {
            begins: Gate::But(full),
            wakes: Gate::Shut,
        };
        ask.gates.insert("default".into(), gates);
        assert!(ask.accepts(&job));
        job.key = Some("k".into());
        assert!(!ask.accepts(&job));
        job.key = Some("other".into());
        assert!(ask.accepts(&job));
        job.suspended = true;
        assert!(!ask.accepts(&job));
        job.queue = "mail".into();
        assert!(ask.accepts(&job));
        ask.nothing_begins = true;
        assert!(ask.accepts(&job));
        job.suspended = false;
        assert!(!ask.accepts(&job));
    }

    #[test]
    fn what_asks_for_too_much_is_not_asked_for() {
        let mut ask = Ask::anything(1);
        let mut job = due("a", Priority::Low, 0);
        ask.at_most.memory_bytes = Some(100);
        assert!(ask.accepts(&job));
        job.wants.memory_bytes = Some(101);
        assert!(!ask.accepts(&job));
        job.wants.memory_bytes = Some(100);
        job.wants.cpu_millis = Some(u32::MAX);
        assert!(ask.accepts(&job));
    }
}
