//! `dauer checkpoint`: save a job that goes on running.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::render;

/// Save a job with its memory; it goes on running.
///
/// Prints the checkpoint's id once it is committed.
///
/// Inside a job the same command is at /run/dauer/dauer: `/run/dauer/dauer checkpoint --self [--suspend 10s]`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the checkpoint as JSON
    #[arg(long)]
    json: bool,
    /// Inside a job: save this job
    #[arg(long = "self", conflicts_with = "job")]
    own: bool,
    /// With --self: sleep so long at no cost after the checkpoint
    #[arg(long, value_name = "DURATION", requires = "own", hide = true)]
    suspend: Option<String>,
    /// The job
    #[arg(value_name = "JOB", required_unless_present = "own")]
    job: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let Some(job) = args.job else {
        return Err(Failure::new(
            "--self works only inside a job, as /run/dauer/dauer checkpoint --self; here name the job: dauer checkpoint JOB",
        ));
    };
    let checkpoint = context.client().await?.checkpoint(&job).await?;
    if args.json {
        render::print_json(&checkpoint)?;
    } else {
        render::print(&format!("{}\n", checkpoint.id))?;
    }
    Ok(0)
}
