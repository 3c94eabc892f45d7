//! The ledger in the store, and the truth that it is compared with: for each incarnation when it really ran, and who could know.

use dauer_core::ledger::{Interval, Kind, Life};
use dauer_core::{Kept, Timestamp};
use std::collections::BTreeMap;

/// What really happened to one incarnation.
#[derive(Clone, Copy, Debug)]
struct Truth {
    began: i64,
    frozen: Option<i64>,
    ended: Option<i64>,
    /// It was last seen alive then, by a heartbeat of a daemon or by something that it wrote.
    seen: i64,
    /// Somebody wrote down, or could tell, when it ended.
    end_known: bool,
    /// A commit says how it ended: what is known of that stays.
    settled: bool,
    /// It was told of: a commit says that it ran.
    told: bool,
    /// It went to sleep, and never ran after it was frozen.
    sleeps: bool,
}

#[derive(Default)]
pub(super) struct Bill {
    ledger: Vec<Interval>,
    truths: BTreeMap<u32, Truth>,
    heartbeat: Option<i64>,
    written: Option<i64>,
    /// What the truth of storage is: how long each checkpoint was the one that the record pointed to.
    stored: Vec<(i64, Option<i64>)>,
}

impl Bill {
    pub(super) fn began(&mut self, generation: u32, at: i64) {
        let truth = Truth {
            began: at,
            frozen: None,
            ended: None,
            seen: at,
            end_known: false,
            settled: false,
            told: false,
            sleeps: false,
        };
        self.truths.insert(generation, truth);
    }

    pub(super) fn frozen(&mut self, generation: u32, at: i64) {
        if let Some(truth) = self.truths.get_mut(&generation) {
            truth.frozen.get_or_insert(at);
        }
    }

    /// It is over. Its end is known where its shim recorded it or a daemon watched.
    pub(super) fn ended(&mut self, generation: u32, at: i64, known: bool) {
        if let Some(truth) = self.truths.get_mut(&generation) {
            (truth.ended, truth.end_known) = (Some(at), known);
        }
    }

    /// A daemon that saw it end is gone, and told nobody.
    pub(super) fn daemon_died(&mut self, recorded: impl Fn(u32) -> bool) {
        for (generation, truth) in &mut self.truths {
            truth.end_known &= truth.settled || recorded(*generation);
        }
    }

    /// The living one writes something.
    pub(super) fn wrote(&mut self, generation: u32, at: i64) {
        self.written = Some(at);
        if let Some(truth) = self.truths.get_mut(&generation) {
            truth.seen = at;
        }
    }

    /// A daemon notes that it is there, and so is all that it watches.
    pub(super) fn beat(&mut self, at: i64) {
        self.heartbeat = Some(at);
        let alive = self
            .truths
            .values_mut()
            .filter(|truth| truth.ended.is_none());
        for truth in alive {
            truth.seen = at;
        }
    }

    /// What an engine could say of this incarnation.
    pub(super) fn life(&self, generation: u32) -> Life {
        let Some(truth) = self.truths.get(&generation) else {
            return Life::default();
        };
        let seen = self.heartbeat.max(self.written);
        let ended_at = match truth.ended {
            None => None,
            Some(ended) if truth.end_known => Some(ended),
            // Never seen since it began: it counts for nothing.
            Some(_) => seen.or(Some(truth.began)),
        };
        // A shim that is gone without a record tells nothing.
        let can_tell = truth.ended.is_none() || truth.end_known;
        Life {
            began_at: can_tell.then_some(Timestamp(truth.began)),
            ended_at: ended_at.map(Timestamp),
            ..Life::default()
        }
    }

    /// A commit says that it runs, or how it ended.
    pub(super) fn told(&mut self, generation: u32, of_its_end: bool) {
        if let Some(truth) = self.truths.get_mut(&generation) {
            truth.told |= !of_its_end || truth.end_known;
            truth.settled |= of_its_end;
        }
    }

    pub(super) fn sleeps(&mut self, generation: u32) {
        if let Some(truth) = self.truths.get_mut(&generation) {
            truth.sleeps = true;
        }
    }

    /// The record points to another checkpoint, taken then, or to none.
    pub(super) fn stores(&mut self, taken_at: Option<i64>, at: i64) {
        let until = taken_at.unwrap_or(at);
        for (_, end) in self.stored.iter_mut().filter(|(_, end)| end.is_none()) {
            *end = Some(until);
        }
        self.stored
            .extend(taken_at.map(|taken_at| (taken_at, None)));
    }

    /// Part of a commit: what the store does, with the rule that it enforces.
    pub(super) fn put(&mut self, kept: &Kept) {
        match kept {
            Kept::Opened(opened) => {
                let twice = self
                    .ledger
                    .iter()
                    .any(|known| known.kind == opened.kind && known.to.is_none());
                assert!(
                    !twice,
                    "two open intervals: {opened:?} and {:?}",
                    self.ledger
                );
                self.ledger.push(Interval::clone(opened));
            }
            Kept::Closed(closing) => {
                let open = self
                    .ledger
                    .iter_mut()
                    .find(|known| known.kind == closing.kind && known.to.is_none());
                let open = open.unwrap_or_else(|| panic!("nothing is open for {closing:?}"));
                open.to = Some(closing.to.max(open.from));
            }
            Kept::Relabelled(_)
            | Kept::Output(_)
            | Kept::Signal(_)
            | Kept::SignalTaken { .. }
            | Kept::SignalsSealed
            | Kept::SignalsFreed
            | Kept::Wait(_)
            | Kept::BegunAnew
            | Kept::Described { .. }
            | Kept::Unblocked { .. }
            | Kept::Turn { .. } => {}
        }
    }

    fn summed(&self, kind: Kind, now: i64) -> i64 {
        let of_kind = self.ledger.iter().filter(|known| known.kind == kind);
        of_kind
            .map(|known| known.to.map_or(now, |to| to.0) - known.from.0)
            .sum()
    }

    /// The ledger has what really ran: to the millisecond where anybody could know, else up to when it was last seen.
    pub(super) fn check(&self, now: i64) {
        let expected = self
            .truths
            .values()
            .filter(|truth| truth.told)
            .map(|truth| {
                let until = match (truth.sleeps, truth.ended) {
                    (true, _) => truth.frozen.expect("it sleeps since it was frozen"),
                    (false, None) => now,
                    (false, Some(ended)) if truth.end_known => ended,
                    (false, Some(_)) => truth.seen,
                };
                until - truth.began
            });
        let expected: i64 = expected.sum();
        let shown = || format!("{:#?} instead of {:#?} at {now}", self.ledger, self.truths);
        assert_eq!(self.summed(Kind::Compute, now), expected, "{}", shown());
        assert_eq!(self.summed(Kind::Memory, now), expected, "{}", shown());
        let stored = self
            .stored
            .iter()
            .map(|(from, to)| to.unwrap_or(now) - from);
        assert_eq!(
            self.summed(Kind::Storage, now),
            stored.sum::<i64>(),
            "{}",
            shown()
        );
        self.check_order();
        // What is missing ran while nobody wrote anything down, and never before it was last seen.
        for truth in self.truths.values().filter(|truth| !truth.told) {
            assert!(truth.ended.is_some() && !truth.end_known, "{}", shown());
        }
    }

    /// One after the other, never two at once.
    fn check_order(&self) {
        for kind in Kind::ALL {
            let of_kind: Vec<_> = self
                .ledger
                .iter()
                .filter(|known| known.kind == kind)
                .collect();
            for pair in of_kind.windows(2) {
                let ordered = pair[0].to.is_some_and(|to| to <= pair[1].from);
                assert!(ordered, "they overlap: {pair:?}");
            }
        }
    }
}
