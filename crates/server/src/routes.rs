//! Every path of the caller API.

use crate::error::Refusal;
use crate::{exec, files, jobs, streams};
use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};
use dauer_engine::Engine;
use std::path::PathBuf;
use std::sync::Arc;

/// What the daemon says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its version.
    pub version: String,
    /// Its data folder.
    pub data_dir: PathBuf,
    /// Its socket folder.
    pub run_dir: PathBuf,
}

/// What every handler has.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) about: Arc<About>,
}

/// The caller API over this engine.
pub(crate) fn router(engine: Engine, about: About) -> Router {
    let shared = Shared {
        engine,
        about: Arc::new(about),
    };
    Router::new()
        .route("/v1/ping", get(|| async {}))
        .route("/v1/info", get(jobs::info))
        .route("/v1/events", get(streams::events))
        .route("/v1/jobs", post(jobs::create).get(jobs::list))
        .route("/v1/jobs/{job}", get(jobs::show).delete(jobs::remove))
        .route("/v1/jobs/{job}/checkpoint", post(jobs::checkpoint))
        .route("/v1/jobs/{job}/suspend", post(jobs::suspend))
        .route("/v1/jobs/{job}/resume", post(jobs::resume))
        .route("/v1/jobs/{job}/stop", post(jobs::stop))
        .route("/v1/jobs/{job}/cancel", post(jobs::stop))
        .route("/v1/jobs/{job}/kill", post(jobs::kill))
        .route("/v1/jobs/{job}/resize", post(jobs::resize))
        .route("/v1/jobs/{job}/wait", get(jobs::wait))
        .route("/v1/jobs/{job}/checkpoints", get(jobs::checkpoints))
        .route("/v1/jobs/{job}/diff", get(jobs::diff))
        .route("/v1/jobs/{job}/events", get(streams::job_events))
        .route("/v1/jobs/{job}/logs", get(streams::logs))
        .route("/v1/jobs/{job}/stdin", post(files::stdin))
        .route(
            "/v1/jobs/{job}/files",
            get(files::copy_out).put(files::copy_in),
        )
        .route("/v1/jobs/{job}/exec", post(exec::exec))
        .fallback(|request: Request| async move { Refusal::no_path(request.uri().path()) })
        .method_not_allowed_fallback(|request: Request| async move {
            Refusal::wrong_method(request.method().as_str(), request.uri().path())
        })
        .with_state(shared)
}
