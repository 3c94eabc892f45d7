//! `dauer diff`: what a job changed.

use crate::context::Context;
use crate::failure::Outcome;
use crate::render;

/// List the files that a job changed.
///
/// A is added, M modified, D deleted.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As a JSON array
    #[arg(long)]
    json: bool,
    /// The job
    #[arg(value_name = "JOB")]
    job: String,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let changes = context.client().await?.diff(&args.job).await?;
    if args.json {
        render::print_json(&changes)?;
        return Ok(0);
    }
    let lines = changes.iter().map(|change| {
        let letter = change
            .kind
            .chars()
            .next()
            .unwrap_or('?')
            .to_ascii_uppercase();
        format!("{letter} {}\n", change.path)
    });
    render::print(&lines.collect::<String>())?;
    Ok(0)
}
