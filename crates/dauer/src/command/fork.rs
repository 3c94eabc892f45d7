//! `dauer fork`: jobs that go on as another one is.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::render;
use crate::wishes::{pair, params, read};
use dauer_core::parse;
use dauer_wire::http::{ForkCall, JobView};
use serde_json::Value;

/// Make jobs that go on as a job is, memory and all.
///
/// A running job is saved for that, and goes on; of one that sleeps or failed its checkpoint is taken. In place of a job stands also
/// a snapshot, or the id of a checkpoint. Each fork has its own id, host name, network and log, and learns from `GET /v1/self` which
/// one it is. Prints the ids, once all of them run or as soon as they are accepted.
///
/// What a fork's program read before it was forked it has in memory still, such as DAUER_JOB_ID; ports of the host are not forwarded
/// to forks.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer fork trained -n 5 --name worker             worker-0 … worker-4
  dauer fork trained -n 2 --params-each @two.json   a JSON array with the parameters of each
  dauer fork model-ready --detach                   of a snapshot; returns as soon as it is accepted")]
pub(crate) struct Args {
    /// So many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// A name; of several the beginning of NAME-0, NAME-1 …
    #[arg(long, value_name = "NAME", value_parser = parse::name)]
    name: Option<String>,
    /// What each asks for with `dauer params` or GET /v1/self/params: JSON, or @FILE
    #[arg(long, value_name = "JSON|@FILE", conflicts_with = "params_each")]
    params: Option<String>,
    /// The same with one for each: a JSON array, or lines of JSON, or @FILE with either
    #[arg(long, value_name = "JSON|@FILE")]
    params_each: Option<String>,
    /// A tag; repeatable
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,
    /// Remove them and their data when they have ended
    #[arg(long)]
    rm: bool,
    /// Return as soon as they are accepted
    #[arg(short, long)]
    detach: bool,
    /// Print the jobs as a JSON array
    #[arg(long)]
    json: bool,
    /// A job, a snapshot, or a checkpoint
    #[arg(value_name = "JOB|SNAPSHOT|CHECKPOINT")]
    source: String,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let params = match (&args.params, &args.params_each) {
        (Some(text), _) => vec![params(text)?],
        (None, Some(text)) => each(text)?,
        (None, None) => Vec::new(),
    };
    let call = ForkCall {
        count: Some(args.count),
        name: args.name,
        params,
        tags: args.tags.into_iter().collect(),
        remove_on_exit: args.rm,
        ..ForkCall::default()
    };
    let client = context.client().await?;
    let mut jobs = client.fork(&args.source, &call).await?.jobs;
    if !args.detach {
        for job in &mut jobs {
            *job = begun(job, context).await?;
        }
    }
    if args.json {
        render::print_json(&jobs)?;
    } else {
        let ids: String = jobs.iter().map(|job| format!("{}\n", job.id)).collect();
        render::print(&ids)?;
    }
    let failed = jobs
        .iter()
        .find(|job| job.reason.as_deref() == Some("restore_failed"));
    match failed {
        Some(job) => Err(Failure::new(format!(
            "{} could not go on: {}",
            job.id,
            job.message.as_deref().unwrap_or("no reason was given")
        ))),
        None => Ok(0),
    }
}

/// The job once it runs, or has ended: its journal says when something changes.
async fn begun(job: &JobView, context: &Context) -> Result<JobView, Failure> {
    let client = context.client().await?;
    let rises = |job: &JobView| {
        job.state == "pending" || (job.state == "running" && job.started_at.is_none())
    };
    let mut events = client.events(Some(&job.id), 0, true).await?;
    loop {
        let now = client.job(&job.id).await?;
        if !rises(&now) {
            return Ok(now);
        }
        if events.next().await?.is_none() {
            return Ok(client.job(&job.id).await?);
        }
    }
}

/// A JSON array, or lines of JSON.
fn each(text: &str) -> Result<Vec<Value>, Failure> {
    let text = match text.strip_prefix('@') {
        Some(file) => read(file)?,
        None => text.to_owned(),
    };
    if let Ok(Value::Array(values)) = serde_json::from_str(&text) {
        return Ok(values);
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            serde_json::from_str(line).map_err(|error| {
                Failure::new(format!(
                    "--params-each: neither a JSON array nor lines of JSON ({error})"
                ))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_each_come_as_an_array_or_as_lines() {
        assert_eq!(each("[1, {\"a\": 2}]").ok().map(|all| all.len()), Some(2));
        assert_eq!(each("{\"a\": 1}\n\n7\n").ok().map(|all| all.len()), Some(2));
        assert!(each("{a}").is_err());
    }
}
