//! After a start: what steps of an earlier process left. Their callers went with it, so nobody waits for them.

use super::jobs::{NODE_TAG, PROCESS_TAG, blocking};
use super::{Owner, Shared};
use crate::{Engine, Error};
use dauer_store::Filter;
use std::path::PathBuf;
use std::sync::Arc;

/// Jobs of one read.
const PAGE: usize = 100;

/// Looks once; whatever fails is looked at again after the next start.
pub(crate) async fn at_start(engine: Engine, shared: Arc<Shared>) {
    let owner = shared.registry.owner().clone();
    // Before what they leave: a program that still runs could publish it after it was looked for.
    if let Err(error) = end_jobs(&engine, &owner).await {
        tracing::warn!(%error, "ending the steps of an earlier daemon");
    }
    if let Err(error) = shared.registry.recover().await {
        tracing::warn!(%error, "clearing what steps of an earlier daemon left");
    }
}

async fn end_jobs(engine: &Engine, owner: &Owner) -> Result<(), Error> {
    let mut before = None;
    loop {
        let filter = Filter {
            tags: vec![(NODE_TAG.to_owned(), owner.node.0.clone())],
            before: before.take(),
            limit: PAGE,
            ..Filter::default()
        };
        let page = engine.list(filter).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.id.clone());
        for job in page {
            let is_ours = job.spec.tags.get(PROCESS_TAG) == Some(&owner.process);
            // Anybody may give a job these tags; only a step keeps its files.
            if is_ours || job.spec.keep_disk.is_none() {
                continue;
            }
            match engine.remove(&job.id, true).await {
                // Somebody removed it.
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(error) => {
                    tracing::warn!(job = %job.id, %error, "a step of an earlier daemon stays");
                }
            }
        }
    }
    clear_but(engine.node().layout().steps(), owner.process.clone()).await
}

/// What was copied to be put into sandboxes of an earlier process.
async fn clear_but(folder: PathBuf, process: String) -> Result<(), Error> {
    blocking(move || {
        let failed = |error| Error::Failed(format!("clear {}: {error}", folder.display()));
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_str() != Some(&process) {
                std::fs::remove_dir_all(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    })
    .await
}
