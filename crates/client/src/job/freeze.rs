//! Checkpoints, suspended sleep, and whether there was a restore.

use super::api::{self, Reply};
use super::lock::check_none_held;
use crate::Error;
use crate::calls::escape;
use dauer_wire::http::CheckpointStatus;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

/// A key that the daemon does not know is asked with again so often.
const UNKNOWN_MAX: u32 = 20;

/// What became of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// This process asked for it.
    Taken,
    /// This process came out of it: connections to the outside are gone.
    Restored,
    /// This is no job of Dauer.
    NotManaged,
}

/// A checkpoint, on whichever side of it one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpointed {
    /// Which side.
    pub status: Status,
    /// The incarnation that goes on; 0 outside of Dauer.
    pub generation: u32,
    /// The checkpoint's id.
    pub id: Option<String>,
}

/// Keeps this moment: memory, files, all tasks. Returns once it is on disk, and again in each process that comes out of it. With
/// `suspend` the job then sleeps for so long at no cost.
///
/// # Errors
/// [`Error::CheckpointFailed`] where none could be taken, and the job goes on; [`Error::Refused`]; [`Error::LockHeld`].
pub async fn checkpoint(suspend: Option<Duration>) -> Result<Checkpointed, Error> {
    let Some(address) = api::address() else {
        return Ok(Checkpointed {
            status: Status::NotManaged,
            generation: 0,
            id: None,
        });
    };
    check_none_held()?;
    checkpoint_at(&address, suspend).await
}

pub(super) async fn checkpoint_at(
    address: &str,
    suspend: Option<Duration>,
) -> Result<Checkpointed, Error> {
    let token = new_token();
    let mut body = json!({ "token": token });
    if let Some(suspend) = suspend {
        body["suspend"] = text(suspend).into();
    }
    let view = outcome(address, &token, &body).await?;
    let status = match view.status.as_str() {
        "taken" => Status::Taken,
        "restored" => Status::Restored,
        "failed" => {
            let why = view.message.unwrap_or_else(|| "no reason was given".into());
            return Err(Error::CheckpointFailed(why));
        }
        other => return Err(Error::Protocol(format!("the checkpoint status {other:?}"))),
    };
    if status == Status::Taken {
        // Where somebody looked before, their look counts.
        let _ = SEEN.compare_exchange(UNSEEN, view.generation, ORDER, ORDER);
    }
    Ok(Checkpointed {
        status,
        generation: view.generation,
        id: view.checkpoint,
    })
}

/// Asks under this key until the checkpoint is no longer pending.
async fn outcome(
    address: &str,
    token: &str,
    body: &serde_json::Value,
) -> Result<CheckpointStatus, Error> {
    let poll = format!("/v1/self/checkpoint/{}", escape(token));
    for unknown in 0.. {
        let asked = api::post(address, "/v1/self/checkpoint", body).await?;
        let mut view: CheckpointStatus = asked.json()?;
        while view.status == "pending" {
            let reply: Reply = api::get(address, &poll).await?;
            // The request was answered, but never written down.
            if reply.status == StatusCode::NOT_FOUND && unknown < UNKNOWN_MAX {
                break;
            }
            view = reply.json()?;
        }
        if view.status != "pending" {
            return Ok(view);
        }
        tokio::time::sleep(Duration::from_millis(20) * unknown).await;
    }
    unreachable!("the last round returns")
}

/// Sleeps, suspended: the job has no process and no memory meanwhile. Somebody who resumes the job ends the sleep. Where the job
/// cannot be frozen, and outside of Dauer, it only waits.
///
/// # Errors
/// As [`checkpoint`], but for a checkpoint that cannot be taken.
pub async fn sleep(span: Duration) -> Result<(), Error> {
    // The wall clock is right after a thaw, the monotonic one need not be.
    let until = SystemTime::now() + span;
    if super::managed() {
        match checkpoint(Some(span)).await {
            Ok(_) => return Ok(()),
            Err(error) if cannot_freeze(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let left = until.duration_since(SystemTime::now());
    // An error means that the time is over.
    tokio::time::sleep(left.unwrap_or_default()).await;
    Ok(())
}

/// The job goes on without a checkpoint, and no repetition helps.
pub(super) fn cannot_freeze(error: &Error) -> bool {
    matches!(error, Error::CheckpointFailed(_)) || error.code() == Some("unsupported")
}

/// The incarnation at the last look.
static SEEN: AtomicU32 = AtomicU32::new(UNSEEN);
const UNSEEN: u32 = u32::MAX;
const ORDER: Ordering = Ordering::SeqCst;

/// As much of the job as is looked at.
#[derive(Deserialize)]
struct Incarnation {
    generation: u32,
    retries: u32,
}

/// Whether the process was thawed or restored since this was last asked. Then connections to the outside are gone.
///
/// # Errors
/// [`Error::Unreachable`], [`Error::Lost`].
pub async fn restored() -> Result<bool, Error> {
    let Some(address) = api::address() else {
        return Ok(false);
    };
    let own: Incarnation = api::get(&address, "/v1/self").await?.json()?;
    let before = match SEEN.swap(own.generation, ORDER) {
        // A job begins with its first incarnation; with which one it began once more is not known here.
        UNSEEN if own.retries == 0 => 1,
        UNSEEN => own.generation,
        seen => seen,
    };
    Ok(before != own.generation)
}

/// A key of one request, from the kernel's randomness: a restored process must not make the same ones again.
pub(super) fn new_token() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// A duration as the runtime API reads it, rounded up: never shorter than asked for.
pub(super) fn text(span: Duration) -> String {
    format!("{}ms", span.as_nanos().div_ceil(1_000_000))
}
