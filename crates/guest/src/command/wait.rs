//! `dauer wait-signal`: waits for a signal that somebody sends with `dauer signal`, awake or asleep.

use super::arguments::Awaited;
use super::http::Api;
use super::repeat::{random_token, until_reached};
use super::{parse, print, problem};
use dauer_wire::http::{SignalWait, SignalWaited, Span};
use serde_json::value::RawValue;

/// As `timeout` of the coreutils has it.
const TIMED_OUT_CODE: u8 = 124;

/// Prints what came with it. Returns the exit code.
pub(super) fn run(awaited: Awaited) -> Result<u8, String> {
    let api = Api::from_environment()?
        .ok_or("not managed by dauer: no signal can come (DAUER_API is not set)")?;
    let token = match awaited.token {
        Some(token) => token,
        None => random_token()?,
    };
    let call = SignalWait {
        name: awaited.name,
        timeout: awaited.timeout.map(Span::Text),
        token: Some(token),
        suspend: awaited.suspend,
    };
    let body = serde_json::to_vec(&call).map_err(|error| error.to_string())?;
    loop {
        let reply = until_reached(|| api.post("/v1/self/signals/wait", &body))?;
        if reply.status != 200 {
            return Err(problem(&reply));
        }
        let waited: SignalWaited = parse(&reply)?;
        match waited.status.as_str() {
            "pending" => {}
            "signalled" if awaited.json => {
                print(String::from_utf8_lossy(&reply.body).trim_end())?;
                return Ok(0);
            }
            "signalled" => {
                print(waited.payload.as_deref().map_or("null", RawValue::get))?;
                return Ok(0);
            }
            "timeout" => {
                eprintln!("dauer: no signal {} came in time", call.name);
                return Ok(TIMED_OUT_CODE);
            }
            other => {
                return Err(format!(
                    "the runtime API answered the status {other}, which this version does not know"
                ));
            }
        }
    }
}
