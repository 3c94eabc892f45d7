//! `dauer kill`: a signal to a job.

use crate::context::Context;
use crate::failure::Outcome;
use crate::render;
use dauer_core::parse;

/// Kill a job, or send it a signal.
///
/// KILL (the default) ends the job whatever it is doing; any other signal is only delivered.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A name or number; KILL ends the job, any other is only delivered
    #[arg(short, long, value_name = "SIGNAL", value_parser = parse::signal, default_value = "KILL")]
    signal: i32,
    /// The jobs
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    for job in &args.jobs {
        client.kill(job, args.signal).await?;
        render::print(&format!("{job}\n"))?;
    }
    Ok(0)
}
