//! `dauer resume`: wake a suspended job.

use crate::context::Context;
use crate::failure::Outcome;
use crate::render;

/// Wake a suspended job.
///
/// Returns when it runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    #[arg(value_name = "JOB")]
    job: String,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    context.client().await?.resume(&args.job).await?;
    render::print(&format!("{}\n", args.job))?;
    Ok(0)
}
