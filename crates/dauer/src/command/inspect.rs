//! `dauer inspect`: everything about a job, as JSON.

use crate::context::Context;
use crate::failure::Outcome;
use crate::render;

/// Everything about a job, as JSON.
///
/// One object; with `handles` (process ids) while the job lives.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    #[arg(value_name = "JOB")]
    job: String,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let job = context.client().await?.job(&args.job).await?;
    render::print_json(&job)?;
    Ok(0)
}
