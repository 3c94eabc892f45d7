//! Adding intervals up: exact sums in integers, clipped to a range, by what they are grouped by.

use super::interval::{Interval, Kind, Labels};
use crate::Timestamp;
use std::collections::BTreeMap;

/// More groups than this are not added up: the question is too wide.
pub const GROUPS_MAX: usize = 100_000;

const DAY_MS: i64 = 86_400_000;

/// What sums are taken by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// One sum of everything.
    Total,
    /// By owner.
    Owner,
    /// By day in UTC; an interval over midnight counts for each day what belongs to it.
    Day,
    /// By definition.
    Definition,
    /// By queue.
    Queue,
    /// By the value of this tag.
    Tag(String),
}

/// From a moment on, until before another one. Either may be open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// From then on.
    pub since: Option<Timestamp>,
    /// Until before then.
    pub until: Option<Timestamp>,
}

/// What was used altogether.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Milliseconds in which sandboxes ran.
    pub run_ms: u128,
    /// Thousandths of a CPU × milliseconds that they were allotted.
    pub cpu_milli_ms: u128,
    /// Milliseconds of CPU time really used, where it is known.
    pub cpu_used_ms: u128,
    /// Bytes of memory × milliseconds that they were allotted.
    pub memory_byte_ms: u128,
    /// Bytes on disk × milliseconds.
    pub storage_byte_ms: u128,
}

/// There are more than [`GROUPS_MAX`] groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// What of an interval is added up, without owning any of it: a ledger has millions of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use<'a> {
    /// What it is added to, as [`By::group`] says.
    pub group: Option<&'a str>,
    /// What was used.
    pub kind: Kind,
    /// So much of it; see [`Kind`] for the unit.
    pub amount: u64,
    /// Since then.
    pub from: Timestamp,
    /// Until then; absent while it is open.
    pub to: Option<Timestamp>,
    /// What was really used, where it is known, as in [`Interval::used`].
    pub used: Option<u64>,
}

impl By {
    /// The group of what this owner used under these labels. None where it has none, and for [`By::Day`], where the time says it.
    #[must_use]
    pub fn group<'a>(&self, owner: &'a str, labels: &'a Labels) -> Option<&'a str> {
        match self {
            Self::Total | Self::Day => None,
            Self::Owner => Some(owner),
            Self::Definition => labels.definition.as_deref(),
            Self::Queue => labels.queue.as_deref(),
            Self::Tag(key) => labels.tags.get(key).map(String::as_str),
        }
    }

    /// Whether labels have a say in [`By::group`].
    #[must_use]
    pub fn asks_labels(&self) -> bool {
        match self {
            Self::Total | Self::Day | Self::Owner => false,
            Self::Definition | Self::Queue | Self::Tag(_) => true,
        }
    }
}

/// A sum for each group, taken up to a moment that is the present for intervals that are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    by: By,
    range: Range,
    now: Timestamp,
    /// What has no group.
    rest: Option<Sum>,
    sums: BTreeMap<String, Sum>,
}

impl Account {
    /// With nothing in it.
    #[must_use]
    pub fn new(by: By, range: Range, now: Timestamp) -> Self {
        Self {
            by,
            range,
            now,
            rest: None,
            sums: BTreeMap::new(),
        }
    }

    /// Counts what of this interval lies in the range. Errors: [`TooMany`].
    pub fn add(&mut self, interval: &Interval) -> Result<(), TooMany> {
        let one = Use {
            group: self.by.group(&interval.owner.id, &interval.labels),
            kind: interval.kind,
            amount: interval.amount,
            from: interval.from,
            to: interval.to,
            used: interval.used,
        };
        self.add_use(one)
    }

    /// As [`Self::add`], of an interval whose group is known.
    pub fn add_use(&mut self, one: Use<'_>) -> Result<(), TooMany> {
        let whole = Span {
            from: one.from.0,
            to: one.to.unwrap_or(self.now).0.max(one.from.0),
        };
        let part = Span {
            from: self
                .range
                .since
                .map_or(whole.from, |since| whole.from.max(since.0)),
            to: self
                .range
                .until
                .map_or(whole.to, |until| whole.to.min(until.0)),
        };
        if part.from >= part.to {
            return Ok(());
        }
        if self.by != By::Day {
            return self.count(one, whole, part);
        }
        let mut from = part.from;
        while from < part.to {
            let day = from.div_euclid(DAY_MS);
            let to = part.to.min((day + 1) * DAY_MS);
            let of_day = Use {
                group: Some(&date(day)),
                ..one
            };
            self.count(of_day, whole, Span { from, to })?;
            from = to;
        }
        Ok(())
    }

    /// The groups in order; without a name those that have none.
    pub fn sums(&self) -> impl Iterator<Item = (Option<&str>, &Sum)> {
        let rest = self.rest.iter().map(|sum| (None, sum));
        rest.chain(
            self.sums
                .iter()
                .map(|(group, sum)| (Some(group.as_str()), sum)),
        )
    }

    /// Everything together.
    #[must_use]
    pub fn total(&self) -> Sum {
        let mut total = Sum::default();
        for (_, sum) in self.sums() {
            total.run_ms += sum.run_ms;
            total.cpu_milli_ms += sum.cpu_milli_ms;
            total.cpu_used_ms += sum.cpu_used_ms;
            total.memory_byte_ms += sum.memory_byte_ms;
            total.storage_byte_ms += sum.storage_byte_ms;
        }
        total
    }

    fn count(&mut self, one: Use<'_>, whole: Span, part: Span) -> Result<(), TooMany> {
        let sum = self.sum(one.group)?;
        let ms = part.ms();
        let amount = u128::from(one.amount) * ms;
        match one.kind {
            Kind::Compute => {
                sum.run_ms += ms;
                sum.cpu_milli_ms += amount;
                sum.cpu_used_ms += used(one.used, whole, part);
            }
            Kind::Memory => sum.memory_byte_ms += amount,
            Kind::Storage => sum.storage_byte_ms += amount,
        }
        Ok(())
    }

    /// That of a group; its name is copied only when it is seen for the first time.
    fn sum(&mut self, group: Option<&str>) -> Result<&mut Sum, TooMany> {
        let groups = self.sums.len() + usize::from(self.rest.is_some());
        let known = match group {
            Some(name) => self.sums.contains_key(name),
            None => self.rest.is_some(),
        };
        if !known && groups >= GROUPS_MAX {
            return Err(TooMany);
        }
        let Some(name) = group else {
            return Ok(self.rest.get_or_insert_default());
        };
        if !known {
            self.sums.insert(name.to_owned(), Sum::default());
        }
        Ok(self.sums.get_mut(name).expect("it was just put there"))
    }
}

#[derive(Clone, Copy)]
struct Span {
    from: i64,
    to: i64,
}

impl Span {
    fn ms(self) -> u128 {
        u128::from(self.to.abs_diff(self.from))
    }
}

/// The share of a part in what the whole used. Shares of parts that lie side by side add up to the whole, to the millisecond.
fn used(used: Option<u64>, whole: Span, part: Span) -> u128 {
    let Some(used) = used else { return 0 };
    let until = |moment| {
        let ms = Span {
            from: whole.from,
            to: moment,
        }
        .ms();
        u128::from(used) * ms / whole.ms().max(1)
    };
    until(part.to) - until(part.from)
}

/// A day since 1970 as `2026-11-21`. Source: Howard Hinnant, chrono-compatible low-level date algorithms, `civil_from_days`.
fn date(day: i64) -> String {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::super::interval::{Owner, OwnerKind};
    use super::*;
    use proptest::prelude::*;

    fn interval(kind: Kind, amount: u64, from: i64, to: Option<i64>) -> Interval {
        Interval {
            owner: Owner {
                kind: OwnerKind::Machine,
                id: "m".into(),
            },
            generation: 1,
            kind,
            amount,
            from: Timestamp(from),
            to: to.map(Timestamp),
            used: None,
            cause: "started".into(),
            closed_by: None,
            labels: Labels::default(),
        }
    }

    #[test]
    fn days_have_their_names() {
        for (day, name) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_778, "2026-11-21"),
        ] {
            assert_eq!(date(day), name);
        }
    }

    #[test]
    fn an_open_interval_counts_up_to_now_and_no_further_than_the_range() {
        let open = interval(Kind::Compute, 2000, 1000, None);
        for (since, until, now, run_ms) in [
            (None, None, 5000, 4000),
            (None, None, 500, 0),
            (Some(2000), Some(3000), 9000, 1000),
            (Some(2000), Some(30_000), 9000, 7000),
            (Some(7000), None, 5000, 0),
        ] {
            let range = Range {
                since: since.map(Timestamp),
                until: until.map(Timestamp),
            };
            let mut account = Account::new(By::Total, range, Timestamp(now));
            account.add(&open).unwrap();
            assert_eq!(account.total().run_ms, run_ms, "{range:?} at {now}");
            assert_eq!(account.total().cpu_milli_ms, 2000 * run_ms);
        }
    }

    #[test]
    fn amounts_beyond_what_64_bits_hold_add_up() {
        let mut account = Account::new(By::Total, Range::default(), Timestamp(0));
        let long = interval(Kind::Storage, 1 << 50, 0, Some(1 << 41));
        for _ in 0..3 {
            account.add(&long).unwrap();
        }
        assert_eq!(account.total().storage_byte_ms, 3 * (1u128 << 91));
    }

    proptest! {
        #[test]
        fn days_and_ranges_side_by_side_add_up_to_the_whole(
            from in -3 * DAY_MS..3 * DAY_MS, length in 0..5 * DAY_MS, cut in -5 * DAY_MS..9 * DAY_MS, used: u32,
        ) {
            let mut one = interval(Kind::Compute, 1500, from, Some(from + length));
            one.used = Some(u64::from(used));
            let sum = |by: By, since: Option<i64>, until: Option<i64>| {
                let range = Range { since: since.map(Timestamp), until: until.map(Timestamp) };
                let mut account = Account::new(by, range, Timestamp(0));
                account.add(&one).unwrap();
                account.total()
            };
            let whole = sum(By::Total, None, None);
            prop_assert_eq!(whole.run_ms, length as u128);
            let whole_used = if length == 0 { 0 } else { u128::from(used) };
            prop_assert_eq!(whole.cpu_used_ms, whole_used);
            prop_assert_eq!(sum(By::Day, None, None), whole);
            let (before, after) = (sum(By::Day, None, Some(cut)), sum(By::Total, Some(cut), None));
            prop_assert_eq!(before.run_ms + after.run_ms, whole.run_ms);
            prop_assert_eq!(before.cpu_used_ms + after.cpu_used_ms, whole.cpu_used_ms);
            prop_assert_eq!(before.cpu_milli_ms + after.cpu_milli_ms, whole.cpu_milli_ms);
        }
    }
}
