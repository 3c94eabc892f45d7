//! `dauer wait`: until a job has ended.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::render;

/// Wait until a job has ended; exits with its code.
///
/// Prints nothing.
///
/// Exit code: as `dauer run` would have exited; 125 where Dauer failed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the job as JSON when it has ended
    #[arg(long)]
    json: bool,
    /// Wait for all jobs of this batch instead; exits with 0 where all of them completed, otherwise with 1
    #[arg(long, value_name = "BATCH", conflicts_with = "job")]
    batch: Option<String>,
    /// The job
    #[arg(value_name = "JOB", required_unless_present = "batch")]
    job: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    match (&args.batch, &args.job) {
        (Some(batch), _) => super::batch::until_ended(batch, args.json, context).await,
        (None, Some(job)) => until_ended(job, args.json, context).await,
        (None, None) => Err(Failure::new(
            "which job? write for example: dauer wait crunch",
        )),
    }
}

/// Returns when this job has ended, with its exit code; with `json` it is printed.
pub(crate) async fn until_ended(job: &str, json: bool, context: &Context) -> Outcome {
    let client = context.client().await?;
    loop {
        match client.wait(job).await {
            Ok(job) => {
                if json {
                    render::print_json(&job)?;
                }
                return Ok(job.exit_code.unwrap_or(125));
            }
            Err(lost) if lost.is_disconnect() => context.reconnect(&lost).await?,
            Err(error) => return Err(error.into()),
        }
    }
}
