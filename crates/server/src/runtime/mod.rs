//! The runtime API: what a job can ask, over a channel that only its sandbox has.

mod checkpoint;
mod own;
mod signal;

pub(crate) use signal::check_name as check_signal_name;

use crate::error::{PROBLEM, Refusal};
use crate::extract;
use dauer_core::parse;
use dauer_engine::{Caller, Engine, Error, REQUEST_HEADER, RuntimeApi};
use dauer_wire::guest::{ApiRequest, ApiResponse};
use dauer_wire::http::Span;
use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
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

    fn still_waiting(&self, request: &ApiRequest) -> Option<ApiResponse> {
        let path = request.path.split(['?', '#']).next().unwrap_or_default();
        let is_ready = request.method == "POST" && path.ends_with("/ready");
        is_ready.then(own::still_waiting)
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
    // A job's own paths, and the same in the older shape.
    let (own_path, shape) = match parts.as_slice() {
        ["v1", "self", rest @ ..] => (rest, Shape::Present),
        ["v1", "jobs", job, rest @ ..] | ["jobs", job, rest @ ..] => {
            check_is_own(engine, caller, job).await?;
            (rest, Shape::Older)
        }
        _ => return Err(Refusal::no_path(path)),
    };
    let method = match request.method.as_str() {
        // Its answer loses its body on the way to the client.
        "HEAD" => "GET",
        method => method,
    };
    let asked = Asked {
        engine,
        caller,
        request,
        shape,
    };
    match (own_path, method) {
        ([], "GET") => asked.own_view().await,
        (["checkpoint"], "POST") => asked.checkpoint().await,
        (["checkpoint", token], "GET") => asked.checkpoint_status(token).await,
        (["ready"], "POST") => asked.ready().await,
        (["params"], "GET") => asked.params().await,
        (["metadata"], "GET") => asked.metadata().await,
        (["exit"], "POST") => asked.exit().await,
        (["locks" | "lock"], "POST") => asked.lock().await,
        (["locks" | "lock", lock], "DELETE") => asked.unlock(lock).await,
        (["progress"], "POST") => asked.progress().await,
        (["signals", "wait"], "POST") => asked.wait_for_signal().await,
        (
            []
            | [
                "checkpoint" | "ready" | "params" | "metadata" | "exit" | "locks" | "lock"
                | "progress",
            ]
            | ["checkpoint" | "locks" | "lock", _]
            | ["signals", "wait"],
            _,
        ) => Err(Refusal::wrong_method(&request.method, path)),
        _ => Err(Refusal::no_path(path)),
    }
}

/// Which paths a client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// `/v1/self/…`: a checkpoint is asked for and its outcome then asked after.
    Present,
    /// `/jobs/{id}/…`: everything is answered when it is done.
    Older,
}

/// One request of a job.
struct Asked<'a> {
    engine: &'a Engine,
    caller: &'a Caller,
    request: &'a ApiRequest,
    shape: Shape,
}

impl Asked<'_> {
    fn body<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        extract::parse(&self.request.body)
    }

    /// The key of this request: the client's own, or one made from the number of the request, because a frozen request is sent
    /// again by every restored copy: with a random key the copy would ask for something else.
    async fn token(&self, given: Option<String>) -> Result<String, Refusal> {
        match given {
            Some(token) if token.is_empty() || token.chars().count() > TOKEN_CHARS_MAX => {
                return Err(Refusal::malformed(format!(
                    "a token has 1 to {TOKEN_CHARS_MAX} characters"
                )));
            }
            Some(token) => return Ok(token),
            None => {}
        }
        // The sandbox stays the same over every restore, also of a fork, and its agent counts from one.
        let job = self.engine.job(&self.caller.job).await?;
        match (self.request.headers.get(REQUEST_HEADER), job.numbered_by()) {
            (Some(number), Some(sandbox)) => Ok(format!("request-{sandbox}-{number}")),
            (None, _) | (_, None) => Err(Refusal::malformed(
                "give a token: it is the key under which the request can be repeated",
            )),
        }
    }
}

/// In milliseconds.
fn span_ms(span: Option<&Span>) -> Result<Option<u64>, Refusal> {
    match span {
        None => Ok(None),
        Some(Span::Ms(ms)) => Ok(Some(*ms)),
        Some(Span::Text(text)) => parse::duration_ms(text)
            .map(Some)
            .map_err(Refusal::malformed),
    }
}

/// A job may name itself by id or name, a fork also by the id that its program began with, and nobody else.
async fn check_is_own(engine: &Engine, caller: &Caller, named: &str) -> Result<(), Refusal> {
    if named == caller.job.as_str() {
        return Ok(());
    }
    let known_as = engine.job(&caller.job).await?.spec.fork.clone();
    if known_as.is_some_and(|fork| fork.known_as.iter().any(|id| id.as_str() == named)) {
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

fn no_content() -> ApiResponse {
    ApiResponse {
        status: StatusCode::NO_CONTENT.as_u16(),
        headers: BTreeMap::new(),
        body: Vec::new(),
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
