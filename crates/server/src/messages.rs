//! What goes to a job and what comes of it: signals, its result.

use crate::error::Refusal;
use crate::extract::{Input, Params};
use crate::routes::Shared;
use crate::runtime;
use axum::Json;
use axum::extract::{Path, State};
use dauer_wire::http::{ResultView, SignalCall, SignalSent};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Of what goes with a signal.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Longer keys than this are a mistake.
const TOKEN_CHARS_MAX: usize = 256;

/// Sends a signal to a job
///
/// Kept until the job waits for one of its name, in order; one that sleeps for it wakes. Answered when it is on disk.
#[utoipa::path(post, path = "/v1/jobs/{job}/signal", tag = "jobs", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id.")),
    request_body = SignalCall,
    responses((status = 202, description = "It is kept.", body = SignalSent)))]
pub(crate) async fn signal(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Input(call): Input<SignalCall>,
) -> Result<(StatusCode, Json<SignalSent>), Refusal> {
    runtime::check_signal_name(&call.name)?;
    if let Some(token) = &call.token
        && !(1..=TOKEN_CHARS_MAX).contains(&token.chars().count())
    {
        return Err(Refusal::malformed(format!(
            "a token has 1 to {TOKEN_CHARS_MAX} characters"
        )));
    }
    let payload = call.payload.as_deref().map_or("null", RawValue::get);
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Refusal::too_long(format!(
            "the payload has {} bytes and may have {PAYLOAD_BYTES_MAX}: pass the path of a file",
            payload.len()
        )));
    }
    let id = shared.engine.find(&job).await?;
    let payload = dauer_core::Json(payload.to_owned());
    let signal_id = shared
        .engine
        .signal(&id, &call.name, payload, call.token)
        .await?;
    Ok((StatusCode::ACCEPTED, Json(SignalSent { signal_id })))
}

/// The query of `GET /v1/jobs/{job}/result`.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ResultParams {
    /// Answer when it has ended, or after 20 s: then ask again.
    wait: bool,
}

/// What a job left
///
/// The output that it gave with its exit, and how it ended; null while it has not.
#[utoipa::path(get, path = "/v1/jobs/{job}/result", tag = "jobs", params(("job" = String, Path, description = "Its id, its name, or the beginning of its id."), ResultParams),
    responses((status = 200, description = "How it ended, or that it has not.", body = ResultView)))]
pub(crate) async fn result(
    State(shared): State<Shared>,
    Path(job): Path<String>,
    Params(params): Params<ResultParams>,
) -> Result<Json<ResultView>, Refusal> {
    let id = shared.engine.find(&job).await?;
    let (job, output) = shared.engine.result(&id, params.wait).await?;
    let output = output
        .map(|output| RawValue::from_string(output.0))
        .transpose()
        .map_err(|error| Refusal::failed(format!("the kept output is damaged: {error}")))?;
    let exit_code = job.exit_code();
    let outcome = job.outcome.unwrap_or_default();
    Ok(Json(ResultView {
        job_id: job.id.0,
        state: job.state.name().to_owned(),
        exit_code,
        signal: outcome.signal,
        reason: outcome.reason.map(|reason| reason.name().to_owned()),
        message: outcome.message,
        output,
    }))
}
