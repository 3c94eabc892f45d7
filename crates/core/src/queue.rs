//! Queues: what holds jobs back that wait, beside the room of their node; and what a job says of those it follows or repeats.

use crate::{JobId, State, Timestamp};
use serde::{Deserialize, Serialize};

/// The queue of a job that names none. It is there without being made.
pub const DEFAULT_QUEUE: &str = "default";

/// A rate remembers the moment of each job that it counts.
pub const RATE_COUNT_MAX: u32 = 10_000;

/// The settings of a queue. One that nobody set has none of these limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// So many of its jobs have a sandbox at once.
    pub max_running: Option<u32>,
    /// So many of its jobs begin, or are tried again, within any span of this length.
    pub rate: Option<Rate>,
    /// As `max_running`, of the jobs that share a concurrency key.
    pub key_max_running: Option<u32>,
    /// As `rate`, of the jobs that share a concurrency key.
    pub key_rate: Option<Rate>,
    /// None of its jobs begins or is tried again. Those that began go on, and wake.
    pub paused: bool,
    /// A job that sleeps keeps its place.
    pub hold_while_suspended: bool,
}

/// So many in any span of so long: never more, also not after a time in which there were fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// So many, at least one.
    pub count: u32,
    /// In so many milliseconds, at least one.
    pub per_ms: u64,
}

impl Queue {
    /// A queue of this name without limits.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// It holds nothing back.
    #[must_use]
    pub fn is_free(&self) -> bool {
        *self
            == Self {
                hold_while_suspended: self.hold_while_suspended,
                ..Self::new(&self.name)
            }
    }

    /// The longest span that one of its rates looks back.
    #[must_use]
    pub fn looks_back_ms(&self) -> Option<u64> {
        let rates = self.rate.iter().chain(&self.key_rate);
        rates.map(|rate| rate.per_ms).max()
    }

    /// Whether these settings can be kept. A line names the field that cannot, and says what to write instead.
    ///
    /// # Errors
    /// The field, and the line.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        crate::parse::name(&self.name).map_err(|text| ("name", text))?;
        for (field, most) in [
            ("max_running", self.max_running),
            ("key_max_running", self.key_max_running),
        ] {
            if most == Some(0) {
                return Err((field, format!("{field} is 0: pause the queue instead")));
            }
        }
        for (field, rate) in [("rate", self.rate), ("key_rate", self.key_rate)] {
            let Some(rate) = rate else { continue };
            if !(1..=RATE_COUNT_MAX).contains(&rate.count) || rate.per_ms == 0 {
                let text = format!(
                    "a rate of {} in {} ms: write 1 to {RATE_COUNT_MAX} jobs in some time, for example 10/1m",
                    rate.count, rate.per_ms
                );
                return Err((field, text));
            }
        }
        Ok(())
    }
}

/// A job of a queue with a rate was given its turn.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Turn {
    /// Of this queue.
    pub queue: String,
    /// Its concurrency key.
    pub key: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// Another job of the same key and in one of these states stands for this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unique {
    /// Chosen by the caller.
    pub key: String,
    /// In which states another job counts.
    #[serde(default = "Unique::not_ended")]
    pub states: Vec<State>,
    /// What is said where there is one.
    #[serde(default)]
    pub on_conflict: OnConflict,
}

impl Unique {
    /// All states of a job that has not ended.
    #[must_use]
    pub fn not_ended() -> Vec<State> {
        State::ALL
            .into_iter()
            .filter(|state| !state.is_terminal())
            .collect()
    }
}

/// What is said where another job stands for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// That job, as if it had just been made.
    #[default]
    Existing,
    /// No.
    Refuse,
}

/// A job that has to end before this one begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    /// Which.
    pub job: JobId,
    /// How.
    #[serde(default)]
    pub when: When,
}

/// How a job has to end for those that follow it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Well: otherwise they fail.
    #[default]
    Completed,
    /// In whatever way.
    Ended,
}

impl When {
    /// Whether a job that ended so is followed; one that is gone ended in a way that nobody knows any more.
    #[must_use]
    pub fn is_met_by(self, ended: Option<State>) -> bool {
        match self {
            Self::Completed => ended == Some(State::Completed),
            Self::Ended => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_kept_are_named() {
        let queue = |edit: &dyn Fn(&mut Queue)| {
            let mut queue = Queue::new("mail");
            edit(&mut queue);
            queue.check().map_err(|(field, _)| field)
        };
        assert_eq!(queue(&|_| ()), Ok(()));
        assert_eq!(queue(&|queue| queue.name = "a/b".into()), Err("name"));
        assert_eq!(
            queue(&|queue| queue.max_running = Some(0)),
            Err("max_running")
        );
        let rate = |count, per_ms| Some(Rate { count, per_ms });
        assert_eq!(queue(&|queue| queue.rate = rate(10_000, 1)), Ok(()));
        assert_eq!(queue(&|queue| queue.rate = rate(0, 1000)), Err("rate"));
        assert_eq!(queue(&|queue| queue.key_rate = rate(1, 0)), Err("key_rate"));
        assert_eq!(queue(&|queue| queue.rate = rate(10_001, 9)), Err("rate"));
    }

    #[test]
    fn only_settings_that_hold_back_count() {
        let mut queue = Queue::new("mail");
        queue.hold_while_suspended = true;
        assert!(queue.is_free());
        queue.paused = true;
        assert!(!queue.is_free());
        let limited = Queue {
            key_max_running: Some(1),
            ..Queue::new("x")
        };
        assert!(!limited.is_free());
    }

    #[test]
    fn what_is_not_said_of_a_unique_job_is_all_that_have_not_ended() {
        let unique: Unique = serde_json::from_str("{\"key\": \"k\"}").unwrap();
        assert_eq!(unique.on_conflict, OnConflict::Existing);
        assert!(unique.states.contains(&State::Suspended));
        assert!(!unique.states.contains(&State::Failed));
    }
}
