//! Errors as HTTP answers: the only place that knows statuses.

mod code;

use crate::request_id;
use axum::Json;
use axum::response::{IntoResponse, Response};
pub(crate) use code::Code;
use dauer_engine::Error;
use dauer_wire::http::Problem;
use http::{HeaderName, HeaderValue, StatusCode, header};

/// The media type of RFC 9457.
pub(crate) const PROBLEM: &str = "application/problem+json";

/// An answer that says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) detail: String,
    /// The path of the field that is wrong, where it is one.
    pub(crate) field: Option<String>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Refusal {
    /// A refusal with one line that says what failed and what to do.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            field: None,
            header: None,
        }
    }

    /// The same, with a header that its status asks for.
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    /// The same, about this field of the request.
    pub(crate) fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The same, seen from outside: the request that is wrong is the field `outer` of another one.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        self.field = Some(match self.field {
            Some(field) => format!("{outer}.{field}"),
            None => outer.to_owned(),
        });
        self
    }

    /// The request cannot be understood.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Code::Invalid, detail)
    }

    /// There is nothing at this path.
    pub(crate) fn no_path(path: &str) -> Self {
        Self::new(Code::NotFound, format!("there is nothing at {path}"))
    }

    /// This path is for other methods.
    pub(crate) fn wrong_method(method: &str, path: &str) -> Self {
        Self::new(Code::MethodNotAllowed, format!("{path} has no {method}"))
    }

    /// The request is longer than any of its kind.
    pub(crate) fn too_long(detail: impl Into<String>) -> Self {
        Self::new(Code::TooLarge, detail)
    }

    /// A job that asks about another one.
    pub(crate) fn foreign(detail: impl Into<String>) -> Self {
        Self::new(Code::Forbidden, detail)
    }

    /// It was tried and failed.
    pub(crate) fn failed(detail: impl Into<String>) -> Self {
        Self::new(Code::Failed, detail)
    }

    /// The status to answer with.
    pub(crate) fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// The document to answer with; it names the request that is being answered.
    pub(crate) fn problem(self) -> Problem {
        Problem {
            page: self.code.page(),
            title: self.code.title().to_owned(),
            status: self.code.status().as_u16(),
            code: self.code.name().to_owned(),
            detail: self.detail,
            field: self.field,
            instance: request_id::current(),
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let field = match &error {
            Error::InvalidField { field, .. } => Some(field.clone()),
            _ => None,
        };
        let code = match error {
            Error::NotFound(_)
            | Error::NoDefinition(_)
            | Error::NoSchedule(_)
            | Error::NoQueue(_)
            | Error::NoBatch(_)
            | Error::NoSnapshot(_)
            | Error::NotCached(_) => Code::NotFound,
            Error::StepTimedOut { .. } => Code::StepTimedOut,
            Error::NoImage(_) => Code::NoImage,
            Error::Registry(_) => Code::Registry,
            Error::NotUnique { .. } => Code::NotUnique,
            Error::Ambiguous(_) => Code::Ambiguous,
            Error::NameInUse { .. } => Code::NameInUse,
            Error::KeyInUse { .. } => Code::KeyInUse,
            Error::DefinitionExists(_) => Code::DefinitionExists,
            Error::ScheduleExists(_) => Code::ScheduleExists,
            Error::Invalid(_) | Error::InvalidField { .. } => Code::Invalid,
            Error::Unsupported(_) => Code::Unsupported,
            Error::Conflict(_) | Error::Busy(_) | Error::Vanished(_) => Code::Conflict,
            Error::HeldElsewhere { .. } => Code::HeldByAnotherNode,
            Error::Fenced => Code::Fenced,
            Error::NoSpace(_) => Code::NoSpace,
            Error::BadImage(_) => Code::BadImage,
            Error::Failed(_) => Code::Failed,
            Error::Store(_) => Code::Internal,
        };
        if code.status() == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(code = code.name(), detail, "a request failed");
        }
        Self {
            field,
            ..Self::new(code, detail)
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(mut self) -> Response {
        let status = self.status();
        let extra = self.header.take();
        let body = Json(self.problem());
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM)], body).into_response();
        if let Some(extra) = extra {
            let (name, value) = *extra;
            response.headers_mut().insert(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_problem_document_with_the_engines_words() {
        let refusal = Refusal::from(Error::Conflict("the job is running, not suspended".into()));
        let problem = refusal.clone().problem();
        assert_eq!((problem.status, problem.code.as_str()), (409, "conflict"));
        assert_eq!(problem.detail, "the job is running, not suspended");
        assert!(
            problem.page.ends_with("/docs/errors/conflict.md"),
            "{}",
            problem.page
        );
        let response = refusal.into_response();
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM);
    }

    #[tokio::test]
    async fn a_problem_names_its_request() {
        let answer = async { Refusal::malformed("x").problem().instance };
        let id = HeaderValue::from_static("mine");
        assert_eq!(
            request_id::scope(&id, answer).await.as_deref(),
            Some("mine")
        );
    }
}
