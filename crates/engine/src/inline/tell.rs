//! What else happens to an inline job: somebody asks something of it, a time is over, it was lost.

use super::event;
use crate::Error;
use crate::ask::Answer;
use crate::asker::Asker;
use crate::commit::change_of;
use crate::runner::Runner;
use dauer_core::{Effect, Ended, EventKind, Job, Verdict, decide};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

impl Runner {
    /// Decides on the newest record, commits, acts. Those who claim and finish write the record too: whoever is second looks again.
    pub(crate) async fn apply_inline(
        &mut self,
        generation: Option<u32>,
        kind: EventKind,
        mut answer: Option<Answer<Job>>,
    ) {
        let mut queue = VecDeque::from([(generation, kind)]);
        let mut asker = self.asker.clone();
        while let Some((generation, kind)) = queue.pop_front() {
            let told = self
                .move_inline(generation, kind, asker.take().as_deref())
                .await;
            let effects = match told {
                Ok(effects) => {
                    if let Some(answer) = answer.take() {
                        // Nobody may be waiting any more.
                        let _gone = answer.send(Ok(self.job.clone()));
                    }
                    effects
                }
                Err(error) => {
                    if let Some(answer) = answer.take() {
                        let _gone = answer.send(Err(error));
                    }
                    Vec::new()
                }
            };
            for effect in effects {
                queue.extend(self.perform_inline(effect));
            }
        }
    }

    async fn move_inline(
        &mut self,
        generation: Option<u32>,
        kind: EventKind,
        asker: Option<&Asker>,
    ) -> Result<Vec<Effect>, Error> {
        let event = event(&self.engine, generation, kind);
        let mut pause = Duration::from_millis(50);
        loop {
            self.job = self.engine.job(&self.job.id).await?;
            let movement = match decide(&self.job, &event) {
                Verdict::Move(movement) => *movement,
                Verdict::Ignore(_) => return Ok(Vec::new()),
                Verdict::Refuse(refusal) => return Err(refusal.into()),
            };
            let (change, effects) = change_of(movement, self.job.state, event.at, asker);
            let job = Arc::clone(&change.job);
            match self.engine.store().commit(change).await {
                Ok(()) => {
                    self.job = Arc::unwrap_or_clone(job);
                    if let Some(host) = self.engine.inline() {
                        host.note(&self.job);
                    }
                    self.engine.committed(&self.job);
                    return Ok(effects);
                }
                Err(dauer_store::Error::Conflict { .. }) => {}
                Err(error @ (dauer_store::Error::NoSpace(_) | dauer_store::Error::Backend(_))) => {
                    tracing::warn!(job = %self.job.id, %error, "commit failed; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
                Err(error) => {
                    self.engine.heed(&error);
                    return Err(error.into());
                }
            }
        }
    }

    fn perform_inline(&mut self, effect: Effect) -> Option<(Option<u32>, EventKind)> {
        match effect {
            Effect::Terminate => {
                if let Some(host) = self.engine.inline() {
                    host.ask_to_end(&self.job.id);
                }
                None
            }
            Effect::Destroy { generation } => {
                if let Some(host) = self.engine.inline() {
                    host.drop_call(&self.job.id);
                }
                let lost = Ended::Lost {
                    out_of_memory: false,
                    rebooted: None,
                };
                Some((Some(generation), EventKind::Ended(lost)))
            }
            Effect::EndChildren { grace_ms } => {
                self.end_children(grace_ms);
                None
            }
            // Nothing is made for an inline job, and it has no checkpoints.
            Effect::Start
            | Effect::Restore { .. }
            | Effect::TakeCheckpoint { .. }
            | Effect::DropCheckpoints { .. }
            | Effect::DropTemplate { .. } => None,
        }
    }
}
