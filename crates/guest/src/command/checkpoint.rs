//! `dauer checkpoint --self`: asks for a checkpoint and waits for the outcome, on whichever side of the freeze it learns it.

use super::arguments::Asked;
use super::http::Api;
use super::repeat::{escape, random_token, until_reached};
use super::{parse, print, problem};
use dauer_wire::http::{CheckpointStatus, SelfCheckpoint, Span};

pub(super) fn run(asked: Asked) -> Result<(), String> {
    let Some(api) = Api::from_environment()? else {
        return print("not managed by dauer; nothing to do");
    };
    let token = match asked.token {
        Some(token) => token,
        None => random_token()?,
    };
    let call = SelfCheckpoint {
        token: Some(token.clone()),
        suspend: asked.suspend.map(Span::Text),
        wait_signal: asked.wait_signal,
    };
    let body = serde_json::to_vec(&call).map_err(|error| error.to_string())?;
    let accepted = until_reached(|| api.post("/v1/self/checkpoint", &body))?;
    if !matches!(accepted.status, 200..=202) {
        return Err(problem(&accepted));
    }
    report(&outcome(&api, &token)?, asked.json)
}

/// Asks until the checkpoint is no longer pending.
fn outcome(api: &Api, token: &str) -> Result<CheckpointStatus, String> {
    let path = format!("/v1/self/checkpoint/{}", escape(token));
    loop {
        let reply = until_reached(|| api.get(&path))?;
        if reply.status != 200 && reply.status != 202 {
            return Err(problem(&reply));
        }
        let status: CheckpointStatus = parse(&reply)?;
        if status.status != "pending" {
            return Ok(status);
        }
    }
}

fn report(status: &CheckpointStatus, json: bool) -> Result<(), String> {
    if json {
        print(&serde_json::to_string(status).map_err(|error| error.to_string())?)?;
    }
    match status.status.as_str() {
        "taken" | "restored" if json => Ok(()),
        "taken" | "restored" => print(&status.status),
        "failed" => Err(format!(
            "no checkpoint was taken: {}",
            status.message.as_deref().unwrap_or("no reason was given")
        )),
        other => Err(format!(
            "the runtime API answered the status {other}, which this version does not know"
        )),
    }
}
