//! `dauer suspend`: freeze a job to disk.

use crate::context::Context;
use crate::failure::Outcome;
use crate::render;
use dauer_core::parse;

/// Save a job with its memory and let it sleep.
///
/// No process and no memory are left until it wakes. Prints the checkpoint's id.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Wake by itself after so long, for example 3d; otherwise with `dauer resume`
    #[arg(long = "for", value_name = "DURATION", value_parser = parse::duration_ms)]
    for_ms: Option<u64>,
    /// Print the checkpoint as JSON
    #[arg(long)]
    json: bool,
    /// The job
    #[arg(value_name = "JOB")]
    job: String,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let checkpoint = context
        .client()
        .await?
        .suspend(&args.job, args.for_ms)
        .await?;
    if args.json {
        render::print_json(&checkpoint)?;
    } else {
        render::print(&format!("{}\n", checkpoint.id))?;
    }
    Ok(0)
}
