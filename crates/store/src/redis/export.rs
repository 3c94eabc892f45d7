//! Giving what another store can take in.

use super::answer::{self, list, number, some_number, some_text, text, texts, tuple};
use super::ask::Ask;
use super::fault::Fault;
use super::link::Link;
use super::{Redis, decoded, jobs, ledger, records, waiting};
use crate::check::Finding;
use crate::moving::{
    Movable, Numbered, Page, Portable, PortableAudit, PortableInterval, PortableJob,
    PortableSignal, RequestKey, Section, Standing,
};
use crate::record::{self, Write};
use crate::{DefinitionFilter, Error, Recorded, Store};
use async_trait::async_trait;
use dauer_core::{Checkpoint, DefinitionRef, Json, Turn, Wait};
use redis::Value;
use std::collections::BTreeMap;

/// All runs of daemons that are kept.
const RUNS_MAX: usize = 1000;

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
            Section::Definitions => self.definitions_page(after, limit).await,
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
            Section::Queues
            | Section::Turns
            | Section::Access
            | Section::Daemons
            | Section::Move => {
                let few = self.few(section).await?.into_iter();
                let behind = few.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
                let found: Vec<_> = behind.take(limit).collect();
                let key = |(key, _): &(String, Portable)| key.clone();
                Ok(Page::behind(found, limit, key, |(_, value)| value))
            }
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
            | Section::Schedules => {
                let ask = Ask::of("count").about(section.name());
                Ok(number(ask.on(&self.reading).await?)?)
            }
            Section::Queues
            | Section::Turns
            | Section::Access
            | Section::Daemons
            | Section::Move => {
                let few = self.few(section).await?;
                Ok(u64::try_from(few.len()).unwrap_or(u64::MAX))
            }
        }
    }

    /// The values of a section that never has many, by their keys.
    async fn few(&self, section: Section) -> Result<Vec<(String, Portable)>, Error> {
        Ok(match section {
            Section::Queues => {
                let queues = self.queues().await?.into_iter();
                queues
                    .map(|queue| (queue.name.clone(), Portable::Queue(queue)))
                    .collect()
            }
            Section::Turns => turns(self.turns().await?),
            Section::Access => {
                let tokens = self.access_tokens().await?.into_iter();
                tokens
                    .map(|token| (token.id.clone(), Portable::Access(token)))
                    .collect()
            }
            Section::Daemons => {
                let mut runs = waiting::daemons(&self.reading, RUNS_MAX).await?;
                runs.reverse();
                let heartbeat = self.last_heartbeat().await?;
                let any = !runs.is_empty() || heartbeat.is_some();
                let all = Portable::Daemons { runs, heartbeat };
                any.then(|| ("daemons".to_owned(), all))
                    .into_iter()
                    .collect()
            }
            Section::Move => {
                let mark: Option<String> = self.on_key("GET", "moving", &[]).await?;
                let mark = mark.map(|mark| record::mark(&mark)).transpose()?;
                let portable = |mark| ("move".to_owned(), Portable::Move(Box::new(mark)));
                mark.map(portable).into_iter().collect()
            }
            Section::Definitions
            | Section::Jobs
            | Section::Journal
            | Section::Audit
            | Section::Ledger
            | Section::Schedules => Vec::new(),
        })
    }

    async fn definitions_page(&self, after: Option<&str>, limit: usize) -> Result<Page, Error> {
        let after = after.and_then(|key| key.rsplit_once('@'));
        let filter = DefinitionFilter {
            name: None,
            after: after.map(|(name, version)| DefinitionRef {
                name: name.to_owned(),
                version: version.to_owned(),
            }),
            limit,
        };
        let found = self.definitions(filter).await?;
        let key = |one: &dauer_core::Definition| format!("{}@{}", one.name, one.version);
        let value = |one| Portable::Definition(Box::new(one));
        Ok(Page::behind(found, limit, key, value))
    }
}

/// Turns by their queue.
fn turns(turns: Vec<Turn>) -> Vec<(String, Portable)> {
    let mut queues: BTreeMap<String, Vec<Turn>> = BTreeMap::new();
    for turn in turns {
        queues.entry(turn.queue.clone()).or_default().push(turn);
    }
    let portable = |(queue, mut turns): (String, Vec<Turn>)| {
        turns.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
        (queue.clone(), Portable::Turns { queue, turns })
    };
    queues.into_iter().map(portable).collect()
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
