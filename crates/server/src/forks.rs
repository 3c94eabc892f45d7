//! Calls about copies of jobs: forks, going back, and states that are kept.

use crate::error::Refusal;
use crate::extract::{Input, Params};
use crate::routes::Shared;
use crate::{definitions, view};
use axum::Json;
use axum::extract::{Path, State};
use dauer_core::{CheckpointId, Snapshot};
use dauer_engine::{Forks, Saving};
use dauer_wire::http::{
    ChangeSnapshot, ForkCall, ForkedJobs, JobView, RollbackCall, SaveSnapshot, SnapshotPage,
    SnapshotView,
};
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

/// Makes jobs that go on as this one is
///
/// Each with its own identity. A running job is saved for that and goes on; a job that sleeps or failed has its checkpoint. In
/// place of a job stands also a snapshot, or the id of a checkpoint. All of them are made or none.
#[utoipa::path(post, path = "/v1/jobs/{job}/fork", tag = "freeze", params(("job" = String, Path, description = "A job, a snapshot, or a checkpoint.")),
    request_body = Option<ForkCall>,
    responses((status = 201, description = "They are durable and begin as there is room.", body = ForkedJobs)))]
pub(crate) async fn create(
    State(shared): State<Shared>,
    Path(source): Path<String>,
    Input(call): Input<ForkCall>,
) -> Result<(StatusCode, Json<ForkedJobs>), Refusal> {
    let wish = Forks {
        count: call.count.unwrap_or(1),
        name: call.name,
        params: call.params,
        tags: call.tags,
        metadata: call.metadata,
        remove_on_exit: call.remove_on_exit,
    };
    let jobs = shared.engine.fork(&source, &wish).await?;
    let jobs = jobs.iter().map(view::job).collect();
    Ok((StatusCode::CREATED, Json(ForkedJobs { jobs })))
}

/// Lets a job go on from an earlier state of its own
///
/// What it did since never was: its memory and its files are those of the checkpoint. A job that failed has a turn again.
#[utoipa::path(post, path = "/v1/jobs/{job}/rollback", tag = "freeze", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    request_body = Option<RollbackCall>,
    responses((status = 200, description = "It is written down; the job is on its way there.", body = JobView)))]
pub(crate) async fn rollback(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Input(call): Input<RollbackCall>,
) -> Result<Json<JobView>, Refusal> {
    let id = shared.engine.find(&job).await?;
    let job = shared.engine.roll_back(&id, call.to.as_deref()).await?;
    Ok(Json(view::job(&job)))
}

/// Keeps the state of a job beyond its end
///
/// Of one that runs the present one, and it goes on; of any other its checkpoint. Nothing is copied.
#[utoipa::path(post, path = "/v1/snapshots", tag = "freeze", request_body = SaveSnapshot,
    responses((status = 201, description = "It is kept.", body = SnapshotView)))]
pub(crate) async fn save(
    State(shared): State<Shared>,
    Input(call): Input<SaveSnapshot>,
) -> Result<(StatusCode, Json<SnapshotView>), Refusal> {
    let saving = Saving {
        name: call.name,
        labels: call.labels,
        pinned: call.pinned,
    };
    let snapshot = shared.engine.save_snapshot(&call.job, &saving).await?;
    Ok((StatusCode::CREATED, Json(seen(&snapshot))))
}

/// The query of `GET /v1/snapshots`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListParams {
    /// At most so many; 100 where absent, never more than 1000.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The states that are kept, by their ids, in pages
#[utoipa::path(get, path = "/v1/snapshots", tag = "freeze", params(ListParams),
    responses((status = 200, description = "A page.", body = SnapshotPage)))]
pub(crate) async fn list(
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<Json<SnapshotPage>, Refusal> {
    let limit = params.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let after = params.cursor.map(CheckpointId);
    // One more than asked for tells whether there is a next page.
    let mut page = shared.engine.snapshots(after.as_ref(), limit + 1).await?;
    let more = page.len() > limit;
    page.truncate(limit);
    let next_cursor = page.last().filter(|_| more).map(|last| last.id.0.clone());
    Ok(Json(SnapshotPage {
        snapshots: page.iter().map(seen).collect(),
        next_cursor,
    }))
}

/// A kept state
#[utoipa::path(get, path = "/v1/snapshots/{snapshot}", tag = "freeze", params(("snapshot" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    responses((status = 200, description = "With what its job was asked for as.", body = SnapshotView)))]
pub(crate) async fn show(
    State(shared): State<Shared>,
    Path(snapshot): Path<String>,
) -> Result<Json<SnapshotView>, Refusal> {
    let snapshot = shared.engine.snapshot(&snapshot).await?;
    let spec = snapshot.spec.as_ref();
    let spec = spec.and_then(|text| serde_json::from_str(&text.0).ok());
    Ok(Json(SnapshotView {
        spec,
        ..seen(&snapshot)
    }))
}

/// Pins a kept state, or unpins it
#[utoipa::path(patch, path = "/v1/snapshots/{snapshot}", tag = "freeze", params(("snapshot" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    request_body = ChangeSnapshot, responses((status = 200, description = "As it is now.", body = SnapshotView)))]
pub(crate) async fn change(
    State(shared): State<Shared>,
    Path(snapshot): Path<String>,
    Input(call): Input<ChangeSnapshot>,
) -> Result<Json<SnapshotView>, Refusal> {
    let snapshot = shared.engine.pin_snapshot(&snapshot, call.pinned).await?;
    Ok(Json(seen(&snapshot)))
}

/// The query of `DELETE /v1/snapshots/{snapshot}`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RemoveParams {
    /// Also where it is pinned.
    #[param(required = false)]
    force: bool,
}

/// Removes a kept state
///
/// Its files go with the last that needs them: jobs made from it keep theirs.
#[utoipa::path(delete, path = "/v1/snapshots/{snapshot}", tag = "freeze", params(("snapshot" = String, Path, description = "Its id, its name, or the beginning of its id."), RemoveParams),
    responses((status = 204, description = "It is gone.")))]
pub(crate) async fn remove(
    State(shared): State<Shared>,
    Path(snapshot): Path<String>,
    Params(params): Params<RemoveParams>,
) -> Result<StatusCode, Refusal> {
    shared
        .engine
        .remove_snapshot(&snapshot, params.force)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn seen(snapshot: &Snapshot) -> SnapshotView {
    SnapshotView {
        id: snapshot.id.0.clone(),
        name: snapshot.name.clone(),
        kind: snapshot.kind.name().to_owned(),
        job: snapshot.job.as_ref().map(|job| job.0.clone()),
        parent: snapshot.parent.as_ref().map(|parent| parent.0.clone()),
        driver: snapshot.driver.clone(),
        created_at: snapshot.created_at.0,
        memory_bytes: snapshot.memory_bytes,
        disk_bytes: snapshot.disk_bytes,
        pinned: snapshot.pinned,
        labels: snapshot.labels.clone(),
        template_of: snapshot
            .template
            .as_ref()
            .map(|template| definitions::reference(&template.definition)),
        spec: None,
    }
}
