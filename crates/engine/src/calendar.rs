//! The moments of a schedule: cron expressions on the clocks of a time zone, periods, single moments.
//!
//! Where clocks are changed, what counts is the hour field. A fixed hour (`30 2 * * *`) is a time of the day: one that does not exist
//! comes at the first moment after the gap, one that there is twice comes at the first of the two. Any hour (`*/10 * * * *`) is a
//! rhythm: it goes on through both of two equal hours, and nothing comes of an hour that is left out.

use crate::Error;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use dauer_core::{Schedule, Timestamp, Timing};
use jiff::Timestamp as Instant;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// How far back newest moments are looked for at first; twice as far until there are enough.
const LOOK_BACK_MS: u64 = 1_000;

/// Changes of the clocks, and matches that exist twice, that are stepped over until the next moment is found. Reached by no real
/// expression: one minute of every year in a zone with two changes takes some 8.
const STEPS_MAX: usize = 10_000;

/// The moments of one schedule.
pub(crate) struct Calendar {
    rule: Rule,
    start_at: Option<Timestamp>,
    end_at: Option<Timestamp>,
}

enum Rule {
    Cron {
        cron: Box<Cron>,
        zone: TimeZone,
        any_hour: bool,
    },
    Every {
        every_ms: u64,
        from: Timestamp,
    },
    At(Timestamp),
}

impl Calendar {
    /// The calendar of what is asked for.
    ///
    /// Errors: `InvalidField`, one line that says what to write.
    pub(crate) fn new(
        timing: &Timing,
        start_at: Option<Timestamp>,
        end_at: Option<Timestamp>,
    ) -> Result<Self, Error> {
        let rule = match timing {
            Timing::Cron { expression, zone } => Rule::Cron {
                cron: Box::new(cron(expression)?),
                zone: self::zone(zone)?,
                any_hour: takes_any_hour(expression),
            },
            Timing::Every { every_ms: 0, .. } => {
                let text = "a period of nothing: write for example 10m";
                return Err(Error::invalid("every", text));
            }
            Timing::Every { every_ms, from } => Rule::Every {
                every_ms: *every_ms,
                from: *from,
            },
            Timing::At { at } => Rule::At(*at),
        };
        Ok(Self {
            rule,
            start_at,
            end_at,
        })
    }

    /// That of a schedule.
    pub(crate) fn of(schedule: &Schedule) -> Result<Self, Error> {
        Self::new(&schedule.timing, schedule.start_at, schedule.end_at)
    }

    /// The first moment after this one.
    pub(crate) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let before_start = self.start_at.map(|at| Timestamp(at.0.saturating_sub(1)));
        let after = before_start.map_or(after, |start| start.max(after));
        let next = match &self.rule {
            Rule::Cron {
                cron,
                zone,
                any_hour,
            } => {
                let after = Instant::from_millisecond(after.0).ok()?;
                let next = if *any_hour {
                    next_of_rhythm(cron, zone, after)
                } else {
                    next_time_of_day(cron, zone, after)
                };
                Timestamp(next?.as_millisecond())
            }
            Rule::Every { from, .. } if after < *from => *from,
            Rule::Every { every_ms, from } => {
                let periods = after.since(*from) / every_ms + 1;
                from.plus_ms(periods.checked_mul(*every_ms)?)
            }
            Rule::At(at) if after < *at => *at,
            Rule::At(_) => return None,
        };
        let in_time = self.end_at.is_none_or(|end| next <= end);
        in_time.then_some(next)
    }

    /// The newest moments from `first` to `now`, at most so many, oldest first. Looks back no farther than it has to.
    pub(crate) fn come(&self, first: Timestamp, now: Timestamp, at_most: usize) -> Vec<Timestamp> {
        let mut back = LOOK_BACK_MS;
        loop {
            let from = Timestamp(now.0.saturating_sub_unsigned(back)).max(first);
            let mut found = Vec::new();
            let mut next = self.next(Timestamp(from.0.saturating_sub(1)));
            while let Some(at) = next.filter(|at| *at <= now) {
                found.push(at);
                next = self.next(at);
            }
            if found.len() >= at_most || from == first {
                return found.split_off(found.len().saturating_sub(at_most));
            }
            back = back.saturating_mul(2);
        }
    }
}

fn cron(expression: &str) -> Result<Cron, Error> {
    let parser = CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed);
    parser.build().parse(expression).map_err(|error| {
        let why = error.to_string();
        let why = why.trim_end_matches('.');
        let text = format!(
            "{expression:?} is not a cron expression ({why}): write five fields such as '0 9 * * mon-fri', six with seconds before them, or @daily"
        );
        Error::invalid("cron", text)
    })
}

/// A time zone by its name.
fn zone(name: &str) -> Result<TimeZone, Error> {
    TimeZone::get(name).map_err(|_| {
        let text = format!(
            "there is no time zone {name:?}: write for example Europe/Berlin, America/New_York or UTC"
        );
        Error::invalid("time_zone", text)
    })
}

/// Whether the hour is left open.
fn takes_any_hour(expression: &str) -> bool {
    let expression = expression.trim();
    if expression.starts_with('@') {
        return expression.eq_ignore_ascii_case("@hourly");
    }
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let hour = fields.len().checked_sub(4).map(|place| fields[place]);
    hour.is_some_and(|hour| hour.starts_with(['*', '?']))
}

/// The first match after, or at, this reading of the clock.
fn next_match(cron: &Cron, reading: DateTime, at: bool) -> Option<DateTime> {
    let whole = reading.with().subsec_nanosecond(0).build().ok()?;
    // As a reading in UTC, which has no gaps: only the expression is asked here.
    let reading = whole.to_zoned(TimeZone::UTC).ok()?;
    let found = cron.find_next_occurrence(&reading, at).ok()?;
    Some(found.datetime())
}

fn next_time_of_day(cron: &Cron, zone: &TimeZone, after: Instant) -> Option<Instant> {
    let mut reading = zone.to_datetime(after);
    for _ in 0..STEPS_MAX {
        reading = next_match(cron, reading, false)?;
        let ambiguous = zone.to_ambiguous_timestamp(reading);
        let moment = match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(reading).ok()?,
            // By the clock as it was changed it lies before the change, whose moment is the first there is.
            AmbiguousOffset::Gap { after, .. } => {
                let before_change = after.to_timestamp(reading).ok()?;
                zone.following(before_change).next()?.timestamp()
            }
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(reading).ok()?,
        };
        // Not so where it was passed in the first of two equal hours, or with another one at the end of a gap.
        if moment > after {
            return Some(moment);
        }
    }
    None
}

fn next_of_rhythm(cron: &Cron, zone: &TimeZone, after: Instant) -> Option<Instant> {
    let (mut from, mut at) = (after, false);
    for _ in 0..STEPS_MAX {
        // The clock runs evenly until it is changed.
        let offset = zone.to_offset(from);
        let reading = next_match(cron, offset.to_datetime(from), at)?;
        let moment = offset.to_timestamp(reading).ok()?;
        match zone.following(from).next() {
            Some(change) if change.timestamp() <= moment => {
                (from, at) = (change.timestamp(), true);
            }
            Some(_) | None => return Some(moment),
        }
    }
    None
}

#[cfg(test)]
mod tests;
