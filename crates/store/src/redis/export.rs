//! Giving what another store can take in.

use super::answer::{self, list, number, some_number, some_text, text, texts, tuple};
use super::ask::Ask;
use super::fault::Fault;
use super::link::Link;
use super::{Redis, decoded, jobs, ledger, records, waiting};
use crate::check::Finding;
use crate::moving::{
    Few, Movable, Numbered, Page, Portable, PortableAudit, PortableInterval, PortableJob,
    PortableSignal, RUNS_MAX, RequestKey, Section, Standing, definitions_behind, definitions_page,
};
use crate::record::{self, Write};
use crate::{Error, Recorded, Snapshots, Store};
use async_trait::async_trait;
use dauer_core::{CacheEntry, Checkpoint, Json, Snapshot, Wait};
use redis::Value;

/// As the scripts say it.
pub(super) fn letter(standing: Standing) -> &'static str {
    match standing {
        Standing::Waiting => "w",
        Standing::Taken => "t",
        Standing::Sealed => "s",
    }
}

fn standing(said: &str) -> Result<Standing, Fault> {
    match said {
        "w" => Ok(Standing::Waiting),
        "t" => Ok(Standing::Taken),
        "s" => Ok(Standing::Sealed),
        _ => Err(Fault::Form("a signal")),
    }
}

#[async_trait]
impl Movable for Redis {
    async fn export(
        &self,
        section: Section,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, Error> {
        if limit == 0 {
            let total = Some(self.count(section).await?);
            return Ok(Page {
                total,
                ..Page::default()
            });
        }
        let link = &self.reading;
        match section {
            Section::Definitions => {
                let found = self.definitions(definitions_behind(after, limit)).await?;
                Ok(definitions_page(found, limit))
            }
            Section::Jobs => jobs_page(link, after, limit).await,
            Section::Journal => {
                let from = place(after)?;
                let entries = records::journal(link, None, from, limit).await?;
                let key = |entry: &crate::Entry| entry.seq.to_string();
                Ok(Page::behind(entries, limit, key, Portable::Entry))
            }
            Section::Audit => audit_page(link, after, limit).await,
            Section::Ledger => ledger_page(link, after, limit).await,
            Section::Schedules => {
                let schedules = self.schedules(after, limit).await?;
                let key = |schedule: &dauer_core::Schedule| schedule.name.clone();
                let value = |schedule| Portable::Schedule(Box::new(schedule));
                Ok(Page::behind(schedules, limit, key, value))
            }
            Section::Snapshots => {
                let found = self.snapshots_behind(after, limit).await?;
                let key = |snapshot: &Snapshot| snapshot.id.0.clone();
                let value = |snapshot| Portable::Snapshot(Box::new(snapshot));
                Ok(Page::behind(found, limit, key, value))
            }
            Section::Cache => {
                let found = self.cache_entries(after, limit).await?;
                let key = |entry: &CacheEntry| entry.key.clone();
                Ok(Page::behind(found, limit, key, Portable::Cached))
            }
            Section::Queues
            | Section::Turns
            | Section::Access
            | Section::Daemons
            | Section::Move => Ok(self.few(section).await?.behind(after, limit)),
        }
    }

    async fn import(&self, values: Vec<Portable>) -> Result<(), Error> {
        self.write(Write::import(values)).await
    }

    async fn check(&self) -> Result<Vec<Finding>, Error> {
        super::check::check(&self.reading).await
    }
}

fn place(after: Option<&str>) -> Result<u64, Fault> {
    let Some(after) = after else { return Ok(0) };
    after.parse().map_err(|_| not_ours(after))
}

fn not_ours(after: &str) -> Fault {
    Fault::Rule(format!("{after:?} is no place in a section of this store"))
}

impl Redis {
    async fn count(&self, section: Section) -> Result<u64, Error> {
        match section {
            Section::Definitions
            | Section::Jobs
            | Section::Journal
            | Section::Audit
            | Section::Ledger
            | Section::Schedules
            | Section::Snapshots
            | Section::Cache => {
                let ask = Ask::of("count").about(section.name());
                Ok(number(ask.on(&self.reading).await?)?)
            }
            Section::Queues
            | Section::Turns
            | Section::Access
            | Section::Daemons
            | Section::Move => Ok(self.few(section).await?.count()),
        }
    }

    async fn few(&self, section: Section) -> Result<Few, Error> {
        Ok(match section {
            Section::Queues => Few::queues(self.queues().await?),
            Section::Turns => Few::turns(self.turns().await?),
            Section::Access => Few::access(self.access_tokens().await?),
            Section::Daemons => {
                let runs = waiting::daemons(&self.reading, RUNS_MAX).await?;
                Few::daemons(runs, self.last_heartbeat().await?)
            }
            Section::Move => {
                let mark: Option<String> = self.on_key("GET", "moving", &[]).await?;
                Few::mark(mark.map(|mark| record::mark(&mark)).transpose()?)
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
}

async fn jobs_page(link: &Link, after: Option<&str>, limit: usize) -> Result<Page, Error> {
    let from = after.map_or("-".into(), |after| format!("({after}"));
    let answer = Ask::of("export_jobs")
        .about(from)
        .limit(limit)
        .on(link)
        .await?;
    let [is_cut, found] = tuple(answer)?;
    let is_cut = text(is_cut)? == "1";
    let found: Result<Vec<PortableJob>, Error> = list(found)?.into_iter().map(job).collect();
    let found = found?;
    let asked = if is_cut { found.len() } else { limit };
    let key = |one: &PortableJob| one.job.id.0.clone();
    Ok(Page::behind(found, asked, key, |one| {
        Portable::Job(Box::new(one))
    }))
}

fn job(row: Value) -> Result<PortableJob, Error> {
    let [
        parts,
        key,
        used,
        checkpoints,
        tokens,
        output,
        signals,
        waits,
    ] = tuple(row)?;
    let job = jobs::whole(parts)?;
    let key = match (some_text(key)?, some_text(used)?) {
        (Some(key), Some(used)) => Some(RequestKey {
            key,
            digest: answer::keyed(&used)?.digest,
        }),
        (_, _) => None,
    };
    let checkpoint = |row: Value| -> Result<Numbered<Checkpoint>, Fault> {
        let [place, record] = tuple(row)?;
        Ok(Numbered {
            number: number(place)?,
            value: record::checkpoint(&job.id, &text(record)?)?,
        })
    };
    let checkpoints: Result<_, Fault> = list(checkpoints)?.into_iter().map(checkpoint).collect();
    let mut known = Vec::new();
    for row in list(tokens)? {
        let [token, said] = tuple(row)?;
        known.push(decoded::token(&job.id, &text(token)?, &text(said)?)?);
    }
    known.sort_by(|one, other| one.token.cmp(&other.token));
    let mut sent = Vec::new();
    for row in list(signals)? {
        sent.push(signal(row)?);
    }
    sent.sort_by_key(|signal| signal.number);
    let mut waited: Vec<Wait> = Vec::new();
    for wait in texts(waits)? {
        waited.push(decoded::read(&wait, "a wait")?);
    }
    waited.sort_by(|one, other| one.token.cmp(&other.token));
    Ok(PortableJob {
        checkpoints: checkpoints?,
        job,
        key,
        tokens: known,
        output: some_text(output)?.map(Json),
        signals: sent,
        waits: waited,
    })
}

fn signal(row: Value) -> Result<Numbered<PortableSignal>, Error> {
    let [place, said, stands, token] = tuple(row)?;
    Ok(Numbered {
        number: number(place)?,
        value: PortableSignal {
            signal: decoded::read(&text(said)?, "a signal")?,
            standing: standing(&text(stands)?)?,
            token: some_text(token)?,
        },
    })
}

/// The key is the whole place in the history.
async fn audit_page(link: &Link, after: Option<&str>, limit: usize) -> Result<Page, Error> {
    let from = after.map_or("-".into(), |after| format!("({after}"));
    let answer = Ask::of("export_audit")
        .about(from)
        .limit(limit)
        .on(link)
        .await?;
    let mut found = Vec::new();
    for row in list(answer)? {
        let (place, recorded) = records::audit(row)?;
        if let Recorded::Other(audit) = recorded {
            found.push(PortableAudit {
                number: place.audit,
                after: place.seq,
                audit,
            });
        }
    }
    let key = |one: &PortableAudit| format!("{}-{}", one.after, one.number);
    Ok(Page::behind(found, limit, key, Portable::Audit))
}

async fn ledger_page(link: &Link, after: Option<&str>, limit: usize) -> Result<Page, Error> {
    let mut from = place(after)?;
    loop {
        let ask = Ask::of("export_intervals").number(from).limit(limit);
        let [looked_to, found] = tuple(ask.on(link).await?)?;
        let looked_to: Option<u64> = some_number(looked_to)?;
        let mut values = Vec::new();
        for (id, interval) in ledger::all(found)? {
            let number = id.parse().map_err(|_| Fault::Form("an interval"))?;
            values.push(Portable::Interval(Box::new(PortableInterval {
                number,
                interval,
            })));
        }
        match looked_to {
            // Nothing is left of what had these numbers.
            Some(looked_to) if values.is_empty() => from = looked_to,
            next => {
                return Ok(Page {
                    values,
                    next: next.map(|next| next.to_string()),
                    total: None,
                });
            }
        }
    }
}
