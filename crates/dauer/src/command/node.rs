//! `dauer node`: the daemons on one store.

use crate::context::Context;
use crate::failure::Outcome;
use crate::render;
use dauer_wire::http::NodeView;

/// The daemons that share one store.
///
/// Each job that runs is held by one of them, under a lease that its daemon renews. When a daemon is silent for longer than its
/// lease, another one takes over its jobs: those that its policy tries again begin anew, the others fail as `lost`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer serve --store postgres://dauer@db/jobs       # on each machine
  dauer node ls")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List the daemons, until when their leases last, and how many jobs they hold
    Ls {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let What::Ls { json } = args.what;
    let list = context.client().await?.nodes().await?;
    if json {
        render::print_json(&list)?;
        return Ok(0);
    }
    let mut table = render::table(&["NODE", "JOBS", "LEASE", "EPOCH", "ADDRESS"]);
    for node in &list.nodes {
        table.add_row(vec![
            name(node),
            node.jobs.to_string(),
            lease(node),
            node.epoch.to_string(),
            node.address.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    render::print(&render::trimmed(&table))?;
    Ok(0)
}

fn name(node: &NodeView) -> String {
    if node.this {
        format!("{} (this)", node.node)
    } else {
        node.node.clone()
    }
}

fn lease(node: &NodeView) -> String {
    let Some(until) = node.lease_until_at else {
        return "for ever".to_owned();
    };
    match (until - jiff::Timestamp::now().as_millisecond()) / 1000 {
        left if left > 0 => format!("{left}s left"),
        _ => "run out".to_owned(),
    }
}
