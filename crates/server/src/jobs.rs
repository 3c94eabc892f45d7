//! Calls about jobs that are answered with one JSON document.

use crate::error::Refusal;
use crate::extract::{Input, Params};
use crate::routes::Shared;
use crate::{spec, view};
use axum::Json;
use axum::extract::{Path, State};
use dauer_core::{JobId, State as JobState};
use dauer_engine::Filter;
use dauer_wire::http::{
    ChangeView, CheckpointCall, CheckpointView, CreateJob, Info, JobPage, JobView, KillCall,
    ResizeCall, StopCall,
};
use http::StatusCode;
use serde::Deserialize;

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

type Answer<T> = Result<Json<T>, Refusal>;

/// `GET /v1/info`.
pub(crate) async fn info(State(shared): State<Shared>) -> Answer<Info> {
    // Without any driver that works, the list below says what is missing.
    let default_driver = shared
        .engine
        .default_driver()
        .await
        .unwrap_or_else(|_| "none".to_owned());
    Ok(Json(Info {
        version: shared.about.version.clone(),
        pid: std::process::id(),
        data_dir: shared.about.data_dir.display().to_string(),
        run_dir: shared.about.run_dir.display().to_string(),
        default_driver,
        drivers: shared.engine.drivers().await,
    }))
}

/// `POST /v1/jobs`.
pub(crate) async fn create(
    State(shared): State<Shared>,
    Input(request): Input<CreateJob>,
) -> Result<(StatusCode, Json<JobView>), Refusal> {
    let spec = spec::from_request(request)?;
    let job = shared.engine.submit(spec).await?;
    let cannot_freeze = shared.engine.cannot_freeze(&job.spec);
    Ok((
        StatusCode::CREATED,
        Json(JobView {
            cannot_freeze,
            ..view::job(&job)
        }),
    ))
}

/// The query of `GET /v1/jobs`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListParams {
    /// State names with commas between.
    state: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// `GET /v1/jobs`.
pub(crate) async fn list(
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Answer<JobPage> {
    let names = params.state.as_deref().unwrap_or_default();
    let states = names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| {
            JobState::from_name(name)
                .ok_or_else(|| Refusal::malformed(format!("there is no state {name:?}")))
        });
    let states = states.collect::<Result<Vec<_>, _>>()?;
    let limit = params.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    // One more than asked for tells whether there is a next page.
    let filter = Filter {
        states,
        before: params.cursor.map(JobId),
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

/// `GET /v1/jobs/{job}`.
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
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RemoveParams {
    force: bool,
}

/// `DELETE /v1/jobs/{job}`.
pub(crate) async fn remove(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Params(params): Params<RemoveParams>,
) -> Result<StatusCode, Refusal> {
    let id = shared.engine.find(&job).await?;
    shared.engine.remove(&id, params.force).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/jobs/{job}/checkpoint`.
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

/// `POST /v1/jobs/{job}/suspend`.
pub(crate) async fn suspend(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Input(call): Input<CheckpointCall>,
) -> Answer<CheckpointView> {
    let id = shared.engine.find(&job).await?;
    let checkpoint = shared.engine.suspend(&id, call.for_ms).await?;
    Ok(Json(view::checkpoint(&checkpoint, true)))
}

/// `POST /v1/jobs/{job}/resume`.
pub(crate) async fn resume(
    State(shared): State<Shared>,
    Path(job): Path<String>,
) -> Answer<JobView> {
    let id = shared.engine.find(&job).await?;
    Ok(Json(view::job(&shared.engine.resume(&id).await?)))
}

/// `POST /v1/jobs/{job}/stop`.
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

/// `POST /v1/jobs/{job}/kill`.
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

/// `POST /v1/jobs/{job}/resize`.
pub(crate) async fn resize(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Input(call): Input<ResizeCall>,
) -> Result<StatusCode, Refusal> {
    let id = shared.engine.find(&job).await?;
    shared.engine.resize(&id, call.rows, call.columns).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/jobs/{job}/wait`.
pub(crate) async fn wait(State(shared): State<Shared>, Path(job): Path<String>) -> Answer<JobView> {
    let id = shared.engine.find(&job).await?;
    Ok(Json(view::job(&shared.engine.wait(&id).await?)))
}

/// `GET /v1/jobs/{job}/checkpoints`.
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

/// `GET /v1/jobs/{job}/diff`.
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
