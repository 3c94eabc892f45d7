//! One request to the runtime API, repeated until it has a whole answer.

use crate::Error;
use crate::connection::{Body, chain, collect, problem, whole};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

/// A long poll is answered within 20 s. This is for an answer that will never come.
const ANSWER: Duration = Duration::from_secs(60);

/// A request that failed is made again until so much was spent on failures in a row. What is added up are the pauses, not what a
/// clock says: clocks jump over a freeze, and the first failure after one must not be the last.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one request without an answer counts for.
const TIMED_OUT: Duration = Duration::from_secs(20);

const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Where the runtime API is, as `host:port`; none outside of Dauer.
pub(super) fn address() -> Option<String> {
    let api = std::env::var("DAUER_API")
        .ok()
        .filter(|api| !api.is_empty())?;
    let address = api.strip_prefix("http://").unwrap_or(&api);
    Some(address.trim_end_matches('/').to_owned())
}

/// The same for calls without a meaning outside of Dauer.
pub(super) fn needed_address() -> Result<String, Error> {
    address().ok_or(Error::NotManaged)
}

/// A whole answer, whatever it says.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Reply {
    /// The body, if it is one of success.
    pub(super) fn accepted(self) -> Result<Bytes, Error> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        Err(Error::Refused(Box::new(problem(self.status, &self.body))))
    }

    /// The same, read as JSON.
    pub(super) fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        serde_json::from_slice(&self.accepted()?)
            .map_err(|error| Error::Protocol(error.to_string()))
    }
}

pub(super) async fn get(address: &str, path: &str) -> Result<Reply, Error> {
    answered(address, &Method::GET, path, &Bytes::new()).await
}

pub(super) async fn delete(address: &str, path: &str) -> Result<Reply, Error> {
    answered(address, &Method::DELETE, path, &Bytes::new()).await
}

pub(super) async fn post(address: &str, path: &str, body: &Value) -> Result<Reply, Error> {
    answered(address, &Method::POST, path, &Bytes::from(body.to_string())).await
}

/// What the relay and a daemon that is being restarted answer for a while.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502..=504)
}

async fn answered(
    address: &str,
    method: &Method,
    path: &str,
    body: &Bytes,
) -> Result<Reply, Error> {
    let mut spent = Duration::ZERO;
    let mut pause = PAUSE_FIRST;
    loop {
        let request = request(address, method, path, body)?;
        let outcome = match tokio::time::timeout(ANSWER, exchange(address, request)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                spent += TIMED_OUT;
                Err(Error::lost("no answer came"))
            }
        };
        match outcome {
            Ok(reply) if !is_passing(reply.status) => return Ok(reply),
            Ok(_) | Err(_) if spent >= PATIENCE => return outcome,
            Ok(_) | Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        spent += pause;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn request(
    address: &str,
    method: &Method,
    path: &str,
    body: &Bytes,
) -> Result<Request<Body>, Error> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, address)
        .header(header::CONNECTION, "close")
        .header(header::CONTENT_TYPE, "application/json")
        .body(whole(body.clone()))
        .map_err(|error| Error::Protocol(format!("{path}: {error}")))
}

/// One request on a connection of its own.
async fn exchange(address: &str, request: Request<Body>) -> Result<Reply, Error> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| unreachable(address, source))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(Error::lost)?;
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| Error::lost(chain(&error)))?;
        let status = response.status();
        let body = collect(response.into_body()).await?;
        Ok(Reply { status, body })
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The answer may be there whole although its connection has ended; else its reading says what is wrong.
        _ = connection => answer.await,
    }
}

fn unreachable(address: &str, source: io::Error) -> Error {
    Error::Unreachable {
        host: format!("http://{address}"),
        source,
    }
}
