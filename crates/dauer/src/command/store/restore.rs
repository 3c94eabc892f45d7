//! `dauer store restore`: a backup in the place of the store.

use super::place::{Alone, Place};
use super::progress::Bar;
use crate::failure::{Failure, Outcome};
use crate::render;
use crate::settings::Settings;
use dauer_store::check::check;
use dauer_store::moving::{BATCH, Movable as _, Portable, Section};
use dauer_store::{Sqlite, backup};
use std::path::{Path, PathBuf};

/// Put a backup in the place of this daemon's store
///
/// The daemon may not run. The backup is looked through first, as `dauer store check` does; the store that was there is kept beside
/// it. What jobs did since the backup is forgotten: those that ran then begin again where their newest checkpoint still is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kill $(cat /run/dauer/dauer.pid)
  dauer store restore /backup/jobs-2026-11-21.db")]
pub(crate) struct Args {
    /// As `dauer store backup` wrote it
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command.
pub(super) async fn run(args: Args, settings: &Settings) -> Outcome {
    let place = Place::named(None, settings)?;
    let Place::File(store) = &place else {
        return Err(Failure::new(format!(
            "{} is restored with its server's own means, such as pg_restore",
            place.shown()
        )));
    };
    let folder = store.parent().unwrap_or(Path::new("."));
    crate::launch::make_folder(folder)?;
    let alone = Alone::with(&place, settings)?;
    let staged = store.with_extension("restoring");
    if staged.exists() {
        // Of a restore that was cut off.
        std::fs::remove_file(&staged).map_err(Failure::because(format!(
            "cannot remove {}",
            staged.display()
        )))?;
    }
    let (from, to) = (args.file.clone(), staged.clone());
    let copying = tokio::task::spawn_blocking(move || {
        let bar = Bar::of_bytes();
        backup::back_up(&from, &to, |done, total| bar.bytes(done, total))
    });
    copying.await.map_err(Failure::because("cannot copy"))??;
    let missing = match look_through(&staged, settings).await {
        Ok(missing) => missing,
        Err(failure) => {
            // Not put in its place; what is left of it would only take room.
            let _ = std::fs::remove_file(&staged);
            return Err(failure);
        }
    };
    let kept = store.with_extension(format!(
        "before-{}",
        jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ")
    ));
    let was_there = store.exists();
    backup::replace(store, &staged, &kept)?;
    drop(alone);
    let mut text = format!("{} is what {} was.\n", place.shown(), args.file.display());
    if was_there {
        text += &format!("The store that was there: {}\n", kept.display());
    }
    if missing > 0 {
        text += &format!(
            "{missing} jobs were to go on from a checkpoint that is gone since: see `dauer ps`, `dauer inspect`.\n"
        );
    }
    render::print(&text)?;
    Ok(0)
}

/// Errors: what is wrong with it. Returns how many jobs point to an image that is not on this disk any more.
async fn look_through(file: &Path, settings: &Settings) -> Result<usize, Failure> {
    let store = Sqlite::open(file)?;
    let mut bar = Bar::of_values();
    let findings = check(&store, |progress| bar.tell(progress)).await?;
    drop(bar);
    if let Some(first) = findings.first() {
        return Err(Failure::new(format!(
            "the backup is not as it should be ({}: {}), {} findings: see `dauer store check sqlite:FILE`; nothing was changed",
            first.subject,
            first.what,
            findings.len()
        )));
    }
    let (mut missing, mut after) = (0, None);
    loop {
        let page = store.export(Section::Jobs, after.as_deref(), BATCH).await?;
        let gone = page.values.iter().filter(|value| match value {
            Portable::Job(job) => job
                .job
                .checkpoint
                .as_ref()
                .is_some_and(|id| !settings.layout.snapshot(id).exists()),
            _ => false,
        });
        missing += gone.count();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    store.close().await?;
    Ok(missing)
}
