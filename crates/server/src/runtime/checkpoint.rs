//! A job asks for a checkpoint of itself.

use super::{Asked, Shape, ok, span_ms};
use crate::error::Refusal;
use crate::view;
use dauer_core::Then;
use dauer_wire::guest::ApiResponse;
use dauer_wire::http::{CheckpointStatus, SelfCheckpoint, SelfView};
use http::StatusCode;
use serde::Serialize;

/// The answer of the blocking form.
#[derive(Debug, Serialize)]
struct Finished {
    job: SelfView,
    #[serde(flatten)]
    status: CheckpointStatus,
}

impl Asked<'_> {
    /// `POST …/checkpoint`.
    pub(super) async fn checkpoint(&self) -> Result<ApiResponse, Refusal> {
        let status = self.begin().await?;
        match self.shape {
            Shape::Present => Ok(ok(StatusCode::ACCEPTED, &status)),
            Shape::Older => self.finish(status).await,
        }
    }

    /// `GET …/checkpoint/{token}`.
    pub(super) async fn checkpoint_status(&self, token: &str) -> Result<ApiResponse, Refusal> {
        let status = self
            .engine
            .token_status(&self.caller.job, token, true)
            .await?;
        Ok(ok(StatusCode::OK, &status))
    }

    /// Asks for it; returns when that is written down.
    async fn begin(&self) -> Result<CheckpointStatus, Refusal> {
        let call: SelfCheckpoint = self.body()?;
        let suspend_ms = span_ms(call.suspend.as_ref())?;
        let then = match (suspend_ms, call.wait_signal) {
            (None, None) => Then::Continue,
            (suspend_ms, waits_for) => {
                if let Some(name) = &waits_for {
                    super::signal::check_name(name)?;
                }
                Then::Suspend {
                    wake_at: suspend_ms.map(|ms| self.engine.now().plus_ms(ms)),
                    waits_for,
                }
            }
        };
        let token = self.token(call.token).await?;
        let caller = self.caller;
        Ok(self
            .engine
            .self_checkpoint(&caller.job, caller.generation, &token, then)
            .await?)
    }

    /// The blocking form: answers when the checkpoint is decided, with 200 also in the copy that came out of it.
    async fn finish(&self, mut status: CheckpointStatus) -> Result<ApiResponse, Refusal> {
        while status.status == "pending" {
            status = self
                .engine
                .token_status(&self.caller.job, &status.token, true)
                .await?;
        }
        if status.status == "failed" {
            let why = status
                .message
                .unwrap_or_else(|| "it could not be taken".to_owned());
            return Err(Refusal::failed(format!(
                "no checkpoint was taken: {why}; the job goes on without"
            )));
        }
        let job = view::own_job(&self.engine.job(&self.caller.job).await?);
        Ok(ok(StatusCode::OK, &Finished { job, status }))
    }
}
