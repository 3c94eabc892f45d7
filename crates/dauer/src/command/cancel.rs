//! `dauer cancel`: an end for jobs that have none yet.

use crate::context::Context;
use crate::failure::Outcome;
use crate::render;
use dauer_core::parse;

/// End jobs that have not ended.
///
/// Whatever they are doing: those that wait never begin, those that run get TERM, a grace, KILL. Returns when they are cancelled;
/// a job that completed or failed is refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer cancel nightly
  dauer cancel --grace 0s --children crawl")]
pub(crate) struct Args {
    /// From TERM to KILL; the job's own where absent
    #[arg(short, long, value_name = "DURATION", value_parser = parse::duration_ms)]
    grace: Option<u64>,
    /// Cancel all jobs below them too: those that have one of them as their --parent, and theirs
    #[arg(long)]
    children: bool,
    /// All jobs of this batch that have not ended
    #[arg(long, value_name = "BATCH", conflicts_with_all = ["jobs", "children"])]
    batch: Option<String>,
    /// The jobs
    #[arg(value_name = "JOB", required_unless_present = "batch")]
    jobs: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    if let Some(batch) = &args.batch {
        client.cancel_batch(batch, args.grace).await?;
        render::print(&format!("{batch}\n"))?;
    }
    for job in &args.jobs {
        client.cancel(job, args.grace, args.children).await?;
        render::print(&format!("{job}\n"))?;
    }
    Ok(0)
}
