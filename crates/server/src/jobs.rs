//! Calls about jobs that are answered with one JSON document.

use crate::error::Refusal;
use crate::extract::{Input, Params};
use crate::routes::Shared;
use crate::view;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use dauer_core::{JobId, State as JobState};
use dauer_engine::{Error, Filter};
use dauer_wire::http::{
    CancelCall, ChangeView, CheckpointCall, CheckpointView, JobPage, JobView, KillCall, ResizeCall,
    StopCall,
};
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

/// The signal that nothing survives.
const SIGKILL: i32 = 9;

type Answer<T> = Result<Json<T>, Refusal>;

/// The query of `GET /v1/jobs`.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// State names with commas between.
    state: Option<String>,
    /// Only with this tag, as `key:value`; repeated, only with all of them.
    #[param(required = false)]
    tag: Vec<String>,
    /// Only the one of this name.
    name: Option<String>,
    /// Only those of this batch.
    batch: Option<String>,
    /// At most so many; 100 where absent, never more than 1000.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl ListParams {
    /// By hand, because a tag may come several times.
    fn of(pairs: Vec<(String, String)>) -> Result<Self, Refusal> {
        let mut params = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "state" => {
                    let states = params.state.get_or_insert_default();
                    states.push(',');
                    states.push_str(&value);
                }
                "tag" => params.tag.push(value),
                "name" => params.name = Some(value),
                "batch" => params.batch = Some(value),
                "limit" => {
                    let limit = value.parse().map_err(|_| {
                        Refusal::malformed(format!("{value:?} is not a number of jobs")).at("limit")
                    })?;
                    params.limit = Some(limit);
                }
                "cursor" => params.cursor = Some(value),
                other => {
                    let text = format!(
                        "unknown parameter {other:?}: there are state, tag, name, batch, limit and cursor"
                    );
                    return Err(Refusal::malformed(text));
                }
            }
        }
        Ok(params)
    }
}

fn cursor(text: String) -> Result<JobId, Refusal> {
    let is_id = text.len() == 36 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if is_id {
        return Ok(JobId(text));
    }
    Err(Refusal::malformed("the cursor is none of a page before").at("cursor"))
}

/// Jobs, newest first, in pages
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", params(ListParams), responses((status = 200, description = "A page.", body = JobPage)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    Params(pairs): Params<Vec<(String, String)>>,
) -> Answer<JobPage> {
    let params = ListParams::of(pairs)?;
    let names = params.state.as_deref().unwrap_or_default();
    let states = names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| {
            JobState::from_name(name).ok_or_else(|| {
                Refusal::malformed(format!("there is no state {name:?}")).at("state")
            })
        });
    let states = states.collect::<Result<Vec<_>, _>>()?;
    let tags = params.tag.iter().map(|tag| {
        let wrong = || format!("{tag:?} is not a tag: write for example team:blue");
        let (key, value) = tag
            .split_once(':')
            .ok_or_else(|| Refusal::malformed(wrong()).at("tag"))?;
        Ok((key.to_owned(), value.to_owned()))
    });
    let tags = tags.collect::<Result<Vec<_>, Refusal>>()?;
    let limit = params.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    // One more than asked for tells whether there is a next page.
    let filter = Filter {
        states,
        tags,
        name: params.name,
        batch: params.batch,
        before: params.cursor.map(cursor).transpose()?,
        limit: limit + 1,
    };
    let mut jobs = shared.engine.list(filter).await?;
    let more = jobs.len() > limit;
    jobs.truncate(limit);
    let next_cursor = jobs.last().filter(|_| more).map(|job| job.id.0.clone());
    Ok(Json(JobPage {
        jobs: jobs.iter().map(view::job).collect(),
        next_cursor,
    }))
}

/// One job
#[utoipa::path(get, path = "/v1/jobs/{job}", tag = "jobs", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    responses((status = 200, description = "The job with its spec and handles.", body = JobView)))]
pub(crate) async fn show(State(shared): State<Shared>, Path(job): Path<String>) -> Answer<JobView> {
    let id = shared.engine.find(&job).await?;
    let record = shared.engine.job(&id).await?;
    let cannot_freeze = shared.engine.cannot_freeze(&record.spec);
    Ok(Json(view::whole_job(
        &record,
        shared.engine.handles(&id).await,
        cannot_freeze,
    )))
}

/// The query of `DELETE /v1/jobs/{job}`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RemoveParams {
    /// Remove the record and all data of a job that has ended.
    #[param(required = false)]
    remove: bool,
    /// With `remove`: kill it first where it lives.
    #[param(required = false)]
    force: bool,
}

/// Kills a job, or removes one
///
/// Answered when it has ended; of a job that had ended before nothing changes. With `remove` its record and all its data go
/// too, and it has to have ended, or with `force` is killed first.
#[utoipa::path(delete, path = "/v1/jobs/{job}", tag = "jobs", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id."), RemoveParams),
    responses((status = 200, description = "The job, which has ended.", body = JobView), (status = 204, description = "Nothing of it is left.")))]
pub(crate) async fn remove(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Params(params): Params<RemoveParams>,
) -> Result<Response, Refusal> {
    if params.force && !params.remove {
        return Err(Refusal::malformed(
            "force belongs to remove: without it a job is killed and its record stays",
        ));
    }
    let id = shared.engine.find(&job).await?;
    if params.remove {
        shared.engine.remove(&id, params.force).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let killed = match shared.engine.kill(&id, SIGKILL).await {
        // It had ended before, so it is as the caller wants it.
        Err(Error::Conflict(_)) => shared.engine.job(&id).await?,
        result => result?,
    };
    Ok(Json(view::job(&killed)).into_response())
}

/// Saves a job with its memory; it goes on
///
/// Answered when it is committed.
#[utoipa::path(post, path = "/v1/jobs/{job}/checkpoint", tag = "freeze", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    request_body = Option<CheckpointCall>,
    responses((status = 200, description = "It is committed.", body = CheckpointView)))]
pub(crate) async fn checkpoint(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Input(call): Input<CheckpointCall>,
) -> Answer<CheckpointView> {
    if call.for_ms.is_some() {
        return Err(Refusal::malformed(
            "for_ms belongs to suspend: a checkpoint lets the job go on",
        ));
    }
    let id = shared.engine.find(&job).await?;
    let checkpoint = shared.engine.checkpoint(&id).await?;
    Ok(Json(view::checkpoint(&checkpoint, true)))
}

/// Saves a job with its memory and lets it sleep
///
/// For so long, or until it is resumed. Answered when nothing of it is left but its image.
#[utoipa::path(post, path = "/v1/jobs/{job}/suspend", tag = "freeze", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    request_body = Option<CheckpointCall>,
    responses((status = 200, description = "It sleeps.", body = CheckpointView)))]
pub(crate) async fn suspend(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Input(call): Input<CheckpointCall>,
) -> Answer<CheckpointView> {
    let id = shared.engine.find(&job).await?;
    let checkpoint = shared.engine.suspend(&id, call.for_ms).await?;
    Ok(Json(view::checkpoint(&checkpoint, true)))
}

/// Wakes a suspended job
///
/// Answered when it runs again.
#[utoipa::path(post, path = "/v1/jobs/{job}/resume", tag = "freeze", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    responses((status = 200, description = "It runs.", body = JobView)))]
pub(crate) async fn resume(
    State(shared): State<Shared>,
    Path(job): Path<String>,
) -> Answer<JobView> {
    let id = shared.engine.find(&job).await?;
    Ok(Json(view::job(&shared.engine.resume(&id).await?)))
}

/// Asks a job to end: TERM, a grace, KILL
///
/// Answered when it has ended.
#[utoipa::path(post, path = "/v1/jobs/{job}/stop", tag = "jobs", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    request_body = Option<StopCall>,
    responses((status = 200, description = "The job as it ended.", body = JobView)))]
pub(crate) async fn stop(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Input(call): Input<StopCall>,
) -> Answer<JobView> {
    let id = shared.engine.find(&job).await?;
    Ok(Json(view::job(
        &shared.engine.stop(&id, call.grace_ms).await?,
    )))
}

/// Ends a job that has not ended
///
/// Whatever it is doing: TERM, its grace, KILL where it runs. Answered when it is cancelled, also where it was before; one that
/// has completed or failed is refused. With `children` all jobs below it are cancelled too, also those that are made meanwhile, and
/// it is answered when all have ended.
#[utoipa::path(post, path = "/v1/jobs/{job}/cancel", tag = "jobs", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    request_body = Option<CancelCall>,
    responses((status = 200, description = "The job as it ended.", body = JobView)))]
pub(crate) async fn cancel(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Input(call): Input<CancelCall>,
) -> Answer<JobView> {
    let id = shared.engine.find(&job).await?;
    let job = shared
        .engine
        .cancel(&id, call.grace_ms, call.children)
        .await?;
    Ok(Json(view::job(&job)))
}

/// Tries a job again
///
/// From its start, as a new attempt: one that failed or was cancelled, or now one that waits for that.
#[utoipa::path(post, path = "/v1/jobs/{job}/retry", tag = "jobs", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    responses((status = 200, description = "It waits for its turn.", body = JobView)))]
pub(crate) async fn retry(
    State(shared): State<Shared>,
    Path(job): Path<String>,
) -> Answer<JobView> {
    let id = shared.engine.find(&job).await?;
    Ok(Json(view::job(&shared.engine.retry(&id).await?)))
}

/// Kills a job, or sends it a signal
#[utoipa::path(post, path = "/v1/jobs/{job}/kill", tag = "jobs", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    request_body = Option<KillCall>,
    responses((status = 200, description = "The job.", body = JobView)))]
pub(crate) async fn kill(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Input(call): Input<KillCall>,
) -> Answer<JobView> {
    if !(1..=64).contains(&call.signal) {
        return Err(Refusal::malformed(format!(
            "{} is not a signal: they go from 1 to 64",
            call.signal
        )));
    }
    let id = shared.engine.find(&job).await?;
    Ok(Json(view::job(
        &shared.engine.kill(&id, call.signal).await?,
    )))
}

/// Tells a job's terminal its size
#[utoipa::path(post, path = "/v1/jobs/{job}/resize", tag = "jobs", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    request_body = ResizeCall,
    responses((status = 204, description = "The terminal has this size.")))]
pub(crate) async fn resize(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Input(call): Input<ResizeCall>,
) -> Result<StatusCode, Refusal> {
    let id = shared.engine.find(&job).await?;
    shared.engine.resize(&id, call.rows, call.columns).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Answered when the job has ended
#[utoipa::path(get, path = "/v1/jobs/{job}/wait", tag = "jobs", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    responses((status = 200, description = "The job as it ended.", body = JobView)))]
pub(crate) async fn wait(State(shared): State<Shared>, Path(job): Path<String>) -> Answer<JobView> {
    let id = shared.engine.find(&job).await?;
    Ok(Json(view::job(&shared.engine.wait(&id).await?)))
}

/// The committed checkpoints of a job, oldest first
#[utoipa::path(get, path = "/v1/jobs/{job}/checkpoints", tag = "freeze", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    responses((status = 200, description = "Its checkpoints.", body = Vec<CheckpointView>)))]
pub(crate) async fn checkpoints(
    State(shared): State<Shared>,
    Path(job): Path<String>,
) -> Answer<Vec<CheckpointView>> {
    let id = shared.engine.find(&job).await?;
    let newest = shared.engine.job(&id).await?.checkpoint;
    let checkpoints = shared.engine.checkpoints(&id).await?;
    Ok(Json(
        checkpoints
            .iter()
            .map(|one| view::checkpoint(one, Some(&one.id) == newest.as_ref()))
            .collect(),
    ))
}

/// The files that a job changed
#[utoipa::path(get, path = "/v1/jobs/{job}/diff", tag = "files", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    responses((status = 200, description = "Sorted by path.", body = Vec<ChangeView>)))]
pub(crate) async fn diff(
    State(shared): State<Shared>,
    Path(job): Path<String>,
) -> Answer<Vec<ChangeView>> {
    let id = shared.engine.find(&job).await?;
    let mut changes: Vec<ChangeView> = shared
        .engine
        .diff(&id)
        .await?
        .iter()
        .map(view::change)
        .collect();
    changes.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(Json(changes))
}
