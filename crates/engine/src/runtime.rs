//! The job's own side: who asks, and what it asks of the engine.

use crate::ask::Ask;
use crate::{Engine, Error};
use async_trait::async_trait;
use dauer_core::{Job, JobId, Then, Token, TokenStatus};
use dauer_wire::guest::{ApiRequest, ApiResponse};
use dauer_wire::http::CheckpointStatus;
use std::collections::BTreeMap;
use std::time::Duration;

/// Who asks: known from the channel the request came on, never from its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The job.
    pub job: JobId,
    /// The incarnation that asks.
    pub generation: u32,
}

/// The header with the number of a request: unique among those of an attempt, and the same when a restored copy sends it
/// again. The engine sets it over whatever the job sent.
pub const REQUEST_HEADER: &str = "dauer-request";

/// Answers requests of jobs; the server crate has the one implementation.
#[async_trait]
pub trait RuntimeApi: Send + Sync + 'static {
    /// Answers one request. It may take as long as it needs: a job that is frozen or a daemon that dies meanwhile
    /// sends the request again.
    async fn handle(&self, engine: Engine, caller: Caller, request: ApiRequest) -> ApiResponse;

    /// What a program is told that said it was ready and waits for a job, so that it asks again. `None` to anything else that it asks:
    /// that waits for the job.
    fn still_waiting(&self, request: &ApiRequest) -> Option<ApiResponse>;
}

/// For engines without one: there is nothing at any path.
pub(crate) struct Unanswered;

#[async_trait]
impl RuntimeApi for Unanswered {
    async fn handle(&self, _: Engine, _: Caller, _: ApiRequest) -> ApiResponse {
        ApiResponse {
            status: 404,
            headers: BTreeMap::new(),
            body: Vec::new(),
        }
    }

    fn still_waiting(&self, _: &ApiRequest) -> Option<ApiResponse> {
        None
    }
}

/// How long a long poll is held.
const POLL: Duration = Duration::from_secs(20);

impl Engine {
    /// The job asks for a checkpoint under its own key, and what comes after it. Returns when the request is committed, or still
    /// `pending` after 20 s, because the job holds a lock. A key that was asked with before answers with what came of it, and
    /// takes no other checkpoint.
    ///
    /// # Errors
    /// `Unsupported` where it cannot be frozen; `Conflict` where it is ending.
    pub async fn self_checkpoint(
        &self,
        job: &JobId,
        generation: u32,
        token: &str,
        then: Then,
    ) -> Result<CheckpointStatus, Error> {
        if let Some(known) = self.known_status(job, token).await?
            && known.status != "failed"
        {
            return Ok(known);
        }
        let (ask, accepted) = Ask::by_the_job(generation, token, then);
        self.ask_checkpoint(job, ask)?;
        match tokio::time::timeout(POLL, accepted).await {
            // Still waiting, or waiting since an earlier request.
            Err(_) | Ok(Ok(Err(Error::Busy(_)))) => {}
            Ok(Ok(result)) => result?,
            Ok(Err(_)) => return Err(Error::Conflict("the job ended".into())),
        }
        self.token_status(job, token, false).await
    }

    /// What became of a key; with `wait`, when it is decided or after 20 s.
    ///
    /// # Errors
    /// `NotFound` for a key nobody asked with.
    pub async fn token_status(
        &self,
        job: &JobId,
        token: &str,
        wait: bool,
    ) -> Result<CheckpointStatus, Error> {
        let mut changes = self.subscribe(job);
        let deadline = tokio::time::Instant::now() + POLL;
        loop {
            changes.mark_unchanged();
            let status = self
                .known_status(job, token)
                .await?
                .ok_or_else(|| Error::NotFound(format!("token {token:?}")))?;
            if !wait || status.status != "pending" {
                return Ok(status);
            }
            match tokio::time::timeout_at(deadline, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Ok(status),
            }
        }
    }

    /// What became of a key, if it was asked with.
    pub(crate) async fn known_status(
        &self,
        job: &JobId,
        token: &str,
    ) -> Result<Option<CheckpointStatus>, Error> {
        // Before the store: a request leaves the queue after it is written down.
        let queued = self.is_queued(job, token);
        let known = self.store().token(job, token).await?;
        let present = self.job(job).await?;
        let holds_locks = present.locks_held(self.now()).next().is_some();
        let known = known.or_else(|| inherited(&present, token));
        let known = match known {
            // Asked again: what came of it before counts no longer.
            Some(known) if !queued || !matches!(known.status, TokenStatus::Failed { .. }) => known,
            Some(_) | None => {
                return Ok(queued.then(|| CheckpointStatus {
                    token: token.to_owned(),
                    status: "pending".to_owned(),
                    checkpoint: None,
                    message: holds_locks.then(|| "the job holds a lock".to_owned()),
                    generation: present.generation,
                }));
            }
        };
        let (status, checkpoint, message) = match known.status {
            TokenStatus::Requested => ("pending", None, None),
            // While its sandbox is still being put to sleep, the frozen original must not hear that it was taken.
            TokenStatus::Done { checkpoint } if present.generation == known.generation => {
                ("taken", Some(checkpoint.0), None)
            }
            TokenStatus::Done { checkpoint } => ("restored", Some(checkpoint.0), None),
            TokenStatus::Failed { message } => ("failed", None, Some(message)),
        };
        Ok(Some(CheckpointStatus {
            token: token.to_owned(),
            status: status.to_owned(),
            checkpoint,
            message,
            generation: present.generation,
        }))
    }

    /// Whether a checkpoint that the job asked for with this key waits its turn.
    fn is_queued(&self, job: &JobId, token: &str) -> bool {
        let live = self.lock_live().get(job).cloned();
        live.is_some_and(|live| {
            let queued = live.queued.lock().expect("no panic while held");
            queued.iter().any(|other| other == token)
        })
    }
}

/// The key with which the state was asked for that a fork goes on from: asked with again in there, that is what came of it.
fn inherited(job: &Job, token: &str) -> Option<Token> {
    let fork = job.spec.fork.as_ref()?;
    let checkpoint = job.forked_from()?.clone();
    (fork.token.as_deref() == Some(token)).then(|| Token {
        job: job.id.clone(),
        token: token.to_owned(),
        // Before its first.
        generation: 0,
        status: TokenStatus::Done { checkpoint },
    })
}
