//! Whether what stands beside the records says what they say.

use super::answer::{list, number, text, texts, tuple};
use super::ask::Ask;
use super::fault::Fault;
use super::jobs;
use super::link::Link;
use super::shapes::Columns;
use super::snapshots;
use crate::Error;
use crate::check::{Finding, Rule, columns};
use crate::record::{self, NewRow};
use dauer_core::{Job, State};
use redis::Value;
use serde_json::{Map, Value as Json};

/// So many jobs are looked at with one question.
const JOBS_MAX: usize = 500;

/// So many faults are told; the others are there for the same reason.
const FINDINGS_MAX: usize = 1000;

/// Columns that say nothing of the record, or are compared by themselves.
const APART: [&str; 5] = ["node", "request", "name", "parent", "tags"];

pub(super) async fn check(link: &Link) -> Result<Vec<Finding>, Error> {
    let (mut found, mut from) = (Vec::new(), "-".to_owned());
    loop {
        let page = list(
            Ask::of("check_jobs")
                .about(&from)
                .limit(JOBS_MAX)
                .on(link)
                .await?,
        )?;
        let is_last = page.len() < JOBS_MAX;
        for row in page {
            let [id, parts, version, columns, lacks] = tuple(row)?;
            let id = text(id)?;
            from = format!("({id}");
            one(&id, (parts, version, columns), texts(lacks)?, &mut found)?;
        }
        if is_last || found.len() >= FINDINGS_MAX {
            break;
        }
    }
    for state in State::ALL {
        let name = state.name();
        set(link, &format!("state:{name}"), ("state", name), &mut found).await?;
    }
    for row in list(Ask::of("check_lanes").on(link).await?)? {
        let [lane_set, lane] = tuple(row)?;
        set(link, &text(lane_set)?, ("lane", &text(lane)?), &mut found).await?;
    }
    set(link, "unsettled:", ("unsettled", "true"), &mut found).await?;
    for (id, version, name, record) in snapshots::beside(link).await? {
        match record {
            Some(record) => {
                let has = (id, version, name);
                columns::snapshot(&has, record::snapshot(&record), &mut found);
            }
            None => {
                let what = "it is listed and not there";
                found.push(Finding::new(Rule::Orphan, format!("snapshot {id}"), what));
            }
        }
    }
    for row in list(Ask::of("check_numbers").on(link).await?)? {
        let [stream, newest, given] = tuple(row)?;
        let what = format!(
            "the newest number is {}, the last one given {}",
            text(newest)?,
            text(given)?
        );
        found.push(Finding::new(
            Rule::NumberUsed,
            format!("the {}", text(stream)?),
            what,
        ));
    }
    Ok(found)
}

fn one(
    id: &str,
    (parts, version, columns): (Value, Value, Value),
    lacks: Vec<String>,
    found: &mut Vec<Finding>,
) -> Result<(), Fault> {
    let subject = format!("job {id}");
    let mut tell = |rule, what: String| found.push(Finding::new(rule, subject.clone(), what));
    if !matches!(parts, Value::Array(_)) {
        tell(Rule::Orphan, "it is listed and not there".into());
        return Ok(());
    }
    let job = match jobs::whole(parts) {
        Ok(job) => job,
        Err(Fault::Unreadable { what, source }) => {
            tell(Rule::Unreadable, format!("{what}: {source}"));
            return Ok(());
        }
        Err(fault) => {
            tell(Rule::Unreadable, fault.to_string());
            return Ok(());
        }
    };
    for set in lacks {
        tell(
            Rule::ColumnDiffers,
            format!("the set {set} does not lead to it"),
        );
    }
    if job.id.0 != id {
        tell(
            Rule::ColumnDiffers,
            format!("its record is that of job {}", job.id),
        );
        return Ok(());
    }
    let version: u64 = number(version)?;
    if version != job.version {
        tell(
            Rule::ColumnDiffers,
            format!("version is {version}, its record says {}", job.version),
        );
    }
    let Ok(Json::Object(has)) = serde_json::from_str(&text(columns)?) else {
        tell(Rule::Unreadable, "its columns are no object".into());
        return Ok(());
    };
    for (column, has, should) in differences(&job, &has) {
        tell(
            Rule::ColumnDiffers,
            format!("{column} is {has}, its record says {should}"),
        );
    }
    Ok(())
}

/// The columns that are not what the record says, with what each is and should be.
fn differences(job: &Job, has: &Map<String, Json>) -> Vec<(String, Json, Json)> {
    let new = NewRow::arrived(job.clone(), None);
    let should = serde_json::to_value(Columns::of(&new));
    let Ok(Json::Object(mut should)) = should else {
        panic!("invariant: columns are plain data with names");
    };
    let tags: Vec<(&String, &String)> = job.spec.tags.iter().collect();
    let listed = |value: Option<&Json>| match value {
        // An empty list of the scripts is an empty object in JSON.
        Some(Json::Array(all)) => Json::Array(all.clone()),
        Some(_) | None => Json::Array(Vec::new()),
    };
    let mut differ = Vec::new();
    let tags = serde_json::json!(tags);
    if listed(has.get("tags")) != tags {
        differ.push(("tags".to_owned(), listed(has.get("tags")), tags));
    }
    for (column, value) in [
        ("name", &job.spec.name),
        (
            "parent",
            &job.spec.parent.as_ref().map(|parent| parent.0.clone()),
        ),
    ] {
        should.insert(column.to_owned(), serde_json::json!(value));
    }
    for column in has.keys() {
        if !APART.contains(&column.as_str()) {
            should.entry(column.clone()).or_insert(Json::Null);
        }
    }
    for (column, should) in should {
        let has = has.get(&column).cloned().unwrap_or(Json::Null);
        if has != should {
            differ.push((column, has, should));
        }
    }
    differ
}

/// Members of a set that are not what it says.
async fn set(
    link: &Link,
    name: &str,
    (field, value): (&str, &str),
    found: &mut Vec<Finding>,
) -> Result<(), Error> {
    let mut from = 0;
    loop {
        let ask = Ask::of("check_set")
            .about(name)
            .number(from)
            .limit(JOBS_MAX);
        let [members, wrong] = tuple(ask.about(field).about(value).on(link).await?)?;
        let members: usize = number(members)?;
        for id in texts(wrong)? {
            let what = format!("the set {name} leads to it, and should not");
            found.push(Finding::new(Rule::ColumnDiffers, format!("job {id}"), what));
        }
        if members < JOBS_MAX || found.len() >= FINDINGS_MAX {
            return Ok(());
        }
        from += members;
    }
}
