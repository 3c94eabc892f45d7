//! `dauer completion`: scripts for shells.

use crate::cli::Cli;
use crate::failure::{Failure, Outcome};
use crate::render;
use clap::CommandFactory as _;
use clap_complete::Shell;

/// Completion for a shell.
///
/// Prints the script.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  dauer completion bash > /etc/bash_completion.d/dauer")]
pub(crate) struct Args {
    /// Which shell
    #[arg(value_name = "bash|zsh|fish")]
    shell: Shell,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dauer", &mut script);
    let script = String::from_utf8(script).map_err(Failure::because("the script is no text"))?;
    render::print(&script)?;
    Ok(0)
}
