//! Parts of a request, with problem documents where they are wrong.

use crate::error::Refusal;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

/// A command line and an environment have room in this, nothing sensible needs more.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Ten thousand jobs of some kilobytes each.
const LARGE_BYTES_MAX: usize = 64 << 20;

/// A JSON body; an empty one stands for `{}`.
#[derive(Clone, Debug)]
pub(crate) struct Input<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let body = whole(request).await.map_err(Refusal::into_response)?;
        parse(&body).map(Self).map_err(Refusal::into_response)
    }
}

/// A JSON body of many parts.
#[derive(Clone, Debug)]
pub(crate) struct Large<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Large<T> {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let body = up_to(request, LARGE_BYTES_MAX)
            .await
            .map_err(Refusal::into_response)?;
        parse(&body).map(Self).map_err(Refusal::into_response)
    }
}

/// The whole body, up to a limit.
pub(crate) async fn whole(request: Request) -> Result<Bytes, Refusal> {
    up_to(request, BODY_BYTES_MAX).await
}

async fn up_to(request: Request, bytes_max: usize) -> Result<Bytes, Refusal> {
    match Limited::new(request.into_body(), bytes_max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::too_long(format!(
            "the body is longer than {bytes_max} bytes"
        ))),
        Err(error) => Err(Refusal::malformed(format!("the body broke off: {error}"))),
    }
}

/// Reads JSON; nothing stands for `{}`.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let body = if body.trim_ascii().is_empty() {
        b"{}"
    } else {
        body
    };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(unexpected)?;
    deserializer
        .end()
        .map_err(|error| Refusal::malformed(format!("the body is not as expected: {error}")))?;
    Ok(parsed)
}

/// The same of JSON that was read before.
pub(crate) fn typed<T: DeserializeOwned>(value: &serde_json::Value) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(value).map_err(unexpected)
}

fn unexpected(error: serde_path_to_error::Error<serde_json::Error>) -> Refusal {
    let path = error.path().to_string();
    let refusal = Refusal::malformed(format!("the body is not as expected: {}", error.inner()));
    match path.as_str() {
        // The whole body.
        "." => refusal,
        _ => refusal.at(path),
    }
}

/// The query.
#[derive(Clone, Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => Err(
                Refusal::malformed(format!("the query is not as expected: {error}"))
                    .into_response(),
            ),
        }
    }
}
