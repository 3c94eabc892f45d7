//! `dauer events`: the journal.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::render;
use dauer_wire::http::EventView;

/// What happened to jobs.
///
/// To one or to all, oldest first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Wait for more
    #[arg(short, long)]
    follow: bool,
    /// A line of JSON each
    #[arg(long)]
    json: bool,
    /// Only what came after this entry
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
    /// The job; all where absent
    #[arg(value_name = "JOB")]
    job: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    let mut after = args.after;
    loop {
        let mut events = client
            .events(args.job.as_deref(), after, args.follow)
            .await?;
        let lost = loop {
            match events.next().await {
                Ok(Some(event)) => {
                    after = event.seq;
                    print(&event, args.json)?;
                }
                Ok(None) => return Ok(0),
                Err(lost) if lost.is_disconnect() => break lost,
                Err(error) => return Err(error.into()),
            }
        };
        context.reconnect(&lost).await?;
    }
}

fn print(event: &EventView, json: bool) -> Result<(), Failure> {
    if !json {
        return render::print(&render::event(event));
    }
    let line = serde_json::to_string(event).map_err(Failure::because("cannot print"))?;
    render::print(&format!("{line}\n"))
}
