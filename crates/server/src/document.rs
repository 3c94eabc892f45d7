//! The OpenAPI document of the caller API: the operations as their handlers describe them, and what is common to all.

use crate::error::{Code, PROBLEM};
use crate::gate::Needs;
use crate::routes::{Operations, ROUTES};
use axum::response::{IntoResponse, Response};
use dauer_wire::http::Problem;
use http::header;
use std::sync::LazyLock;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Content, HeaderBuilder, InfoBuilder, LicenseBuilder, Object, OpenApi, PathItem, Ref, RefOr,
    ResponseBuilder, Type,
};
use utoipa::{OpenApi as _, PartialSchema as _};

const TOKEN: &str = "token";
const PROBLEM_RESPONSE: &str = "Problem";

static TEXT: LazyLock<String> = LazyLock::new(|| {
    let text = document().to_pretty_json().expect("a document serializes");
    with_unsigned(&text)
});

/// This document
#[utoipa::path(get, path = "/v1/openapi.json", tag = "daemon", responses(
    (status = 200, description = "OpenAPI 3.1.", body = Object, content_type = "application/json")))]
pub(crate) async fn show() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi()).into_response()
}

/// The OpenAPI document of the caller API, as `docs/openapi.json` has it.
#[must_use]
pub fn openapi() -> &'static str {
    &TEXT
}

/// Numbers without a sign go twice as far as the format says that they are derived with.
fn with_unsigned(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut out = String::with_capacity(text.len() + 1024);
    for (index, line) in lines.iter().enumerate() {
        // What stands beside it in its object.
        let mut beside = lines[index + 1..]
            .iter()
            .take_while(|next| indent(next) >= indent(line));
        let is_format = line.trim_start().starts_with("\"format\": \"int");
        if is_format && beside.any(|next| next.trim().trim_end_matches(',') == "\"minimum\": 0") {
            out.push_str(&line.replace(": \"int", ": \"uint"));
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    out
}

fn document() -> OpenApi {
    let mut document = Operations::openapi();
    document.info = InfoBuilder::new()
        .title("Dauer, caller API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "For clients of the daemon: on its unix socket without a token, over TCP with one. Times are milliseconds since the \
             epoch, durations milliseconds, sizes bytes. A job is named by its id, its name, or a beginning of its id that only it has.",
        ))
        .license(Some(LicenseBuilder::new().name(env!("CARGO_PKG_LICENSE")).build()))
        .build();
    let components = document.components.get_or_insert_default();
    components
        .schemas
        .insert("Problem".into(), Problem::schema());
    components
        .responses
        .insert(PROBLEM_RESPONSE.into(), RefOr::T(problem()));
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("What `dauer token create` printed."));
    components.add_security_scheme(TOKEN, SecurityScheme::Http(scheme.build()));
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            complete(operation, method, path);
        }
    }
    document
}

/// The answer of everything that goes wrong.
fn problem() -> utoipa::openapi::Response {
    let codes: Vec<String> = Code::ALL
        .iter()
        .map(|code| format!("`{}` ({})", code.name(), code.status().as_u16()))
        .collect();
    let id = HeaderBuilder::new()
        .schema(Object::with_type(Type::String))
        .description(Some("The id of the request."));
    ResponseBuilder::new()
        .description(format!("A problem. Codes: {}.", codes.join(", ")))
        .content(
            PROBLEM,
            Content::new(Some(Ref::from_schema_name("Problem"))),
        )
        .header("x-request-id", id.build())
        .build()
}

/// What is common to all: the answer when it goes wrong, and the scope that is asked for.
fn complete(operation: &mut Operation, method: &str, path: &str) {
    let problem = RefOr::Ref(Ref::from_response_name(PROBLEM_RESPONSE));
    operation
        .responses
        .responses
        .insert("default".into(), problem);
    let route = ROUTES
        .iter()
        .find(|route| route.path == path && route.method == method);
    operation.security = Some(match route.map(|route| route.needs) {
        Some(Needs::Scope(scope)) => vec![SecurityRequirement::new(TOKEN, [scope.name()])],
        Some(Needs::Nothing) | None => Vec::new(),
    });
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("post", &mut item.post),
        ("delete", &mut item.delete),
        ("patch", &mut item.patch),
    ];
    all.into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_described_at_its_own_path() {
        let mut document = document();
        let described: BTreeSet<(String, &str)> = document
            .paths
            .paths
            .iter_mut()
            .flat_map(|(path, item)| {
                operations(item)
                    .map(|(method, _)| (path.clone(), method))
                    .collect::<Vec<_>>()
            })
            .collect();
        let routed: BTreeSet<(String, &str)> = ROUTES
            .iter()
            .map(|route| (route.path.to_owned(), route.method))
            .collect();
        assert_eq!(described, routed);
    }
}
