//! `dauer retry`: another attempt of a job.

use crate::context::Context;
use crate::failure::Outcome;
use crate::render;

/// Try jobs again that failed or were cancelled.
///
/// From their start, as a new attempt of the same job; one that waits for its retry is tried now.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The jobs
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    for job in &args.jobs {
        client.retry(job).await?;
        render::print(&format!("{job}\n"))?;
    }
    Ok(0)
}
