//! `dauer ps`: the jobs there are.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::render;
use dauer_client::{Client, ListFilter};
use dauer_wire::http::JobView;

/// Each state a job can be in.
const STATES: [&str; 7] = [
    "pending",
    "running",
    "suspended",
    "pending_retry",
    "completed",
    "failed",
    "cancelled",
];

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
    /// Only those in this state, ended or not; repeatable
    #[arg(long, value_name = "STATE", value_parser = STATES, conflicts_with = "all")]
    state: Vec<String>,
    /// Only those with this tag; repeated, with all of them
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    tag: Vec<String>,
    /// Only those of this batch
    #[arg(long, value_name = "BATCH")]
    batch: Option<String>,
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
    let jobs = list(&client, &args).await?;
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

/// As the API writes it.
pub(crate) fn tag(text: &str) -> Result<String, String> {
    match text.split_once(['=', ':']) {
        Some((key, value)) if !key.is_empty() => Ok(format!("{key}:{value}")),
        Some(_) | None => Err(format!(
            "{text:?} is not a tag: write for example team=blue"
        )),
    }
}

async fn list(client: &Client, args: &Args) -> Result<Vec<JobView>, Failure> {
    let states = match (args.all, args.state.is_empty()) {
        (true, _) => vec![],
        (false, true) => LIVING.map(str::to_owned).to_vec(),
        (false, false) => args.state.clone(),
    };
    let mut filter = ListFilter {
        states,
        tags: args.tag.clone(),
        name: None,
        batch: args.batch.clone(),
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
