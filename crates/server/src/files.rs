//! Bytes into and out of a job: standard input and tar streams.

use crate::error::Refusal;
use crate::extract::Params;
use crate::routes::Shared;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use dauer_core::JobId;
use dauer_engine::{ByteStream, Engine, Error};
use futures_util::StreamExt;
use http::{StatusCode, header};
use serde::Deserialize;
use std::io;
use utoipa::IntoParams;

/// The query of the file calls.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileParams {
    /// Absolute, inside the sandbox.
    path: String,
}

impl FileParams {
    fn absolute(self) -> Result<String, Refusal> {
        if self.path.starts_with('/') {
            Ok(self.path)
        } else {
            Err(Refusal::malformed(format!(
                "the path {:?} is not absolute",
                self.path
            )))
        }
    }
}

/// Copies a file or folder out of a job, as a tar
#[utoipa::path(get, path = "/v1/jobs/{job}/files", tag = "files", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id."), FileParams),
    responses((status = 200, description = "A tar.", content_type = "application/x-tar", body = [u8])))]
pub(crate) async fn copy_out(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Params(params): Params<FileParams>,
) -> Result<Response, Refusal> {
    let path = params.absolute()?;
    let id = shared.engine.find(&job).await?;
    let tar = shared.engine.copy_out(&id, &path).await?;
    Ok((
        [(header::CONTENT_TYPE, "application/x-tar")],
        Body::from_stream(tar),
    )
        .into_response())
}

/// Copies a tar into a folder of a job
#[utoipa::path(put, path = "/v1/jobs/{job}/files", tag = "files", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id."), FileParams),
    request_body(content = [u8], content_type = "application/x-tar"),
    responses((status = 204, description = "It is there.")))]
pub(crate) async fn copy_in(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Params(params): Params<FileParams>,
    request: Request,
) -> Result<StatusCode, Refusal> {
    let path = params.absolute()?;
    let id = shared.engine.find(&job).await?;
    shared
        .engine
        .copy_in(&id, &path, byte_stream(request))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Feeds a job's standard input
///
/// The body is read as fast as the job takes it; its end is the end of the job's input. A body that breaks off leaves the input open
/// for another call.
#[utoipa::path(post, path = "/v1/jobs/{job}/stdin", tag = "jobs", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    request_body(content = [u8], content_type = "application/octet-stream"),
    responses((status = 204, description = "All of it was taken.")))]
pub(crate) async fn stdin(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    request: Request,
) -> Result<StatusCode, Refusal> {
    let id = shared.engine.find(&job).await?;
    feed(&shared.engine, &id, byte_stream(request)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn feed(engine: &Engine, id: &JobId, mut input: ByteStream) -> Result<(), Refusal> {
    let mut sink = engine.stdin(id).await?;
    while let Some(piece) = input.next().await {
        let piece =
            piece.map_err(|error| Refusal::malformed(format!("the input broke off: {error}")))?;
        // An empty piece would be the end of the input.
        if piece.is_empty() {
            continue;
        }
        match sink.write(piece).await {
            Ok(()) => {}
            Err(Error::Conflict(why)) => return Err(Error::Conflict(why).into()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sink.close().await?)
}

pub(crate) fn byte_stream(request: Request) -> ByteStream {
    Box::pin(
        request
            .into_body()
            .into_data_stream()
            .map(|piece| piece.map_err(io::Error::other)),
    )
}
