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

/// The whole body, up to a limit.
pub(crate) async fn whole(request: Request) -> Result<Bytes, Refusal> {
    match Limited::new(request.into_body(), BODY_BYTES_MAX)
        .collect()
        .await
    {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::too_long(format!(
            "the body is longer than {BODY_BYTES_MAX} bytes"
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
    serde_json::from_slice(body)
        .map_err(|error| Refusal::malformed(format!("the body is not as expected: {error}")))
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
