//! What a job may know of itself and say about itself: parameters, metadata, its end, locks, progress.

use super::{Asked, Shape, no_content, ok, respond, span_ms};
use crate::error::Refusal;
use crate::view;
use dauer_core::{Json, Progress};
use dauer_engine::Readiness;
use dauer_wire::guest::ApiResponse;
use dauer_wire::http::{LockView, ProgressView, ReadyStatus, SelfExit, SelfLock, SelfMetadata};
use http::StatusCode;
use std::sync::Arc;

/// What a program that is ready is told while there is no job for it.
pub(super) fn still_waiting() -> ApiResponse {
    let status = ReadyStatus {
        status: "pending".to_owned(),
        message: None,
        generation: 0,
    };
    ok(StatusCode::OK, &status)
}

/// Of what a job leaves as its result.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// Of the line that goes with progress.
const MESSAGE_CHARS_MAX: usize = 1_000;

impl Asked<'_> {
    /// `GET /v1/self`.
    pub(super) async fn own_view(&self) -> Result<ApiResponse, Refusal> {
        let job = self.engine.job(&self.caller.job).await?;
        Ok(ok(StatusCode::OK, &view::own_job(&job)))
    }

    /// `GET …/params`: what it was submitted with, or `null`.
    pub(super) async fn params(&self) -> Result<ApiResponse, Refusal> {
        let job = self.engine.job(&self.caller.job).await?;
        Ok(ok(StatusCode::OK, &job.spec.params))
    }

    /// `POST …/ready`: answered when it is decided, or after 20 s.
    pub(super) async fn ready(&self) -> Result<ApiResponse, Refusal> {
        let caller = self.caller;
        loop {
            let readiness = self
                .engine
                .self_ready(&caller.job, caller.generation)
                .await?;
            let (status, message) = match readiness {
                // The older shape answers when it is done.
                Readiness::Pending if self.shape == Shape::Older => continue,
                Readiness::Pending => ("pending", None),
                Readiness::Taken => ("taken", None),
                Readiness::Restored => ("restored", None),
                Readiness::Cold(why) => ("cold", Some(why)),
            };
            let status = ReadyStatus {
                status: status.to_owned(),
                message,
                generation: caller.generation,
            };
            return Ok(ok(StatusCode::OK, &status));
        }
    }

    /// `GET …/metadata`.
    pub(super) async fn metadata(&self) -> Result<ApiResponse, Refusal> {
        let job = self.engine.job(&self.caller.job).await?;
        let checkpoints = self.engine.checkpoints(&job.id).await?;
        let newest = checkpoints
            .iter()
            .find(|checkpoint| Some(&checkpoint.id) == job.checkpoint.as_ref());
        let spec = Arc::unwrap_or_clone(job.spec);
        let (definition_name, definition_version) = spec
            .definition
            .map(|definition| (definition.name, definition.version))
            .unzip();
        let metadata = SelfMetadata {
            job_id: job.id.0,
            definition_name,
            definition_version,
            retry_count: job.retries,
            last_checkpoint_at_ms: newest.map(|checkpoint| checkpoint.taken_at.0),
            metadata: spec.metadata,
            tags: spec.tags,
        };
        Ok(ok(StatusCode::OK, &metadata))
    }

    /// `POST …/exit`.
    pub(super) async fn exit(&self) -> Result<ApiResponse, Refusal> {
        let call: SelfExit = self.body()?;
        let output = call.output.map(|output| Json(output.get().to_owned()));
        if let Some(Json(text)) = &output
            && text.len() > OUTPUT_BYTES_MAX
        {
            return Err(Refusal::too_long(format!(
                "the output has {} bytes and may have {OUTPUT_BYTES_MAX}: write more into a file",
                text.len()
            )));
        }
        let caller = self.caller;
        self.engine
            .self_exit(&caller.job, caller.generation, call.exit_code, output)
            .await?;
        Ok(no_content())
    }

    /// `POST …/locks`.
    pub(super) async fn lock(&self) -> Result<ApiResponse, Refusal> {
        let call: SelfLock = self.body()?;
        let ttl_ms = span_ms(call.ttl.as_ref())?;
        let lock_id = self.token(call.token).await?;
        let caller = self.caller;
        self.engine
            .self_lock(&caller.job, caller.generation, &lock_id, ttl_ms)
            .await?;
        let status = match self.shape {
            Shape::Present => StatusCode::CREATED,
            Shape::Older => StatusCode::OK,
        };
        Ok(respond(status, "application/json", &LockView { lock_id }))
    }

    /// `DELETE …/locks/{lock}`: fine where it is over already, so that it can be repeated.
    pub(super) async fn unlock(&self, lock: &str) -> Result<ApiResponse, Refusal> {
        let caller = self.caller;
        self.engine
            .self_unlock(&caller.job, caller.generation, lock)
            .await?;
        Ok(no_content())
    }

    /// `POST …/progress`.
    pub(super) async fn progress(&self) -> Result<ApiResponse, Refusal> {
        let call: ProgressView = self.body()?;
        if call
            .message
            .as_ref()
            .is_some_and(|message| message.chars().count() > MESSAGE_CHARS_MAX)
        {
            return Err(Refusal::malformed(format!(
                "the message has more than {MESSAGE_CHARS_MAX} characters"
            )));
        }
        let progress = Progress {
            done: call.done,
            total: call.total,
            message: call.message,
            at: self.engine.now(),
        };
        let caller = self.caller;
        self.engine
            .self_progress(&caller.job, caller.generation, progress)
            .await?;
        Ok(no_content())
    }
}
