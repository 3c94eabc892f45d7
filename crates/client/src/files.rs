//! Files in and out of a job, as tar streams.

use crate::calls::{escape, path, streamed};
use crate::connection::{self, whole};
use crate::{Client, Error};
use bytes::Bytes;
use futures_util::Stream;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::io;

/// The bytes of an answer as they come.
#[derive(Debug)]
pub struct ByteReader {
    body: Incoming,
}

impl ByteReader {
    pub(crate) fn of(body: Incoming) -> Self {
        Self { body }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Lost`]: what came so far is not the whole.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    // Trailers carry nothing here.
                    Err(_) => continue,
                },
                Some(Err(error)) => return Err(Error::lost(error)),
                None => return Ok(None),
            }
        }
    }
}

impl Client {
    /// A file or folder of the job as a tar whose first entry is named by the last component of `inside`.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn copy_out(&self, job: &str, inside: &str) -> Result<ByteReader, Error> {
        let target = path(job, &format!("/files?path={}", escape(inside)));
        let request = self.request(Method::GET, &target, whole(Bytes::new()))?;
        let response = connection::call(&self.host, request).await?;
        Ok(ByteReader::of(response.into_body()))
    }

    /// Unpacks a tar into the folder `inside` of the job.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `invalid`; [`Error::Input`] from `tar`.
    pub async fn copy_in(
        &self,
        job: &str,
        inside: &str,
        tar: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), Error> {
        let target = path(job, &format!("/files?path={}", escape(inside)));
        let request = self.request(Method::PUT, &target, streamed(tar))?;
        connection::call(&self.host, request).await.map(drop)
    }
}
