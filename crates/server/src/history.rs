//! Calls about what was done, by whom, when and why.

use crate::error::Refusal;
use crate::extract::Params;
use crate::routes::Shared;
use crate::spec;
use axum::Json;
use axum::extract::{Path, State};
use dauer_core::Timestamp;
use dauer_engine::{HistoryFilter, HistoryPlace, Recorded};
use dauer_wire::http::{HistoryView, Moment, RecordView};
use serde::Deserialize;
use utoipa::IntoParams;

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

/// The query of `GET /v1/history` and `GET /v1/jobs/{job}/history`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HistoryParams {
    /// Only from then on: milliseconds since the Unix epoch, or a moment such as `2027-01-31T09:00:00Z`.
    since: Option<String>,
    /// Only before then.
    until: Option<String>,
    /// Only what this one asked for, such as `uid:0` or `token:ci`; or all of a kind, such as `token`.
    by: Option<String>,
    /// Only this event.
    event: Option<String>,
    /// At most so many; 100 where absent, never more than 1000.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What was done, by whom, when and why
///
/// To jobs, definitions, tokens, queues and schedules, oldest first, in pages.
#[utoipa::path(get, path = "/v1/history", tag = "history", params(HistoryParams),
    responses((status = 200, description = "A page.", body = HistoryView)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    Params(params): Params<HistoryParams>,
) -> Result<Json<HistoryView>, Refusal> {
    page(&shared, filter(params)?).await
}

/// What was done to a job, by whom, when and why
#[utoipa::path(get, path = "/v1/jobs/{job}/history", tag = "history",
    params(("job" = String, Path, description = "Its id, its name, or the beginning of its id."), HistoryParams),
    responses((status = 200, description = "A page.", body = HistoryView)))]
pub(crate) async fn of_job(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Params(params): Params<HistoryParams>,
) -> Result<Json<HistoryView>, Refusal> {
    let filter = filter(params)?;
    let job = Some(shared.engine.find(&job).await?);
    page(&shared, HistoryFilter { job, ..filter }).await
}

fn filter(params: HistoryParams) -> Result<HistoryFilter, Refusal> {
    let after = params.cursor.as_deref().map(place).transpose()?;
    Ok(HistoryFilter {
        job: None,
        since: moment(params.since, "since")?,
        until: moment(params.until, "until")?,
        by: params.by,
        event: params.event,
        after: after.unwrap_or_default(),
        limit: params.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX),
    })
}

fn moment(text: Option<String>, field: &str) -> Result<Option<Timestamp>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let moment = text.parse().map_or(Moment::Text(text), Moment::Ms);
    spec::moment(&moment, field).map(Some)
}

fn place(cursor: &str) -> Result<HistoryPlace, Refusal> {
    let numbers = cursor.split_once('-').and_then(|(seq, audit)| {
        Some(HistoryPlace {
            seq: seq.parse().ok()?,
            audit: audit.parse().ok()?,
        })
    });
    numbers.ok_or_else(|| Refusal::malformed("the cursor is none of a page before").at("cursor"))
}

async fn page(shared: &Shared, filter: HistoryFilter) -> Result<Json<HistoryView>, Refusal> {
    let page = shared.engine.history(filter).await?;
    Ok(Json(HistoryView {
        records: page.records.into_iter().map(view).collect(),
        next_cursor: page.next.map(|next| format!("{}-{}", next.seq, next.audit)),
    }))
}

fn view(record: Recorded) -> RecordView {
    match record {
        Recorded::Job(entry) => RecordView {
            at: entry.at.0,
            event: entry.event,
            by: entry.by,
            why: entry.why,
            job: Some(entry.job.0),
            subject: None,
            from: entry.from.map(|state| state.name().to_owned()),
            to: Some(entry.to.name().to_owned()),
            operation: entry.operation,
            generation: Some(entry.generation),
            detail: entry.detail,
        },
        Recorded::Other(audit) => RecordView {
            at: audit.at.0,
            event: audit.event,
            by: audit.by,
            why: audit.why,
            subject: Some(audit.subject),
            detail: audit.detail,
            ..RecordView::default()
        },
    }
}
