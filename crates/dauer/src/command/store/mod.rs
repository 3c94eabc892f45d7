//! `dauer store`: what is done with a store as a whole. Without a daemon: most of it wants that none is there.

mod backup;
mod check;
mod migrate;
mod place;
mod progress;
mod restore;

use crate::failure::{Failure, Outcome};
use crate::settings::Settings;

/// Move, check, back up and restore what jobs are kept in.
///
/// A store is named by a URL: sqlite:/path/dauer.db, postgres://user@host/name, redis://host. Where none is named it is the one of
/// this daemon (`serve --store`). docs/stores.md says which to choose.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer store check
  dauer store backup /backup/jobs-$(date +%F).db       # while the daemon runs
  dauer store migrate --to postgres://dauer@db.example/jobs")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Migrate(migrate::Args),
    Check(check::Args),
    Backup(backup::Args),
    Restore(restore::Args),
}

/// Runs the command.
pub(crate) fn run(args: Args, settings: &Settings) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::because("cannot start"))?;
    let outcome = runtime.block_on(async {
        match args.what {
            What::Migrate(args) => migrate::run(args, settings).await,
            What::Check(args) => check::run(args, settings).await,
            What::Backup(args) => backup::run(args, settings).await,
            What::Restore(args) => restore::run(args, settings).await,
        }
    });
    // Nothing of it may be half done when the process ends.
    drop(runtime);
    outcome
}
