//! `dauer batch`: many jobs at once.

use crate::context::Context;
use crate::documents;
use crate::failure::{Failure, Outcome};
use crate::render;
use clap::ValueHint;
use dauer_wire::http::CreateJob;

/// Jobs of one request.
const REQUEST_MAX: usize = 10_000;

/// Hand over many jobs at once.
///
/// A line of JSON for each, or one array of them, with the fields of POST /v1/jobs. Up to 10,000 are accepted in one transaction,
/// all or none; of a longer file each 10,000. Prints their ids in the order of the file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer batch jobs.jsonl
  seq 100 | sed 's/.*/{\"definition_name\": \"resize\", \"params\": &}/' | dauer batch -")]
pub(crate) struct Args {
    /// Print the ids as a JSON array
    #[arg(long)]
    json: bool,
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
    let client = context.client().await?;
    let mut ids = Vec::with_capacity(jobs.len());
    for part in jobs.chunks(REQUEST_MAX) {
        let accepted = loop {
            match client.create_all(part.to_vec()).await {
                Ok(accepted) => break accepted,
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
    if args.json {
        render::print_json(&ids)?;
    }
    Ok(0)
}
