//! `dauer store backup`: a copy of the store while it is in use.

use super::place::{Place, check_exists};
use super::progress::Bar;
use crate::failure::{Failure, Outcome};
use crate::render;
use crate::settings::Settings;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Copy the store of this daemon into a file, also while it runs
///
/// The copy is of one moment, looked through, and on the disk when it has its name. Only of SQLite; servers have their own means.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer store backup /backup/jobs-$(date +%F).db")]
pub(crate) struct Args {
    /// A file that does not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What was written, as JSON
    #[arg(long)]
    json: bool,
}

/// What was written, for programs.
#[derive(Serialize)]
struct Report {
    store: String,
    file: PathBuf,
    bytes: u64,
    took_ms: u128,
}

/// Runs the command.
pub(super) async fn run(args: Args, settings: &Settings) -> Outcome {
    let place = Place::named(None, settings)?;
    let from = match &place {
        Place::File(path) => path.clone(),
        Place::Server(url) => return Err(Failure::new(instead(url))),
    };
    check_exists(&from)?;
    let began = Instant::now();
    let to = args.file.clone();
    let copying = tokio::task::spawn_blocking(move || {
        let bar = Bar::of_bytes();
        dauer_store::backup::back_up(&from, &to, |done, total| bar.bytes(done, total))
    });
    let bytes = copying.await.map_err(Failure::because("cannot copy"))??;
    if args.json {
        render::print_json(&Report {
            store: place.shown(),
            file: args.file,
            bytes,
            took_ms: began.elapsed().as_millis(),
        })?;
    } else {
        let (file, size) = (args.file.display(), render::size(bytes));
        render::print(&format!("{file}: {size}\n"))?;
    }
    Ok(0)
}

/// How a server is backed up.
fn instead(url: &str) -> String {
    let shown = dauer_store::shown(url);
    if url.starts_with("postgres") {
        return format!(
            "{shown} is backed up with PostgreSQL's own means, for example: pg_dump --format=custom --schema=dauer --file=FILE '{shown}'"
        );
    }
    format!(
        "{shown} is backed up with Redis' own means, for example: redis-cli -u '{shown}' --rdb FILE"
    )
}

#[cfg(test)]
mod tests {
    use super::instead;

    #[test]
    fn what_a_server_is_backed_up_with_is_said_without_its_password() {
        let said = instead("postgres://u:secret@h/d");
        assert!(said.contains("pg_dump") && said.contains("u@h/d"), "{said}");
        let said = instead("rediss://:secret@h");
        assert!(
            said.contains("--rdb FILE") && !said.contains("secret"),
            "{said}"
        );
    }
}
