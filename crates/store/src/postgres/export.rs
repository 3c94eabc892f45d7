//! Giving what another store can take in, a page at a time. Each page is of one moment, because it is one statement.

use super::Postgres;
use super::fault::Fault;
use super::row;
use super::sql::{Statement, moving as sql, read, snapshots};
use crate::check::Finding;
use crate::moving::{
    Few, Movable, Numbered, PAGE_BYTES_MAX, Page, Portable, PortableAudit, PortableInterval,
    PortableJob, PortableSignal, RUNS_MAX, RequestKey, Section, definitions_behind,
    definitions_page, number, standing,
};
use crate::record::{self, Broken, Write, limit, signed, token_status, unsigned};
use crate::{Error, NewAudit, Snapshots, Store};
use async_trait::async_trait;
use dauer_core::{CacheEntry, JobId, Json, Signal, Snapshot, Timestamp, Token, Wait};
use serde::de::DeserializeOwned;
use tokio_postgres::Row;

#[async_trait]
impl Movable for Postgres {
    async fn export(
        &self,
        section: Section,
        after: Option<&str>,
        most: usize,
    ) -> Result<Page, Error> {
        if most == 0 {
            return Ok(Page {
                total: Some(self.count(section).await?),
                ..Page::default()
            });
        }
        let place = || number(after).map_err(|broken| self.readers.error(broken.into()));
        match section {
            Section::Definitions => {
                let found = self.definitions(definitions_behind(after, most)).await?;
                Ok(definitions_page(found, most))
            }
            Section::Jobs => self.jobs_behind(after, most).await,
            Section::Journal => {
                let entries = self.journal(None, place()?, most).await?;
                let key = |entry: &crate::Entry| entry.seq.to_string();
                Ok(Page::behind(entries, most, key, Portable::Entry))
            }
            Section::Audit => {
                let asked = (signed(place()?), limit(most));
                let rows = self.rows(&sql::EXPORT_AUDIT, &[&asked.0, &asked.1]).await?;
                let found = self.each(rows, audit)?;
                let key = |one: &PortableAudit| one.number.to_string();
                Ok(Page::behind(found, most, key, Portable::Audit))
            }
            Section::Ledger => {
                let asked = (signed(place()?), limit(most));
                let rows = self
                    .rows(&sql::EXPORT_LEDGER, &[&asked.0, &asked.1])
                    .await?;
                let found = self.each(rows, interval)?;
                let key = |one: &PortableInterval| one.number.to_string();
                let value = |one| Portable::Interval(Box::new(one));
                Ok(Page::behind(found, most, key, value))
            }
            Section::Schedules => {
                let schedules = self.schedules(after, most).await?;
                let key = |schedule: &dauer_core::Schedule| schedule.name.clone();
                let value = |schedule| Portable::Schedule(Box::new(schedule));
                Ok(Page::behind(schedules, most, key, value))
            }
            Section::Snapshots => {
                let asked = (after.unwrap_or_default(), limit(most));
                let found = self.snapshots_behind(asked.0, asked.1).await?;
                let key = |snapshot: &Snapshot| snapshot.id.0.clone();
                let value = |snapshot| Portable::Snapshot(Box::new(snapshot));
                Ok(Page::behind(found, most, key, value))
            }
            Section::Cache => {
                let found = self.cache_entries(after, most).await?;
                let key = |entry: &CacheEntry| entry.key.clone();
                Ok(Page::behind(found, most, key, Portable::Cached))
            }
            Section::Queues
            | Section::Turns
            | Section::Access
            | Section::Daemons
            | Section::Move => Ok(self.few(section).await?.behind(after, most)),
        }
    }

    async fn check(&self) -> Result<Vec<Finding>, Error> {
        self.checked().await
    }

    async fn import(&self, values: Vec<Portable>) -> Result<(), Error> {
        self.writer.write(Write::import(values)).await
    }
}

impl Postgres {
    async fn count(&self, section: Section) -> Result<u64, Error> {
        let statement: &'static Statement = match section {
            Section::Definitions => &sql::COUNT_DEFINITIONS,
            Section::Jobs => &sql::COUNT_JOBS,
            Section::Journal => &sql::COUNT_JOURNAL,
            Section::Audit => &sql::COUNT_AUDIT,
            Section::Ledger => &sql::COUNT_LEDGER,
            Section::Schedules => &sql::COUNT_SCHEDULES,
            Section::Snapshots => &snapshots::COUNT_SNAPSHOTS,
            Section::Cache => &snapshots::COUNT_CACHE,
            Section::Queues
            | Section::Turns
            | Section::Access
            | Section::Daemons
            | Section::Move => {
                return Ok(self.few(section).await?.count());
            }
        };
        let read = |row: &Row| Ok(unsigned(row.try_get(0)?));
        Ok(self.first(statement, &[], read).await?.unwrap_or(0))
    }

    async fn few(&self, section: Section) -> Result<Few, Error> {
        Ok(match section {
            Section::Queues => Few::queues(self.queues().await?),
            Section::Turns => Few::turns(self.turns().await?),
            Section::Access => Few::access(self.access_tokens().await?),
            Section::Daemons => {
                let asked = (self.node(), limit(RUNS_MAX));
                let rows = self.rows(&read::DAEMONS, &[&asked.0, &asked.1]).await?;
                let runs = self.each(rows, row::daemon)?;
                Few::daemons(runs, self.last_heartbeat().await?)
            }
            Section::Move => {
                let mark = |row: &Row| Ok(record::mark(row.try_get(0)?)?);
                Few::mark(self.first(&sql::MARK, &[], mark).await?)
            }
            Section::Definitions
            | Section::Jobs
            | Section::Journal
            | Section::Audit
            | Section::Ledger
            | Section::Schedules
            | Section::Snapshots
            | Section::Cache => Few::none(),
        })
    }

    async fn jobs_behind(&self, after: Option<&str>, most: usize) -> Result<Page, Error> {
        let asked = (after.unwrap_or_default(), limit(most));
        let rows = self.rows(&sql::EXPORT_JOBS, &[&asked.0, &asked.1]).await?;
        let (mut found, mut bytes, mut cut) = (Vec::new(), 0, false);
        for row in rows {
            if bytes >= PAGE_BYTES_MAX {
                cut = true;
                break;
            }
            bytes += row.raw_size_bytes();
            found.push(job(&row).map_err(|fault| self.readers.error(fault))?);
        }
        let most = if cut { found.len() } else { most };
        let key = |one: &PortableJob| one.job.id.0.clone();
        let value = |one| Portable::Job(Box::new(one));
        Ok(Page::behind(found, most, key, value))
    }
}

fn audit(row: &Row) -> Result<PortableAudit, Fault> {
    Ok(PortableAudit {
        number: unsigned(row.try_get(0)?),
        after: unsigned(row.try_get(1)?),
        audit: NewAudit {
            at: Timestamp(row.try_get(2)?),
            event: row.try_get(3)?,
            subject: row.try_get(4)?,
            detail: row.try_get(5)?,
            by: row.try_get(6)?,
            why: row.try_get(7)?,
        },
    })
}

fn interval(row: &Row) -> Result<PortableInterval, Fault> {
    Ok(PortableInterval {
        number: unsigned(row.try_get(11)?),
        interval: row::interval(row)?,
    })
}

/// A job and what belongs to it, which comes as lists of lists in JSON.
fn job(row: &Row) -> Result<PortableJob, Fault> {
    let mut moved = PortableJob::alone(row::job(row)?);
    let id = moved.job.id.clone();
    if let (Some(key), Some(digest)) = (row.try_get(4)?, row.try_get(5)?) {
        moved.key = Some(RequestKey { key, digest });
    }
    moved.output = row.try_get::<_, Option<String>>(6)?.map(Json);
    for (number, record) in rows_of::<(i64, String)>(&id, row, 7)? {
        moved.checkpoints.push(Numbered {
            number: unsigned(number),
            value: record::checkpoint(&id, &record)?,
        });
    }
    type TokenRow = (String, u32, String, Option<String>, Option<String>);
    for (token, generation, status, checkpoint, message) in rows_of::<TokenRow>(&id, row, 8)? {
        moved.tokens.push(Token {
            status: token_status((&id, &token), (status, checkpoint, message))?,
            job: id.clone(),
            token,
            generation,
        });
    }
    type SignalRow = (i64, String, String, String, i64, String, Option<String>);
    for (seq, signal, name, payload, sent_at, word, token) in rows_of::<SignalRow>(&id, row, 9)? {
        moved.signals.push(Numbered {
            number: unsigned(seq),
            value: PortableSignal {
                signal: Signal {
                    job: id.clone(),
                    id: signal,
                    name,
                    payload: Json(payload),
                    sent_at: Timestamp(sent_at),
                },
                standing: standing(&id, &word)?,
                token,
            },
        });
    }
    for (token, give_up_at, timed_out) in rows_of::<(String, i64, bool)>(&id, row, 10)? {
        moved.waits.push(Wait {
            job: id.clone(),
            token,
            give_up_at: Timestamp(give_up_at),
            timed_out,
        });
    }
    Ok(moved)
}

fn rows_of<T: DeserializeOwned>(job: &JobId, row: &Row, column: usize) -> Result<Vec<T>, Fault> {
    let Some(text) = row.try_get::<_, Option<&str>>(column)? else {
        return Ok(Vec::new());
    };
    serde_json::from_str(text).map_err(|source| {
        let what = format!("what belongs to job {job}");
        Broken::Unreadable { what, source }.into()
    })
}
