//! `dauer batch`: many jobs at once.

use crate::context::Context;
use crate::documents;
use crate::failure::{Failure, Outcome};
use crate::render;
use clap::ValueHint;
use dauer_core::parse;
use dauer_wire::http::{BatchView, CreateJob, CreateJobs};
use std::io::IsTerminal as _;

/// Jobs of one request.
const REQUEST_MAX: usize = 10_000;

/// Hand over many jobs at once.
///
/// A line of JSON for each, or one array of them, with the fields of POST /v1/jobs. Up to 10,000 are accepted in one transaction,
/// all or none; of a longer file each 10,000. Prints their ids in the order of the file, and on standard error the batch: the
/// handle of all of them, for `dauer wait --batch`. A job may come after others of the same file: {"after": [{"index": 0}]}, counted
/// from the first of each 10,000.
///
/// Exit code: 0 when all are durable; with --wait when all of them completed, and 1 where one ended otherwise.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer batch jobs.jsonl --wait
  seq 100 | sed 's/.*/{\"definition_name\": \"resize\", \"params\": &}/' | dauer batch -")]
pub(crate) struct Args {
    /// Print the ids as a JSON array; with --wait how the batch ended
    #[arg(long)]
    json: bool,
    /// Return when all of them have ended
    #[arg(long)]
    wait: bool,
    /// The batch they belong to; it may have jobs already [default: a new one]
    #[arg(long, value_name = "BATCH", value_parser = parse::name)]
    batch: Option<String>,
    /// The file; - is standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: String,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let mut jobs = Vec::new();
    for (index, document) in documents::read(&args.file)?.into_iter().enumerate() {
        let place = format!("{}, job {}", args.file, index + 1);
        let mut job: CreateJob =
            serde_path_to_error::deserialize(document).map_err(Failure::because(place))?;
        // With a key of our own a request may be sent again when the daemon goes away before it answers.
        job.idempotency_key
            .get_or_insert_with(|| uuid::Uuid::new_v4().to_string());
        jobs.push(job);
    }
    // With a handle of our own it is the same however often a request is sent.
    let batch = args.batch.clone();
    let batch = batch.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let client = context.client().await?;
    let mut ids = Vec::with_capacity(jobs.len());
    for part in jobs.chunks(REQUEST_MAX) {
        let part = CreateJobs {
            jobs: part.to_vec(),
            batch_id: Some(batch.clone()),
        };
        let accepted = loop {
            match client.create_batch(&part).await {
                Ok(accepted) => break accepted.job_ids,
                Err(lost) if lost.is_disconnect() => context.reconnect(&lost).await?,
                Err(error) => {
                    let field = error.field().map(|field| format!("{field}: "));
                    let text = format!("{}{error}", field.unwrap_or_default());
                    return Err(Failure::new(match ids.len() {
                        0 => text,
                        before => format!("{text}; the first {before} jobs were accepted"),
                    }));
                }
            }
        };
        if !args.json {
            render::print(&format!("{}\n", accepted.join("\n")))?;
        }
        ids.extend(accepted);
    }
    if ids.is_empty() {
        return Ok(0);
    }
    if !args.json {
        eprintln!("batch {batch}");
    }
    if args.wait {
        return until_ended(&batch, args.json, context).await;
    }
    if args.json {
        render::print_json(&ids)?;
    }
    Ok(0)
}

/// Returns when all jobs of this batch have ended: 0 where all of them completed. On a terminal it shows how far they are.
pub(crate) async fn until_ended(batch: &str, json: bool, context: &Context) -> Outcome {
    let client = context.client().await?;
    let shows = !json && std::io::stderr().is_terminal();
    // At first whatever there is.
    let mut seen = shows.then_some(u64::MAX);
    let ended = loop {
        match client.wait_for_batch(batch, seen).await {
            Ok(view) if view.ended == view.total => break view,
            Ok(view) => {
                eprint!("\r\x1b[K{}", progress(&view));
                seen = Some(view.ended);
            }
            Err(lost) if lost.is_disconnect() => context.reconnect(&lost).await?,
            Err(error) => return Err(error.into()),
        }
    };
    if shows {
        eprintln!("\r\x1b[K{}", progress(&ended));
    }
    if json {
        render::print_json(&ended)?;
    }
    let completed = ended.states.get("completed").copied().unwrap_or(0);
    Ok(i32::from(completed < ended.total))
}

fn progress(view: &BatchView) -> String {
    let states: Vec<String> = view
        .states
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    format!(
        "{} of {} ended: {}",
        view.ended,
        view.total,
        states.join(", ")
    )
}
