//! The call that removes what nothing refers to.

use crate::error::Refusal;
use crate::extract::Input;
use crate::routes::Shared;
use axum::Json;
use axum::extract::State;
use dauer_wire::http::{GcCall, GcReport, UnneededView};

/// Removes what nothing refers to
///
/// Checkpoints, sandboxes and pages on the disk of this node to which no record points. The daemon does this by itself when it starts, and
/// for pages whenever a checkpoint goes; so there is something to find only where it was prevented.
#[utoipa::path(post, path = "/v1/gc", tag = "daemon", request_body = Option<GcCall>, responses((status = 200, description = "What was removed, or would be.", body = GcReport)))]
pub(crate) async fn collect(
    State(shared): State<Shared>,
    Input(call): Input<GcCall>,
) -> Result<Json<GcReport>, Refusal> {
    let found = shared.engine.collect_garbage(call.dry_run).await?;
    let bytes = found.iter().map(|one| one.bytes).sum();
    let view = |one: dauer_engine::Unneeded| UnneededView {
        kind: one.kind.name().to_owned(),
        id: one.id,
        bytes: one.bytes,
    };
    Ok(Json(GcReport {
        dry_run: call.dry_run,
        unneeded: found.into_iter().map(view).collect(),
        bytes,
    }))
}
