//! Rates of queues: the moments of the turns that were given, as far back as a rate looks.
//!
//! A rate of `count` in `per_ms` is open where fewer than `count` turns were given in the span of that length that ends now. So no
//! span of that length ever holds more, wherever it begins.

use crate::{Queue, Rate, Timestamp};
use std::collections::{HashMap, VecDeque};

/// The turns that were given by each queue.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    queues: HashMap<String, Given>,
}

#[derive(Clone, Debug, Default)]
struct Given {
    all: Moments,
    by_key: HashMap<String, Moments>,
}

/// In their order.
#[derive(Clone, Debug, Default)]
struct Moments(VecDeque<Timestamp>);

impl Moments {
    fn add(&mut self, at: Timestamp) {
        let place = self.0.partition_point(|other| *other <= at);
        self.0.insert(place, at);
    }

    fn remove(&mut self, at: Timestamp) -> bool {
        let place = self.0.iter().rposition(|other| *other == at);
        place.and_then(|place| self.0.remove(place)).is_some()
    }

    /// When this rate opens again; absent where it is open.
    fn open_at(&self, rate: Rate, now: Timestamp) -> Option<Timestamp> {
        let count = usize::try_from(rate.count).unwrap_or(usize::MAX);
        let last = self.0.len().checked_sub(count)?;
        let opens = self.0.get(last)?.plus_ms(rate.per_ms);
        (opens > now).then_some(opens)
    }

    fn forget_before(&mut self, moment: Timestamp, now: Timestamp) {
        while self.0.front().is_some_and(|at| *at < moment) {
            self.0.pop_front();
        }
        // A clock that was set back makes nobody wait for longer than the rate itself.
        for at in self.0.iter_mut().rev().take_while(|at| **at > now) {
            *at = now;
        }
    }
}

impl Rates {
    /// A turn is given.
    pub fn give(&mut self, queue: &str, key: Option<&str>, at: Timestamp) {
        let given = self.queues.entry(queue.to_owned()).or_default();
        given.all.add(at);
        if let Some(key) = key {
            given.by_key.entry(key.to_owned()).or_default().add(at);
        }
    }

    /// A turn that was given then was not. False where none was.
    pub fn take_back(&mut self, queue: &str, key: Option<&str>, at: Timestamp) -> bool {
        let Some(given) = self.queues.get_mut(queue) else {
            return false;
        };
        if let Some(of_key) = key.and_then(|key| given.by_key.get_mut(key)) {
            of_key.remove(at);
        }
        given.all.remove(at)
    }

    /// Forgets what this queue looks no longer back to.
    pub fn forget_before(&mut self, queue: &Queue, now: Timestamp) {
        let Some(given) = self.queues.get_mut(&queue.name) else {
            return;
        };
        let moment = now.minus_ms(queue.looks_back_ms().unwrap_or(0));
        given.all.forget_before(moment, now);
        given.by_key.retain(|_, moments| {
            moments.forget_before(moment, now);
            !moments.0.is_empty()
        });
        if given.all.0.is_empty() {
            self.queues.remove(&queue.name);
        }
    }

    /// Forgets everything of a queue.
    pub fn forget(&mut self, queue: &str) {
        self.queues.remove(queue);
    }

    /// When the rate of a whole queue opens again; absent where it is open.
    #[must_use]
    pub fn opens_at(&self, queue: &str, rate: Rate, now: Timestamp) -> Option<Timestamp> {
        self.queues.get(queue)?.all.open_at(rate, now)
    }

    /// The same of the rate that each key has, for this one.
    #[must_use]
    pub fn opens_for_key_at(
        &self,
        queue: &str,
        key: &str,
        rate: Rate,
        now: Timestamp,
    ) -> Option<Timestamp> {
        self.queues.get(queue)?.by_key.get(key)?.open_at(rate, now)
    }

    /// When the first of the keys that its rate holds back is let pass.
    #[must_use]
    pub fn key_opens_at(&self, queue: &str, rate: Rate, now: Timestamp) -> Option<Timestamp> {
        let by_key = &self.queues.get(queue)?.by_key;
        by_key
            .values()
            .filter_map(|moments| moments.open_at(rate, now))
            .min()
    }

    /// The keys that their rate holds back.
    pub fn tired_keys(&self, queue: &str, rate: Rate, now: Timestamp) -> Vec<String> {
        let by_key = self.queues.get(queue).map(|given| &given.by_key);
        let held_back = by_key.into_iter().flatten();
        held_back
            .filter(|(_, moments)| moments.open_at(rate, now).is_some())
            .map(|(key, _)| key.clone())
            .collect()
    }
}
