//! What a job may know of itself and say about itself.

use super::api;
use crate::Error;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;

/// Who this job is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Its id; none outside of Dauer.
    pub job_id: Option<String>,
    /// What it was made from.
    pub definition_name: Option<String>,
    /// In which version.
    pub definition_version: Option<String>,
    /// How often it was tried again from its start.
    pub retry_count: u32,
    /// When its newest checkpoint was taken.
    pub last_checkpoint_at_ms: Option<i64>,
    /// What was kept with it.
    pub metadata: BTreeMap<String, Value>,
    /// What it is searched by.
    pub tags: BTreeMap<String, String>,
}

/// What the job was started with (`--params`); none where nothing was given, and outside of Dauer.
///
/// # Errors
/// [`Error::Protocol`] where it is no `T`; [`Error::Unreachable`], [`Error::Lost`].
pub async fn params<T: DeserializeOwned>() -> Result<Option<T>, Error> {
    match api::address() {
        Some(address) => api::get(&address, "/v1/self/params").await?.json(),
        None => Ok(None),
    }
}

/// Who this job is; empty outside of Dauer.
///
/// # Errors
/// [`Error::Unreachable`], [`Error::Lost`].
pub async fn metadata() -> Result<Metadata, Error> {
    match api::address() {
        Some(address) => api::get(&address, "/v1/self/metadata").await?.json(),
        None => Ok(Metadata::default()),
    }
}

/// Tells how far it is, for `dauer ps` and those who follow the job.
///
/// # Errors
/// [`Error::Unreachable`], [`Error::Lost`].
pub async fn progress(done: f64, total: Option<f64>, message: Option<&str>) -> Result<(), Error> {
    let Some(address) = api::address() else {
        return Ok(());
    };
    let body = json!({ "done": done, "total": total, "message": message });
    let reply = api::post(&address, "/v1/self/progress", &body).await?;
    reply.accepted().map(drop)
}

/// Ends the job with this result, any JSON up to 1 MiB, and this process; `dauer result JOB` prints it. Outside of Dauer it only exits.
///
/// # Errors
/// [`Error::Refused`] with `too_large`, and the program goes on; [`Error::Protocol`] for what has no JSON.
pub async fn exit(output: &impl Serialize, code: i32) -> Result<Infallible, Error> {
    if let Some(address) = api::address() {
        let output =
            serde_json::to_value(output).map_err(|error| Error::Protocol(error.to_string()))?;
        let body = json!({ "exit_code": code, "output": output });
        let reply = api::post(&address, "/v1/self/exit", &body).await?;
        reply.accepted()?;
    }
    std::process::exit(code)
}
