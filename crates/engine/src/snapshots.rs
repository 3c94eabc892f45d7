//! Kept states: saved by name, listed, pinned, removed. They outlive the jobs they were taken of.

use crate::asker::audit;
use crate::{Engine, Error};
use dauer_core::{CheckpointId, Job, JobSpec, Json, Snapshot, SnapshotKind, parse};
use dauer_sandbox::snapshot::Manifest;
use dauer_store::Folder;
use std::collections::BTreeMap;

/// How often a checkpoint that vanished between being chosen and being shared is chosen anew.
const CHOICES_MAX: u32 = 5;

/// As of a job's tags.
const LABELS_MAX: usize = 64;

/// What a snapshot is to be like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saving {
    /// A unique name among snapshots.
    pub name: Option<String>,
    /// What it is searched by.
    pub labels: BTreeMap<String, String>,
    /// Only somebody who names it removes it.
    pub pinned: bool,
}

impl Engine {
    /// Keeps the state of a job beyond its end: of one that runs the present one, and it goes on; of any other its checkpoint. The
    /// files are shared, nothing is copied.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where it has no state to keep; `NameInUse`; those of [`Engine::checkpoint`].
    pub async fn save_snapshot(&self, source: &str, saving: &Saving) -> Result<Snapshot, Error> {
        if let Some(name) = &saving.name {
            parse::name(name).map_err(|text| Error::invalid("name", text))?;
        }
        if saving.labels.len() > LABELS_MAX {
            let text = format!("{} labels: at most {LABELS_MAX}", saving.labels.len());
            return Err(Error::invalid("labels", text));
        }
        let job = self.find(source).await?;
        let mut choices = 1;
        loop {
            let (job, manifest) = self.state_of(&job).await?;
            let snapshot = described(&job, &manifest, saving);
            let of = job.spec.name.as_deref().unwrap_or(job.id.as_str());
            let entry = audit("snapshot_saved", &snapshot.id, Some(format!("of job {of}")));
            match self
                .store()
                .add_snapshot(snapshot.clone(), Folder::Shared, entry)
                .await
            {
                Ok(()) => return Ok(snapshot),
                Err(dauer_store::Error::Unreferenced(_)) if choices < CHOICES_MAX => choices += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// One page of snapshots, by their ids: those after this one, at most so many.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn snapshots(
        &self,
        after: Option<&CheckpointId>,
        limit: usize,
    ) -> Result<Vec<Snapshot>, Error> {
        Ok(self.store().snapshots(after, limit).await?)
    }

    /// The snapshot meant by an id, a name, or the beginning of an id.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`.
    pub async fn snapshot(&self, text: &str) -> Result<Snapshot, Error> {
        Ok(self.store().find_snapshot(text).await?)
    }

    /// Whether a snapshot stays until somebody removes it by name.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where somebody changes it at the same time.
    pub async fn pin_snapshot(&self, text: &str, pinned: bool) -> Result<Snapshot, Error> {
        let mut snapshot = self.snapshot(text).await?;
        if snapshot.pinned == pinned {
            return Ok(snapshot);
        }
        snapshot.pinned = pinned;
        snapshot.version += 1;
        let event = if pinned {
            "snapshot_pinned"
        } else {
            "snapshot_unpinned"
        };
        let entry = audit(event, &snapshot.id, None);
        self.store()
            .change_snapshot(snapshot.clone(), entry)
            .await?;
        Ok(snapshot)
    }

    /// Removes a snapshot. Its files go with the last that needs them: jobs that were made from it keep theirs.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where the cache leads to it, or it is pinned and nobody insists.
    pub async fn remove_snapshot(&self, text: &str, force: bool) -> Result<(), Error> {
        let snapshot = self.snapshot(text).await?;
        if snapshot.pinned && !force {
            return Err(Error::Conflict(format!(
                "snapshot {} is pinned: unpin it first, or insist with --force",
                snapshot.id
            )));
        }
        let entry = audit("snapshot_removed", &snapshot.id, snapshot.name.clone());
        self.store().remove_snapshot(&snapshot.id, entry).await?;
        self.pools().remove(&snapshot.id);
        self.remove_unreferenced(&snapshot.id).await
    }

    /// The kept state that a text means which is no job: a snapshot, or a checkpoint by its whole id.
    pub(crate) async fn kept_by_name(&self, text: &str) -> Result<Option<CheckpointId>, Error> {
        match self.store().find_snapshot(text).await {
            Ok(snapshot) => return Ok(Some(snapshot.id)),
            Err(dauer_store::Error::NoSnapshot(_)) => {}
            Err(error) => return Err(error.into()),
        }
        // Nothing else is ever looked for on disk.
        let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_id {
            return Ok(None);
        }
        let id = CheckpointId(text.to_owned());
        Ok(self.store().referenced(&id).await?.then_some(id))
    }

    /// What the job of a snapshot was asked for as, where that was kept.
    pub(crate) async fn spec_of_snapshot(
        &self,
        id: &CheckpointId,
    ) -> Result<Option<JobSpec>, Error> {
        let snapshot = self.store().snapshot(id).await?;
        let Some(Json(text)) = snapshot.and_then(|snapshot| snapshot.spec) else {
            return Ok(None);
        };
        let spec = serde_json::from_str(&text).map_err(|error| {
            Error::Failed(format!("the spec of snapshot {id} cannot be read: {error}"))
        })?;
        Ok(Some(spec))
    }
}

pub(crate) fn described(job: &Job, manifest: &Manifest, saving: &Saving) -> Snapshot {
    let spec = serde_json::to_string(&*job.spec).expect("a spec has only text for keys");
    let kind = if manifest.has_memory() {
        SnapshotKind::Memory
    } else {
        SnapshotKind::Disk
    };
    Snapshot {
        name: saving.name.clone(),
        job: Some(job.id.clone()),
        parent: job.begins_from().cloned(),
        image: manifest.image.clone(),
        spec: Some(Json(spec)),
        memory_bytes: manifest.memory_bytes,
        disk_bytes: manifest.disk_bytes,
        blocks_bytes: manifest.checkpoint().bytes_on_disk(),
        pinned: saving.pinned,
        labels: saving.labels.clone(),
        ..Snapshot::new(
            manifest.id.clone(),
            kind,
            job.spec.driver.clone(),
            manifest.taken_at,
        )
    }
}
