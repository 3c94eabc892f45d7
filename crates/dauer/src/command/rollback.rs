//! `dauer rollback`: a job goes on from an earlier state of its own.

use crate::context::Context;
use crate::failure::Outcome;
use crate::render;

/// Let a job go on from an earlier state of its own.
///
/// What it did since that checkpoint never was: memory and files are those of then. A job that runs is taken back at once, one that
/// sleeps wakes there, one that failed has a turn again. Its log goes on, with a mark. Prints the job's id.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer rollback crunch                    to its newest checkpoint
  dauer checkpoints crunch                 which there are
  dauer rollback crunch --to 9f2c          to that one")]
pub(crate) struct Args {
    /// To this checkpoint, by its id or the beginning of it; otherwise to the newest
    #[arg(long, value_name = "CHECKPOINT")]
    to: Option<String>,
    /// Print the job as JSON
    #[arg(long)]
    json: bool,
    /// The job
    #[arg(value_name = "JOB")]
    job: String,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    let job = client.roll_back(&args.job, args.to.as_deref()).await?;
    if args.json {
        render::print_json(&job)?;
    } else {
        render::print(&format!("{}\n", job.id))?;
    }
    Ok(0)
}
