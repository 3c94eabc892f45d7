//! `dauer ps`: the jobs there are.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::render;
use dauer_client::{Client, ListFilter};
use dauer_wire::http::JobView;

/// The states of a job that has not ended.
const LIVING: [&str; 4] = ["pending", "running", "suspended", "pending_retry"];

const PAGE: usize = 500;

/// List jobs.
///
/// Those that have not ended, newest first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also those that have ended
    #[arg(short, long)]
    all: bool,
    /// As a JSON array
    #[arg(long)]
    json: bool,
    /// Only the ids
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    let jobs = list(&client, args.all).await?;
    if args.json {
        render::print_json(&jobs)?;
    } else if args.quiet {
        render::print(
            &jobs
                .iter()
                .map(|job| format!("{}\n", job.id))
                .collect::<String>(),
        )?;
    } else {
        render::print(&render::jobs(
            &jobs,
            jiff::Timestamp::now().as_millisecond(),
            render::colours(),
        ))?;
    }
    Ok(0)
}

async fn list(client: &Client, all: bool) -> Result<Vec<JobView>, Failure> {
    let states = if all {
        vec![]
    } else {
        LIVING.map(str::to_owned).to_vec()
    };
    let mut filter = ListFilter {
        states,
        limit: Some(PAGE),
        cursor: None,
    };
    let mut jobs = vec![];
    loop {
        let page = client.list(&filter).await?;
        jobs.extend(page.jobs);
        match page.next_cursor {
            Some(cursor) => filter.cursor = Some(cursor),
            None => return Ok(jobs),
        }
    }
}
