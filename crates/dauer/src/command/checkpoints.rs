//! `dauer checkpoints`: what a job could be restored from.

use crate::context::Context;
use crate::failure::Outcome;
use crate::render;

/// List a job's checkpoints.
///
/// Oldest first; a restore takes the newest.
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
    let checkpoints = context.client().await?.checkpoints(&args.job).await?;
    if args.json {
        render::print_json(&checkpoints)?;
        return Ok(0);
    }
    let mut table = render::table(&["ID", "TAKEN", "FROZEN", "MEMORY", "DISK", "GENERATION", ""]);
    for checkpoint in &checkpoints {
        table.add_row(vec![
            checkpoint.id.clone(),
            render::time(checkpoint.taken_at),
            render::duration(i64::try_from(checkpoint.frozen_ms).unwrap_or(i64::MAX)),
            render::size(checkpoint.memory_bytes),
            render::size(checkpoint.disk_bytes),
            checkpoint.generation.to_string(),
            if checkpoint.newest {
                "newest".into()
            } else {
                String::new()
            },
        ]);
    }
    render::print(&render::trimmed(&table))?;
    Ok(0)
}
