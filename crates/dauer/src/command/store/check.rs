//! `dauer store check`: whether everything in a store is as it should be.

use super::place::Place;
use super::progress::Bar;
use crate::failure::{Failure, Outcome};
use crate::render;
use crate::settings::Settings;
use dauer_store::check::{Finding, check};
use serde::Serialize;
use std::fmt::Write as _;

/// Look whether everything in a store is as it should be
///
/// Records, their checkpoints and journals, usage, and what is searched by. It changes nothing, and may run beside the daemon.
///
/// Exit code: 0 where all is well, 1 where something is not.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which store [default: the one of this daemon]
    #[arg(value_name = "URL")]
    store: Option<String>,
    /// What was found, as JSON
    #[arg(long)]
    json: bool,
}

/// What was found, for programs.
#[derive(Serialize)]
struct Report<'a> {
    store: &'a str,
    findings: &'a [Finding],
}

/// Runs the command.
pub(super) async fn run(args: Args, settings: &Settings) -> Outcome {
    let place = Place::named(args.store.as_deref(), settings)?;
    let name = place.shown();
    let store = place.open_to_look().await?;
    let mut bar = Bar::of_values();
    let findings = check(&*store, |progress| bar.tell(progress)).await;
    drop(bar);
    let findings = findings.map_err(Failure::because(format!("cannot check {name}")))?;
    if args.json {
        render::print_json(&Report {
            store: &name,
            findings: &findings,
        })?;
    } else {
        render::print(&text(&name, &findings))?;
    }
    Ok(i32::from(!findings.is_empty()))
}

fn text(name: &str, findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let rule = finding.rule.name();
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}: {rule}: {}", finding.subject, finding.what);
        let _ = writeln!(text, "  {}", finding.fix);
    }
    let _ = match findings.len() {
        0 => writeln!(text, "{name}: all is as it should be"),
        1 => writeln!(text, "\n{name}: 1 thing is not as it should be"),
        count => writeln!(text, "\n{name}: {count} things are not as they should be"),
    };
    text
}
