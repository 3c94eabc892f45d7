//! `dauer snapshot`: states that outlive their jobs.

use super::transfer::{self, ExportArgs, ImportArgs};
use crate::context::Context;
use crate::failure::Outcome;
use crate::render;
use crate::wishes::pair;
use clap::Subcommand;
use dauer_core::parse;
use dauer_wire::http::SaveSnapshot;

/// Keep states of jobs beyond their end.
///
/// A snapshot holds memory and files of a job at one moment. Whatever is forked from it goes on from there, also when the job is long gone.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer snapshot save trained --name model-ready --label epoch=12
  dauer fork model-ready -n 8 --name worker
  dauer snapshot export model-ready | ssh other dauer snapshot import
  dauer snapshot ls
  dauer snapshot rm model-ready")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Keep the state of a job: of one that runs the present one, and it goes on; otherwise its checkpoint. Prints the snapshot's id
    Save {
        /// A name, unique among snapshots
        #[arg(long, value_name = "NAME", value_parser = parse::name)]
        name: Option<String>,
        /// What it is searched by; repeatable
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
        labels: Vec<(String, String)>,
        /// Keep it until somebody insists on its removal
        #[arg(long)]
        pin: bool,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
        /// The job
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// List the snapshots
    Ls {
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Everything about a snapshot, as JSON
    Inspect {
        /// The snapshot
        #[arg(value_name = "SNAPSHOT")]
        snapshot: String,
    },
    /// Keep snapshots until somebody insists on their removal
    Pin {
        /// The snapshots
        #[arg(value_name = "SNAPSHOT", required = true)]
        snapshots: Vec<String>,
    },
    /// The opposite of pin
    Unpin {
        /// The snapshots
        #[arg(value_name = "SNAPSHOT", required = true)]
        snapshots: Vec<String>,
    },
    /// Write a snapshot, or the newest checkpoint of a job, as one stream that another machine can import
    Export(ExportArgs),
    /// Take in what export wrote; every byte is checked first. Prints the snapshot's id
    Import(ImportArgs),
    /// Remove snapshots; jobs made from them keep what they need
    Rm {
        /// Also those that are pinned
        #[arg(short, long)]
        force: bool,
        /// The snapshots
        #[arg(value_name = "SNAPSHOT", required = true)]
        snapshots: Vec<String>,
    },
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    match args.what {
        What::Save {
            name,
            labels,
            pin,
            json,
            job,
        } => {
            let call = SaveSnapshot {
                job,
                name,
                labels: labels.into_iter().collect(),
                pinned: pin,
            };
            let snapshot = client.save_snapshot(&call).await?;
            if json {
                render::print_json(&snapshot)?;
            } else {
                render::print(&format!("{}\n", snapshot.id))?;
            }
        }
        What::Ls { json } => list(json, context).await?,
        What::Inspect { snapshot } => render::print_json(&client.snapshot(&snapshot).await?)?,
        What::Pin { snapshots } => {
            for snapshot in &snapshots {
                client.pin_snapshot(snapshot, true).await?;
                render::print(&format!("{snapshot}\n"))?;
            }
        }
        What::Unpin { snapshots } => {
            for snapshot in &snapshots {
                client.pin_snapshot(snapshot, false).await?;
                render::print(&format!("{snapshot}\n"))?;
            }
        }
        What::Export(args) => return transfer::export(&args, context).await,
        What::Import(args) => return transfer::import(&args, context).await,
        What::Rm { force, snapshots } => {
            for snapshot in &snapshots {
                client.remove_snapshot(snapshot, force).await?;
                render::print(&format!("{snapshot}\n"))?;
            }
        }
    }
    Ok(0)
}

async fn list(json: bool, context: &Context) -> Result<(), crate::failure::Failure> {
    let client = context.client().await?;
    let mut page = client.snapshots(None).await?;
    let mut snapshots = std::mem::take(&mut page.snapshots);
    while let Some(cursor) = page.next_cursor.take() {
        page = client.snapshots(Some(&cursor)).await?;
        snapshots.append(&mut page.snapshots);
    }
    if json {
        return render::print_json(&snapshots);
    }
    let mut table = render::table(&["ID", "NAME", "KIND", "TAKEN", "MEMORY", "DISK", "JOB", ""]);
    for snapshot in &snapshots {
        table.add_row(vec![
            snapshot.id.clone(),
            snapshot.name.clone().unwrap_or_default(),
            snapshot.kind.clone(),
            render::time(snapshot.created_at),
            render::size(snapshot.memory_bytes),
            render::size(snapshot.disk_bytes),
            snapshot.job.clone().unwrap_or_default(),
            if snapshot.pinned {
                "pinned".into()
            } else {
                String::new()
            },
        ]);
    }
    render::print(&render::trimmed(&table))
}
