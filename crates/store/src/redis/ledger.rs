//! Reading the ledger.

use super::answer::{list, number, some_number, some_text, text, tuple};
use super::ask::Ask;
use super::fault::Fault;
use super::link::Link;
use crate::{Error, UsageQuery};
use dauer_core::Timestamp;
use dauer_core::ledger::{Account, Interval, Owner};
use redis::Value;
use std::collections::BTreeSet;

/// So many intervals come with one answer.
const INTERVALS_MAX: usize = 1000;

/// Under its number.
fn interval(row: Value) -> Result<(String, Interval), Fault> {
    let unreadable = |source| Fault::Unreadable {
        what: "an interval of the ledger".into(),
        source,
    };
    let [id, began, from, to, used, cause, closed_by, labels] = tuple(row)?;
    let mut interval: Interval = serde_json::from_str(&text(began)?).map_err(unreadable)?;
    interval.from = Timestamp(number(from)?);
    interval.to = some_number(to)?.map(Timestamp);
    interval.used = some_number(used)?;
    interval.closed_by = some_text(closed_by)?;
    if let Some(cause) = some_text(cause)? {
        interval.cause = cause;
    }
    if let Some(labels) = some_text(labels)? {
        interval.labels = serde_json::from_str(&labels).map_err(unreadable)?;
    }
    Ok((text(id)?, interval))
}

pub(super) fn all(rows: Value) -> Result<Vec<(String, Interval)>, Fault> {
    list(rows)?.into_iter().map(interval).collect()
}

pub(super) async fn of_owner(link: &Link, owner: &Owner) -> Result<Vec<Interval>, Error> {
    let ask = Ask::of("intervals")
        .about(owner.kind.name())
        .about(&owner.id);
    let found = all(ask.on(link).await?)?;
    Ok(found.into_iter().map(|(_, interval)| interval).collect())
}

pub(super) async fn usage(link: &Link, query: &UsageQuery) -> Result<Account, Error> {
    let mut account = Account::new(query.by.clone(), query.range, query.now);
    let mut count = |interval: &Interval| -> Result<(), Error> {
        let begins_before = |until: Timestamp| interval.from < until;
        if !query.asks_for(interval) || !query.range.until.is_none_or(begins_before) {
            return Ok(());
        }
        account.add(interval).map_err(|_| Error::TooManyGroups)
    };
    if let Some(owner) = &query.owner {
        for interval in of_owner(link, owner).await? {
            count(&interval)?;
        }
        return Ok(account);
    }
    let [newest, open] = tuple(Ask::of("open_intervals").on(link).await?)?;
    let newest: u64 = number(newest)?;
    let mut counted = BTreeSet::new();
    for (id, interval) in all(open)? {
        count(&interval)?;
        counted.insert(id);
    }
    // What was open when all of this was asked may be closed by now, and what is newer was not there.
    let is_of_then =
        |id: &str| !counted.contains(id) && id.parse().is_ok_and(|id: u64| id <= newest);
    let since = query
        .range
        .since
        .map_or("-inf".into(), |since| since.0.to_string());
    let (mut last, mut last_to) = (String::new(), Timestamp(0));
    loop {
        let ask = Ask::of("closed_intervals")
            .about(&since)
            .about(&last)
            .number(last_to.0);
        let page = all(ask.limit(INTERVALS_MAX).on(link).await?)?;
        let is_last = page.len() < INTERVALS_MAX;
        for (id, interval) in page {
            if is_of_then(&id) {
                count(&interval)?;
            }
            last_to = interval.to.unwrap_or(last_to);
            last = id;
        }
        if is_last {
            return Ok(account);
        }
    }
}
