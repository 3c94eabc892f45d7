//! Finding and reading jobs.

use super::answer::{list, some_text, text, texts, tuple};
use super::ask::Ask;
use super::fault::Fault;
use super::link::Link;
use crate::record;
use crate::{Error, Filter};
use dauer_core::{Job, JobId, State};
use redis::Value;

/// Shorter beginnings of ids mean nothing.
const PREFIX_CHARS_MIN: usize = 4;

/// So many records come with one answer: the server does nothing else meanwhile.
const RECORDS_MAX: usize = 500;

/// A record from its parts; without parameters where they were not asked for.
fn job(
    id: &str,
    record: &str,
    spec: &str,
    described: Option<&str>,
    params: Option<&str>,
) -> Result<Job, Fault> {
    let mut job = record::job(id, record, spec, params)?;
    if let Some(described) = described {
        let read = serde_json::from_str(described);
        let spec = job.spec_mut();
        (spec.tags, spec.metadata) = read.map_err(|source| Fault::Unreadable {
            what: format!("the tags and metadata of job {id}"),
            source,
        })?;
    }
    Ok(job)
}

fn listed(value: Value) -> Result<Job, Fault> {
    let [id, record, spec, described] = tuple(value)?;
    let described = some_text(described)?;
    job(
        &text(id)?,
        &text(record)?,
        &text(spec)?,
        described.as_deref(),
        None,
    )
}

pub(super) fn whole(value: Value) -> Result<Job, Fault> {
    let [id, record, spec, described, params] = tuple(value)?;
    let (described, params) = (some_text(described)?, some_text(params)?);
    job(
        &text(id)?,
        &text(record)?,
        &text(spec)?,
        described.as_deref(),
        params.as_deref(),
    )
}

/// Those of these records that are there, in this order.
pub(super) async fn some(link: &Link, ids: &[JobId]) -> Result<Vec<Job>, Error> {
    let found = Ask::of("jobs")
        .each(ids.iter().map(JobId::as_str))
        .on(link)
        .await?;
    let jobs: Result<Vec<Job>, Fault> = list(found)?.into_iter().map(whole).collect();
    Ok(jobs?)
}

pub(super) async fn one(link: &Link, id: &JobId) -> Result<Job, Error> {
    let mut found = some(link, std::slice::from_ref(id)).await?;
    found.pop().ok_or_else(|| Error::NotFound(id.0.clone()))
}

pub(super) async fn find(link: &Link, asked: &str) -> Result<JobId, Error> {
    let enough = asked.chars().count() >= PREFIX_CHARS_MIN;
    let ask = Ask::of("find").about(asked).number(u8::from(enough));
    let mut matches = texts(ask.on(link).await?)?;
    match (matches.pop(), matches.pop()) {
        (None, _) => Err(Error::NotFound(asked.to_owned())),
        (Some(id), None) => Ok(JobId(id)),
        (Some(_), Some(_)) => Err(Error::Ambiguous(asked.to_owned())),
    }
}

/// Which sets of ids a list is made of: whichever leave the least; what they do not know is looked at in the records.
fn sets(filter: &Filter) -> Vec<String> {
    let asked = |state: &State| filter.states.is_empty() || filter.states.contains(state);
    let states = || State::ALL.into_iter().filter(asked).map(State::name);
    if let Some(batch) = &filter.batch {
        return states()
            .map(|state| format!("batch:{state}:{batch}"))
            .collect();
    }
    if let Some((key, value)) = filter.tags.first() {
        return vec![format!("tag:{}:{key}:{value}", key.len())];
    }
    if filter.states.is_empty() {
        return vec!["ids".into()];
    }
    states().map(|state| format!("state:{state}")).collect()
}

pub(super) async fn newest(link: &Link, filter: &Filter) -> Result<Vec<Job>, Error> {
    if let Some(name) = &filter.name {
        let named = records(Ask::of("named").about(name).on(link).await?)?;
        let above = |job: &Job| filter.before.as_ref().is_none_or(|before| job.id < *before);
        let found = named
            .into_iter()
            .filter(|job| above(job) && filter.accepts(job));
        return Ok(found.take(filter.limit).collect());
    }
    let (sets, mut before, mut found) = (sets(filter), filter.before.clone(), Vec::new());
    while found.len() < filter.limit {
        let from = before
            .as_ref()
            .map_or("+".into(), |before| format!("({before}"));
        let some = RECORDS_MAX.min(filter.limit);
        let ask = Ask::of("newest").about(from).limit(some).each(&sets);
        let page = records(ask.on(link).await?)?;
        let last = page.len() < some;
        before = page.last().map(|job| job.id.clone());
        found.extend(page.into_iter().filter(|job| filter.accepts(job)));
        if last {
            break;
        }
    }
    found.truncate(filter.limit);
    Ok(found)
}

/// Those in one of these sets above an id, the oldest first.
pub(super) async fn oldest(
    link: &Link,
    sets: &[String],
    after: Option<&JobId>,
    limit: usize,
) -> Result<Vec<Job>, Error> {
    let (mut after, mut found) = (after.cloned(), Vec::new());
    while found.len() < limit {
        let from = after
            .as_ref()
            .map_or("-".into(), |after| format!("({after}"));
        let some = RECORDS_MAX.min(limit - found.len());
        let ask = Ask::of("oldest").about(from).limit(some).each(sets);
        let page = records(ask.on(link).await?)?;
        let last = page.len() < some;
        after = page.last().map(|job| job.id.clone());
        found.extend(page);
        if last {
            break;
        }
    }
    Ok(found)
}

pub(super) async fn ended(
    link: &Link,
    after: Option<&JobId>,
    limit: usize,
) -> Result<Vec<Job>, Error> {
    let ended = State::ALL.into_iter().filter(|state| state.is_terminal());
    let sets: Vec<String> = ended
        .map(|state| format!("state:{}", state.name()))
        .collect();
    oldest(link, &sets, after, limit).await
}

fn records(found: Value) -> Result<Vec<Job>, Fault> {
    list(found)?.into_iter().map(listed).collect()
}
