//! The gate before every route: who asks, whether they may, how often, and how long the answer may take.
//!
//! On the unix socket the kernel says who asks, and the daemon's own user may do everything. Over TCP a token says it, and its scope is
//! compared with what the route asks for: the table is `ROUTES`, and docs/access.md.

use crate::error::{Code, Refusal};
use crate::routes::{Pace, ROUTES, Route};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use dauer_core::{JobSpec, Scope};
use dauer_engine::{Asker, Bearer, Engine};
use governor::clock::{Clock as _, MonotonicClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use http::{HeaderMap, HeaderValue, Method, header};
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// A brief answer that takes longer is not waited for any more.
const BRIEF_MAX: Duration = Duration::from_secs(30);

/// Where a caller may say what a request is for.
const WHY_HEADER: &str = "dauer-why";

/// A sentence, not a document.
const WHY_BYTES_MAX: usize = 500;

/// How the other end of a connection was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A process of the daemon's user or of root, on the unix socket.
    Owner(u32),
    /// A process of this other user, on the unix socket.
    Stranger(u32),
    /// Somebody on the network.
    Network,
}

/// Who asks, for handlers to which the route alone does not say enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// What this caller may do.
    pub(crate) scope: Scope,
}

impl Caller {
    /// Whether this caller may submit such a job.
    ///
    /// Errors: it may change files of the host, which concerns everybody.
    pub(crate) fn check_spec(self, spec: &JobSpec) -> Result<(), Refusal> {
        match spec.mounts.iter().find(|mount| !mount.read_only) {
            Some(mount) if self.scope < Scope::Admin => {
                let mut refusal = Refusal::needs(Scope::Admin, self.scope);
                refusal.detail = format!(
                    "the mount of {} is not read-only: {}",
                    mount.source, refusal.detail
                );
                Err(refusal.at("mounts"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

type Limiter = RateLimiter<String, HashMapStateStore<String>, MonotonicClock>;

/// What the gate needs to know.
#[derive(Clone)]
pub(crate) struct Gate {
    engine: Engine,
    /// Requests of each token; absent: as many as it likes.
    limiter: Option<Arc<Limiter>>,
}

impl Gate {
    pub(crate) fn new(engine: Engine, rate_per_second: Option<NonZeroU32>) -> Self {
        let limiter = rate_per_second.map(|rate| {
            Arc::new(RateLimiter::new(
                Quota::per_second(rate),
                HashMapStateStore::default(),
                MonotonicClock,
            ))
        });
        Self { engine, limiter }
    }

    fn admit(&self, request: &Request, route: Option<&Route>) -> Result<(Caller, Asker), Refusal> {
        let peer = request.extensions().get::<Peer>().copied();
        match peer {
            Some(Peer::Owner(uid)) => {
                let scope = Scope::Admin;
                Ok((Caller { scope }, Asker::new("uid", uid)))
            }
            Some(Peer::Stranger(uid)) => {
                let detail = format!(
                    "user {uid} may not use this socket: it is for the user that the daemon runs as; ask them for a token, and use the daemon's TCP address"
                );
                Err(Refusal::new(Code::Forbidden, detail))
            }
            Some(Peer::Network) | None => self.admit_bearer(request.headers(), route),
        }
    }

    fn admit_bearer(
        &self,
        headers: &HeaderMap,
        route: Option<&Route>,
    ) -> Result<(Caller, Asker), Refusal> {
        let needed = match route.map(|route| route.needs) {
            Some(Needs::Nothing) => {
                let scope = Scope::Read;
                return Ok((Caller { scope }, Asker::new("token", "none")));
            }
            Some(Needs::Scope(scope)) => scope,
            // What there is, and what is not, is told to those who may look.
            None => Scope::Read,
        };
        let Some(bearer) = token_of(headers).and_then(|token| self.engine.bearer(token)) else {
            let detail = match headers.contains_key(header::AUTHORIZATION) {
                true => {
                    "the token is not valid: it is unknown, expired or was removed; make one with: dauer token create"
                }
                false => {
                    "over TCP every request needs the header authorization: Bearer TOKEN; make a token with: dauer token create"
                }
            };
            return Err(Refusal::new(Code::Unauthorized, detail).with_header(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"dauer\""),
            ));
        };
        self.check_rate(&bearer)?;
        if bearer.scope < needed {
            return Err(Refusal::needs(needed, bearer.scope));
        }
        let scope = bearer.scope;
        let called = bearer.name.unwrap_or(bearer.token);
        Ok((Caller { scope }, Asker::new("token", called)))
    }

    fn check_rate(&self, bearer: &Bearer) -> Result<(), Refusal> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        limiter.check_key(&bearer.token).map_err(|until| {
            let wait = until.wait_time_from(MonotonicClock.now());
            let seconds = wait.as_secs_f64().ceil().max(1.0);
            let detail = format!(
                "token {} has used up its requests: wait {seconds} s",
                bearer.token
            );
            Refusal::new(Code::RateLimited, detail)
                .with_header(header::RETRY_AFTER, HeaderValue::from(seconds as u64))
        })
    }
}

impl Refusal {
    /// The caller's token allows too little.
    pub(crate) fn needs(needed: Scope, has: Scope) -> Self {
        let detail = format!(
            "this needs a token of scope {needed}, and this one is of scope {has}; make one with: dauer token create --scope {needed}"
        );
        Self::new(Code::Forbidden, detail)
    }
}

/// What a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// It is open to everybody who reaches it.
    Nothing,
    /// A token of at least this scope.
    Scope(Scope),
}

/// The token in the header, which is `Bearer` and the token.
fn token_of(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What a request is for, in its caller's words.
///
/// Errors: too long, or not text.
fn why_of(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get(WHY_HEADER) else {
        return Ok(None);
    };
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) if text.len() <= WHY_BYTES_MAX => Ok(Some(text.to_owned())),
        Ok(_) | Err(_) => {
            let text = format!("the header {WHY_HEADER} is at most {WHY_BYTES_MAX} bytes of text");
            Err(Refusal::malformed(text))
        }
    }
}

/// The row of the table for a path that a route matched.
fn route_of(method: &Method, path: &str) -> Option<&'static Route> {
    static BY_PATH: LazyLock<HashMap<&'static str, Vec<&'static Route>>> = LazyLock::new(|| {
        let mut routes: HashMap<_, Vec<_>> = HashMap::new();
        for route in ROUTES {
            routes.entry(route.path).or_default().push(route);
        }
        routes
    });
    // HEAD is answered as GET.
    let method = if method == Method::HEAD {
        "GET"
    } else {
        method.as_str()
    };
    let routes = BY_PATH.get(path)?;
    routes
        .iter()
        .copied()
        .find(|route| route.method.eq_ignore_ascii_case(method))
}

/// Lets a request through, or says why not.
pub(crate) async fn pass(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.and_then(|path| route_of(request.method(), path.as_str()));
    let admitted = gate.admit(&request, route);
    let (caller, asker) = match admitted.and_then(|(caller, asker)| {
        let why = why_of(request.headers())?;
        Ok((caller, asker.because(why)))
    }) {
        Ok(admitted) => admitted,
        Err(refusal) => return refusal.into_response(),
    };
    request.extensions_mut().insert(caller);
    asker.asks(answer(route, request, next)).await
}

async fn answer(route: Option<&Route>, request: Request, next: Next) -> Response {
    match route.map(|route| route.pace) {
        Some(Pace::Brief) | None => {
            match tokio::time::timeout(BRIEF_MAX, next.run(request)).await {
                Ok(response) => response,
                Err(_) => {
                    let detail = format!(
                        "no answer within {} s: the daemon is too busy",
                        BRIEF_MAX.as_secs()
                    );
                    Refusal::new(Code::Timeout, detail).into_response()
                }
            }
        }
        Some(Pace::Long) => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_found_by_its_path_and_method_and_head_is_get() {
        let needs = |method, path| route_of(&method, path).map(|route| route.needs);
        assert_eq!(
            needs(Method::GET, "/v1/jobs/{job}"),
            Some(Needs::Scope(Scope::Read))
        );
        assert_eq!(
            needs(Method::HEAD, "/v1/jobs/{job}"),
            Some(Needs::Scope(Scope::Read))
        );
        assert_eq!(
            needs(Method::POST, "/v1/jobs"),
            Some(Needs::Scope(Scope::Submit))
        );
        assert_eq!(needs(Method::GET, "/v1/ping"), Some(Needs::Nothing));
        assert_eq!(needs(Method::PATCH, "/v1/jobs"), None);
    }

    #[test]
    fn the_documented_table_is_the_one_in_force() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/access.md");
        let text = std::fs::read_to_string(page).unwrap();
        let rows: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        let expected: Vec<String> = ROUTES
            .iter()
            .map(|route| {
                let needs = match route.needs {
                    Needs::Nothing => "nothing".to_owned(),
                    Needs::Scope(scope) => scope.to_string(),
                };
                format!(
                    "| `{} {}` | {needs} |",
                    route.method.to_uppercase(),
                    route.path
                )
            })
            .collect();
        assert_eq!(
            rows, expected,
            "docs/access.md has another table than routes.rs"
        );
    }

    #[test]
    fn a_token_is_what_follows_bearer() {
        let of = |value: &'static str| {
            let headers =
                HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
            token_of(&headers).map(str::to_owned)
        };
        assert_eq!(of("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(of("bearer  abc").as_deref(), Some("abc"));
        assert_eq!(of("Basic abc"), None);
        assert_eq!(of("abc"), None);
    }
}
