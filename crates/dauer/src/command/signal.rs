//! `dauer signal`: a named message to a job.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::render;
use dauer_wire::http::SignalCall;
use serde_json::value::RawValue;

/// Send a named message to a job.
///
/// It is kept until the job waits for one of this name, in the order sent. A job that sleeps for it wakes up:
///
///   inside:  /run/dauer/dauer wait-signal approved --suspend
///   outside: dauer signal JOB approved '{"by": "ann"}'
///
/// A signal of the kernel, such as HUP, is sent with `dauer kill --signal`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the signal's id as JSON
    #[arg(long)]
    json: bool,
    /// A key of yours: the same key is never sent twice
    #[arg(long, value_name = "KEY")]
    token: Option<String>,
    /// The job
    #[arg(value_name = "JOB")]
    job: String,
    /// What the job waits for
    #[arg(value_name = "NAME")]
    name: String,
    /// What goes with it, as JSON or from a file; null where absent
    #[arg(value_name = "JSON|@FILE")]
    payload: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let payload = args.payload.as_deref().map(payload).transpose()?;
    // A key of our own, so that a daemon that goes away before it answers gets the same signal again and not another one.
    let token = args
        .token
        .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let call = SignalCall {
        name: args.name,
        payload,
        token: Some(token),
    };
    let client = context.client().await?;
    let sent = loop {
        match client.signal(&args.job, &call).await {
            Ok(sent) => break sent,
            Err(lost) if lost.is_disconnect() => context.reconnect(&lost).await?,
            Err(error) => return Err(error.into()),
        }
    };
    if args.json {
        render::print_json(&sent)?;
    }
    Ok(0)
}

/// JSON as it stands on the command line or in a file.
fn payload(text: &str) -> Result<Box<RawValue>, Failure> {
    let (text, place) = match text.strip_prefix('@') {
        Some(path) => {
            let read = std::fs::read_to_string(path)
                .map_err(Failure::because(format!("cannot read {path}")))?;
            (read, path)
        }
        None => (text.to_owned(), "the payload"),
    };
    RawValue::from_string(text.trim().to_owned()).map_err(|error| {
        Failure::new(format!(
            "{place} is not JSON ({error}): write for example '{{\"ok\": true}}' or '\"text\"'"
        ))
    })
}
