//! Warm starts: the state that a definition's first run leaves when it is ready, and the jobs that begin from it.
//!
//! The state is a snapshot whose name nobody else can give it, so that there is one of each definition, whoever is first. It is added
//! before the program is answered; wherever a daemon dies, the program asks again and finds it, or makes it then.

use crate::asker::audit;
use crate::snapshots::described;
use crate::{Engine, Error, Saving};
use dauer_core::fork::Taken;
use dauer_core::warm::{READY_TOKEN, differs, template_name};
use dauer_core::{
    CheckpointId, DefinitionRef, Fork, Job, JobId, JobSpec, Json, Snapshot, Template, Then,
};
use dauer_sandbox::snapshot::Manifest;
use dauer_store::Folder;
use std::collections::HashMap;

/// How often a template that is in the way is removed before the state is not kept.
const TRIES_MAX: u32 = 5;

/// Snapshots of one read.
const PAGE: usize = 256;

/// What a program that said it was ready is to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Ask again: its state is being kept.
    Pending,
    /// Its state is kept: later jobs begin here.
    Taken,
    /// It is one of those that began here.
    Restored,
    /// It goes on as it is; nothing was kept of it, and why.
    Cold(String),
}

/// The template of a definition.
#[derive(Clone, Debug, PartialEq)]
pub struct TemplateState {
    /// The state, with what it belongs to.
    pub snapshot: Snapshot,
    /// Of which definition, and how many sandboxes are to wait.
    pub template: Template,
    /// So many wait for a job.
    pub waiting: usize,
}

/// What is known of a template.
enum Known {
    /// Jobs may begin from it.
    Whole {
        manifest: Box<Manifest>,
        spec: Box<JobSpec>,
    },
    /// It was, and why nothing begins from it any more.
    Removed(String),
}

/// The same job, whose template was removed just now.
pub(crate) fn without_template(job: Job) -> Job {
    job.begun_cold(Some("its template was removed just now".to_owned()))
}

/// The same of each that was to begin from one.
pub(crate) fn without_templates(jobs: Vec<Job>) -> Vec<Job> {
    let each = jobs.into_iter().map(|job| {
        if job.spec.is_warm() {
            without_template(job)
        } else {
            job
        }
    });
    each.collect()
}

impl Engine {
    /// Jobs that are about to be accepted: those of a definition with a template begin from it, the others say why they do not.
    pub(crate) async fn warmed_up(&self, jobs: Vec<Job>) -> Result<Vec<Job>, Error> {
        let mut known: HashMap<DefinitionRef, Option<Known>> = HashMap::new();
        let mut warmed = Vec::with_capacity(jobs.len());
        for job in jobs {
            let definition = job.spec.definition.clone();
            let Some(definition) = definition.filter(|_| job.spec.may_be_warm()) else {
                warmed.push(job);
                continue;
            };
            if !known.contains_key(&definition) {
                let found = self.known_template(&definition).await?;
                known.insert(definition.clone(), found);
            }
            warmed.push(match &known[&definition] {
                Some(template) => template.begin(job),
                None => job,
            });
        }
        Ok(warmed)
    }

    async fn known_template(&self, definition: &DefinitionRef) -> Result<Option<Known>, Error> {
        let Some(snapshot) = self.template_of(definition).await? else {
            return Ok(None);
        };
        let manifest = match self.manifest(&snapshot.id).await {
            // It is being removed.
            Err(Error::Vanished(_)) => return Ok(None),
            Err(Error::BadImage(why)) => {
                self.forget_template(&snapshot.id).await?;
                return Ok(Some(Known::Removed(format!(
                    "its template {} cannot be restored: {why}",
                    snapshot.id
                ))));
            }
            manifest => Box::new(manifest?),
        };
        let spec = Box::new(spec_of(&snapshot)?);
        Ok(Some(Known::Whole { manifest, spec }))
    }

    /// The state that jobs of this definition begin from on this node.
    async fn template_of(&self, definition: &DefinitionRef) -> Result<Option<Snapshot>, Error> {
        let name = self.template_name(definition);
        match self.store().find_snapshot(&name).await {
            Ok(snapshot) if snapshot.name.as_ref() == Some(&name) => Ok(Some(snapshot)),
            Ok(_) | Err(dauer_store::Error::NoSnapshot(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn template_name(&self, definition: &DefinitionRef) -> String {
        let nodes = self.nodes();
        // What is on another machine's disk is of no use here.
        let node = nodes.is_shared().then_some(&self.config().member.node);
        template_name(definition, node.map(|node| node.0.as_str()))
    }

    /// The job says that it is ready for what makes it different from others of its definition. The first to say so is frozen, and
    /// later ones begin there. Asked again, the answer is the same; it is [`Readiness::Pending`] after 20 s.
    ///
    /// # Errors
    /// `Conflict` where it is ending or was asked by an earlier incarnation; those of the store. That no state can be kept is none.
    pub async fn self_ready(&self, id: &JobId, generation: u32) -> Result<Readiness, Error> {
        let mut status = match self.known_status(id, READY_TOKEN).await? {
            Some(status) => status,
            None => {
                let job = self.job(id).await?;
                if let Some(why) = self.leaves_no_template(&job).await? {
                    return Ok(Readiness::Cold(why));
                }
                self.self_checkpoint(id, generation, READY_TOKEN, Then::Continue)
                    .await?
            }
        };
        if status.status == "pending" {
            status = self.token_status(id, READY_TOKEN, true).await?;
        }
        let job = self.job(id).await?;
        let checkpoint = status.checkpoint.map(CheckpointId);
        match (status.status.as_str(), checkpoint) {
            ("pending", _) => Ok(Readiness::Pending),
            ("restored", _) if job.is_warm() => Ok(Readiness::Restored),
            ("taken", Some(checkpoint)) => {
                Ok(match self.keep_template(&job, &checkpoint).await? {
                    Some(why) => Readiness::Cold(why),
                    None => Readiness::Taken,
                })
            }
            ("restored", Some(checkpoint)) => {
                // Its daemon may have died before it was kept.
                if job.spec.may_be_warm() {
                    self.keep_template(&job, &checkpoint).await?;
                }
                Ok(Readiness::Restored)
            }
            ("restored", None) => Ok(Readiness::Restored),
            (_, _) => {
                let why = status.message.unwrap_or_else(|| "no reason given".into());
                Ok(Readiness::Cold(format!("its state was not kept: {why}")))
            }
        }
    }

    /// Why this job is not frozen although it is ready.
    async fn leaves_no_template(&self, job: &Job) -> Result<Option<String>, Error> {
        let (Some(warm), Some(definition)) = (&job.spec.warm, &job.spec.definition) else {
            return Ok(Some("it is not of a definition that begins warm".into()));
        };
        if let Some(field) = &warm.differs {
            return Ok(Some(format!("its {field} is not that of its definition")));
        }
        if let Some(why) = self.cannot_freeze(&job.spec) {
            return Ok(Some(why));
        }
        match self.template_of(definition).await? {
            Some(present) if serves(&present, &job.spec)? => {
                Ok(Some(format!("{definition} has a template already")))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Makes the state of a job the one that later jobs of its definition begin from. Says why not, where another one serves as well.
    async fn keep_template(
        &self,
        job: &Job,
        checkpoint: &CheckpointId,
    ) -> Result<Option<String>, Error> {
        let (Some(warm), Some(definition)) = (&job.spec.warm, &job.spec.definition) else {
            return Ok(Some("it is not of a definition that begins warm".into()));
        };
        let name = self.template_name(definition);
        for _ in 0..TRIES_MAX {
            match self.template_of(definition).await? {
                Some(present) if present.id == *checkpoint => return Ok(None),
                Some(present) if serves(&present, &job.spec)? => {
                    return Ok(Some(format!("another run of {definition} was first")));
                }
                // Of the image as it was, say.
                Some(present) => self.forget_template(&present.id).await?,
                None => {}
            }
            let manifest = match self.manifest(checkpoint).await {
                Err(Error::Vanished(_)) => return Ok(Some("its state is gone".into())),
                manifest => manifest?,
            };
            let saving = Saving {
                name: Some(name.clone()),
                ..Saving::default()
            };
            let spec = serde_json::to_string(&job.spec.of_template());
            let snapshot = Snapshot {
                spec: Some(Json(spec.expect("a spec has only text for keys"))),
                template: Some(Template {
                    definition: definition.clone(),
                    pool: warm.pool,
                }),
                ..described(job, &manifest, &saving)
            };
            let entry = audit(
                "template_kept",
                checkpoint,
                Some(format!("of {definition}")),
            );
            match self
                .store()
                .add_snapshot(snapshot, Folder::Shared, entry)
                .await
            {
                Ok(()) => {}
                Err(dauer_store::Error::SnapshotNameInUse { .. }) => continue,
                Err(dauer_store::Error::Unreferenced(_)) => {
                    return Ok(Some("its state is gone".into()));
                }
                // Somebody saved the same state by a name of its own.
                Err(dauer_store::Error::SnapshotChanged(_)) => {
                    return Ok(Some("its state is kept by another name".into()));
                }
                Err(error) => return Err(error.into()),
            }
            // Whoever removes a definition removes its template after it.
            if self.store().definition(definition).await?.is_none() {
                self.forget_template(checkpoint).await?;
                return Ok(Some(format!("{definition} was removed")));
            }
            if let Some(present) = self.template_of(definition).await? {
                self.wait_for_jobs(&present).await;
            }
            return Ok(None);
        }
        Ok(Some("others change its template all the time".into()))
    }

    /// Removes a template that could not be restored, where it is still that one.
    pub(crate) async fn drop_template(
        &self,
        spec: &JobSpec,
        template: &CheckpointId,
    ) -> Result<(), Error> {
        let Some(definition) = &spec.definition else {
            return Ok(());
        };
        match self.template_of(definition).await? {
            Some(present) if present.id == *template => self.forget_template(template).await,
            Some(_) | None => Ok(()),
        }
    }

    /// Removes the state that jobs of a definition begin from; the next one makes another. Jobs that began from it keep what they need.
    ///
    /// # Errors
    /// `NoDefinition`; `NotFound` where it has none.
    pub async fn remove_template(&self, name: &str, version: &str) -> Result<(), Error> {
        let found = self.definition(name, version).await?;
        let id = DefinitionRef {
            name: found.name,
            version: found.version,
        };
        if self.remove_template_of(&id).await? {
            Ok(())
        } else {
            Err(Error::Conflict(format!(
                "{id} has no template: its first run that says it is ready makes one"
            )))
        }
    }

    /// True where there was one.
    pub(crate) async fn remove_template_of(&self, id: &DefinitionRef) -> Result<bool, Error> {
        match self.template_of(id).await? {
            Some(present) => self.forget_template(&present.id).await.map(|()| true),
            None => Ok(false),
        }
    }

    async fn forget_template(&self, id: &CheckpointId) -> Result<(), Error> {
        match self.remove_snapshot(id.as_str(), true).await {
            // Somebody else removed it.
            Err(Error::NoSnapshot(_) | Error::NotFound(_)) => Ok(()),
            result => result,
        }
    }

    /// The template of a definition, where it has one here.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn template(
        &self,
        definition: &DefinitionRef,
    ) -> Result<Option<TemplateState>, Error> {
        Ok(self
            .template_of(definition)
            .await?
            .and_then(|snapshot| self.state_of_template(snapshot)))
    }

    /// The templates of all definitions, by their snapshots' ids.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn templates(&self) -> Result<Vec<TemplateState>, Error> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = self.store().snapshots(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            found.extend(
                page.into_iter()
                    .filter_map(|one| self.state_of_template(one)),
            );
        }
        Ok(found)
    }

    fn state_of_template(&self, snapshot: Snapshot) -> Option<TemplateState> {
        let template = snapshot.template.clone()?;
        if snapshot.name != Some(self.template_name(&template.definition)) {
            // Another node's.
            return None;
        }
        Some(TemplateState {
            waiting: self.pools().waiting(&snapshot.id),
            snapshot,
            template,
        })
    }

    /// Removes templates whose definition is gone: the daemon that removed it died before it came to this.
    pub(crate) async fn sweep_templates(&self) -> Result<(), Error> {
        for state in self.templates().await? {
            let definition = &state.template.definition;
            if self.store().definition(definition).await?.is_none() {
                tracing::info!(%definition, "the template of a definition that is gone is removed");
                self.forget_template(&state.snapshot.id).await?;
            }
        }
        Ok(())
    }
}

impl Known {
    /// Lets a job begin from it, where it serves.
    fn begin(&self, job: Job) -> Job {
        let (manifest, spec) = match self {
            Self::Whole { manifest, spec } => (manifest, spec),
            Self::Removed(why) => return job.begun_cold(Some(why.clone())),
        };
        if let Some(field) = differs(spec, &job.spec) {
            let because = format!("its {field} is not that of the template any more");
            return job.begun_cold(Some(because));
        }
        let taken = Taken {
            job: &manifest.job,
            sandbox: &manifest.sandbox,
            generation: manifest.generation,
            token: manifest.token.as_deref(),
        };
        let fork = Fork::of(spec, taken, (0, 1));
        job.begun_warm(manifest.id.clone(), fork)
    }
}

/// Whether a job of this spec could begin from it.
fn serves(template: &Snapshot, spec: &JobSpec) -> Result<bool, Error> {
    Ok(differs(&spec_of(template)?, spec).is_none())
}

pub(crate) fn spec_of(template: &Snapshot) -> Result<JobSpec, Error> {
    let text = template.spec.as_ref().map_or("null", |Json(text)| text);
    serde_json::from_str(text).map_err(|error| {
        let id = &template.id;
        Error::Failed(format!("the spec of template {id} cannot be read: {error}"))
    })
}
