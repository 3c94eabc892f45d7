//! The runtime API: what a job can ask, over a channel that only its sandbox has.

use crate::error::{PROBLEM, Refusal};
use crate::{extract, view};
use dauer_core::{JobId, parse};
use dauer_engine::{Caller, Engine, Error, REQUEST_HEADER, RuntimeApi};
use dauer_wire::guest::{ApiRequest, ApiResponse};
use dauer_wire::http::{CheckpointStatus, SelfCheckpoint};
use http::StatusCode;
use serde::Serialize;
use std::collections::BTreeMap;

/// Longer keys than this are a mistake.
const TOKEN_CHARS_MAX: usize = 256;

/// The one implementation of [`RuntimeApi`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Runtime;

#[async_trait::async_trait]
impl RuntimeApi for Runtime {
    async fn handle(&self, engine: Engine, caller: Caller, request: ApiRequest) -> ApiResponse {
        match route(&engine, &caller, &request).await {
            Ok(response) => response,
            Err(refusal) => respond(refusal.status(), PROBLEM, &refusal.problem()),
        }
    }
}

async fn route(
    engine: &Engine,
    caller: &Caller,
    request: &ApiRequest,
) -> Result<ApiResponse, Refusal> {
    let path = request.path.split(['?', '#']).next().unwrap_or_default();
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(unescape)
        .collect::<Option<Vec<_>>>();
    let parts =
        parts.ok_or_else(|| Refusal::malformed(format!("the path {path} is not well escaped")))?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let method = request.method.as_str();
    match (parts.as_slice(), method) {
        (["v1", "self"], "GET") => Ok(ok(
            StatusCode::OK,
            &view::own_job(&engine.job(&caller.job).await?),
        )),
        (["v1", "self", "checkpoint"], "POST") => {
            let status = begin(engine, caller, request).await?;
            Ok(ok(StatusCode::ACCEPTED, &status))
        }
        (["v1", "self", "checkpoint", token], "GET") => {
            let status = engine.token_status(&caller.job, token, true).await?;
            Ok(ok(StatusCode::OK, &status))
        }
        (["jobs", job, "checkpoint"] | ["v1", "jobs", job, "checkpoint"], "POST") => {
            own(engine, caller, job).await?;
            finish(engine, caller, request).await
        }
        (["jobs", job] | ["v1", "jobs", job], "GET") => {
            own(engine, caller, job).await?;
            Ok(ok(
                StatusCode::OK,
                &view::own_job(&engine.job(&caller.job).await?),
            ))
        }
        (
            ["v1", "self"]
            | ["v1", "self", "checkpoint"]
            | ["v1", "self", "checkpoint", _]
            | ["jobs", _]
            | ["v1", "jobs", _]
            | ["jobs", _, "checkpoint"]
            | ["v1", "jobs", _, "checkpoint"],
            _,
        ) => Err(Refusal::wrong_method(method, path)),
        _ => Err(Refusal::no_path(path)),
    }
}

/// A job may name itself by id or name, and nobody else.
async fn own(engine: &Engine, caller: &Caller, named: &str) -> Result<(), Refusal> {
    if named == caller.job.as_str() {
        return Ok(());
    }
    match engine.find(named).await {
        Ok(id) if id == caller.job => Ok(()),
        // Whether another job exists is none of this one's business.
        Ok(_) | Err(Error::NotFound(_) | Error::Ambiguous(_)) => Err(Refusal::foreign(format!(
            "a job can ask only for itself: this one is {} (DAUER_JOB_ID), not {named}",
            caller.job
        ))),
        Err(error) => Err(error.into()),
    }
}

/// Asks for a checkpoint; answers when that is written down.
async fn begin(
    engine: &Engine,
    caller: &Caller,
    request: &ApiRequest,
) -> Result<CheckpointStatus, Refusal> {
    let call: SelfCheckpoint = extract::parse(&request.body)?;
    let suspend_ms = call
        .suspend
        .as_deref()
        .map(parse::duration_ms)
        .transpose()
        .map_err(Refusal::malformed)?;
    let token = match call.token {
        Some(token) if token.is_empty() || token.chars().count() > TOKEN_CHARS_MAX => {
            return Err(Refusal::malformed(format!(
                "a token has 1 to {TOKEN_CHARS_MAX} characters"
            )));
        }
        Some(token) => token,
        None => generated_token(engine, &caller.job, request).await?,
    };
    Ok(engine
        .self_checkpoint(&caller.job, caller.generation, &token, suspend_ms)
        .await?)
}

/// A key for a request that has none. It is made from the number of the request, because a frozen request is sent again by every
/// restored copy: with a random key the copy would ask for another checkpoint, and with a suspension never get further.
async fn generated_token(
    engine: &Engine,
    job: &JobId,
    request: &ApiRequest,
) -> Result<String, Refusal> {
    // The sandbox stays the same over every restore, and its agent counts from one.
    let sandbox = engine.job(job).await?.sandbox;
    match (request.headers.get(REQUEST_HEADER), sandbox) {
        (Some(number), Some(sandbox)) => Ok(format!("request-{sandbox}-{number}")),
        (None, _) | (_, None) => Err(Refusal::malformed(
            "give a token: it is the key under which the request can be repeated",
        )),
    }
}

/// The blocking form: answers when the checkpoint is decided, with 200 also in the copy that came out of it.
async fn finish(
    engine: &Engine,
    caller: &Caller,
    request: &ApiRequest,
) -> Result<ApiResponse, Refusal> {
    let mut status = begin(engine, caller, request).await?;
    while status.status == "pending" {
        status = engine
            .token_status(&caller.job, &status.token, true)
            .await?;
    }
    if status.status == "failed" {
        let why = status
            .message
            .unwrap_or_else(|| "it could not be taken".to_owned());
        return Err(Refusal::failed(format!(
            "no checkpoint was taken: {why}; the job goes on without"
        )));
    }
    let job = view::own_job(&engine.job(&caller.job).await?);
    Ok(ok(StatusCode::OK, &Finished { job, status }))
}

/// The answer of the blocking form.
#[derive(Debug, Serialize)]
struct Finished {
    job: dauer_wire::http::SelfView,
    #[serde(flatten)]
    status: CheckpointStatus,
}

fn ok<T: Serialize>(status: StatusCode, body: &T) -> ApiResponse {
    respond(status, "application/json", body)
}

fn respond<T: Serialize>(status: StatusCode, media_type: &str, body: &T) -> ApiResponse {
    ApiResponse {
        status: status.as_u16(),
        headers: BTreeMap::from([("content-type".to_owned(), media_type.to_owned())]),
        body: serde_json::to_vec(body).expect("message types serialize"),
    }
}

/// Undoes percent-encoding; `None` where it is broken.
fn unescape(part: &str) -> Option<String> {
    let mut out = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'%' {
            out.push(byte);
            rest = tail;
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2)?;
        out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_or_refused() {
        assert_eq!(unescape("a%2Fb%20%C3%A4").as_deref(), Some("a/b ä"));
        for broken in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(unescape(broken), None, "{broken}");
        }
    }
}
