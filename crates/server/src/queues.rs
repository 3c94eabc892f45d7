//! Calls about queues.

use crate::error::Refusal;
use crate::extract::Stated;
use crate::routes::Shared;
use crate::spec::span_ms;
use axum::Json;
use axum::extract::{Path, State};
use dauer_core::{Queue, Rate};
use dauer_engine::QueueState;
use dauer_wire::http::{QueueList, QueueView, RateView, SetQueue, Span};
use http::StatusCode;

type Answer<T> = Result<Json<T>, Refusal>;

/// Queues with settings or with jobs that wait or run, by name
///
/// A queue need not be made: a job may name any. One for which nothing is set has no limits.
#[utoipa::path(get, path = "/v1/queues", tag = "queues", responses((status = 200, description = "The queues.", body = QueueList)))]
pub(crate) async fn list(State(shared): State<Shared>) -> Answer<QueueList> {
    let queues = shared.engine.queues().await?;
    Ok(Json(QueueList {
        queues: queues.into_iter().map(view).collect(),
        all_paused: shared.engine.all_paused(),
    }))
}

/// One queue
#[utoipa::path(get, path = "/v1/queues/{name}", tag = "queues", params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, description = "The queue.", body = QueueView)))]
pub(crate) async fn show(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Answer<QueueView> {
    Ok(Json(view(shared.engine.queue(&name).await?)))
}

/// Sets what a queue holds back
///
/// All of it: what is not said is without a limit. Jobs that run are not touched; whom the new settings let pass begins at once.
#[utoipa::path(put, path = "/v1/queues/{name}", tag = "queues", params(("name" = String, Path, description = "Its name.")),
    request_body = SetQueue, responses((status = 200, description = "The queue as it is set.", body = QueueView)))]
pub(crate) async fn set(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Stated(settings): Stated<SetQueue>,
) -> Answer<QueueView> {
    let queue = Queue {
        name,
        max_running: settings.max_running,
        rate: rate(settings.rate.as_ref(), "rate.per")?,
        key_max_running: settings.key_max_running,
        key_rate: rate(settings.key_rate.as_ref(), "key_rate.per")?,
        paused: settings.paused,
        hold_while_suspended: settings.hold_while_suspended,
    };
    Ok(Json(view(shared.engine.set_queue(queue).await?)))
}

fn rate(view: Option<&RateView>, field: &str) -> Result<Option<Rate>, Refusal> {
    let Some(view) = view else { return Ok(None) };
    Ok(Some(Rate {
        count: view.count,
        per_ms: span_ms(&view.per, field)?,
    }))
}

/// Forgets what is set for a queue
///
/// Its jobs stay, and nothing holds them back.
#[utoipa::path(delete, path = "/v1/queues/{name}", tag = "queues", params(("name" = String, Path, description = "Its name.")),
    responses((status = 204, description = "Nothing is set for it.")))]
pub(crate) async fn remove(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    shared.engine.remove_queue(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets none of a queue's jobs begin
///
/// Nor be tried again. Those that began go on, and those that sleep wake.
#[utoipa::path(post, path = "/v1/queues/{name}/pause", tag = "queues", params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, description = "It is paused.", body = QueueView)))]
pub(crate) async fn pause(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Answer<QueueView> {
    Ok(Json(view(shared.engine.pause_queue(&name, true).await?)))
}

/// Lets a queue's jobs begin again
#[utoipa::path(post, path = "/v1/queues/{name}/resume", tag = "queues", params(("name" = String, Path, description = "Its name.")),
    responses((status = 200, description = "It is not paused.", body = QueueView)))]
pub(crate) async fn resume(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Answer<QueueView> {
    Ok(Json(view(shared.engine.pause_queue(&name, false).await?)))
}

/// Lets nothing begin, in no queue
///
/// Until it is resumed, or the daemon ends.
#[utoipa::path(post, path = "/v1/queues:pause", tag = "queues", responses((status = 200, description = "All are paused.", body = QueueList)))]
pub(crate) async fn pause_all(State(shared): State<Shared>) -> Answer<QueueList> {
    shared.engine.pause_all(true).await?;
    list(State(shared)).await
}

/// Lets jobs begin again, in every queue
///
/// Also in those that were paused by themselves, and after an incident: when several daemons in a row died within minutes.
#[utoipa::path(post, path = "/v1/queues:resume", tag = "queues", responses((status = 200, description = "None is paused.", body = QueueList)))]
pub(crate) async fn resume_all(State(shared): State<Shared>) -> Answer<QueueList> {
    shared.engine.pause_all(false).await?;
    list(State(shared)).await
}

fn view(state: QueueState) -> QueueView {
    let QueueState {
        queue,
        running,
        due,
        later,
    } = state;
    let rate = |rate: Rate| RateView {
        count: rate.count,
        per: Span::Ms(rate.per_ms),
    };
    QueueView {
        name: queue.name,
        settings: SetQueue {
            max_running: queue.max_running,
            rate: queue.rate.map(rate),
            key_max_running: queue.key_max_running,
            key_rate: queue.key_rate.map(rate),
            paused: queue.paused,
            hold_while_suspended: queue.hold_while_suspended,
        },
        running: u64::try_from(running).unwrap_or(u64::MAX),
        waiting: due,
        later,
    }
}
