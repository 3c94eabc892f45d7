//! A page of the history, taken record by record from wherever they are kept.

use crate::{HistoryFilter, HistoryPage, HistoryPlace, Recorded};
use dauer_core::Timestamp;

/// One page looks at no more records than this, however few are wanted of them.
const LOOKED_AT_MAX: usize = 20_000;

/// Records are in the order of their commits, and the clock may have been set: so far apart they are in the order of their times.
const CLOCK_SLACK_MS: i64 = 3_600_000;

/// What was recorded before then is in the order of times before what was recorded since `since`.
fn surely_before(since: Timestamp) -> i64 {
    since.0.saturating_sub(CLOCK_SLACK_MS)
}

/// The place such that all behind `first` comes behind it. `at` says when the first record at or behind a position was made, of
/// positions up to `newest`; an index on times would make every commit dearer, and positions are in the order of times as good as
/// always, so that halving finds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Halving {
    low: i64,
    high: i64,
    since: i64,
}

impl Halving {
    pub(crate) fn new(newest: i64, since: Timestamp) -> Self {
        Self {
            low: 0,
            high: newest,
            since: surely_before(since),
        }
    }

    /// The position to ask for, until it is found.
    pub(crate) fn asks(&self) -> Option<i64> {
        (self.low < self.high).then(|| self.middle())
    }

    /// When the first record at or behind it was made, if there is one. The first behind `low` may be older than `since`; that
    /// behind `high` is not, or there is none.
    pub(crate) fn answered(&mut self, at: Option<i64>) {
        match at {
            Some(at) if at < self.since => self.low = self.middle() + 1,
            Some(_) | None => self.high = self.middle(),
        }
    }

    fn middle(&self) -> i64 {
        self.low + (self.high - self.low) / 2
    }

    pub(crate) fn found(self) -> HistoryPlace {
        HistoryPlace {
            seq: super::unsigned(self.low.saturating_sub(1)),
            audit: 0,
        }
    }
}

/// A page that is being filled.
#[derive(Debug)]
pub(crate) struct Filling<'a> {
    filter: &'a HistoryFilter,
    page: HistoryPage,
    place: HistoryPlace,
    looked_at: usize,
}

impl<'a> Filling<'a> {
    /// Behind this place.
    pub(crate) fn new(filter: &'a HistoryFilter, place: HistoryPlace) -> Self {
        Self {
            filter,
            page: HistoryPage::default(),
            place,
            looked_at: 0,
        }
    }

    /// Where the last record was that it looked at.
    #[cfg(feature = "postgres")]
    pub(crate) fn place(&self) -> HistoryPlace {
        self.place
    }

    /// Looks at the next record; whether it goes on.
    pub(crate) fn take(&mut self, place: HistoryPlace, record: Recorded) -> bool {
        let over = |until: &Timestamp| record.at().0 >= until.0.saturating_add(CLOCK_SLACK_MS);
        if self.filter.until.as_ref().is_some_and(over) {
            return false;
        }
        if self.page.records.len() == self.filter.limit || self.looked_at == LOOKED_AT_MAX {
            self.page.next = Some(self.place);
            return false;
        }
        self.place = place;
        self.looked_at += 1;
        if self.filter.accepts(&record) {
            self.page.records.push(record);
        }
        true
    }

    pub(crate) fn page(self) -> HistoryPage {
        self.page
    }
}
