//! A job waits for signals.

use super::{Asked, ok, span_ms};
use crate::error::Refusal;
use dauer_engine::{WaitCall, Waited};
use dauer_wire::guest::ApiResponse;
use dauer_wire::http::{SignalWait, SignalWaited};
use http::StatusCode;
use serde_json::value::RawValue;

/// Longer names are a mistake.
const NAME_CHARS_MAX: usize = 256;

/// The name of a signal.
pub(crate) fn check_name(name: &str) -> Result<(), Refusal> {
    let length = name.chars().count();
    if (1..=NAME_CHARS_MAX).contains(&length) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Refusal::malformed(format!(
        "the name of a signal has 1 to {NAME_CHARS_MAX} characters and is on one line"
    )))
}

impl Asked<'_> {
    /// `POST …/signals/wait`.
    pub(super) async fn wait_for_signal(&self) -> Result<ApiResponse, Refusal> {
        let call: SignalWait = self.body()?;
        check_name(&call.name)?;
        let timeout_ms = span_ms(call.timeout.as_ref())?;
        let token = self.token(call.token).await?;
        let wait = WaitCall {
            name: call.name,
            token: token.clone(),
            timeout_ms,
            suspend: call.suspend,
        };
        let caller = self.caller;
        let waited = self
            .engine
            .self_wait(&caller.job, caller.generation, &wait)
            .await?;
        let mut answer = SignalWaited {
            status: "pending".to_owned(),
            token,
            name: None,
            payload: None,
            signal_id: None,
        };
        match waited {
            Waited::Pending => {}
            Waited::TimedOut => answer.status = "timeout".to_owned(),
            Waited::Signalled(signal) => {
                let payload = RawValue::from_string(signal.payload.0).map_err(|error| {
                    Refusal::failed(format!("the payload of the signal is damaged: {error}"))
                })?;
                answer.status = "signalled".to_owned();
                answer.name = Some(signal.name);
                answer.payload = Some(payload);
                answer.signal_id = Some(signal.id);
            }
        }
        Ok(ok(StatusCode::OK, &answer))
    }
}
