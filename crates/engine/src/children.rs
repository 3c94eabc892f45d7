//! The jobs below a job, where they are cancelled with it. That they are is in its record before any of them hears of it, and
//! stays there until all have ended: a daemon that dies on the way begins again. None is added meanwhile, which the store sees to.

use crate::asker::Asker;
use crate::runner::Runner;
use crate::{Engine, Error};
use dauer_core::{End, EventKind, Job, JobId};
use futures_util::{StreamExt, TryStreamExt};
use std::time::Duration;

/// How many are read at once.
const PAGE: usize = 256;

/// How many are told, or waited for, side by side.
const PARALLEL: usize = 32;

/// After an error of the store it is tried again so much later, then twice that, up to ten times that.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

impl Runner {
    /// Cancels all jobs below this one, on a task of its own: the job can be spoken to meanwhile.
    pub(crate) fn end_children(&mut self, grace_ms: Option<u64>) {
        if std::mem::replace(&mut self.ends_children, true) {
            return;
        }
        let (engine, parent) = (self.engine.clone(), self.job.id.clone());
        let asker = Asker::new("job", &parent).because(Some("its parent is cancelled".into()));
        tokio::spawn(async move {
            let mut pause = AGAIN_AFTER;
            let end = || asker.clone().asks(engine.end_all_below(&parent, grace_ms));
            while let Err(error) = end().await {
                tracing::warn!(job = %parent, %error, "cancelling its children; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(AGAIN_AFTER * 10);
            }
            match engine.tell(&parent, EventKind::ChildrenEnded).await {
                // It was removed meanwhile, and nothing is left to be written down.
                Ok(_) | Err(Error::NotFound(_)) => {}
                Err(error) => {
                    tracing::warn!(job = %parent, %error, "noting that its children have ended")
                }
            }
        });
    }
}

impl Engine {
    /// The id of a parent as a request names it.
    pub(crate) async fn parent(&self, text: &JobId) -> Result<JobId, Error> {
        match self.find(text.as_str()).await {
            Err(error @ (Error::NotFound(_) | Error::Ambiguous(_))) => {
                Err(Error::invalid("parent", format!("the parent: {error}")))
            }
            found => found,
        }
    }

    /// Returns when all jobs below this one have ended.
    async fn end_all_below(&self, parent: &JobId, grace_ms: Option<u64>) -> Result<(), Error> {
        // First all are told, then all are waited for: the grace of one does not keep the others.
        for pass in [Pass::Tell { grace_ms }, Pass::Await] {
            let mut after = None;
            loop {
                let page = self.store().children(parent, after.as_ref(), PAGE).await?;
                let Some(last) = page.last().cloned() else {
                    break;
                };
                after = Some(last);
                futures_util::stream::iter(page)
                    .map(|child| self.end_child(child, pass))
                    .buffer_unordered(PARALLEL)
                    .try_collect::<()>()
                    .await?;
            }
        }
        Ok(())
    }

    async fn end_child(&self, child: JobId, pass: Pass) -> Result<(), Error> {
        let ended = match pass {
            Pass::Tell { grace_ms } => self.end_with_children(&child, grace_ms).await,
            Pass::Await => self.wait_until(&child, has_ended_with_children).await,
        };
        match ended {
            // One that was removed had ended.
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns when the job's record says that it ends, where it has not ended, and that those below it do.
    async fn end_with_children(&self, id: &JobId, grace_ms: Option<u64>) -> Result<Job, Error> {
        let end = EventKind::EndAsked {
            end: End::Stop,
            grace_ms,
            children: true,
        };
        match self.tell(id, end).await {
            // It has ended; those below it may not have.
            Err(Error::Conflict(_)) => {
                self.tell(id, EventKind::ChildrenEndAsked { grace_ms })
                    .await
            }
            told => told,
        }
    }
}

/// What is done with each child.
#[derive(Clone, Copy)]
enum Pass {
    Tell { grace_ms: Option<u64> },
    Await,
}

/// Nothing is left to be ended, of the job and of those below it, as far as they are cancelled with it.
pub(crate) fn has_ended_with_children(job: &Job) -> bool {
    job.state.is_terminal() && job.operation.is_none() && !job.is_ending_children()
}
