//! Effects: what a committed decision does to the world. Each is safe to repeat; what it reports comes back as an event.

use crate::runner::{Letter, Message, Runner};
use crate::{Engine, Error, submit};
use dauer_core::{CheckpointId, Effect, Ended, EventKind, Job, Operation, State};
use dauer_sandbox::{Observed, Origin};
use std::time::Duration;
use tokio::time::Instant;

/// A `--rm` job nobody has followed yet is kept so long for a follower to come.
const FOLLOWER_GRACE: Duration = Duration::from_secs(10);

impl Runner {
    /// Carries out one effect. Returns what follows from it at once, if anything does.
    pub(crate) async fn perform(&mut self, effect: Effect) -> Option<(Option<u32>, EventKind)> {
        match effect {
            Effect::Start => self.launch(self.beginning()).await,
            Effect::Restore {
                checkpoint,
                after_loss,
            } => {
                self.engine.storage().rests(&checkpoint);
                self.launch(Origin::Checkpoint {
                    checkpoint,
                    after_loss,
                })
                .await
            }
            Effect::TakeCheckpoint {
                checkpoint,
                token,
                freeze,
            } => self.take_checkpoint(checkpoint, token, freeze),
            Effect::Terminate => {
                self.terminate().await;
                None
            }
            Effect::Destroy { generation } => self.destroy(generation).await,
            Effect::EndChildren { grace_ms } => {
                self.end_children(grace_ms);
                None
            }
            Effect::DropCheckpoints { keep } => {
                self.drop_checkpoints(keep);
                None
            }
            Effect::DropTemplate { template } => {
                self.drop_template(template);
                None
            }
        }
    }

    /// What its program begins on.
    fn beginning(&self) -> Origin {
        match &self.job.spec.from {
            Some(from) if self.job.spec.from_disk => Origin::Files {
                checkpoint: from.clone(),
            },
            Some(_) | None => Origin::Fresh,
        }
    }

    async fn launch(&mut self, origin: Origin) -> Option<(Option<u32>, EventKind)> {
        self.disconnect();
        let generation = Some(self.job.generation);
        let restoring = matches!(origin, Origin::Checkpoint { .. });
        let spec = submit::sandbox_spec(&self.job, origin, self.engine.config());
        let launched = match self.engine.given(&spec).await {
            Some(given) => Ok(given),
            None => self.engine.node().launch(spec).await,
        };
        match launched {
            Ok((link, events)) => {
                self.connect(link, events);
                None
            }
            Err(error) => {
                // A program may be done before its shim is connected to: then the record says how it ended.
                let sandbox = self.job.sandbox.clone()?;
                let node = self.engine.node();
                if let Ok(Observed::Ended(exit)) = node.observe(&sandbox, self.job.generation).await
                {
                    let ended = self.note_exit(&exit);
                    return Some((generation, EventKind::Ended(ended)));
                }
                let bad_image = matches!(error, dauer_sandbox::Error::BadImage(_));
                let message = error.to_string();
                let ended = if restoring {
                    Ended::RestoreFailed { message, bad_image }
                } else {
                    Ended::StartFailed { code: 125, message }
                };
                Some((generation, EventKind::Ended(ended)))
            }
        }
    }

    /// The shim takes it by itself; its answer comes as a message, so that the job can be ended meanwhile.
    fn take_checkpoint(
        &self,
        checkpoint: CheckpointId,
        token: Option<String>,
        freeze: bool,
    ) -> Option<(Option<u32>, EventKind)> {
        let Some(link) = self.link.clone() else {
            let message = "the sandbox cannot be reached".to_owned();
            return Some((
                Some(self.job.generation),
                EventKind::CheckpointFailed {
                    checkpoint,
                    message,
                },
            ));
        };
        let generation = self.job.generation;
        let mailbox = Engine::mailbox(&self.entry);
        tokio::spawn(async move {
            let result = link
                .checkpoint(&checkpoint, freeze, token)
                .await
                .map_err(Error::from);
            if let Some(mailbox) = mailbox.upgrade() {
                // A runner that has stopped has a successor, which reconciles.
                let _gone = mailbox.send(Letter {
                    asker: None,
                    message: Message::CheckpointTaken {
                        generation,
                        checkpoint,
                        result,
                    },
                });
            }
        });
        None
    }

    pub(crate) async fn terminate(&self) {
        let Some(link) = &self.link else { return };
        if let Err(error) = link.signal(15, false).await {
            // KILL follows when the grace is over, whatever the reason.
            tracing::debug!(job = %self.job.id, %error, "TERM not delivered");
        }
    }

    async fn destroy(&mut self, generation: u32) -> Option<(Option<u32>, EventKind)> {
        let sandbox = self.job.sandbox.clone()?;
        let node = self.engine.node().clone();
        if let Err(error) = node
            .destroy(&sandbox, generation, &self.job.spec.driver)
            .await
        {
            tracing::warn!(job = %self.job.id, generation, %error, "destroying its sandbox; trying again");
            self.look_again_at = Some(Instant::now() + self.look_again_after);
            return None;
        }
        if generation != self.job.generation {
            self.discard_files_of(generation).await;
            return None;
        }
        self.disconnect();
        match (self.job.state, self.job.operation) {
            (State::Suspended, Some(Operation::Suspending)) => {
                self.discard_files_of(generation).await;
                Some((Some(generation), EventKind::Released))
            }
            (State::PendingRetry, Some(Operation::Exiting)) => {
                // The next attempt begins without anything of this one but its log.
                self.discard_files_of(generation).await;
                Some((Some(generation), EventKind::Released))
            }
            (state, Some(Operation::Exiting)) if state.is_terminal() => {
                Some((Some(generation), EventKind::Released))
            }
            (_, Some(Operation::Terminating | Operation::Exiting)) => {
                // How it really ended, where that was recorded before KILL came.
                let ended = match node.observe(&sandbox, generation).await {
                    Ok(Observed::Ended(exit)) => self.note_exit(&exit),
                    Ok(Observed::Alive | Observed::Gone) | Err(_) => Ended::Lost {
                        out_of_memory: false,
                        rebooted: None,
                    },
                };
                Some((Some(generation), EventKind::Ended(ended)))
            }
            (
                _,
                None
                | Some(
                    Operation::Starting
                    | Operation::Checkpointing
                    | Operation::Suspending
                    | Operation::Waking
                    | Operation::Restarting,
                ),
            ) => None,
        }
    }

    async fn discard_files_of(&self, generation: u32) {
        let Some(sandbox) = &self.job.sandbox else {
            return;
        };
        if let Err(error) = self
            .engine
            .node()
            .discard_incarnation(sandbox, generation)
            .await
        {
            // They go with the job at the latest.
            tracing::warn!(job = %self.job.id, generation, %error, "files of an earlier incarnation stay");
        }
    }

    fn drop_checkpoints(&self, keep: Option<CheckpointId>) {
        let engine = self.engine.clone();
        let job = self.job.clone();
        tokio::spawn(async move {
            if let Err(error) = engine.drop_checkpoints(&job, keep.as_ref()).await {
                tracing::warn!(job = %job.id, %error, "checkpoints that are no longer needed stay until the next start");
            }
        });
    }

    fn drop_template(&self, template: CheckpointId) {
        let engine = self.engine.clone();
        let spec = self.job.spec.clone();
        tokio::spawn(async move {
            if let Err(error) = engine.drop_template(&spec, &template).await {
                // The next job that it fails begins cold as well, and removes it then.
                tracing::warn!(%template, %error, "a template that cannot be restored stays");
            }
        });
    }

    /// Removes a job of `--rm` once whoever follows its log has read it to the end.
    pub(crate) fn remove_when_read(&self) {
        let engine = self.engine.clone();
        let job = self.job.id.clone();
        tokio::spawn(async move {
            let patience = tokio::time::sleep(FOLLOWER_GRACE);
            tokio::pin!(patience);
            let mut patient = true;
            loop {
                let (present, had_some, changed) = engine.followers_of(&job);
                if present == 0 && (had_some || !patient) {
                    break;
                }
                tokio::select! {
                    () = changed.notified() => {}
                    () = &mut patience, if patient => patient = false,
                }
            }
            engine.forget_followers(&job);
            engine.send(&job, Message::Remove { answer: None });
        });
    }
}

impl Engine {
    /// The folder of a checkpoint that somebody needs no longer goes where nobody else keeps it.
    pub(crate) async fn remove_unreferenced(&self, id: &CheckpointId) -> Result<(), Error> {
        if !self.store().referenced(id).await? {
            self.node().remove_snapshot(id).await?;
            self.storage().removed();
        }
        Ok(())
    }

    /// Drops the checkpoints that a job does not keep, seen from the one it would go on from; all without one.
    pub(crate) async fn drop_checkpoints(
        &self,
        job: &Job,
        resume: Option<&CheckpointId>,
    ) -> Result<(), Error> {
        let mut all = self.store().checkpoints(&job.id).await?;
        // What it began from it begins from again, whatever became of it: that goes with the job.
        all.retain(|checkpoint| Some(&checkpoint.id) != job.begins_from());
        let keep = job.spec.keep_checkpoints.unwrap_or_default();
        let superfluous = match resume {
            Some(resume) => keep.superfluous(&all, resume, self.now()),
            None => all.iter().map(|checkpoint| checkpoint.id.clone()).collect(),
        };
        for id in all.into_iter().map(|checkpoint| checkpoint.id) {
            if !superfluous.contains(&id) {
                if Some(&id) != resume {
                    self.storage().replaced(&id);
                }
                continue;
            }
            match self.store().drop_checkpoint(&job.id, &id).await {
                Ok(()) => self.remove_unreferenced(&id).await?,
                // The job's record points to it: it was committed after this began.
                Err(dauer_store::Error::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
