//! Who waits, for what and until when.

use super::answer::{list, number, some_number, some_text, text, tuple};
use super::ask::Ask;
use super::encode::packed;
use super::fault::Fault;
use super::link::Link;
use crate::record;
use crate::{DaemonRun, Error, Sleeper, Waiting};
use dauer_core::plan::admission::Wants;
use dauer_core::plan::turn::{self, Due, Gate, Gates};
use dauer_core::{JobId, Timestamp, Turn, Unique};
use redis::Value;
use serde::Serialize;
use std::collections::BTreeMap;

/// What is asked for, as the script reads it.
#[derive(Serialize)]
struct AskText<'a> {
    node: &'a str,
    now: String,
    limit: u32,
    nothing_begins: bool,
    cpu_millis: Option<String>,
    memory_bytes: Option<String>,
    gates: BTreeMap<&'a str, GatesText<'a>>,
}

#[derive(Serialize)]
struct GatesText<'a> {
    begins: GateText<'a>,
    wakes: GateText<'a>,
}

#[derive(Serialize)]
struct GateText<'a> {
    shut: bool,
    but: BTreeMap<&'a str, bool>,
}

impl<'a> GatesText<'a> {
    fn of(gates: &'a Gates) -> Self {
        Self {
            begins: GateText::of(&gates.begins),
            wakes: GateText::of(&gates.wakes),
        }
    }
}

impl<'a> GateText<'a> {
    fn of(gate: &'a Gate) -> Self {
        let (shut, but) = match gate {
            Gate::Open => (false, BTreeMap::new()),
            Gate::But(keys) => (false, keys.iter().map(|key| (key.as_str(), true)).collect()),
            Gate::Shut => (true, BTreeMap::new()),
        };
        Self { shut, but }
    }
}

pub(super) async fn due(
    link: &Link,
    node: &str,
    now: Timestamp,
    ask: &turn::Ask,
) -> Result<Vec<Due>, Error> {
    let asked = packed(&AskText {
        node,
        now: now.0.to_string(),
        limit: u32::try_from(ask.limit).unwrap_or(u32::MAX),
        nothing_begins: ask.nothing_begins,
        cpu_millis: ask.at_most.cpu_millis.map(|most| most.to_string()),
        memory_bytes: ask.at_most.memory_bytes.map(|most| most.to_string()),
        gates: ask
            .gates
            .iter()
            .map(|(queue, of)| (queue.as_str(), GatesText::of(of)))
            .collect(),
    });
    let answer = Ask::of("due").about(asked).on(link).await?;
    let found: Result<Vec<Due>, Fault> = list(answer)?.into_iter().map(one_due).collect();
    let mut found = found?;
    turn::sort(&mut found);
    found.truncate(ask.limit);
    Ok(found)
}

fn one_due(row: Value) -> Result<Due, Fault> {
    let [job, queue, lane, wake_at, key, cpu_millis, memory_bytes] = tuple(row)?;
    let (priority, suspended) = record::of_lane(number(lane)?)?;
    Ok(Due {
        job: JobId(text(job)?),
        priority,
        wake_at: Timestamp(number(wake_at)?),
        suspended,
        queue: text(queue)?,
        key: some_text(key)?,
        wants: Wants {
            cpu_millis: some_number(cpu_millis)?,
            memory_bytes: some_number(memory_bytes)?,
        },
    })
}

/// A moment, or none.
pub(super) fn moment(value: Value) -> Result<Option<Timestamp>, Error> {
    Ok(some_number(value)?.map(Timestamp))
}

pub(super) async fn expiring(link: &Link, limit: usize) -> Result<Vec<(JobId, Timestamp)>, Error> {
    let row = |row: Value| -> Result<_, Fault> {
        let [job, at] = tuple(row)?;
        Ok((JobId(text(job)?), Timestamp(number(at)?)))
    };
    let answer = Ask::of("expiring").limit(limit).on(link).await?;
    let found: Result<_, Fault> = list(answer)?.into_iter().map(row).collect();
    Ok(found?)
}

pub(super) async fn waiting(link: &Link, now: Timestamp) -> Result<Vec<Waiting>, Error> {
    let mut found: BTreeMap<String, Waiting> = BTreeMap::new();
    for row in list(Ask::of("waiting").number(now.0).on(link).await?)? {
        let [queue, due, later] = tuple(row)?;
        let queue = text(queue)?;
        let (due, later): (u64, u64) = (number(due)?, number(later)?);
        let counted = found.entry(queue.clone()).or_insert(Waiting {
            queue,
            due: 0,
            later: 0,
        });
        counted.due += due;
        counted.later += later;
    }
    Ok(found.into_values().collect())
}

pub(super) async fn sleepers(link: &Link, queue: &str) -> Result<Vec<Sleeper>, Error> {
    let row = |row: Value| -> Result<_, Fault> {
        let [job, key] = tuple(row)?;
        Ok(Sleeper {
            job: JobId(text(job)?),
            key: some_text(key)?,
        })
    };
    let answer = Ask::of("sleepers").about(queue).on(link).await?;
    let found: Result<_, Fault> = list(answer)?.into_iter().map(row).collect();
    Ok(found?)
}

pub(super) async fn turns(link: &Link) -> Result<Vec<Turn>, Error> {
    let row = |row: Value| -> Result<_, Fault> {
        let [queue, at, key] = tuple(row)?;
        Ok(Turn {
            queue: text(queue)?,
            key: some_text(key)?,
            at: Timestamp(number(at)?),
        })
    };
    let answer = Ask::of("turns").on(link).await?;
    let found: Result<_, Fault> = list(answer)?.into_iter().map(row).collect();
    Ok(found?)
}

#[derive(Serialize)]
struct UniqueText<'a> {
    key: &'a str,
    states: Vec<&'static str>,
}

impl<'a> UniqueText<'a> {
    fn of(unique: &'a Unique) -> Self {
        Self {
            key: &unique.key,
            states: unique.states.iter().map(|state| state.name()).collect(),
        }
    }
}

pub(super) async fn holders(
    link: &Link,
    unique: &[Unique],
) -> Result<BTreeMap<usize, JobId>, Error> {
    let asked: Vec<UniqueText<'_>> = unique.iter().map(UniqueText::of).collect();
    let row = |row: Value| -> Result<_, Fault> {
        let [place, job] = tuple(row)?;
        Ok((number(place)?, JobId(text(job)?)))
    };
    let answer = Ask::of("holders").about(packed(&asked)).on(link).await?;
    let found: Result<_, Fault> = list(answer)?.into_iter().map(row).collect();
    Ok(found?)
}

pub(super) async fn daemons(link: &Link, limit: usize) -> Result<Vec<DaemonRun>, Error> {
    let Some(last) = limit.checked_sub(1) else {
        return Ok(Vec::new());
    };
    let mut asked = redis::cmd("LRANGE");
    asked
        .arg(format!("{}daemons", link.address.prefix))
        .arg(0)
        .arg(last);
    let found: Vec<String> = link.ask(&asked).await?;
    let run = |text: String| -> Result<DaemonRun, Fault> {
        let mut parts = text.split(':');
        let mut next = || parts.next().ok_or(Fault::Form("a daemon"));
        Ok(DaemonRun {
            started_at: Timestamp(next()?.parse().map_err(|_| Fault::Form("a daemon"))?),
            completed: next()? == "1",
            ended_well: next()? == "1",
        })
    };
    let runs: Result<_, Fault> = found.into_iter().map(run).collect();
    Ok(runs?)
}
