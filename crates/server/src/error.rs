//! Errors as HTTP answers: the only place that knows statuses.

use axum::Json;
use axum::response::{IntoResponse, Response};
use dauer_engine::Error;
use dauer_wire::http::Problem;
use http::{StatusCode, header};

/// The media type of RFC 9457.
pub(crate) const PROBLEM: &str = "application/problem+json";

/// An answer that says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) Problem);

impl Refusal {
    fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self(Problem {
            status: status.as_u16(),
            code: code.into(),
            detail: detail.into(),
        })
    }

    /// The request cannot be understood.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", detail)
    }

    /// There is nothing at this path.
    pub(crate) fn no_path(path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is nothing at {path}"),
        )
    }

    /// This path is for other methods.
    pub(crate) fn wrong_method(method: &str, path: &str) -> Self {
        let detail = format!("{path} has no {method}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    /// The request is longer than any of its kind.
    pub(crate) fn too_long(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid", detail)
    }

    /// A job that asks about another one.
    pub(crate) fn foreign(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// It was tried and failed.
    pub(crate) fn failed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", detail)
    }

    /// The status to answer with.
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let (status, code) = match error {
            Error::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Error::Ambiguous(_) => (StatusCode::CONFLICT, "ambiguous"),
            Error::NameInUse { .. } => (StatusCode::CONFLICT, "name_in_use"),
            Error::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
            Error::Unsupported(_) => (StatusCode::UNPROCESSABLE_ENTITY, "unsupported"),
            Error::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            Error::NoSpace(_) => (StatusCode::INSUFFICIENT_STORAGE, "no_space"),
            Error::BadImage(_) => (StatusCode::UNPROCESSABLE_ENTITY, "bad_image"),
            Error::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
            Error::Store(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(code, detail, "a request failed");
        }
        Self::new(status, code, detail)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (
            self.status(),
            [(header::CONTENT_TYPE, PROBLEM)],
            Json(self.0),
        )
            .into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_problem_document_with_the_engines_words() {
        let refusal = Refusal::from(Error::Conflict("the job is running, not suspended".into()));
        assert_eq!(
            (refusal.0.status, refusal.0.code.as_str()),
            (409, "conflict")
        );
        assert_eq!(refusal.0.detail, "the job is running, not suspended");
        let response = refusal.into_response();
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM);
    }
}
