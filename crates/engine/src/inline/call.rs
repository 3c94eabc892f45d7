//! Calling one function, and watching its times.

use super::{Call, Context, Failure, Finished, Host};
use crate::Engine;
use dauer_core::{EventKind, Intent, Job, JobId, Json, Returned, timeout};
use futures_util::FutureExt;
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

impl Engine {
    /// Calls the function of a job whose record says that it runs.
    pub(super) fn call(&self, job: Arc<Job>) {
        let Some(host) = self.inline() else { return };
        let mut running = host.running();
        let Some(entry) = running.get_mut(&job.id) else {
            return;
        };
        if matches!(entry.call, Call::Dropped) {
            return;
        }
        let cancelled = entry.cancelled.clone();
        let task = tokio::spawn(watched(self.clone(), job, cancelled));
        entry.call = Call::Now(task.abort_handle());
    }
}

/// Runs until the function has returned, and says so.
async fn watched(engine: Engine, job: Arc<Job>, cancelled: CancellationToken) {
    let Some(host) = engine.inline() else { return };
    let (id, generation) = (job.id.clone(), job.generation);
    let mut alarm = alarm(&engine, &job);
    let name = job.spec.argv.first().cloned().unwrap_or_default();
    let returned = match host.handlers.get(&name) {
        Some(handler) => {
            let context = Context::new(engine.clone(), job, cancelled.clone());
            // What it panics with is all that is left of it.
            let call = AssertUnwindSafe(async { handler(context).await }).catch_unwind();
            tokio::pin!(call);
            let mut asked = false;
            loop {
                tokio::select! {
                    biased;
                    result = &mut call => break returned(result),
                    () = cancelled.cancelled(), if !asked => {
                        asked = true;
                        alarm = host.kill_at(&engine, &id);
                    }
                    () = sleep_until(alarm), if alarm.is_some() => {
                        alarm = None;
                        ring(&engine, &id, asked);
                    }
                }
            }
        }
        None => Returned::Failed {
            message: format!("there is no handler {name:?} in this program"),
            fatal: false,
        },
    };
    let finished = Finished {
        job: id,
        generation,
        returned,
    };
    // The engine was stopped: what runs is given back by who stops it.
    let _stopped = host.finished.send(finished);
}

fn returned(result: Result<Result<Option<Json>, Failure>, Box<dyn Any + Send>>) -> Returned {
    match result {
        Ok(Ok(output)) => Returned::Done(output),
        Ok(Err(Failure { message, fatal })) => Returned::Failed { message, fatal },
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Returned::Panicked {
                message: text.unwrap_or("it panicked without a word").to_owned(),
            }
        }
    }
}

/// When the first of its times is over.
fn alarm(engine: &Engine, job: &Job) -> Option<Instant> {
    let (over_at, _) = timeout::next_limit(job)?;
    Some(Instant::now() + Duration::from_millis(over_at.since(engine.now())))
}

/// Says so to the record, on a task of its own: the function goes on meanwhile.
fn ring(engine: &Engine, job: &JobId, asked_to_end: bool) {
    let (engine, job) = (engine.clone(), job.clone());
    let event = if asked_to_end {
        EventKind::GraceOver
    } else {
        EventKind::DeadlineReached
    };
    tokio::spawn(async move {
        if let Err(error) = engine.tell(&job, event).await {
            tracing::warn!(%job, %error, "a time of the job is over");
        }
    });
}

async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

impl Host {
    /// When a function that was asked to end is given up.
    fn kill_at(&self, engine: &Engine, job: &JobId) -> Option<Instant> {
        match &self.running().get(job)?.job.intent {
            Some(Intent::End { kill_at, .. }) => {
                let left = kill_at.since(engine.now());
                Some(Instant::now() + Duration::from_millis(left))
            }
            Some(Intent::Checkpoint { .. } | Intent::Wake { .. }) | None => None,
        }
    }

    /// A function is asked to end.
    pub(super) fn ask_to_end(&self, job: &JobId) {
        if let Some(running) = self.running().get(job) {
            running.cancelled.cancel();
        }
    }

    /// A function is not waited for any longer: it is dropped where it next awaits.
    pub(super) fn drop_call(&self, job: &JobId) {
        let mut all = self.running();
        let Some(running) = all.get_mut(job) else {
            return;
        };
        running.cancelled.cancel();
        if let Call::Now(task) = std::mem::replace(&mut running.call, Call::Dropped) {
            task.abort();
        }
    }

    /// Its record says that it does not run any more.
    pub(super) fn forget(&self, job: &JobId) {
        let mut running = self.running();
        running.remove(job);
        self.changed_count(&running);
    }
}
