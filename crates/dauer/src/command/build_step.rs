//! `dauer build-step`: a program whose files are the beginning of the next one.

use crate::context::Context;
use crate::failure::Outcome;
use crate::program::Program;
use crate::step::{self, CacheArgs};
use clap::ValueHint;
use dauer_wire::http::{CreateJob, StepCall};

/// Run a program once, and keep its files for the next step.
///
/// What it writes in its sandbox becomes a snapshot where it exits with 0, and --from begins another step on it. With a key the
/// same step is not run again: it is answered with the snapshot at once, prints nothing, and says CACHED. What fails is never kept.
///
/// Without a key the snapshot goes with the step, or with --run when that run ends (`dauer cache end NAME`, or with the daemon).
///
/// The id of the snapshot is on standard error; --json has it in a line of JSON there, --id-file in a file.
///
/// Exit code: the program's own; 128 + signal where a signal ended it; 125 where Dauer failed or was called wrongly.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer build-step --image /srv/debian.tar --network nat --cache-key tools-1 --id-file base -- apt-get install -y gcc make
  dauer build-step --from \"$(cat base)\" --cache auto --inject . --workdir /src -- make
  dauer build-step --cache-key nightly-2026-11-22 -- ./fetch-data")]
pub(crate) struct Args {
    #[command(flatten)]
    program: Program,
    #[command(flatten)]
    cache: CacheArgs,
    /// Begin from what this snapshot holds, by its id or name, instead of an image
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "image")]
    from: Option<String>,
    /// A run that it belongs to, by any name: what its steps leave without a key is there until the run ends
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// Print what came of it as a line of JSON on standard error
    #[arg(long)]
    json: bool,
    /// The program and its arguments, after --
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    argv: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let mut call = StepCall {
        job: CreateJob {
            argv: args.argv,
            ..args.program.job()?
        },
        from: args.from,
        run: args.run,
        ..StepCall::default()
    };
    args.cache.add_to(&mut call);
    step::show(&call, &args.cache, args.json, context).await
}
