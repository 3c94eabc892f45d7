//! The journal and the history.

use super::answer::{list, number, text, tuple};
use super::ask::Ask;
use super::fault::Fault;
use super::link::Link;
use crate::record;
use crate::{Entry, Error, HistoryFilter, HistoryPage, HistoryPlace, NewAudit, Recorded};
use dauer_core::{JobId, Timestamp};
use redis::Value;
use std::collections::VecDeque;

/// One page looks at no more records than this, however few are wanted of them.
const LOOKED_AT_MAX: usize = 20_000;

/// Records are in the order of their commits, and the clock may have been set: so far apart they are in the order of their times.
const CLOCK_SLACK_MS: i64 = 3_600_000;

/// So many records come with one answer.
const RECORDS_MAX: usize = 1000;

fn unreadable(source: serde_json::Error) -> Fault {
    let what = "a record of the history".into();
    Fault::Unreadable { what, source }
}

fn entry(row: Value) -> Result<Entry, Fault> {
    type Text = (
        String,
        Option<String>,
        String,
        Option<String>,
        u32,
        Option<String>,
        Option<String>,
        Option<String>,
    );
    let [seq, job, at, said] = tuple(row)?;
    let (event, from, to, operation, generation, detail, by, why): Text =
        serde_json::from_str(&text(said)?).map_err(unreadable)?;
    Ok(Entry {
        seq: number(seq)?,
        job: JobId(text(job)?),
        at: Timestamp(number(at)?),
        event,
        from: from.as_deref().map(record::state).transpose()?,
        to: record::state(&to)?,
        operation,
        generation,
        detail,
        by,
        why,
    })
}

pub(super) fn audit(row: Value) -> Result<(HistoryPlace, Recorded), Fault> {
    type Text = (
        String,
        String,
        Option<String>,
        Option<String>,
        Option<String>,
    );
    let [seq, own, at, said] = tuple(row)?;
    let place = HistoryPlace {
        seq: number(seq)?,
        audit: number(own)?,
    };
    let (event, subject, detail, by, why): Text =
        serde_json::from_str(&text(said)?).map_err(unreadable)?;
    let audit = NewAudit {
        at: Timestamp(number(at)?),
        event,
        subject,
        detail,
        by,
        why,
    };
    Ok((place, Recorded::Other(audit)))
}

pub(super) async fn journal(
    link: &Link,
    job: Option<&JobId>,
    after: u64,
    limit: usize,
) -> Result<Vec<Entry>, Error> {
    let (mut after, mut found) = (after, Vec::new());
    while found.len() < limit {
        let some = RECORDS_MAX.min(limit - found.len());
        let ask = Ask::of("journal")
            .number(after)
            .limit(some)
            .each(job.map(JobId::as_str));
        let page: Result<Vec<Entry>, Fault> =
            list(ask.on(link).await?)?.into_iter().map(entry).collect();
        let page = page?;
        let last = page.len() < some;
        after = page.last().map_or(after, |entry| entry.seq);
        found.extend(page);
        if last {
            break;
        }
    }
    Ok(found)
}

/// What lies behind a place in both streams, in the order of the history.
struct Chunk {
    records: VecDeque<(HistoryPlace, Recorded)>,
    /// There is nothing more behind it.
    last: bool,
}

async fn chunk(link: &Link, job: Option<&JobId>, place: HistoryPlace) -> Result<Chunk, Error> {
    let ask = Ask::of("history")
        .number(place.seq)
        .number(place.audit)
        .limit(RECORDS_MAX);
    let [entries, audits] = tuple(ask.each(job.map(JobId::as_str)).on(link).await?)?;
    let of_job = |row: Value| -> Result<(HistoryPlace, Recorded), Fault> {
        let entry = entry(row)?;
        let place = HistoryPlace {
            seq: entry.seq,
            audit: 0,
        };
        Ok((place, Recorded::Job(entry)))
    };
    let (entries, audits) = (list(entries)?, list(audits)?);
    // Where one of the streams was cut off, what the other has behind the cut is for the next chunk.
    let (more_entries, more_audits) = (entries.len() == RECORDS_MAX, audits.len() == RECORDS_MAX);
    let entries: Result<Vec<_>, Fault> = entries.into_iter().map(of_job).collect();
    let audits: Result<Vec<_>, Fault> = audits.into_iter().map(audit).collect();
    let (entries, audits) = (entries?, audits?);
    let end_of = |is_cut: bool, records: &[(HistoryPlace, Recorded)]| {
        records.last().filter(|_| is_cut).map(|(place, _)| *place)
    };
    let cut = end_of(more_entries, &entries)
        .into_iter()
        .chain(end_of(more_audits, &audits))
        .min();
    let mut records: Vec<_> = entries.into_iter().chain(audits).collect();
    records.sort_by_key(|(place, _)| *place);
    records.retain(|(place, _)| cut.is_none_or(|cut| *place <= cut));
    Ok(Chunk {
        records: records.into(),
        last: cut.is_none(),
    })
}

pub(super) async fn page(link: &Link, filter: &HistoryFilter) -> Result<HistoryPage, Error> {
    let job = filter.job.as_ref();
    let mut place = filter.after;
    if let Some(since) = filter.since
        && place == HistoryPlace::default()
    {
        let since = since.0.saturating_sub(CLOCK_SLACK_MS);
        place.seq = number(Ask::of("place_before").number(since).on(link).await?)?;
    }
    let mut page = HistoryPage::default();
    let (mut looked_at, mut chunk_of) = (0, chunk(link, job, place).await?);
    loop {
        let Some((found, record)) = chunk_of.records.pop_front() else {
            if chunk_of.last {
                return Ok(page);
            }
            chunk_of = chunk(link, job, place).await?;
            continue;
        };
        let over = |until: &Timestamp| record.at().0 >= until.0.saturating_add(CLOCK_SLACK_MS);
        if filter.until.as_ref().is_some_and(over) {
            return Ok(page);
        }
        if page.records.len() == filter.limit || looked_at == LOOKED_AT_MAX {
            page.next = Some(place);
            return Ok(page);
        }
        place = found;
        looked_at += 1;
        if filter.accepts(&record) {
            page.records.push(record);
        }
    }
}

pub(super) async fn oldest(link: &Link) -> Result<Option<Timestamp>, Error> {
    let found: Result<Vec<i64>, Fault> = list(Ask::of("oldest_records").on(link).await?)?
        .into_iter()
        .map(number)
        .collect();
    Ok(found?.into_iter().min().map(Timestamp))
}
