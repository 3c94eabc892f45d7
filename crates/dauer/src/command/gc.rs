//! `dauer gc`: what nothing refers to any more.

use crate::context::Context;
use crate::failure::Outcome;
use crate::render;

/// Remove what nothing refers to any more.
///
/// Checkpoints, sandboxes and pages of checkpoints on this node's disk to which no record points. The daemon removes such things by itself;
/// after crashes and full disks this says what there is and gets rid of it at once. Jobs, and what they need, are never touched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer gc --dry-run       what would go, and how much room that is
  dauer gc")]
pub(crate) struct Args {
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    let report = client.collect_garbage(args.dry_run).await?;
    if args.json {
        render::print_json(&report)?;
        return Ok(0);
    }
    if !report.unneeded.is_empty() {
        let mut table = render::table(&["KIND", "ID", "SIZE"]);
        for one in &report.unneeded {
            table.add_row(vec![
                one.kind.replace('_', " "),
                one.id.clone(),
                render::size(one.bytes),
            ]);
        }
        render::print(&render::trimmed(&table))?;
    }
    let size = render::size(report.bytes);
    let line = match (report.unneeded.is_empty(), args.dry_run) {
        (true, _) => "nothing is unneeded\n".to_owned(),
        (false, true) => format!("{size} would be free: remove it with: dauer gc\n"),
        (false, false) => format!("{size} freed\n"),
    };
    render::print(&line)?;
    Ok(0)
}
