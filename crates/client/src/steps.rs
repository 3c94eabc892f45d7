//! Steps and their cache.

use crate::calls::{escape, json};
use crate::connection::{self, whole};
use crate::{Client, Error};
use bytes::{Bytes, BytesMut};
use dauer_wire::http::{CacheEntryView, CacheView, CleanedCache, StepCall, StepEvent};
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// A step that runs. Dropping it ends the step.
#[derive(Debug)]
pub struct StepStream {
    body: Incoming,
    buffer: BytesMut,
}

impl StepStream {
    /// What comes next; nothing after the result.
    ///
    /// # Errors
    /// [`Error::Lost`]: the daemon went away, and the step with it.
    pub async fn next(&mut self) -> Result<Option<StepEvent>, Error> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                let event = serde_json::from_slice(&line);
                let event =
                    event.map_err(|error| Error::Protocol(format!("a step's line: {error}")))?;
                return Ok(Some(event));
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame.map_err(Error::lost)?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(Error::lost("the daemon went away in the middle of a line")),
            }
        }
    }
}

impl Client {
    /// Runs a step, or is answered with what an earlier one of its key left.
    ///
    /// # Errors
    /// [`Error::Refused`] with `invalid`, `unsupported`, `not_found`.
    pub async fn step(&self, call: &StepCall) -> Result<StepStream, Error> {
        let request = self.request(Method::POST, "/v1/steps", json(call)?)?;
        let response = connection::call(&self.host, request).await?;
        Ok(StepStream {
            body: response.into_body(),
            buffer: BytesMut::new(),
        })
    }

    /// Ends a run of steps: what they left and no key has goes.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Lost`].
    pub async fn end_run(&self, run: &str) -> Result<(), Error> {
        let target = format!("/v1/steps/{}", escape(run));
        let request = self.request(Method::DELETE, &target, whole(Bytes::new()))?;
        connection::call(&self.host, request).await.map(drop)
    }

    /// What is kept under which key; without `entries` only how much.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Lost`].
    pub async fn cache(&self, entries: bool) -> Result<CacheView, Error> {
        self.get(&format!("/v1/cache?entries={entries}")).await
    }

    /// Keeps an entry whatever wants its room, or no longer.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn pin_cache(&self, key: &str, pinned: bool) -> Result<CacheEntryView, Error> {
        let verb = if pinned { "pin" } else { "unpin" };
        self.post(&format!("/v1/cache/{}/{verb}", escape(key)), &())
            .await
    }

    /// Removes an entry with its snapshot.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`; `conflict` while a step works with it.
    pub async fn remove_cache(&self, key: &str) -> Result<CacheEntryView, Error> {
        self.delete(&format!("/v1/cache/{}", escape(key))).await
    }

    /// Removes every entry that is neither pinned nor worked with.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Lost`].
    pub async fn clean_cache(&self) -> Result<CleanedCache, Error> {
        self.delete("/v1/cache").await
    }
}
