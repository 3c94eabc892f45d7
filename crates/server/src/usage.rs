//! Calls about what jobs have used, and about what they are found by.

use crate::error::Refusal;
use crate::extract::{Params, Stated};
use crate::routes::Shared;
use crate::view;
use axum::Json;
use axum::extract::{Path, State};
use dauer_core::{JobId, Timestamp};
use dauer_engine::{By, Engine, Error, Owner, Range, Sum, UsageQuery};
use dauer_wire::http::{DescribeCall, JobView, UsageReport, UsageRow};
use utoipa::IntoParams;

const HOUR_MS: f64 = 3_600_000.0;
const GIB: f64 = 1_073_741_824.0;

/// The query of `GET /v1/usage`.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsageParams {
    /// One row for each: `total` (the default), `job`, `day` (in UTC), `definition`, `queue`, or `tag:KEY`.
    by: Option<String>,
    /// Only what was used from then on: milliseconds since the epoch, or such as `2026-01-31T00:00:00Z`.
    since: Option<String>,
    /// Only what was used until then.
    until: Option<String>,
    /// Only of this job, also where it was removed and its whole id is given.
    job: Option<String>,
    /// Only what had this tag while it ran, as `key:value`; repeated, only what had all of them.
    #[param(required = false)]
    tag: Vec<String>,
}

impl UsageParams {
    /// By hand, because a tag may come several times.
    fn of(pairs: Vec<(String, String)>) -> Result<Self, Refusal> {
        let mut params = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "by" => params.by = Some(value),
                "since" => params.since = Some(value),
                "until" => params.until = Some(value),
                "job" => params.job = Some(value),
                "tag" => params.tag.push(value),
                other => {
                    let text = format!(
                        "unknown parameter {other:?}: there are by, since, until, job and tag"
                    );
                    return Err(Refusal::malformed(text));
                }
            }
        }
        Ok(params)
    }
}

fn by(text: &str) -> Result<By, Refusal> {
    match text {
        "total" => Ok(By::Total),
        "job" => Ok(By::Owner),
        "day" => Ok(By::Day),
        "definition" => Ok(By::Definition),
        "queue" => Ok(By::Queue),
        other => match other.strip_prefix("tag:") {
            Some(key) if !key.is_empty() => Ok(By::Tag(key.to_owned())),
            Some(_) | None => {
                let text = format!(
                    "there is no grouping {other:?}: use total, job, day, definition, queue or tag:KEY"
                );
                Err(Refusal::malformed(text).at("by"))
            }
        },
    }
}

fn moment(text: &str, field: &str) -> Result<Timestamp, Refusal> {
    if let Ok(ms) = text.parse() {
        return Ok(Timestamp(ms));
    }
    let parsed = text.parse::<jiff::Timestamp>().map_err(|_| {
        let text = format!(
            "{text:?} is no moment: write for example 2026-01-31T00:00:00Z, or milliseconds since the epoch"
        );
        Refusal::malformed(text).at(field)
    })?;
    Ok(Timestamp(parsed.as_millisecond()))
}

async fn owner(engine: &Engine, job: &str) -> Result<Owner, Refusal> {
    match engine.find(job).await {
        Ok(id) => Ok(Owner::job(&id)),
        // What a job has used outlives it.
        Err(Error::NotFound(_)) if job.len() == 36 => Ok(Owner::job(&JobId(job.to_owned()))),
        Err(error) => Err(error.into()),
    }
}

/// What was used
///
/// Sums of the ledger: what ran, for how long, with how much, and what checkpoints took on disk. What still runs counts up to now.
#[utoipa::path(get, path = "/v1/usage", operation_id = "usage", tag = "jobs", params(UsageParams),
    responses((status = 200, description = "The sums.", body = UsageReport)))]
pub(crate) async fn show(
    State(shared): State<Shared>,
    Params(pairs): Params<Vec<(String, String)>>,
) -> Result<Json<UsageReport>, Refusal> {
    let params = UsageParams::of(pairs)?;
    let word = params.by.unwrap_or_else(|| "total".to_owned());
    let since = params.since.as_deref().map(|text| moment(text, "since"));
    let until = params.until.as_deref().map(|text| moment(text, "until"));
    let range = Range {
        since: since.transpose()?,
        until: until.transpose()?,
    };
    let tags = params.tag.iter().map(|tag| {
        let wrong = || format!("{tag:?} is not a tag: write for example team:blue");
        let (key, value) = tag
            .split_once(':')
            .ok_or_else(|| Refusal::malformed(wrong()).at("tag"))?;
        Ok((key.to_owned(), value.to_owned()))
    });
    let owner = match &params.job {
        Some(job) => Some(owner(&shared.engine, job).await?),
        None => None,
    };
    let now = shared.engine.now();
    let query = UsageQuery {
        by: by(&word)?,
        range,
        now,
        owner,
        tags: tags.collect::<Result<_, Refusal>>()?,
    };
    let account = shared.engine.usage(query).await?;
    Ok(Json(UsageReport {
        by: word,
        since: range.since.map(|at| at.0),
        until: range.until.map(|at| at.0),
        at: now.0,
        rows: account.sums().map(|(group, sum)| row(group, sum)).collect(),
        total: row(None, &account.total()),
    }))
}

#[allow(
    clippy::cast_precision_loss,
    reason = "the sums are exact; what is shown of them needs 15 digits at most"
)]
fn row(group: Option<&str>, sum: &Sum) -> UsageRow {
    UsageRow {
        group: group.map(str::to_owned),
        run_hours: sum.run_ms as f64 / HOUR_MS,
        cpu_hours: sum.cpu_milli_ms as f64 / 1000.0 / HOUR_MS,
        cpu_used_hours: sum.cpu_used_ms as f64 / HOUR_MS,
        memory_gib_hours: sum.memory_byte_ms as f64 / GIB / HOUR_MS,
        storage_gib_days: sum.storage_byte_ms as f64 / GIB / HOUR_MS / 24.0,
    }
}

/// Sets or removes tags and metadata of a job
///
/// In any state, also of one that has ended. What is named is set, or removed where it is null; everything else stays. What was used
/// so far stays under the tags that the job had then.
#[utoipa::path(patch, path = "/v1/jobs/{job}", operation_id = "describe", tag = "jobs", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    request_body = DescribeCall,
    responses((status = 200, description = "The job.", body = JobView)))]
pub(crate) async fn describe(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Stated(call): Stated<DescribeCall>,
) -> Result<Json<JobView>, Refusal> {
    let id = shared.engine.find(&job).await?;
    let described = shared
        .engine
        .describe(&id, call.tags, call.metadata)
        .await?;
    let cannot_freeze = shared.engine.cannot_freeze(&described.spec);
    let handles = shared.engine.handles(&id).await;
    Ok(Json(view::whole_job(&described, handles, cannot_freeze)))
}
