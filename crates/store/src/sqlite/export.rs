//! Giving what another store can take in, a page at a time. Each page is of one moment.

use super::Sqlite;
use super::fault::Fault;
use super::{access, cache, check, ledger, queues, read, row, schedules, snapshots, sql};
use crate::check::Finding;
use crate::moving::{
    Few, Mark, Movable, Numbered, PAGE_BYTES_MAX, Page, Portable, PortableAudit, PortableInterval,
    PortableJob, PortableSignal, RUNS_MAX, RequestKey, Section, definitions_behind,
    definitions_page, number, standing,
};
use crate::record::{self, Write, limit, unsigned};
use crate::{Error, NewAudit};
use async_trait::async_trait;
use dauer_core::{CacheEntry, JobId, Json, Signal, Snapshot, Timestamp, Wait};
use rusqlite::{Connection, OptionalExtension, Row, params};

#[async_trait]
impl Movable for Sqlite {
    async fn export(
        &self,
        section: Section,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, Error> {
        let after = after.map(str::to_owned);
        self.read(move |connection| page(connection, section, after.as_deref(), limit))
            .await
    }

    async fn import(&self, values: Vec<Portable>) -> Result<(), Error> {
        self.writer.write(Write::import(values)).await
    }

    async fn check(&self) -> Result<Vec<Finding>, Error> {
        self.read(check::check).await
    }
}

/// A page of this section behind this key, or how many values it has.
fn page(
    connection: &Connection,
    section: Section,
    after: Option<&str>,
    most: usize,
) -> Result<Page, Fault> {
    let moment = connection.unchecked_transaction()?;
    if most == 0 {
        return Ok(Page {
            total: Some(count(&moment, section)?),
            ..Page::default()
        });
    }
    match section {
        Section::Definitions => definitions(&moment, after, most),
        Section::Jobs => jobs(&moment, after, most),
        Section::Journal => {
            let entries = read::journal(&moment, None, number(after)?, most)?;
            let key = |entry: &crate::Entry| entry.seq.to_string();
            Ok(Page::behind(entries, most, key, Portable::Entry))
        }
        Section::Audit => audit(&moment, number(after)?, most),
        Section::Ledger => intervals(&moment, number(after)?, most),
        Section::Schedules => {
            let schedules = schedules::page(&moment, after, limit(most))?;
            let key = |schedule: &dauer_core::Schedule| schedule.name.clone();
            let value = |schedule| Portable::Schedule(Box::new(schedule));
            Ok(Page::behind(schedules, most, key, value))
        }
        Section::Snapshots => {
            let found = snapshots::page(&moment, after, limit(most))?;
            let key = |snapshot: &Snapshot| snapshot.id.0.clone();
            let value = |snapshot| Portable::Snapshot(Box::new(snapshot));
            Ok(Page::behind(found, most, key, value))
        }
        Section::Cache => {
            let found = cache::page(&moment, after, limit(most))?;
            let key = |entry: &CacheEntry| entry.key.clone();
            Ok(Page::behind(found, most, key, Portable::Cached))
        }
        Section::Queues | Section::Turns | Section::Access | Section::Daemons | Section::Move => {
            Ok(few(&moment, section)?.behind(after, most))
        }
    }
}

fn count(connection: &Connection, section: Section) -> Result<u64, Fault> {
    let statement = match section {
        Section::Definitions => sql::COUNT_DEFINITIONS,
        Section::Jobs => sql::COUNT_JOBS,
        Section::Journal => sql::COUNT_JOURNAL,
        Section::Audit => sql::COUNT_AUDIT,
        Section::Ledger => sql::COUNT_LEDGER,
        Section::Schedules => sql::COUNT_SCHEDULES,
        Section::Snapshots => sql::COUNT_SNAPSHOTS,
        Section::Cache => sql::COUNT_CACHE,
        Section::Queues | Section::Turns | Section::Access | Section::Daemons | Section::Move => {
            return Ok(few(connection, section)?.count());
        }
    };
    let mut statement = connection.prepare_cached(statement)?;
    Ok(unsigned(statement.query_row([], |row| row.get(0))?))
}

fn few(connection: &Connection, section: Section) -> Result<Few, Fault> {
    Ok(match section {
        Section::Queues => Few::queues(queues::all(connection)?),
        Section::Turns => Few::turns(queues::turns(connection)?),
        Section::Access => Few::access(access::all(connection)?),
        Section::Daemons => {
            let runs = queues::daemons(connection, RUNS_MAX)?;
            Few::daemons(runs, ledger::last_beat(connection)?)
        }
        Section::Move => Few::mark(mark(connection)?),
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

fn mark(connection: &Connection) -> Result<Option<Mark>, Fault> {
    let found: Option<String> = connection
        .prepare_cached(sql::MARK)?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(found.map(|text| record::mark(&text)).transpose()?)
}

fn definitions(connection: &Connection, after: Option<&str>, most: usize) -> Result<Page, Fault> {
    let found = read::definitions(connection, &definitions_behind(after, most))?;
    Ok(definitions_page(found, most))
}

fn audit(connection: &Connection, after: u64, most: usize) -> Result<Page, Fault> {
    let mut statement = connection.prepare_cached(sql::EXPORT_AUDIT)?;
    let found = statement.query_map(params![record::signed(after), limit(most)], |row| {
        Ok(PortableAudit {
            number: unsigned(row.get(0)?),
            after: unsigned(row.get(1)?),
            audit: NewAudit {
                at: Timestamp(row.get(2)?),
                event: row.get(3)?,
                subject: row.get(4)?,
                detail: row.get(5)?,
                by: row.get(6)?,
                why: row.get(7)?,
            },
        })
    })?;
    let found = found.collect::<Result<Vec<_>, _>>()?;
    Ok(Page::behind(
        found,
        most,
        |one| one.number.to_string(),
        Portable::Audit,
    ))
}

fn intervals(connection: &Connection, after: u64, most: usize) -> Result<Page, Fault> {
    let mut statement = connection.prepare_cached(sql::EXPORT_LEDGER)?;
    let mut rows = statement.query(params![record::signed(after), limit(most)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(PortableInterval {
            number: unsigned(row.get(11)?),
            interval: ledger::interval(row)?,
        });
    }
    let value = |one| Portable::Interval(Box::new(one));
    Ok(Page::behind(
        found,
        most,
        |one| one.number.to_string(),
        value,
    ))
}

fn jobs(connection: &Connection, after: Option<&str>, most: usize) -> Result<Page, Fault> {
    let mut statement = connection.prepare_cached(sql::EXPORT_JOBS)?;
    let mut rows = statement.query(params![after.unwrap_or_default(), limit(most)])?;
    let mut found: Vec<PortableJob> = Vec::new();
    let (mut bytes, mut cut) = (0, false);
    while let Some(row) = rows.next()? {
        if bytes >= PAGE_BYTES_MAX {
            cut = true;
            break;
        }
        let text = |column: usize| -> Result<&str, Fault> {
            Ok(row
                .get_ref(column)?
                .as_str()
                .map_err(rusqlite::Error::from)?)
        };
        let params = row
            .get_ref(3)?
            .as_str_or_null()
            .map_err(rusqlite::Error::from)?;
        bytes += text(1)?.len() + text(2)?.len() + params.map_or(0, str::len);
        found.push(PortableJob::alone(record::job(
            text(0)?,
            text(1)?,
            text(2)?,
            params,
        )?));
    }
    if let (Some(first), Some(last)) = (found.first(), found.last()) {
        let between = (first.job.id.clone(), last.job.id.clone());
        add_belongings(connection, &mut found, &between)?;
    }
    let most = if cut { found.len() } else { most };
    let key = |one: &PortableJob| one.job.id.0.clone();
    Ok(Page::behind(found, most, key, |one| {
        Portable::Job(Box::new(one))
    }))
}

/// One question for each table, not for each job.
fn add_belongings(
    connection: &Connection,
    jobs: &mut [PortableJob],
    (first, last): &(JobId, JobId),
) -> Result<(), Fault> {
    let mut each = |statement: &str,
                    column: usize,
                    add: &dyn Fn(&mut PortableJob, &Row<'_>) -> Result<(), Fault>|
     -> Result<(), Fault> {
        let mut statement = connection.prepare_cached(statement)?;
        let mut rows = statement.query(params![first.0, last.0])?;
        // Both are in the order of ids.
        let mut place = 0;
        while let Some(row) = rows.next()? {
            let id = row
                .get_ref(column)?
                .as_str()
                .map_err(rusqlite::Error::from)?;
            while jobs
                .get(place)
                .is_some_and(|job| job.job.id.0.as_str() < id)
            {
                place += 1;
            }
            match jobs.get_mut(place).filter(|job| job.job.id.0 == id) {
                Some(job) => add(job, row)?,
                None => {
                    return Err(Fault::Rule(format!(
                        "something belongs to job {id}, which is not there: see `dauer store check`"
                    )));
                }
            }
        }
        Ok(())
    };
    each(sql::EXPORT_KEYS, 0, &|job, row| {
        job.key = Some(RequestKey {
            key: row.get(1)?,
            digest: row.get(2)?,
        });
        Ok(())
    })?;
    each(sql::EXPORT_CHECKPOINTS, 0, &|job, row| {
        let record: String = row.get(2)?;
        job.checkpoints.push(Numbered {
            number: unsigned(row.get(1)?),
            value: record::checkpoint(&job.job.id, &record)?,
        });
        Ok(())
    })?;
    each(sql::EXPORT_TOKENS, 4, &|job, row| {
        let token: String = row.get(5)?;
        job.tokens.push(row::token(&job.job.id, &token, row)?);
        Ok(())
    })?;
    each(sql::EXPORT_OUTPUTS, 0, &|job, row| {
        job.output = Some(Json(row.get(1)?));
        Ok(())
    })?;
    each(sql::EXPORT_SIGNALS, 0, &|job, row| {
        job.signals.push(signal(&job.job.id, row)?);
        Ok(())
    })?;
    each(sql::EXPORT_WAITS, 0, &|job, row| {
        job.waits.push(Wait {
            job: job.job.id.clone(),
            token: row.get(1)?,
            give_up_at: Timestamp(row.get(2)?),
            timed_out: row.get(3)?,
        });
        Ok(())
    })?;
    for job in jobs {
        job.signals.sort_by_key(|signal| signal.number);
    }
    Ok(())
}

fn signal(job: &JobId, row: &Row<'_>) -> Result<Numbered<PortableSignal>, Fault> {
    let word: String = row.get(6)?;
    Ok(Numbered {
        number: unsigned(row.get(1)?),
        value: PortableSignal {
            signal: Signal {
                job: job.clone(),
                id: row.get(2)?,
                name: row.get(3)?,
                payload: Json(row.get(4)?),
                sent_at: Timestamp(row.get(5)?),
            },
            standing: standing(job, &word)?,
            token: row.get(7)?,
        },
    })
}
