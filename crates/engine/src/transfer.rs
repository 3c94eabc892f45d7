//! Checkpoints to other machines and from them, as streams.

use crate::at_rest::Helper;
use crate::files::ByteStream;
use crate::{Engine, Error, asker, submit};
use dauer_core::{CheckpointId, JobSpec, Json, Snapshot, SnapshotKind, parse};
use dauer_sandbox::snapshot::Head;
use dauer_store::Folder;
use serde::{Deserialize, Serialize};

/// What travels with a checkpoint beside what the sandbox crate knows of it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct About {
    /// The name it had as a snapshot.
    #[serde(default)]
    name: Option<String>,
    /// The job it was taken of, as it was asked for: without it nobody could go on from it.
    #[serde(default)]
    spec: Option<JobSpec>,
    /// What it was searched by.
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

impl Engine {
    /// A checkpoint as one stream: a snapshot by its id, its name or the beginning of its id; the newest of a job; any by its whole id.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where the job has none; `BadImage` where it is damaged.
    pub async fn export_snapshot(&self, text: &str) -> Result<ByteStream, Error> {
        let (id, about) = self.meant(text).await?;
        self.storage().rests(&id);
        let about = serde_json::to_vec(&about)
            .map_err(|e| Error::Failed(format!("what is known of checkpoint {id}: {e}")))?;
        Helper::start(self.node().export(&id))?.output(&about).await
    }

    /// Takes in such a stream, as a new snapshot with this name, or the one it had. What is wrong with it leaves nothing.
    ///
    /// # Errors
    /// `BadImage` where it is no whole snapshot, or could never be restored here; `NameInUse`; `Invalid`.
    pub async fn import_snapshot(
        &self,
        name: Option<String>,
        stream: ByteStream,
    ) -> Result<Snapshot, Error> {
        if let Some(name) = &name {
            parse::name(name).map_err(|text| Error::invalid("name", text))?;
        }
        let id = CheckpointId(submit::random_id());
        let arriving = Arriving::new(self, &id);
        let answer = Helper::start(self.node().import(&id))?
            .input(stream)
            .await?;
        let taken = self.take_record(&id, name, &answer).await?;
        arriving.has_come();
        Ok(taken)
    }

    async fn take_record(
        &self,
        id: &CheckpointId,
        name: Option<String>,
        answer: &[u8],
    ) -> Result<Snapshot, Error> {
        let unreadable = |e: serde_json::Error| Error::BadImage(format!("what came with it: {e}"));
        let head: Head = serde_json::from_slice(answer).map_err(unreadable)?;
        let about = head.about.map(serde_json::from_value::<About>).transpose();
        let about = about.map_err(unreadable)?.unwrap_or_default();
        let manifest = head.manifest;
        let spec = about
            .spec
            .map(|spec| serde_json::to_string(&spec))
            .transpose();
        let kind = match manifest.has_memory() {
            true => SnapshotKind::Memory,
            false => SnapshotKind::Disk,
        };
        let driver = manifest.identity.driver.clone();
        let mut snapshot = Snapshot {
            name: name.clone().or(about.name),
            job: Some(manifest.job.clone()),
            image: manifest.image.clone(),
            spec: spec.map_err(unreadable)?.map(Json),
            memory_bytes: manifest.memory_bytes,
            disk_bytes: manifest.disk_bytes,
            blocks_bytes: manifest.checkpoint().bytes_on_disk(),
            labels: about.labels,
            ..Snapshot::new(id.clone(), kind, driver, manifest.taken_at)
        };
        let is_asked_for = name.is_some();
        match self.add_imported(&snapshot).await {
            // Whoever sent it did not know what names there are here.
            Err(Error::NameInUse { .. }) if !is_asked_for => {
                snapshot.name = None;
                self.add_imported(&snapshot).await?;
            }
            added => added?,
        }
        self.storage().rests(id);
        Ok(snapshot)
    }

    async fn add_imported(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let entry = asker::audit("snapshot_imported", &snapshot.id, snapshot.name.clone());
        let added = self
            .store()
            .add_snapshot(snapshot.clone(), Folder::New, entry);
        Ok(added.await?)
    }

    /// Which checkpoint a text means, and what is known of it.
    async fn meant(&self, text: &str) -> Result<(CheckpointId, About), Error> {
        match self.store().find_snapshot(text).await {
            Ok(snapshot) => return Ok((snapshot.id.clone(), of_snapshot(&snapshot)?)),
            Err(dauer_store::Error::NoSnapshot(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let id = CheckpointId(text.to_owned());
        let job = match self.find(text).await {
            Ok(job) => Some(self.job(&job).await?),
            Err(Error::NotFound(_)) => None,
            Err(error) => return Err(error),
        };
        let (id, job) = match job {
            Some(job) => match job.checkpoint.clone() {
                Some(id) => (id, Some(job)),
                None => {
                    return Err(Error::Conflict(
                        "the job has no checkpoint: take one with: dauer checkpoint".into(),
                    ));
                }
            },
            None if self.store().referenced(&id).await? => {
                let taken = self.node().published(&id).await?;
                let job = match taken {
                    Some(taken) => self.store().job(&taken.job).await.ok(),
                    None => None,
                };
                (id, job)
            }
            None => return Err(Error::NotFound(text.to_owned())),
        };
        let spec = job.map(|job| JobSpec::clone(&job.spec));
        Ok((
            id,
            About {
                spec,
                ..About::default()
            },
        ))
    }
}

/// A checkpoint that comes from elsewhere. Until this is dropped nobody takes it for one without a record; dropped too early (whoever sent it
/// went away, or it was refused), it takes along what came of it.
struct Arriving {
    engine: Engine,
    id: Option<CheckpointId>,
}

impl Arriving {
    fn new(engine: &Engine, id: &CheckpointId) -> Self {
        engine.storage().arriving().insert(id.clone());
        Self {
            engine: engine.clone(),
            id: Some(id.clone()),
        }
    }

    fn has_come(mut self) {
        if let Some(id) = self.id.take() {
            self.engine.storage().arriving().remove(&id);
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let Some(id) = self.id.take() else { return };
        let engine = self.engine.clone();
        tokio::spawn(async move {
            if let Err(error) = engine.remove_unreferenced(&id).await {
                tracing::warn!(checkpoint = %id, %error, "what is left of an import goes at the next start");
            }
            engine.storage().arriving().remove(&id);
        });
    }
}

fn of_snapshot(snapshot: &Snapshot) -> Result<About, Error> {
    let spec = snapshot
        .spec
        .as_ref()
        .map(|Json(text)| serde_json::from_str(text));
    let spec = spec.transpose().map_err(|error| {
        Error::Failed(format!(
            "the spec of snapshot {} cannot be read: {error}",
            snapshot.id
        ))
    })?;
    Ok(About {
        name: snapshot.name.clone(),
        spec,
        labels: snapshot.labels.clone(),
    })
}
