//! What nothing refers to any more, found and removed: folders of checkpoints and sandboxes without a record, pieces of what was being
//! written when somebody died, pages that no checkpoint needs.

use crate::{Engine, Error};
use dauer_core::{CheckpointId, Intent, SandboxId};
use dauer_sandbox::Observed;
use std::path::PathBuf;

/// One thing that is not needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unneeded {
    /// Of what kind.
    pub kind: UnneededKind,
    /// Its id; empty for room within others.
    pub id: String,
    /// Of the blocks that it takes.
    pub bytes: u64,
}

/// What is not needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnneededKind {
    /// A checkpoint to which no record points.
    Snapshot,
    /// A checkpoint that was being written, by somebody who died.
    Partial,
    /// The files of a sandbox that no job has, and that does not live.
    Sandbox,
    /// Pages of checkpoints that are gone.
    Pack,
    /// Such pages in packs of which others are needed.
    PackRoom,
}

impl UnneededKind {
    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Partial => "partial",
            Self::Sandbox => "sandbox",
            Self::Pack => "pack",
            Self::PackRoom => "pack_room",
        }
    }
}

impl Engine {
    /// Removes everything on this node that nothing refers to; with `dry_run` only says what that is.
    ///
    /// # Errors
    /// Those of the store; `Failed` where something cannot be looked at or removed.
    pub async fn collect_garbage(&self, dry_run: bool) -> Result<Vec<Unneeded>, Error> {
        let mut found = Vec::new();
        let gone = self.collect_snapshots(dry_run, &mut found).await?;
        self.collect_sandboxes(dry_run, &mut found).await?;
        let _turn = self.storage().turn().await;
        let swept = self.node().sweep(dry_run.then_some(gone)).await?;
        for (id, bytes) in swept.unused {
            let kind = UnneededKind::Pack;
            found.push(Unneeded { kind, id, bytes });
        }
        if swept.unused_within_bytes > 0 {
            found.push(Unneeded {
                kind: UnneededKind::PackRoom,
                id: String::new(),
                bytes: swept.unused_within_bytes,
            });
        }
        Ok(found)
    }

    /// Returns the checkpoints that are gone, or would be.
    pub(crate) async fn collect_snapshots(
        &self,
        dry_run: bool,
        found: &mut Vec<Unneeded>,
    ) -> Result<Vec<CheckpointId>, Error> {
        let node = self.node();
        // Listed before the records are asked: what is published or begun meanwhile is not in these lists.
        let (published, partials) = (node.snapshots().await?, node.partials().await?);
        let in_flight = self.in_flight().await?;
        let mut gone = Vec::new();
        for id in published {
            if in_flight.contains(&id) || self.store().referenced(&id).await? {
                continue;
            }
            self.note(
                UnneededKind::Snapshot,
                id.as_str(),
                node.layout().snapshot(&id),
                found,
            )
            .await?;
            if !dry_run {
                node.remove_snapshot(&id).await?;
            }
            gone.push(id);
        }
        for id in partials.into_iter().filter(|id| !in_flight.contains(id)) {
            let folder = node.layout().partial_snapshot(&id);
            self.note(UnneededKind::Partial, id.as_str(), folder, found)
                .await?;
        }
        if !dry_run {
            node.discard_partials(&in_flight).await?;
        }
        Ok(gone)
    }

    /// Checkpoints that somebody is about to publish or to commit.
    pub(crate) async fn in_flight(&self) -> Result<Vec<CheckpointId>, Error> {
        let mut ids: Vec<CheckpointId> = self.storage().arriving().iter().cloned().collect();
        for job in self.store().unsettled().await? {
            ids.extend(job.spec.keep_disk.clone());
            match job.intent {
                Some(Intent::Checkpoint { checkpoint, .. }) => ids.push(checkpoint),
                Some(Intent::Wake { .. } | Intent::End { .. }) | None => {}
            }
        }
        Ok(ids)
    }

    async fn collect_sandboxes(
        &self,
        dry_run: bool,
        found: &mut Vec<Unneeded>,
    ) -> Result<(), Error> {
        for sandbox in self.node().sandboxes().await? {
            let waits = self.pools().has(&sandbox);
            if waits
                || self.store().owner(&sandbox).await?.is_some()
                || self.lives(&sandbox).await?
            {
                continue;
            }
            let folder = self.node().layout().sandbox(&sandbox).path;
            self.note(UnneededKind::Sandbox, sandbox.as_str(), folder, found)
                .await?;
            if !dry_run {
                crate::housekeeping::remove_orphan(self, &sandbox).await?;
            }
        }
        Ok(())
    }

    /// Whether any incarnation of a sandbox lives.
    pub(crate) async fn lives(&self, sandbox: &SandboxId) -> Result<bool, Error> {
        for generation in self.node().incarnations(sandbox).await? {
            if self.node().observe(sandbox, generation).await? == Observed::Alive {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn note(
        &self,
        kind: UnneededKind,
        id: &str,
        folder: PathBuf,
        found: &mut Vec<Unneeded>,
    ) -> Result<(), Error> {
        let bytes = self.node().occupied(folder).await?;
        let id = id.to_owned();
        found.push(Unneeded { kind, id, bytes });
        Ok(())
    }
}
