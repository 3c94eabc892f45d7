//! Bringing record and reality together: observe, ask [`dauer_core::plan::recovery`], carry out its steps. The same path at the
//! start of a daemon and when a shim's connection breaks.

use crate::runner::{LOOK_AGAIN, Message, Runner};
use crate::{Engine, Error, submit};
use dauer_core::plan::recovery::{self, Step};
use dauer_core::{Effect, Ended, EventKind, Job, SandboxId};
use dauer_sandbox::protocol::ExitRecord;
use dauer_sandbox::{Link, Observed};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How many jobs are looked at side by side.
const PARALLEL: usize = 32;

/// Seen absent once is not death: a shim that was just launched may not listen yet.
const SECOND_LOOK: Duration = Duration::from_millis(500);

/// Gives every unsettled job to a runner that reconciles it; returns when all have.
pub(crate) async fn at_start(engine: &Engine) -> Result<(), Error> {
    let unsettled = engine.store().unsettled().await?;
    if !unsettled.is_empty() {
        tracing::info!(jobs = unsettled.len(), "recovering");
    }
    reconcile_all(engine, unsettled).await;
    Ok(())
}

/// The same for these.
pub(crate) async fn reconcile_all(engine: &Engine, unsettled: Vec<Job>) {
    // All of them before the first runner commits anything: what it commits is newer.
    for job in &unsettled {
        engine.places().note(job);
    }
    futures_util::stream::iter(unsettled)
        .for_each_concurrent(PARALLEL, |job| async move {
            let (answer, reconciled) = oneshot::channel();
            engine.send(
                &job.id,
                Message::Reconcile {
                    answer: Some(answer),
                },
            );
            match reconciled.await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::error!(job = %job.id, %error, "not recovered"),
                Err(_) => tracing::error!(job = %job.id, "not recovered: its runner stopped"),
            }
        })
        .await;
}

/// What a record of an exit means for the job.
pub(crate) fn ended(exit: &ExitRecord) -> Ended {
    match exit {
        ExitRecord::Exited {
            status,
            out_of_memory,
            ..
        } => Ended::Exited {
            code: status.code,
            signal: status.signal,
            out_of_memory: *out_of_memory,
        },
        ExitRecord::StartFailed { failure, .. } => Ended::StartFailed {
            code: failure.code,
            message: failure.message.clone(),
        },
        ExitRecord::RestoreFailed {
            message, bad_image, ..
        } => Ended::RestoreFailed {
            message: message.clone(),
            bad_image: *bad_image,
        },
        ExitRecord::Lost { out_of_memory, .. } => Ended::Lost {
            out_of_memory: *out_of_memory,
            rebooted: None,
        },
        // Its checkpoint is looked for before this is applied; without it the incarnation is simply gone.
        ExitRecord::Suspended { .. } => Ended::Lost {
            out_of_memory: false,
            rebooted: None,
        },
    }
}

/// How long an adoption waits for the shim's first word, so that whoever asks next is told its pids.
const FIRST_WORD: Duration = Duration::from_millis(500);

impl Runner {
    /// Observes, plans, acts.
    pub(crate) async fn reconcile(&mut self) {
        match self.try_reconcile().await {
            Ok(()) => {
                if self.look_again_at.is_none() {
                    self.look_again_after = LOOK_AGAIN;
                }
            }
            Err(error) => {
                tracing::warn!(job = %self.job.id, %error, "reconciling; trying again");
                self.look_again_at = Some(Instant::now() + self.look_again_after);
            }
        }
    }

    async fn try_reconcile(&mut self) -> Result<(), Error> {
        let observed = self.observe().await?;
        let published = match self.intended_checkpoint() {
            Some(id) => self.engine.node().published(&id).await?,
            None => None,
        };
        let steps = recovery::recovery(&self.job, &observed, published.is_some());
        tracing::debug!(job = %self.job.id, state = %self.job.state, ?observed, ?steps, "reconcile");
        let generation = Some(self.job.generation);
        for step in steps {
            match step {
                Step::Schedule => self.engine.schedule_changed().notify_one(),
                Step::Adopt => self.adopt().await?,
                Step::RepeatOperation => self.repeat_operation().await,
                Step::Apply(ended) => self.apply(generation, EventKind::Ended(ended)).await,
                Step::CommitPublished => {
                    if let Some(checkpoint) = published.clone() {
                        self.apply(generation, EventKind::CheckpointPublished(checkpoint))
                            .await;
                    }
                }
                Step::NoteInterruption => {
                    let boot_id = self.engine.boot_id().to_owned();
                    self.apply(generation, EventKind::Interrupted { boot_id })
                        .await
                }
                Step::EndChildren => self.end_children(
                    self.job
                        .ends_children
                        .and_then(|children| children.grace_ms),
                ),
                Step::DiscardPartial => {
                    if let Some(id) = self.intended_checkpoint() {
                        self.engine.node().remove_snapshot(&id).await?;
                    }
                }
                Step::DestroyLeftover => {
                    self.act(Effect::Destroy {
                        generation: self.job.generation,
                    })
                    .await
                }
            }
        }
        Ok(())
    }

    /// Performs an effect outside a commit: one that a commit before ordered.
    async fn act(&mut self, effect: Effect) {
        if let Some((generation, event)) = self.perform(effect).await {
            self.apply(generation, event).await;
        }
    }

    async fn observe(&mut self) -> Result<recovery::Observed, Error> {
        let never = recovery::Observed::Gone {
            rebooted: None,
            never_launched: true,
        };
        if self
            .engine
            .inline()
            .is_some_and(|host| host.runs(&self.job.id))
        {
            return Ok(recovery::Observed::Alive);
        }
        let Some(sandbox) = self.job.sandbox.clone().filter(|_| self.job.generation > 0) else {
            return Ok(never);
        };
        let generation = self.job.generation;
        let origin = self.job.boot_id.as_deref();
        if let Some(node) = origin.and_then(|origin| self.engine.nodes().other_of(origin)) {
            if self.can_go_on_here().await? {
                return Ok(recovery::Observed::Gone {
                    rebooted: None,
                    never_launched: false,
                });
            }
            self.note_lost(&node);
            return Ok(recovery::Observed::Elsewhere { node });
        }
        let rebooted = origin
            .filter(|origin| *origin != self.engine.boot_id())
            .map(|_| self.engine.boot_id().to_owned());
        let mut observed = self.look(&sandbox, generation, rebooted.as_ref()).await?;
        if matches!(
            observed,
            recovery::Observed::Gone {
                rebooted: None,
                never_launched: false
            }
        ) {
            tokio::time::sleep(SECOND_LOOK).await;
            observed = self.look(&sandbox, generation, rebooted.as_ref()).await?;
        }
        Ok(observed)
    }

    /// Its checkpoint was taken on this node, before it went on on another one.
    async fn can_go_on_here(&self) -> Result<bool, Error> {
        match self.job.resume_point() {
            Some(checkpoint) => Ok(self.engine.node().published(checkpoint).await?.is_some()),
            None => Ok(false),
        }
    }

    async fn look(
        &mut self,
        sandbox: &SandboxId,
        generation: u32,
        rebooted: Option<&String>,
    ) -> Result<recovery::Observed, Error> {
        let node = self.engine.node().clone();
        Ok(match node.observe(sandbox, generation).await? {
            Observed::Alive => {
                self.note_alive();
                recovery::Observed::Alive
            }
            Observed::Ended(exit) => recovery::Observed::Recorded(self.note_exit(&exit)),
            Observed::Gone => {
                self.note_gone(sandbox).await?;
                let never_launched = !node.has_begun(sandbox, generation).await?;
                recovery::Observed::Gone {
                    rebooted: rebooted.cloned(),
                    never_launched,
                }
            }
        })
    }

    async fn adopt(&mut self) -> Result<(), Error> {
        if self.link.is_some() {
            return Ok(());
        }
        let Some(sandbox) = self.job.sandbox.clone() else {
            return Ok(());
        };
        match self
            .engine
            .node()
            .connect(&sandbox, self.job.generation)
            .await?
        {
            Some((link, mut events)) => {
                self.give_again(&link);
                // A shim says at once where it is; one that is busy starting is heard when it is not.
                let first = tokio::time::timeout(FIRST_WORD, events.recv()).await.ok();
                self.connect(link, events);
                self.heard_first(first);
                Ok(())
            }
            None => Err(Error::Failed(
                "its shim went away while it was being adopted".into(),
            )),
        }
    }

    /// A sandbox that waited for a job may not know yet that this is its job: the daemon before may have died when it had written that
    /// down. Said again, it changes nothing.
    fn give_again(&self, link: &Link) {
        let fork = self.job.spec.fork.as_ref();
        let first = fork.map(|fork| fork.generation + 1);
        if !self.job.is_warm() || first != Some(self.job.generation) {
            return;
        }
        let (link, job) = (link.clone(), self.job.id.clone());
        let host_name = submit::host_name(&self.job);
        // One that is still on its way up answers when it is there.
        tokio::spawn(async move {
            if let Err(error) = link.assign(job.as_str(), &host_name).await {
                tracing::debug!(%job, %error, "its sandbox was not told whose it is");
            }
        });
    }

    async fn repeat_operation(&mut self) {
        for effect in recovery::pending_effects(&self.job, self.engine.now()) {
            self.act(effect).await;
        }
    }
}
