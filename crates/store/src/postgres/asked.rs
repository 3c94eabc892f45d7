//! Questions that take more than one statement, or an answer that is more than its rows.

use super::Postgres;
use super::fault::Fault;
use super::row;
use super::sql::{read as sql, write};
use crate::record::{Filling, Halving, limit, of_lane, signed, unsigned};
use crate::{
    Error, Filter, HistoryFilter, HistoryPage, HistoryPlace, NewAudit, Recorded, UsageQuery,
};
use dauer_core::ledger::{Account, Range};
use dauer_core::plan::admission::Wants;
use dauer_core::plan::turn::{self, Ask, Due, Gate};
use dauer_core::{Job, JobId, State, Timestamp};
use futures_util::TryStreamExt;
use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;
use tokio_postgres::Row;

/// Above every id.
pub(super) const AFTER_EVERY_ID: &str = "\u{10FFFF}";

/// Shorter beginnings of ids mean nothing.
pub(super) const PREFIX_CHARS_MIN: usize = 4;

/// A list whose filter no index answers whole is looked through in pieces of this.
const PIECE: usize = 200;

/// A piece of the history.
const RECORDS_PIECE: i64 = 500;

/// So long nobody else is told of a job that somebody was told is due: enough to begin it.
const PROMISED_MS: i64 = 2_000;

impl Postgres {
    pub(super) async fn found(&self, text: &str) -> Result<JobId, Error> {
        let after = format!("{text}{AFTER_EVERY_ID}");
        let is_prefix = text.chars().count() >= PREFIX_CHARS_MIN;
        let rows = self.rows(&sql::FIND, &[&text, &after, &is_prefix]).await?;
        let mut matches = self
            .each(rows, |row| Ok((row::id(row)?, row.try_get::<_, i64>(1)?)))?
            .into_iter();
        match (matches.next(), matches.next()) {
            (None, _) => Err(Error::NotFound(text.to_owned())),
            (Some((_, 2)), Some(_)) => Err(Error::Ambiguous(text.to_owned())),
            (Some((id, _)), _) => Ok(id),
        }
    }

    pub(super) async fn listed(&self, filter: Filter) -> Result<Vec<Job>, Error> {
        let mut found = Vec::new();
        let mut before = filter
            .before
            .clone()
            .map_or_else(|| AFTER_EVERY_ID.to_owned(), |id| id.0);
        // What one index answers whole needs no second piece.
        let whole = filter.tags.is_empty() && filter.batch.is_none() && filter.name.is_none();
        let piece = if whole {
            filter.limit
        } else {
            filter.limit.max(PIECE)
        };
        while found.len() < filter.limit {
            let rows = self.piece(&filter, &before, limit(piece)).await?;
            let is_last = rows.len() < piece;
            let jobs = self.each(rows, row::listed)?;
            if let Some(last) = jobs.last() {
                before.clone_from(&last.id.0);
            }
            found.extend(jobs.into_iter().filter(|job| filter.accepts(job)));
            if is_last || filter.name.is_some() {
                break;
            }
        }
        found.truncate(filter.limit);
        Ok(found)
    }

    /// Of whichever index leaves the least.
    async fn piece(&self, filter: &Filter, before: &str, piece: i64) -> Result<Vec<Row>, Error> {
        let asked = |state: &State| filter.states.is_empty() || filter.states.contains(state);
        let states: Vec<&str> = State::ALL
            .into_iter()
            .filter(asked)
            .map(State::name)
            .collect();
        if let Some(name) = &filter.name {
            return self.rows(&sql::LIST_NAMED, &[&before, name]).await;
        }
        if let Some(batch) = &filter.batch {
            return self
                .rows(&sql::LIST_OF_BATCH, &[&before, &piece, &states, batch])
                .await;
        }
        if let Some((key, value)) = filter.tags.first() {
            return self
                .rows(&sql::LIST_TAGGED, &[&before, &piece, key, value])
                .await;
        }
        if filter.states.is_empty() {
            return self.rows(&sql::LIST, &[&before, &piece]).await;
        }
        self.rows(&sql::LIST_OF_STATES, &[&before, &piece, &states])
            .await
    }

    /// What is due; where other daemons ask too, it is promised to this one for a moment.
    pub(super) async fn claimed(&self, now: Timestamp, ask: &Ask) -> Result<Vec<Due>, Error> {
        let node = self.node();
        let others = match &node {
            Some(node) => self.exists(&sql::OTHER_LEASES, &[node, &now.0]).await?,
            None => false,
        };
        let Some(node) = node.filter(|_| others) else {
            return self.due_for(now, ask, None).await;
        };
        let mut due = self.due_for(now, ask, Some(&node)).await?;
        let ids: Vec<&str> = due.iter().map(|due| due.job.as_str()).collect();
        let until = now.0.saturating_add(PROMISED_MS);
        let rows = self
            .rows(&write::PROMISE, &[&ids, &node, &until, &now.0])
            .await?;
        let promised: HashSet<JobId> = self.each(rows, row::id)?.into_iter().collect();
        due.retain(|due| promised.contains(&due.job));
        if due.len() < ask.limit {
            let mut one_more = ask.clone();
            one_more.limit = due.len() + 1;
            if self.due_for(now, &one_more, None).await?.len() > due.len() {
                // Promised to somebody who may never begin it.
                let wait = u64::try_from(PROMISED_MS).unwrap_or(0);
                self.ears.look_again_in(Duration::from_millis(wait));
            }
        }
        Ok(due)
    }

    async fn due_for(
        &self,
        now: Timestamp,
        ask: &Ask,
        node: Option<&str>,
    ) -> Result<Vec<Due>, Error> {
        let (mut shut_begins, mut shut_wakes) = (Vec::new(), Vec::new());
        let (mut queues, mut wakes, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for (queue, gates) in &ask.gates {
            for (gate, sleeps, shut) in [
                (&gates.begins, false, &mut shut_begins),
                (&gates.wakes, true, &mut shut_wakes),
            ] {
                match gate {
                    Gate::Open => {}
                    Gate::Shut => shut.push(queue.as_str()),
                    Gate::But(held) => {
                        for key in held {
                            queues.push(queue.as_str());
                            wakes.push(sleeps);
                            keys.push(key.as_str());
                        }
                    }
                }
            }
        }
        let cpu = ask.at_most.cpu_millis.map(i64::from);
        let memory = ask.at_most.memory_bytes.map(signed);
        let most = limit(ask.limit);
        let rows = self
            .rows(
                &sql::DUE,
                &[
                    &now.0,
                    &most,
                    &cpu,
                    &memory,
                    &shut_begins,
                    &shut_wakes,
                    &ask.nothing_begins,
                    &queues,
                    &wakes,
                    &keys,
                    &node,
                ],
            )
            .await?;
        let mut due = self.each(rows, one_due)?;
        turn::sort(&mut due);
        due.truncate(ask.limit);
        Ok(due)
    }

    pub(super) async fn added_up(&self, query: UsageQuery) -> Result<Account, Error> {
        let mut account = Account::new(query.by.clone(), query.range, query.now);
        let counted = async {
            let stream = match &query.owner {
                Some(owner) => {
                    let kind = owner.kind.name();
                    self.readers
                        .stream(&sql::INTERVALS, &[&kind, &owner.id])
                        .await?
                }
                None => {
                    let Range { since, until } = query.range;
                    let since = since.map_or(i64::MIN, |since| since.0);
                    let until = until.map_or(i64::MAX, |until| until.0);
                    self.readers
                        .stream(&sql::INTERVALS_WITHIN, &[&since, &until])
                        .await?
                }
            };
            let mut stream = pin!(stream);
            while let Some(row) = stream.try_next().await? {
                let interval = row::interval(&row)?;
                if query.asks_for(&interval) {
                    let added = account.add(&interval);
                    added.map_err(|_| Fault::from(Error::TooManyGroups))?;
                }
            }
            Ok::<(), Fault>(())
        };
        counted.await.map_err(|fault| self.readers.error(fault))?;
        Ok(account)
    }

    pub(super) async fn recorded(&self, filter: &HistoryFilter) -> Result<HistoryPage, Error> {
        let mut place = filter.after;
        if let Some(since) = filter.since
            && place == HistoryPlace::default()
        {
            place = self.place_before(since).await?;
        }
        let mut filling = Filling::new(filter, place);
        loop {
            let HistoryPlace { seq, audit } = filling.place();
            let (seq, audit) = (signed(seq), signed(audit));
            let rows = match &filter.job {
                Some(job) => {
                    self.rows(&sql::HISTORY_OF_JOB, &[&seq, &RECORDS_PIECE, &job.0])
                        .await?
                }
                None => {
                    self.rows(&sql::HISTORY, &[&seq, &audit, &RECORDS_PIECE])
                        .await?
                }
            };
            let is_last = limit(rows.len()) < RECORDS_PIECE;
            for (place, record) in self.each(rows, record)? {
                if !filling.take(place, record) {
                    return Ok(filling.page());
                }
            }
            if is_last {
                return Ok(filling.page());
            }
        }
    }

    /// A place such that all that was recorded since then comes behind it.
    async fn place_before(&self, since: Timestamp) -> Result<HistoryPlace, Error> {
        let number = |row: &Row| Ok(row.try_get::<_, i64>(0)?);
        let newest = self.first(&sql::JOURNAL_NEWEST, &[], number).await?;
        let mut halving = Halving::new(newest.unwrap_or(0), since);
        while let Some(seq) = halving.asks() {
            let at = self.first(&sql::JOURNAL_AT, &[&seq], number).await?;
            halving.answered(at);
        }
        Ok(halving.found())
    }
}

fn one_due(row: &Row) -> Result<Due, Fault> {
    let (priority, suspended) = of_lane(row.try_get(6)?)?;
    let cpu: Option<i64> = row.try_get(3)?;
    Ok(Due {
        job: row::id(row)?,
        priority,
        wake_at: Timestamp(row.try_get(1)?),
        suspended,
        queue: row.try_get(5)?,
        key: row.try_get(2)?,
        wants: Wants {
            cpu_millis: cpu.map(|cpu| u32::try_from(cpu).unwrap_or(u32::MAX)),
            memory_bytes: row.try_get::<_, Option<i64>>(4)?.map(unsigned),
        },
    })
}

/// Columns: journal position, number in the audit, then those of an entry.
fn record(row: &Row) -> Result<(HistoryPlace, Recorded), Fault> {
    let place = HistoryPlace {
        seq: unsigned(row.try_get(0)?),
        audit: unsigned(row.try_get(1)?),
    };
    if place.audit == 0 {
        return Ok((place, Recorded::Job(row::entry(row, 2)?)));
    }
    let audit = NewAudit {
        at: Timestamp(row.try_get(3)?),
        event: row.try_get(4)?,
        subject: row.try_get(2)?,
        detail: row.try_get(9)?,
        by: row.try_get(10)?,
        why: row.try_get(11)?,
    };
    Ok((place, Recorded::Other(audit)))
}
