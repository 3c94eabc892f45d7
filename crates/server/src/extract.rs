//! Parts of a request, with problem documents where they are wrong.

use crate::error::{Code, Refusal};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize as _, Deserializer};
use std::time::Duration;

/// A command line and an environment have room in this, nothing sensible needs more.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Ten thousand jobs of some kilobytes each.
const LARGE_BYTES_MAX: usize = 64 << 20;

/// A body that is read whole has to come within this.
const BODY_MAX: Duration = Duration::from_secs(30);

/// A JSON body; an empty one stands for `{}`.
#[derive(Clone, Debug)]
pub(crate) struct Input<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        check_kind(request.headers()).map_err(Refusal::into_response)?;
        let body = whole(request).await.map_err(Refusal::into_response)?;
        parse(&body).map(Self).map_err(Refusal::into_response)
    }
}

/// A JSON body that has to be there, because what it leaves out would be taken away.
#[derive(Clone, Debug)]
pub(crate) struct Stated<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Stated<T> {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        check_kind(request.headers()).map_err(Refusal::into_response)?;
        let body = whole(request).await.map_err(Refusal::into_response)?;
        if body.trim_ascii().is_empty() {
            let detail = "there is no body: send a JSON object, {} where nothing is to be set";
            return Err(Refusal::malformed(detail.to_owned()).into_response());
        }
        parse(&body).map(Self).map_err(Refusal::into_response)
    }
}

/// A JSON body of many parts.
#[derive(Clone, Debug)]
pub(crate) struct Large<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Large<T> {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        check_kind(request.headers()).map_err(Refusal::into_response)?;
        let body = up_to(request, LARGE_BYTES_MAX)
            .await
            .map_err(Refusal::into_response)?;
        parse(&body).map(Self).map_err(Refusal::into_response)
    }
}

/// Kinds that a client puts there without meaning anything by it, such as `curl -d`, are taken for JSON.
fn check_kind(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let kind = kind.to_str().unwrap_or_default();
    let bare = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let means_nothing = [
        "",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "text/plain",
    ];
    if bare == "application/json"
        || bare.ends_with("+json")
        || means_nothing.contains(&bare.as_str())
    {
        return Ok(());
    }
    let detail = format!("the body is of the kind {kind:?}: send application/json");
    Err(Refusal::new(Code::UnsupportedMediaType, detail))
}

/// The whole body, up to a limit, and in good time.
pub(crate) async fn whole(request: Request) -> Result<Bytes, Refusal> {
    up_to(request, BODY_BYTES_MAX).await
}

async fn up_to(request: Request, bytes_max: usize) -> Result<Bytes, Refusal> {
    let limited = Limited::new(request.into_body(), bytes_max).collect();
    let Ok(collected) = tokio::time::timeout(BODY_MAX, limited).await else {
        let detail = format!("the body did not come within {} s", BODY_MAX.as_secs());
        return Err(Refusal::new(Code::RequestTimeout, detail));
    };
    match collected {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::too_long(format!(
            "the body is longer than {bytes_max} bytes"
        ))),
        Err(error) => Err(Refusal::malformed(format!("the body broke off: {error}"))),
    }
}

/// Reads a JSON object; nothing stands for `{}`.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let body = match body.trim_ascii() {
        b"" => b"{}",
        // It would be taken for the fields of an object, in the order in which we happen to write them.
        [b'[', ..] => {
            let detail = "the body is not as expected: a list, where an object belongs";
            return Err(Refusal::malformed(detail.to_owned()));
        }
        body => body,
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

/// A place in a log or a journal: as far as files and the store can count.
pub(crate) fn place<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    if number <= i64::MAX as u64 {
        return Ok(number);
    }
    Err(D::Error::custom(format!("{number} is beyond every place")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_to_be_something_else_than_json_is_refused_and_what_says_nothing_is_json() {
        let code = |kind: &str| {
            let value = http::HeaderValue::from_str(kind).unwrap();
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value)]);
            check_kind(&headers).err().map(|refusal| refusal.code)
        };
        for fine in [
            "application/json; charset=utf-8",
            "application/merge-patch+json",
            "application/x-www-form-urlencoded",
            "text/plain",
        ] {
            assert_eq!(code(fine), None, "{fine}");
        }
        for wrong in [
            "application/xml",
            "multipart/form-data; boundary=x",
            "image/png",
        ] {
            assert_eq!(code(wrong), Some(Code::UnsupportedMediaType), "{wrong}");
        }
        assert!(check_kind(&HeaderMap::new()).is_ok());
    }
}
