//! `dauer rm`: jobs and all their data.

use crate::context::Context;
use crate::failure::{Outcome, report};
use crate::render;

/// Remove ended jobs and their data.
///
/// Their records, logs, files and checkpoints go.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also jobs that live: kill them first
    #[arg(short, long)]
    force: bool,
    /// The jobs
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<String>,
}

/// Runs the command: every job is tried, also after one that could not be removed.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    let mut code = 0;
    for job in &args.jobs {
        match client.remove(job, args.force).await {
            Ok(()) => render::print(&format!("{job}\n"))?,
            Err(error) if error.is_disconnect() => return Err(error.into()),
            Err(error) => {
                report(&error.to_string());
                code = 1;
            }
        }
    }
    Ok(code)
}
