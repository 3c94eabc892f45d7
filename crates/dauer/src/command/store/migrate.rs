//! `dauer store migrate`: everything from one store into another.

use super::place::{Alone, Place, check_exists};
use super::progress::Bar;
use crate::failure::{Failure, Outcome};
use crate::render;
use crate::settings::Settings;
use dauer_store::moving::{BATCH, Migration, Moved};
use serde::Serialize;
use std::time::Instant;

/// Copy everything from one store into another, empty one
///
/// Definitions, jobs that are not running with their checkpoint pointers, signals and results, history, usage, schedules, limits and
/// tokens. Images and logs stay where they are: the daemon on the new store needs the same data folder.
///
/// No daemon may work on either. Killed at any moment and begun again it goes on where it was; until it has ended no daemon begins
/// on the new store. Both are compared at the end. The old store is only read, so going back is using it again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer suspend crunch && kill $(cat /run/dauer/dauer.pid)
  dauer store migrate --to postgres://dauer@db.example/jobs
  dauer serve --store postgres://dauer@db.example/jobs")]
pub(crate) struct Args {
    /// The old store [default: the one of this daemon]
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// The new one
    #[arg(long, value_name = "URL")]
    to: String,
    /// What was moved, as JSON
    #[arg(long)]
    json: bool,
}

/// What was moved, for programs.
#[derive(Serialize)]
struct Report<'a> {
    from: &'a str,
    to: &'a str,
    #[serde(flatten)]
    moved: &'a Moved,
    took_ms: u128,
}

/// Runs the command.
pub(super) async fn run(args: Args, settings: &Settings) -> Outcome {
    let (from, to) = (
        Place::named(args.from.as_deref(), settings)?,
        Place::named(Some(&args.to), settings)?,
    );
    if from == to {
        return Err(Failure::new(format!(
            "{} is both: name another store to move into",
            to.shown()
        )));
    }
    if let Place::File(path) = &from {
        check_exists(path)?;
    }
    let guards = [Alone::with(&from, settings)?, Alone::with(&to, settings)?];
    for (place, guard) in [&from, &to].into_iter().zip(&guards) {
        if guard.is_damaged {
            return Err(Failure::new(format!(
                "{} cannot be read: see `dauer store check`",
                place.shown()
            )));
        }
    }
    let began = Instant::now();
    let (source, target) = (from.open().await?, to.open().await?);
    let (old, new) = (from.shown(), to.shown());
    let mut bar = Bar::of_values();
    let migration = Migration {
        from: &*source,
        to: &*target,
        name: &old,
        now: now(),
        batch: BATCH,
    };
    let moved = migration.run(|progress| bar.tell(progress)).await;
    drop(bar);
    let moved = moved.map_err(Failure::because(format!("cannot move {old} to {new}")))?;
    if args.json {
        render::print_json(&Report {
            from: &old,
            to: &new,
            moved: &moved,
            took_ms: began.elapsed().as_millis(),
        })?;
        return Ok(0);
    }
    let mut table = render::table(&["WHAT", "MOVED", "DIGEST IN BOTH"]);
    for (part, tally) in &moved.parts.0 {
        table.add_row([part.clone(), tally.count.to_string(), tally.short()]);
    }
    render::print(&render::trimmed(&table))?;
    render::print(&format!(
        "\nEverything is in {new}. The old store is as it was. Now: dauer serve --store {new}\n"
    ))?;
    Ok(0)
}

fn now() -> dauer_core::Timestamp {
    dauer_core::Timestamp(jiff::Timestamp::now().as_millisecond())
}
