//! While a lock is held no checkpoint is taken.

use super::api;
use super::freeze::{new_token, text};
use crate::Error;
use crate::calls::escape;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

tokio::task_local! {
    /// This task is inside of [`with_lock`].
    static HOLDS: ();
}

/// A lock. It is released when dropped, by a task of its own; [`Lock::release`] also says how that went.
#[derive(Debug)]
pub struct Lock {
    /// Address and id; none outside of Dauer and once released.
    held: Option<(String, String)>,
}

#[derive(Deserialize)]
struct Given {
    lock_id: String,
}

/// Takes a lock, which ends by itself after `ttl`, and with the attempt of the job in any case. A future that is dropped leaves none
/// behind.
///
/// # Errors
/// [`Error::Refused`], [`Error::Unreachable`], [`Error::Lost`].
pub async fn lock(ttl: Option<Duration>) -> Result<Lock, Error> {
    match api::address() {
        Some(address) => lock_at(address, ttl).await,
        None => Ok(Lock { held: None }),
    }
}

pub(super) async fn lock_at(address: String, ttl: Option<Duration>) -> Result<Lock, Error> {
    let mut body = json!({ "token": new_token() });
    if let Some(ttl) = ttl {
        body["ttl"] = text(ttl).into();
    }
    // In a task of its own: where nobody waits any more, the lock that it returns is dropped, and so released.
    let taking = tokio::spawn(async move {
        let reply = api::post(&address, "/v1/self/locks", &body).await?;
        let given: Given = reply.json()?;
        Ok(Lock {
            held: Some((address, given.lock_id)),
        })
    });
    taking.await.map_err(Error::lost)?
}

impl Lock {
    /// Lets it go.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unreachable`], [`Error::Lost`].
    pub async fn release(mut self) -> Result<(), Error> {
        match self.held.take() {
            Some((address, lock)) => release(&address, &lock).await,
            None => Ok(()),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let Some((address, lock)) = self.held.take() else {
            return;
        };
        // Without a runtime the program is ending, and the lock with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // There is nobody left to be told.
                let _ = release(&address, &lock).await;
            });
        }
    }
}

async fn release(address: &str, lock: &str) -> Result<(), Error> {
    let reply = api::delete(address, &format!("/v1/self/locks/{}", escape(lock))).await?;
    // Gone already: released by a try whose answer was lost, or by its time to live.
    if reply.status == StatusCode::NOT_FOUND {
        return Ok(());
    }
    reply.accepted().map(drop)
}

/// Runs `work` while no checkpoint is taken; whoever asks for one waits.
///
/// # Errors
/// As [`lock`].
pub async fn with_lock<T>(
    ttl: Option<Duration>,
    work: impl Future<Output = T>,
) -> Result<T, Error> {
    within(lock(ttl).await?, ttl.is_none(), work).await
}

pub(super) async fn within<T>(
    taken: Lock,
    is_endless: bool,
    work: impl Future<Output = T>,
) -> Result<T, Error> {
    let result = if is_endless {
        HOLDS.scope((), work).await
    } else {
        work.await
    };
    taken.release().await?;
    Ok(result)
}

/// A checkpoint waits until no lock is held. Whoever holds one itself would wait forever.
pub(super) fn check_none_held() -> Result<(), Error> {
    match HOLDS.try_with(|()| ()) {
        Ok(()) => Err(Error::LockHeld),
        Err(_) => Ok(()),
    }
}
