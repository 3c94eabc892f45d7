//! `dauer version`.

use crate::failure::Outcome;
use crate::render;

/// The version.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run() -> Outcome {
    render::print(&format!("dauer {}\n", env!("CARGO_PKG_VERSION")))?;
    Ok(0)
}
