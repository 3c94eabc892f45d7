//! After a start: files that belong to no record go. Whatever lives without a record gets a grace first.

use crate::scheduler::waits;
use crate::{Engine, Error, pool};
use dauer_core::{JobId, SandboxId};
use std::time::Duration;

/// What lives without a record is destroyed after so long.
const ORPHAN_GRACE: Duration = Duration::from_secs(60);

/// Looks once at everything on disk.
pub(crate) async fn at_start(engine: Engine) {
    if let Err(error) = clean_snapshots(&engine).await {
        tracing::warn!(%error, "looking for images without a record");
    }
    if let Err(error) = clean_strays(&engine).await {
        tracing::warn!(%error, "looking for containers without a sandbox");
    }
    if let Err(error) = engine.sweep_templates().await {
        tracing::warn!(%error, "looking for templates without a definition");
    }
    let cleaned = clean_sandboxes(&engine).await;
    tokio::spawn(pool::run(engine.clone()));
    match cleaned {
        Ok(orphans) if orphans.is_empty() => {}
        Ok(orphans) => {
            tracing::warn!(
                sandboxes = orphans.len(),
                "sandboxes without a record are destroyed in a minute"
            );
            tokio::time::sleep(ORPHAN_GRACE).await;
            for orphan in orphans {
                if let Err(error) = remove_orphan(&engine, &orphan).await {
                    tracing::warn!(sandbox = %orphan, %error, "a sandbox without a record stays");
                }
            }
        }
        Err(error) => tracing::warn!(%error, "looking for sandboxes without a record"),
    }
}

/// Removes containers whose sandbox is not there any more, not even without a record.
async fn clean_strays(engine: &Engine) -> Result<(), Error> {
    let strays = engine.node().remove_strays().await?;
    if !strays.is_empty() {
        tracing::warn!(?strays, "containers without a sandbox were removed");
    }
    Ok(())
}

async fn clean_snapshots(engine: &Engine) -> Result<(), Error> {
    for one in engine.collect_snapshots(false, &mut Vec::new()).await? {
        tracing::info!(checkpoint = %one, "a checkpoint without a record is removed");
    }
    Ok(())
}

/// Removes dead folders without a record; returns what lives without one.
async fn clean_sandboxes(engine: &Engine) -> Result<Vec<SandboxId>, Error> {
    let mut orphans = Vec::new();
    for sandbox in engine.node().sandboxes().await? {
        if let Some(job) = engine.store().owner(&sandbox).await? {
            stop_strangers(engine, &sandbox, &job).await?;
            continue;
        }
        // Before this daemon has any that wait of its own.
        if pool::remove_leftover(engine, &sandbox).await? {
            continue;
        }
        if engine.lives(&sandbox).await? {
            orphans.push(sandbox);
        } else {
            remove_orphan(engine, &sandbox).await?;
        }
    }
    Ok(orphans)
}

/// Ends what lives here of a job that went on on another node.
async fn stop_strangers(engine: &Engine, sandbox: &SandboxId, job: &JobId) -> Result<(), Error> {
    if !engine.nodes().is_shared() {
        return Ok(());
    }
    let job = engine.job(job).await?;
    let elsewhere = engine.held_elsewhere(&job).await?.is_some();
    let rests = waits(&job) || (job.state.is_terminal() && job.operation.is_none());
    // Whatever begins from now on is of a later generation.
    engine
        .stop_sandbox(sandbox, |generation| {
            elsewhere || generation < job.generation || (rests && generation == job.generation)
        })
        .await
}

pub(crate) async fn remove_orphan(engine: &Engine, sandbox: &SandboxId) -> Result<(), Error> {
    if engine.store().owner(sandbox).await?.is_some() {
        return Ok(());
    }
    for generation in engine.node().incarnations(sandbox).await? {
        let driver = engine
            .node()
            .spec(sandbox, generation)
            .await?
            .map(|spec| spec.driver);
        if let Some(driver) = driver {
            engine.node().destroy(sandbox, generation, &driver).await?;
        }
    }
    Ok(engine.node().remove(sandbox).await?)
}
