//! That a program is ready for what makes its job different from others.

use super::api;
use crate::Error;
use dauer_wire::http::ReadyStatus;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

/// Where a program goes on that said that it was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Later jobs of the definition begin here.
    Taken,
    /// This is one of those: it has the memory of another job, and connections to the outside are gone.
    Restored,
    /// Nothing was kept.
    Cold,
    /// This is no job of Dauer.
    NotManaged,
}

/// What a program is to know that said that it was ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Where it goes on.
    pub status: Readiness,
    /// The incarnation that goes on; 0 outside of Dauer.
    pub generation: u32,
    /// Why it is [`Readiness::Cold`].
    pub message: Option<String>,
    /// What this job adds to the environment, and `DAUER_JOB_ID`. The process may have begun before there was this job, and setting
    /// variables is not safe beside other threads: that is for the program to decide.
    pub env: BTreeMap<String, String>,
}

/// As much of the job as is asked for.
#[derive(Deserialize)]
struct Own {
    id: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

/// Everything that jobs of this definition have in common is done. Where the definition says `warm`, the first job is frozen here and
/// goes on; every later one begins here. What comes after is each job's own: [`super::params`], files and connections to open.
///
/// # Errors
/// [`Error::Unreachable`], [`Error::Lost`], [`Error::Refused`] where the job is ending. That no state can be kept is none.
pub async fn ready() -> Result<Ready, Error> {
    match api::address() {
        Some(address) => ready_at(&address).await,
        None => Ok(Ready {
            status: Readiness::NotManaged,
            generation: 0,
            message: None,
            env: BTreeMap::new(),
        }),
    }
}

pub(super) async fn ready_at(address: &str) -> Result<Ready, Error> {
    let told = loop {
        let told: ReadyStatus = api::post(address, "/v1/self/ready", &json!({}))
            .await?
            .json()?;
        if told.status != "pending" {
            break told;
        }
    };
    let status = match told.status.as_str() {
        "taken" => Readiness::Taken,
        "restored" => Readiness::Restored,
        "cold" => Readiness::Cold,
        other => {
            return Err(Error::Protocol(format!(
                "the status {other:?} of readiness"
            )));
        }
    };
    let own: Own = api::get(address, "/v1/self").await?.json()?;
    let mut env = own.env;
    env.insert("DAUER_JOB_ID".into(), own.id);
    Ok(Ready {
        status,
        generation: told.generation,
        message: told.message,
        env,
    })
}
