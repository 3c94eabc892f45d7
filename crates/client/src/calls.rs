//! The calls of the API, one method each.

use crate::connection::{self, Body, whole};
use crate::{Error, ExecSession, Host, LogStream};
use bytes::{Buf, Bytes, BytesMut};
use dauer_wire::http::{
    ChangeView, CheckpointCall, CheckpointView, CreateJob, CreateToken, CreatedToken, EventView,
    ExecCall, Info, JobPage, JobView, KillCall, ResizeCall, StopCall, TokenList, TokenView,
};
use futures_util::{Stream, StreamExt};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

/// A daemon to talk to. Cheap to clone. A job is named by its id, its name, or a beginning of its id that only it has.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) host: Arc<Host>,
    /// What its calls are for.
    why: Option<HeaderValue>,
}

/// Which jobs [`Client::list`] returns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Only these states; empty: all.
    pub states: Vec<String>,
    /// Only with every one of these tags, as `key:value`.
    pub tags: Vec<String>,
    /// Only the one of this name.
    pub name: Option<String>,
    /// Only those of this batch.
    pub batch: Option<String>,
    /// At most so many a page; the daemon's own limit where absent.
    pub limit: Option<usize>,
    /// [`JobPage::next_cursor`] of the page before.
    pub cursor: Option<String>,
}

impl Client {
    /// A client of this daemon, which must answer.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn connect(host: &Host) -> Result<Self, Error> {
        let client = Self::new(host);
        let request = client.request(Method::GET, "/v1/ping", whole(Bytes::new()))?;
        connection::call(&client.host, request).await?;
        Ok(client)
    }

    /// A client of this daemon, whether or not it is there yet.
    #[must_use]
    pub fn new(host: &Host) -> Self {
        Self {
            host: Arc::new(host.clone()),
            why: None,
        }
    }

    /// The same, which says what its calls are for: the history keeps it with what they do.
    ///
    /// # Errors
    /// [`Error::Protocol`] for several lines.
    pub fn because(mut self, why: &str) -> Result<Self, Error> {
        let value = HeaderValue::from_bytes(why.as_bytes());
        self.why = Some(value.map_err(|_| Error::Protocol("one line says why".into()))?);
        Ok(self)
    }

    /// What the daemon is and which drivers it has.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Lost`].
    pub async fn info(&self) -> Result<Info, Error> {
        self.get("/v1/info").await
    }

    /// Hands a job over. When this returns, the job is durable.
    ///
    /// # Errors
    /// [`Error::Refused`] with `invalid`, `unsupported`, `name_in_use`; [`Error::Lost`] leaves open whether it was accepted.
    pub async fn create(&self, job: &CreateJob) -> Result<JobView, Error> {
        self.post("/v1/jobs", job).await
    }

    /// One job with its spec and handles.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `ambiguous`.
    pub async fn job(&self, job: &str) -> Result<JobView, Error> {
        self.get(&path(job, "")).await
    }

    /// One page of jobs, newest first.
    ///
    /// # Errors
    /// [`Error::Refused`] with `invalid` for an unknown state.
    pub async fn list(&self, filter: &ListFilter) -> Result<JobPage, Error> {
        let mut query = vec![];
        if !filter.states.is_empty() {
            query.push(format!("state={}", escape(&filter.states.join(","))));
        }
        let tags = filter.tags.iter();
        query.extend(tags.map(|tag| format!("tag={}", escape(tag))));
        query.extend(
            filter
                .name
                .as_ref()
                .map(|name| format!("name={}", escape(name))),
        );
        query.extend(
            filter
                .batch
                .as_ref()
                .map(|batch| format!("batch={}", escape(batch))),
        );
        query.extend(filter.limit.map(|limit| format!("limit={limit}")));
        query.extend(
            filter
                .cursor
                .as_ref()
                .map(|cursor| format!("cursor={}", escape(cursor))),
        );
        self.get(&format!("/v1/jobs?{}", query.join("&"))).await
    }

    /// Removes an ended job and all its data; a living one only with `force`.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `conflict` while it lives.
    pub async fn remove(&self, job: &str, force: bool) -> Result<(), Error> {
        let target = path(job, &format!("?remove=true&force={force}"));
        let request = self.request(Method::DELETE, &target, whole(Bytes::new()))?;
        connection::call(&self.host, request).await.map(drop)
    }

    /// Takes a checkpoint; returns when it is committed. The job goes on.
    ///
    /// # Errors
    /// [`Error::Refused`] with `unsupported`, `conflict`, `no_space`.
    pub async fn checkpoint(&self, job: &str) -> Result<CheckpointView, Error> {
        self.post(&path(job, "/checkpoint"), &CheckpointCall::default())
            .await
    }

    /// Takes a checkpoint and lets the job sleep, for so long or until resumed.
    ///
    /// # Errors
    /// As [`Client::checkpoint`].
    pub async fn suspend(&self, job: &str, for_ms: Option<u64>) -> Result<CheckpointView, Error> {
        self.post(&path(job, "/suspend"), &CheckpointCall { for_ms })
            .await
    }

    /// Wakes a suspended job; returns when it runs.
    ///
    /// # Errors
    /// [`Error::Refused`] with `conflict` where it is not suspended, `bad_image`.
    pub async fn resume(&self, job: &str) -> Result<JobView, Error> {
        self.post(&path(job, "/resume"), &()).await
    }

    /// TERM, a grace, KILL; returns when it has ended.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn stop(&self, job: &str, grace_ms: Option<u64>) -> Result<JobView, Error> {
        self.post(&path(job, "/stop"), &StopCall { grace_ms }).await
    }

    /// Delivers a signal; KILL ends the job.
    ///
    /// # Errors
    /// [`Error::Refused`] with `conflict` where it does not run.
    pub async fn kill(&self, job: &str, signal: i32) -> Result<JobView, Error> {
        self.post(&path(job, "/kill"), &KillCall { signal }).await
    }

    /// Tells the job's terminal its size.
    ///
    /// # Errors
    /// [`Error::Refused`] with `conflict` where it does not run.
    pub async fn resize(&self, job: &str, rows: u16, columns: u16) -> Result<(), Error> {
        let body = json(&ResizeCall { rows, columns })?;
        let request = self.request(Method::POST, &path(job, "/resize"), body)?;
        connection::call(&self.host, request).await.map(drop)
    }

    /// Returns when the job has ended. [`Error::Lost`]: ask again.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`; [`Error::Lost`].
    pub async fn wait(&self, job: &str) -> Result<JobView, Error> {
        self.get(&path(job, "/wait")).await
    }

    /// The committed checkpoints, oldest first.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn checkpoints(&self, job: &str) -> Result<Vec<CheckpointView>, Error> {
        self.get(&path(job, "/checkpoints")).await
    }

    /// The files that the job changed.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn diff(&self, job: &str) -> Result<Vec<ChangeView>, Error> {
        self.get(&path(job, "/diff")).await
    }

    /// Journal entries after `after`, of one job or of all; with `follow` it waits for more.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn events(
        &self,
        job: Option<&str>,
        after: u64,
        follow: bool,
    ) -> Result<EventStream, Error> {
        let query = format!("after={after}&follow={follow}");
        let target = match job {
            Some(job) => path(job, &format!("/events?{query}")),
            None => format!("/v1/events?{query}"),
        };
        let request = self.request(Method::GET, &target, whole(Bytes::new()))?;
        let response = connection::call(&self.host, request).await?;
        Ok(JsonLines::new(response.into_body()))
    }

    /// Makes a token for callers over a network.
    ///
    /// # Errors
    /// [`Error::Refused`] with `invalid`, `forbidden`.
    pub async fn create_token(&self, token: &CreateToken) -> Result<CreatedToken, Error> {
        self.post("/v1/tokens", token).await
    }

    /// The tokens there are, oldest first.
    ///
    /// # Errors
    /// [`Error::Refused`] with `forbidden`.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, Error> {
        let list: TokenList = self.get("/v1/tokens").await?;
        Ok(list.tokens)
    }

    /// Makes a token worth nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `forbidden`.
    pub async fn remove_token(&self, id: &str) -> Result<(), Error> {
        let target = format!("/v1/tokens/{}", escape(id));
        let request = self.request(Method::DELETE, &target, whole(Bytes::new()))?;
        connection::call(&self.host, request).await.map(drop)
    }

    /// The job's output from this offset of its log. Connects at the first [`LogStream::next`].
    #[must_use]
    pub fn logs(&self, job: &str, from: u64, follow: bool) -> LogStream {
        LogStream::new(self.clone(), job.to_owned(), from, follow)
    }

    /// Feeds the job's standard input until `input` ends, which is its end of file. Slowed down by the job.
    ///
    /// # Errors
    /// [`Error::Refused`] with `conflict` where the job takes no input; [`Error::Input`] from `input`.
    pub async fn stdin(
        &self,
        job: &str,
        input: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), Error> {
        let request = self.request(Method::POST, &path(job, "/stdin"), streamed(input))?;
        connection::call(&self.host, request).await.map(drop)
    }

    /// Runs another program beside the job.
    ///
    /// # Errors
    /// [`Error::Refused`] with `conflict` where the job does not run.
    pub async fn exec(&self, job: &str, command: &ExecCall) -> Result<ExecSession, Error> {
        ExecSession::open(self, &path(job, "/exec"), command).await
    }

    pub(crate) fn request(
        &self,
        method: Method,
        target: &str,
        body: Body,
    ) -> Result<Request<Body>, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(http::header::HOST, self.host.authority())
            .header(http::header::CONTENT_TYPE, "application/json");
        if let Some(token) = self.host.token() {
            request = request.header(http::header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(why) = &self.why {
            request = request.header("dauer-why", why);
        }
        request
            .body(body)
            .map_err(|error| Error::Protocol(format!("{target}: {error}")))
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, Error> {
        let request = self.request(Method::GET, target, whole(Bytes::new()))?;
        parsed(connection::call(&self.host, request).await?.into_body()).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, target: &str) -> Result<T, Error> {
        let request = self.request(Method::DELETE, target, whole(Bytes::new()))?;
        parsed(connection::call(&self.host, request).await?.into_body()).await
    }

    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        target: &str,
        call: &impl Serialize,
    ) -> Result<T, Error> {
        let request = self.request(Method::PUT, target, json(call)?)?;
        parsed(connection::call(&self.host, request).await?.into_body()).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        target: &str,
        call: &impl Serialize,
    ) -> Result<T, Error> {
        let request = self.request(Method::POST, target, json(call)?)?;
        parsed(connection::call(&self.host, request).await?.into_body()).await
    }

    pub(crate) async fn patch<T: DeserializeOwned>(
        &self,
        target: &str,
        call: &impl Serialize,
    ) -> Result<T, Error> {
        let request = self.request(Method::PATCH, target, json(call)?)?;
        parsed(connection::call(&self.host, request).await?.into_body()).await
    }
}

/// Journal entries as they come.
pub type EventStream = JsonLines<EventView>;

/// Values as they come, one a line.
#[derive(Debug)]
pub struct JsonLines<T> {
    body: Incoming,
    buffer: BytesMut,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonLines<T> {
    pub(crate) fn new(body: Incoming) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            kind: PhantomData,
        }
    }

    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Lost`]: ask again, for entries of the journal after the last one's `seq`.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                // Empty lines keep an idle connection alive.
                if !line.is_empty() {
                    return serde_json::from_slice(&line)
                        .map(Some)
                        .map_err(|e| Error::Protocol(e.to_string()));
                }
                continue;
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(Error::lost(error)),
                None => return Ok(None),
            }
        }
    }
}

pub(crate) fn streamed(input: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(input.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

pub(crate) fn json(value: &impl Serialize) -> Result<Body, Error> {
    serde_json::to_vec(value)
        .map(whole)
        .map_err(|error| Error::Protocol(error.to_string()))
}

pub(crate) async fn parsed<T: DeserializeOwned>(body: Incoming) -> Result<T, Error> {
    let body = connection::collect(body).await?;
    serde_json::from_slice(&body).map_err(|error| Error::Protocol(error.to_string()))
}

pub(crate) fn path(job: &str, rest: &str) -> String {
    format!("/v1/jobs/{}{rest}", escape(job))
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
pub(crate) fn escape(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    out.push(char::from(byte))
                }
                _ => out.push_str(&format!("%{byte:02X}")),
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_name_cannot_leave_its_place_in_the_path() {
        assert_eq!(
            path("a/../b?x=ä", "/wait"),
            "/v1/jobs/a%2F..%2Fb%3Fx%3D%C3%A4/wait"
        );
    }
}
