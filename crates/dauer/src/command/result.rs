//! `dauer result`: what a job left.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::render;
use dauer_wire::http::ResultView;

/// Print the output that a job left with its exit, as JSON.
///
/// A job leaves it with `POST /v1/self/exit`, or from a shell script:
///
///   dauer run -d --name sum -- sh -c '/run/dauer/dauer exit 0 "{\"sum\": 42}"'
///   dauer result sum --wait
///
/// Exit code: 0 where there is an output, whatever the job's own code; 1 where there is none, with a line that says why.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Wait until the job has ended
    #[arg(long)]
    wait: bool,
    /// Print state, exit code and reason too, as JSON, also where there is no output
    #[arg(long)]
    json: bool,
    /// The job
    #[arg(value_name = "JOB")]
    job: String,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    let result = loop {
        match client.result(&args.job, args.wait).await {
            Ok(result) if args.wait && result.exit_code.is_none() => {}
            Ok(result) => break result,
            Err(lost) if lost.is_disconnect() => context.reconnect(&lost).await?,
            Err(error) => return Err(error.into()),
        }
    };
    if args.json {
        render::print_json(&result)?;
        return Ok(0);
    }
    match &result.output {
        Some(output) => render::print(&format!("{}\n", output.get()))?,
        None => return Err(Failure::new(why_none(&args.job, &result))),
    }
    Ok(0)
}

fn why_none(job: &str, result: &ResultView) -> String {
    let state = &result.state;
    match result.exit_code {
        None => format!(
            "job {job} is {state} and has no output yet: wait for it with `dauer result --wait {job}`"
        ),
        Some(code) => {
            let reason = result
                .reason
                .as_ref()
                .map(|reason| format!(" ({reason})"))
                .unwrap_or_default();
            format!(
                "job {job} left no output: it is {state}{reason} with exit code {code}; see `dauer logs {job}`"
            )
        }
    }
}
