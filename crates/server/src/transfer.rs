//! Checkpoints to other machines and from them, as streams.

use crate::error::Refusal;
use crate::extract::Params;
use crate::files::byte_stream;
use crate::routes::Shared;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use dauer_wire::http::ImportedSnapshot;
use http::{StatusCode, header};
use serde::Deserialize;
use utoipa::IntoParams;

/// The query of an import.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportParams {
    /// Its name here; the one that it had where absent and free.
    name: Option<String>,
}

/// Sends a checkpoint as one stream
///
/// A snapshot, or the newest checkpoint of a job. What it needs of the machine is said at its head; holes are left out, every byte is
/// covered by a digest.
#[utoipa::path(get, path = "/v1/snapshots/{snapshot}/export", tag = "snapshots", params(("snapshot" = String, Path, description = "A snapshot by its id, its name or the beginning of its id; a job; or the whole id of a checkpoint.")),
    responses((status = 200, description = "The stream.", content_type = "application/octet-stream", body = [u8])))]
pub(crate) async fn export(
    State(shared): State<Shared>,
    Path(snapshot): Path<String>,
) -> Result<Response, Refusal> {
    let stream = shared.engine.export_snapshot(&snapshot).await?;
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((kind, Body::from_stream(stream)).into_response())
}

/// Takes in a checkpoint of another machine
///
/// It becomes a snapshot here. One that this machine could never run is refused by its head, before the rest was read; whatever is cut,
/// changed or added is refused and leaves nothing. It is a program with what was mounted into it: import what you would run.
#[utoipa::path(post, path = "/v1/snapshots:import", tag = "snapshots", params(ImportParams),
    request_body(content = [u8], content_type = "application/octet-stream"),
    responses((status = 201, description = "It is there.", body = ImportedSnapshot)))]
pub(crate) async fn import(
    State(shared): State<Shared>,
    Params(params): Params<ImportParams>,
    request: Request,
) -> Result<(StatusCode, Json<ImportedSnapshot>), Refusal> {
    let stream = byte_stream(request);
    let taken = shared.engine.import_snapshot(params.name, stream).await?;
    let view = ImportedSnapshot {
        id: taken.id.to_string(),
        name: taken.name,
        kind: taken.kind.name().to_owned(),
        memory_bytes: taken.memory_bytes,
        disk_bytes: taken.disk_bytes,
    };
    Ok((StatusCode::CREATED, Json(view)))
}
