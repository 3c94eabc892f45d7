//! Checkpoints to other machines and from them, as streams.

use crate::calls::{escape, parsed, streamed};
use crate::connection::{self, whole};
use crate::{ByteReader, Client, Error};
use bytes::Bytes;
use dauer_wire::http::ImportedSnapshot;
use futures_util::Stream;
use http::Method;
use std::io;

impl Client {
    /// A snapshot, or the newest checkpoint of a job, as one stream.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `conflict`, `invalid`.
    pub async fn export_snapshot(&self, snapshot: &str) -> Result<ByteReader, Error> {
        let target = format!("/v1/snapshots/{}/export", escape(snapshot));
        let request = self.request(Method::GET, &target, whole(Bytes::new()))?;
        let response = connection::call(&self.host, request).await?;
        Ok(ByteReader::of(response.into_body()))
    }

    /// Takes such a stream in, under this name or the one it had.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason for which it is not whole or cannot run there; [`Error::Input`] from `stream`.
    pub async fn import_snapshot(
        &self,
        name: Option<&str>,
        stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<ImportedSnapshot, Error> {
        let query = name.map(|name| format!("?name={}", escape(name)));
        let target = format!("/v1/snapshots:import{}", query.unwrap_or_default());
        let request = self.request(Method::POST, &target, streamed(stream))?;
        parsed(connection::call(&self.host, request).await?.into_body()).await
    }
}
