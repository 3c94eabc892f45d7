//! A step shown in the foreground: its output as it comes, then what is kept of it.

use crate::context::Context;
use crate::failure::{Failure, Outcome, report};
use crate::output::{Sink, Target};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::ValueHint;
use dauer_client::Client;
use dauer_wire::http::{StepCall, StepEvent, StepView};
use std::path::PathBuf;

/// What is said of a step's files.
#[derive(Debug, clap::Args)]
pub(crate) struct CacheArgs {
    /// Keep its files under this key; the next step of the key is not run but answered with them
    #[arg(long, value_name = "KEY")]
    cache_key: Option<String>,
    /// Derive the key from the image (or the step before), the command, its environment, its folder and what is injected
    #[arg(long, value_name = "auto", value_parser = ["auto"], conflicts_with = "cache_key")]
    cache: Option<String>,
    /// Write the id of the snapshot into this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    id_file: Option<PathBuf>,
}

impl CacheArgs {
    /// A key is asked for.
    pub(crate) fn has_key(&self) -> bool {
        self.cache_key.is_some() || self.cache.is_some()
    }

    /// Something is said that only a step has.
    pub(crate) fn is_said(&self) -> bool {
        self.has_key() || self.id_file.is_some()
    }

    /// The same for the request.
    pub(crate) fn add_to(&self, call: &mut StepCall) {
        call.key.clone_from(&self.cache_key);
        call.derive_key = self.cache.is_some();
    }
}

/// Runs a step to its end. Its exit code is ours.
pub(crate) async fn show(
    call: &StepCall,
    args: &CacheArgs,
    json: bool,
    context: &Context,
) -> Outcome {
    let client = context.client().await?;
    let sink = Sink::start();
    let result = follow(&client, call, &sink).await;
    let written = sink.finish();
    let view = result?;
    if let Err(error) = written
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        return Err(Failure::output(error));
    }
    if let (Some(file), Some(snapshot)) = (&args.id_file, &view.snapshot) {
        std::fs::write(file, format!("{snapshot}\n"))
            .map_err(Failure::because(format!("cannot write {}", file.display())))?;
    }
    if json {
        let line =
            serde_json::to_string(&view).map_err(Failure::because("cannot print the result"))?;
        eprintln!("{line}");
    } else if let Some(line) = ending(&view, args.has_key()) {
        report(&line);
    }
    Ok(view.exit_code)
}

async fn follow(client: &Client, call: &StepCall, sink: &Sink) -> Result<StepView, Failure> {
    let gone = || {
        Failure::new("the daemon ended, and the step with it: nothing of it is kept; run it again")
    };
    let mut step = client.step(call).await?;
    let closed = sink.closed();
    loop {
        let event = tokio::select! {
            event = step.next() => event,
            // Nobody reads what it writes: it ends, as in a pipeline.
            () = closed.notified() => return Err(Failure::output(std::io::ErrorKind::BrokenPipe.into())),
        };
        match event {
            Ok(Some(StepEvent::Output { stream, base64 })) => {
                let bytes = BASE64_STANDARD.decode(base64);
                let bytes = bytes.map_err(Failure::because("the daemon sent what is no base64"))?;
                let target = match stream.as_str() {
                    "stderr" => Target::Stderr,
                    _ => Target::Stdout,
                };
                sink.send(target, bytes.into()).await;
            }
            Ok(Some(StepEvent::Waiting)) => {}
            Ok(Some(StepEvent::Result(view))) => return Ok(view),
            Ok(Some(StepEvent::Failed { detail, .. })) => return Err(Failure::new(detail)),
            Ok(None) => return Err(gone()),
            Err(error) if error.is_disconnect() => return Err(gone()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// What became of a step, in a line.
fn ending(view: &StepView, has_key: bool) -> Option<String> {
    match (&view.snapshot, view.cached) {
        (Some(snapshot), true) => Some(format!("CACHED {snapshot}")),
        (Some(snapshot), false) if has_key && !view.kept => Some(format!(
            "snapshot {snapshot}, which the cache has no room for: `dauer cache stat` says how much there is"
        )),
        (Some(snapshot), false) => Some(format!("snapshot {snapshot}")),
        (None, _) if view.exit_code == 0 && has_key => {
            Some("not kept: the cache has no room for it, see `dauer cache stat`".to_owned())
        }
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_what_is_kept_and_what_to_do_where_it_is_not() {
        let view = |snapshot: Option<&str>, cached, kept, exit_code| StepView {
            snapshot: snapshot.map(str::to_owned),
            cached,
            kept,
            exit_code,
            key: None,
        };
        let line = |view: StepView, has_key| ending(&view, has_key).unwrap_or_default();
        assert_eq!(line(view(Some("ab"), true, true, 0), true), "CACHED ab");
        assert_eq!(line(view(Some("ab"), false, true, 0), true), "snapshot ab");
        assert_eq!(
            line(view(Some("ab"), false, false, 0), false),
            "snapshot ab"
        );
        assert!(line(view(None, false, false, 0), true).contains("dauer cache stat"));
        assert_eq!(line(view(None, false, false, 3), true), "");
    }
}
