//! `dauer stop`: TERM, a grace, KILL.

use crate::context::Context;
use crate::failure::Outcome;
use crate::render;
use dauer_core::parse;

/// Ask a job to end: TERM, a grace, KILL.
///
/// Returns when it has ended.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// From TERM to KILL; the job's own where absent
    #[arg(short, long, value_name = "DURATION", value_parser = parse::duration_ms)]
    grace: Option<u64>,
    /// The jobs
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    for job in &args.jobs {
        client.stop(job, args.grace).await?;
        render::print(&format!("{job}\n"))?;
    }
    Ok(0)
}
