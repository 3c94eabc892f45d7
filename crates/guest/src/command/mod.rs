//! `dauer` inside a sandbox: what a job's own shell scripts call.

mod arguments;
mod checkpoint;
mod http;
mod own;
mod repeat;
mod wait;

use arguments::{Invocation, USAGE, UsageError};
use dauer_wire::http::{Problem, SelfView};
use http::{Api, Reply};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::process::ExitCode;

/// Wrong words on the command line.
const USAGE_CODE: u8 = 2;

/// `dauer` alone.
pub(crate) fn usage_missing() -> ExitCode {
    eprint!("{USAGE}");
    ExitCode::from(USAGE_CODE)
}

/// Runs a command other than the agent's own.
pub(crate) fn run(first: &OsStr, rest: &[OsString]) -> ExitCode {
    let words = std::iter::once(first).chain(rest.iter().map(OsString::as_os_str));
    let words: Vec<String> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let outcome = match arguments::parse(&words) {
        Ok(Invocation::Help) => print(USAGE.trim_end()),
        Ok(Invocation::Version) => print(concat!("dauer ", env!("CARGO_PKG_VERSION"))),
        Ok(Invocation::Checkpoint(asked)) => checkpoint::run(asked),
        Ok(Invocation::Ready) => own::ready(),
        Ok(Invocation::WaitSignal(awaited)) => return coded(wait::run(awaited)),
        Ok(Invocation::Lock(locked)) => return coded(own::lock(&locked)),
        Ok(Invocation::Progress(told)) => own::progress(told),
        Ok(Invocation::Exit(exit)) => own::exit(exit),
        Ok(Invocation::Params) => own::params(),
        Ok(Invocation::Metadata) => own::metadata(),
        Ok(Invocation::Self_ { json }) => show_self(json),
        Err(UsageError(message)) => {
            eprintln!("dauer: {message}; see dauer --help");
            return ExitCode::from(USAGE_CODE);
        }
    };
    coded(outcome.map(|()| 0))
}

fn coded(outcome: Result<u8, String>) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("dauer: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a line.
fn print(line: &str) -> Result<(), String> {
    writeln!(std::io::stdout(), "{line}")
        .map_err(|error| format!("cannot write the outcome: {error}"))
}

fn show_self(json: bool) -> Result<(), String> {
    let api = Api::from_environment()?.ok_or("not managed by dauer: DAUER_API is not set")?;
    let reply = api.get("/v1/self")?;
    if reply.status != 200 {
        return Err(problem(&reply));
    }
    if json {
        return print(String::from_utf8_lossy(&reply.body).trim_end());
    }
    let view: SelfView = parse(&reply)?;
    let name = view
        .name
        .map(|name| format!(" ({name})"))
        .unwrap_or_default();
    print(&format!("job        {}{name}", view.id))?;
    print(&format!("state      {}", view.state))?;
    print(&format!("attempt    {}", view.attempt))?;
    print(&format!("generation {}", view.generation))?;
    print(&format!(
        "checkpoint {}",
        view.checkpoint.as_deref().unwrap_or("none")
    ))
}

fn parse<T: serde::de::DeserializeOwned>(reply: &Reply) -> Result<T, String> {
    serde_json::from_slice(&reply.body).map_err(|error| {
        format!("the runtime API answered what this version does not know: {error}")
    })
}

/// What an error answer says.
fn problem(reply: &Reply) -> String {
    match serde_json::from_slice::<Problem>(&reply.body) {
        Ok(problem) => problem.detail,
        Err(_) => format!("the runtime API answered {}", reply.status),
    }
}
