//! `dauer checkpoint --self`: asks for a checkpoint and waits for the outcome, on whichever side of the freeze it learns it.

use super::arguments::Asked;
use super::http::{Api, Reply};
use super::{parse, print, problem};
use dauer_wire::http::{CheckpointStatus, SelfCheckpoint, Span};
use std::fs::File;
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

/// A relay that cannot be reached is tried again for so long: about as long as a slow restore.
const RETRY_FOR: Duration = Duration::from_secs(60);

const RETRY_PAUSE: Duration = Duration::from_millis(200);

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
        wait_signal: None,
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

/// The freeze may cut a connection, and the token makes repeating safe. Not retried: an answer, whatever it says, but for 502 to
/// 504, by which a daemon that is just being restarted is announced.
fn until_reached(call: impl Fn() -> Result<Reply, String>) -> Result<Reply, String> {
    let give_up_at = Instant::now() + RETRY_FOR;
    loop {
        let result = call();
        let is_passing = result
            .as_ref()
            .map_or(true, |reply| (502..=504).contains(&reply.status));
        if !is_passing || Instant::now() >= give_up_at {
            return result;
        }
        thread::sleep(RETRY_PAUSE);
    }
}

/// A random UUID (version 4).
fn random_token() -> Result<String, String> {
    let mut bytes = [0; 16];
    let source = "/dev/urandom";
    let read = File::open(source).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| format!("cannot read {source} for a token: {error}; pass --token"))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-"))
}

/// A token as one segment of a path.
fn escape(token: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    token
        .bytes()
        .map(|byte| {
            if is_plain(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_uuids_and_differ() {
        let (one, other) = (random_token().unwrap(), random_token().unwrap());
        assert_ne!(one, other);
        assert_eq!(
            (one.len(), &one[14..15], one.matches('-').count()),
            (36, "4", 4)
        );
    }

    #[test]
    fn a_token_stays_one_segment() {
        assert_eq!(escape("a/b c?é-1"), "a%2Fb%20c%3F%C3%A9-1");
    }
}
