//! Calls about schedules.

use crate::definitions::resolved;
use crate::error::Refusal;
use crate::extract::{Input, Params};
use crate::gate::Caller;
use crate::routes::Shared;
use crate::spec;
use crate::submit::created;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use dauer_core::{CatchUp, Overlap, Schedule, Timestamp, Timing};
use dauer_engine::NewSchedule;
use dauer_wire::http::{
    CreateSchedule, CreatedJob, DefinitionRefView, MomentView, NextMoments, SchedulePage,
    ScheduleView,
};
use http::StatusCode;
use jiff::tz::TimeZone;
use serde::Deserialize;
use utoipa::IntoParams;

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

/// Moments that are told where nobody says how many.
const MOMENTS_DEFAULT: usize = 5;
const MOMENTS_MAX: usize = 1000;

/// Jobs of one catching up where nobody says how many.
const CATCH_UP_DEFAULT: u32 = 100;

/// The zone of a cron expression where nobody says one.
const ZONE_DEFAULT: &str = "UTC";

/// Makes a schedule
///
/// Its job is checked as one that is submitted now. Each moment makes exactly one job, however often the daemon dies.
#[utoipa::path(post, path = "/v1/schedules", tag = "schedules", request_body = CreateSchedule,
    responses((status = 201, description = "The schedule.", body = ScheduleView)))]
pub(crate) async fn create(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Input(request): Input<CreateSchedule>,
) -> Result<(StatusCode, Json<ScheduleView>), Refusal> {
    let start_at = moment(request.start_at.as_ref(), "start_at")?;
    let end_at = moment(request.end_at.as_ref(), "end_at")?;
    let timing = timing(&request, start_at)?;
    let overlap = overlap(request.overlap.as_deref())?;
    let catch_up = catch_up(request.catch_up.as_deref(), request.catch_up_max)?;
    if request.job.idempotency_key.is_some() {
        let text = "idempotency_key does not belong into the job of a schedule: each moment makes one job anyway";
        return Err(Refusal::malformed(text).at("job.idempotency_key"));
    }
    if !request.job.after.is_empty() {
        let text =
            "after does not belong into the job of a schedule: overlap says what its jobs wait for";
        return Err(Refusal::malformed(text).at("job.after"));
    }
    if request.job.from.is_some() {
        let text = "from does not belong into the job of a schedule: what it names may be gone when its moment comes";
        return Err(Refusal::malformed(text).at("job.from"));
    }
    let of_job = |refusal: Refusal| refusal.within("job");
    let job = resolved(&shared, request.job).await.map_err(of_job)?;
    let spec = job.spec().map_err(of_job)?;
    caller.check_spec(&spec).map_err(of_job)?;
    let new = NewSchedule {
        name: request.name,
        timing,
        spec,
        overlap,
        catch_up,
        start_at,
        end_at,
        paused: request.paused,
    };
    let schedule = shared.engine.add_schedule(new).await?;
    Ok((StatusCode::CREATED, Json(whole(&schedule))))
}

fn moment(
    moment: Option<&dauer_wire::http::Moment>,
    field: &str,
) -> Result<Option<Timestamp>, Refusal> {
    moment.map(|moment| spec::moment(moment, field)).transpose()
}

fn timing(request: &CreateSchedule, start_at: Option<Timestamp>) -> Result<Timing, Refusal> {
    if request.time_zone.is_some() && request.cron.is_none() {
        let text = "a time_zone without cron: every and at mean the same everywhere";
        return Err(Refusal::malformed(text).at("time_zone"));
    }
    match (&request.cron, &request.every, &request.at) {
        (Some(expression), None, None) => Ok(Timing::Cron {
            expression: expression.clone(),
            zone: request
                .time_zone
                .clone()
                .unwrap_or_else(|| ZONE_DEFAULT.to_owned()),
        }),
        (None, Some(every), None) => Ok(Timing::Every {
            every_ms: spec::span_ms(every, "every")?,
            from: start_at.unwrap_or_else(spec::now),
        }),
        (None, None, Some(at)) => Ok(Timing::At {
            at: spec::moment(at, "at")?,
        }),
        (None, None, None) => Err(Refusal::malformed(
            "when? give one of cron, every and at, for example \"cron\": \"0 9 * * mon-fri\"",
        )),
        (Some(_), ..) | (_, Some(_), _) => {
            Err(Refusal::malformed("give only one of cron, every and at"))
        }
    }
}

fn overlap(name: Option<&str>) -> Result<Overlap, Refusal> {
    let Some(name) = name else {
        return Ok(Overlap::default());
    };
    Overlap::from_name(name).ok_or_else(|| {
        let text = format!("unknown overlap {name:?}: use skip, queue, replace or allow");
        Refusal::malformed(text).at("overlap")
    })
}

fn catch_up(name: Option<&str>, max: Option<u32>) -> Result<CatchUp, Refusal> {
    match (name, max) {
        (None, None) | (Some("one"), None) => Ok(CatchUp::One),
        (Some("none"), None) => Ok(CatchUp::None),
        (Some("all"), max) => Ok(CatchUp::All {
            max: max.unwrap_or(CATCH_UP_DEFAULT),
        }),
        (None | Some("one" | "none"), Some(_)) => {
            Err(Refusal::malformed("catch_up_max belongs to catch_up all").at("catch_up_max"))
        }
        (Some(other), _) => {
            let text = format!("unknown catch_up {other:?}: use none, one or all");
            Err(Refusal::malformed(text).at("catch_up"))
        }
    }
}

/// The query of `GET /v1/schedules`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListParams {
    /// At most so many; 100 where absent, never more than 1000.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Schedules, by name, in pages
#[utoipa::path(get, path = "/v1/schedules", tag = "schedules", params(ListParams),
    responses((status = 200, description = "A page.", body = SchedulePage)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Json<SchedulePage>, Refusal> {
    let limit = params.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let after = params.cursor.as_deref();
    // One more than asked for tells whether there is a next page.
    let mut schedules = shared.engine.schedules(after, limit + 1).await?;
    let more = schedules.len() > limit;
    schedules.truncate(limit);
    let last = schedules.last().filter(|_| more);
    Ok(Json(SchedulePage {
        next_cursor: last.map(|last| last.name.clone()),
        schedules: schedules.iter().map(brief).collect(),
    }))
}

/// One schedule
#[utoipa::path(get, path = "/v1/schedules/{name}", tag = "schedules", params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, description = "The schedule with the spec of its jobs.", body = ScheduleView)))]
pub(crate) async fn show(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<ScheduleView>, Refusal> {
    Ok(Json(whole(&shared.engine.schedule(&name).await?)))
}

/// Removes a schedule
///
/// The jobs that it made stay.
#[utoipa::path(delete, path = "/v1/schedules/{name}", tag = "schedules", params(("name" = String, Path, description = "Its name.")),
    responses((status = 204, description = "It is gone.")))]
pub(crate) async fn remove(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    shared.engine.remove_schedule(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Pauses a schedule
///
/// No moment counts until it is resumed, and those that pass meanwhile are not made up for.
#[utoipa::path(post, path = "/v1/schedules/{name}/pause", tag = "schedules", params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, description = "It is paused.", body = ScheduleView)))]
pub(crate) async fn pause(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<ScheduleView>, Refusal> {
    Ok(Json(whole(&shared.engine.pause_schedule(&name).await?)))
}

/// Lets the moments of a schedule count again
#[utoipa::path(post, path = "/v1/schedules/{name}/resume", tag = "schedules", params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, description = "It is not paused.", body = ScheduleView)))]
pub(crate) async fn resume(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<ScheduleView>, Refusal> {
    Ok(Json(whole(&shared.engine.resume_schedule(&name).await?)))
}

/// Makes the job of a schedule now
///
/// As if a moment had come, also while it is paused. Its moments stay as they are.
#[utoipa::path(post, path = "/v1/schedules/{name}/trigger", tag = "schedules", params(("name" = String, Path, description = "Its name.")),
    responses((status = 201, description = "The job as it was accepted.", body = CreatedJob)))]
pub(crate) async fn trigger(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<(StatusCode, Json<CreatedJob>), Refusal> {
    let job = shared.engine.trigger_schedule(&name).await?;
    Ok((StatusCode::CREATED, Json(created(&shared, &job, false))))
}

/// The query of `GET /v1/schedules/{name}/next`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NextParams {
    /// So many; 5 where absent, never more than 1000.
    n: Option<usize>,
}

/// The next moments of a schedule
///
/// As they would be if it were not paused.
#[utoipa::path(get, path = "/v1/schedules/{name}/next", tag = "schedules",
    params(("name" = String, Path, description = "Its name."), NextParams),
    responses((status = 200, description = "In order.", body = NextMoments)))]
pub(crate) async fn next(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Params(params): Params<NextParams>,
) -> Result<Json<NextMoments>, Refusal> {
    let count = params.n.unwrap_or(MOMENTS_DEFAULT).min(MOMENTS_MAX);
    let schedule = shared.engine.schedule(&name).await?;
    let moments = shared.engine.next_moments(&name, count).await?;
    let moments = moments.into_iter().map(|at| MomentView {
        at: at.0,
        local: local(&schedule, at),
    });
    Ok(Json(NextMoments {
        moments: moments.collect(),
    }))
}

/// As the clocks of its zone show it.
fn local(schedule: &Schedule, at: Timestamp) -> String {
    let zone = match &schedule.timing {
        Timing::Cron { zone, .. } => zone.as_str(),
        Timing::Every { .. } | Timing::At { .. } => ZONE_DEFAULT,
    };
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(moment) => moment.to_zoned(zone).to_string(),
        // Beyond the year 9999.
        Err(_) => at.0.to_string(),
    }
}

fn whole(schedule: &Schedule) -> ScheduleView {
    let spec = serde_json::to_value(&schedule.spec).expect("a spec has only text for keys");
    ScheduleView {
        spec: Some(spec),
        ..brief(schedule)
    }
}

fn brief(schedule: &Schedule) -> ScheduleView {
    let ms = |at: Option<Timestamp>| at.map(|at| at.0);
    let (mut cron, mut time_zone, mut every_ms, mut at) = (None, None, None, None);
    match &schedule.timing {
        Timing::Cron { expression, zone } => {
            (cron, time_zone) = (Some(expression.clone()), Some(zone.clone()));
        }
        Timing::Every { every_ms: ms, .. } => every_ms = Some(*ms),
        Timing::At { at: moment } => at = Some(moment.0),
    }
    let (catch_up, catch_up_max) = match schedule.catch_up {
        CatchUp::None => ("none", None),
        CatchUp::One => ("one", None),
        CatchUp::All { max } => ("all", Some(max)),
    };
    let definition = schedule.spec.definition.as_ref();
    ScheduleView {
        name: schedule.name.clone(),
        cron,
        time_zone,
        every_ms,
        at,
        overlap: schedule.overlap.name().to_owned(),
        catch_up: catch_up.to_owned(),
        catch_up_max,
        start_at: ms(schedule.start_at),
        end_at: ms(schedule.end_at),
        paused: schedule.paused,
        next_at: ms(schedule.next_at),
        last_at: ms(schedule.last_at),
        last_job: schedule.last_job.as_ref().map(|job| job.0.clone()),
        fired: schedule.fired,
        skipped: schedule.skipped,
        last_error: schedule.last_error.clone(),
        created_at: schedule.created_at.0,
        argv: schedule.spec.argv.clone(),
        driver: schedule.spec.driver.clone(),
        definition: definition.map(|definition| DefinitionRefView {
            name: definition.name.clone(),
            version: definition.version.clone(),
        }),
        tags: schedule.spec.tags.clone(),
        spec: None,
    }
}
