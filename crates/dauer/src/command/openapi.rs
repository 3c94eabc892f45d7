//! `dauer openapi`: the document of the caller API.

use crate::failure::Outcome;
use crate::render;

/// Print the OpenAPI document of the API.
///
/// The daemon serves the same at /v1/openapi.json.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  dauer openapi > openapi.json")]
pub(crate) struct Args {}

/// Runs the command.
pub(crate) fn run() -> Outcome {
    render::print(dauer_server::openapi())?;
    Ok(0)
}
