//! What a script asks for the job it is part of: its parameters, its end, progress, a lock around a command.

use super::arguments::{Exit, Locked, Told};
use super::http::{Api, Reply};
use super::repeat::{escape, random_token, until_reached};
use super::{parse, print, problem};
use dauer_wire::http::{LockView, ProgressView, ReadyStatus, SelfExit, SelfLock, Span};
use serde_json::value::RawValue;
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// `dauer params`.
pub(super) fn params() -> Result<(), String> {
    let Some(api) = Api::from_environment()? else {
        return print("null");
    };
    show(&until_reached(|| api.get("/v1/self/params"))?)
}

/// `dauer metadata`.
pub(super) fn metadata() -> Result<(), String> {
    let api = Api::from_environment()?.ok_or("not managed by dauer: DAUER_API is not set")?;
    show(&until_reached(|| api.get("/v1/self/metadata"))?)
}

fn show(reply: &Reply) -> Result<(), String> {
    done(reply)?;
    print(String::from_utf8_lossy(&reply.body).trim_end())
}

fn done(reply: &Reply) -> Result<(), String> {
    if (200..300).contains(&reply.status) {
        Ok(())
    } else {
        Err(problem(reply))
    }
}

/// `dauer ready`: asks until it is decided, on whichever side of the freeze it learns it.
pub(super) fn ready() -> Result<(), String> {
    let Some(api) = Api::from_environment()? else {
        return print("not managed by dauer; nothing to do");
    };
    loop {
        let reply = until_reached(|| api.post("/v1/self/ready", b"{}"))?;
        done(&reply)?;
        let status: ReadyStatus = parse(&reply)?;
        match status.status.as_str() {
            "pending" => {}
            "taken" | "restored" | "cold" => return print(&status.status),
            other => {
                return Err(format!(
                    "the runtime API answered the status {other}, which this version does not know"
                ));
            }
        }
    }
}

/// `dauer exit`.
pub(super) fn exit(exit: Exit) -> Result<(), String> {
    let output = exit.output.as_deref().map(json).transpose()?;
    let Some(api) = Api::from_environment()? else {
        return Ok(());
    };
    let call = SelfExit {
        exit_code: exit.code,
        output,
    };
    let body = serde_json::to_vec(&call).map_err(|error| error.to_string())?;
    done(&until_reached(|| api.post("/v1/self/exit", &body))?)
}

/// JSON as it stands there, in a file, or on standard input.
fn json(text: &str) -> Result<Box<RawValue>, String> {
    let (text, place) = match text.strip_prefix('@') {
        Some("-") => {
            let mut read = String::new();
            std::io::stdin()
                .read_to_string(&mut read)
                .map_err(|error| format!("cannot read standard input: {error}"))?;
            (read, "standard input")
        }
        Some(path) => {
            let read =
                fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
            (read, path)
        }
        None => (text.to_owned(), "the output"),
    };
    RawValue::from_string(text.trim().to_owned())
        .map_err(|error| format!("{place} is not JSON ({error}); text is written as '\"text\"'"))
}

/// `dauer progress`.
pub(super) fn progress(told: Told) -> Result<(), String> {
    let Some(api) = Api::from_environment()? else {
        return Ok(());
    };
    let call = ProgressView {
        done: told.done,
        total: told.total,
        message: told.message,
        at: None,
    };
    let body = serde_json::to_vec(&call).map_err(|error| error.to_string())?;
    done(&until_reached(|| api.post("/v1/self/progress", &body))?)
}

/// `dauer lock`: returns the exit code of the command.
pub(super) fn lock(locked: &Locked) -> Result<u8, String> {
    let Some(api) = Api::from_environment()? else {
        return run(&locked.command);
    };
    let call = SelfLock {
        ttl: locked.ttl.clone().map(Span::Text),
        token: Some(random_token()?),
    };
    let body = serde_json::to_vec(&call).map_err(|error| error.to_string())?;
    let reply = until_reached(|| api.post("/v1/self/locks", &body))?;
    done(&reply)?;
    let LockView { lock_id } = parse(&reply)?;
    let ended = run(&locked.command);
    let path = format!("/v1/self/locks/{}", escape(&lock_id));
    done(&until_reached(|| api.delete(&path))?)?;
    ended
}

/// As a shell reports it.
fn run(command: &[String]) -> Result<u8, String> {
    let [program, arguments @ ..] = command else {
        return Err("no command".into());
    };
    let status = Command::new(program)
        .args(arguments)
        .status()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(u8::try_from(code.unwrap_or(1)).unwrap_or(1))
}
