//! Writing down what became of many functions at once.

use super::{Finished, Host, event};
use crate::Engine;
use crate::commit::change_of;
use dauer_core::{Effect, EventKind, Job, Verdict, decide};
use dauer_store::Change;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// So many share a transaction at most.
const BATCH: usize = 512;

/// So many transactions at most are under way: what comes meanwhile is decided on, and shares the next one.
const UNDER_WAY: usize = 2;

/// After an error of the store it is tried again so much later, then twice that, up to a hundred times that.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Runs until the engine is stopped.
pub(super) async fn run(engine: Engine, mut ended: mpsc::UnboundedReceiver<Finished>) {
    let mut finished = Vec::with_capacity(BATCH);
    let mut writes = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(()) = writes.next() => {}
            count = ended.recv_many(&mut finished, BATCH), if writes.len() < UNDER_WAY => {
                if count == 0 {
                    break;
                }
                writes.push(write(&engine, std::mem::take(&mut finished)));
            }
            () = engine.stopped() => break,
        }
    }
    writes.collect::<()>().await;
}

impl Host {
    /// The record that a call which is over is decided on, where it still counts.
    fn record(&self, finished: &Finished) -> Option<Arc<Job>> {
        let running = self.running();
        let entry = running.get(&finished.job)?;
        (entry.job.generation == finished.generation).then(|| Arc::clone(&entry.job))
    }
}

async fn write(engine: &Engine, finished: Vec<Finished>) {
    let Some(host) = engine.inline() else { return };
    let mut left: Vec<(Finished, Arc<Job>)> = finished
        .into_iter()
        .filter_map(|finished| Some((host.record(&finished)?, finished)))
        .map(|(job, finished)| (finished, job))
        .collect();
    let mut pause = AGAIN_AFTER;
    while !left.is_empty() {
        let (changes, sources) = decide_all(engine, host, left);
        let records: Vec<Arc<Job>> = changes
            .iter()
            .map(|change| Arc::clone(&change.job))
            .collect();
        let results = engine.store().commit_all(changes).await;
        let (mut done, mut again, mut troubled) = (Vec::with_capacity(records.len()), vec![], None);
        for ((job, source), result) in records.into_iter().zip(sources).zip(results) {
            match result {
                Ok(()) => done.push(job),
                Err(dauer_store::Error::Conflict { .. }) => again.push(source),
                // It was removed by force.
                Err(dauer_store::Error::NotFound(_)) => host.forget(&source.job),
                Err(error) => {
                    troubled = Some(error);
                    again.push(source);
                }
            }
        }
        host.forget_all(&done);
        engine.committed_all(&done);
        for job in done
            .iter()
            .filter(|job| job.spec.remove_on_exit && job.state.is_terminal())
        {
            let (engine, id) = (engine.clone(), job.id.clone());
            tokio::spawn(async move {
                if let Err(error) = engine.remove(&id, false).await {
                    tracing::warn!(job = %id, %error, "a job that is removed when it ends stays");
                }
            });
        }
        if let Some(error) = troubled {
            if engine.heed(&error) {
                // They are called again by whoever took over.
                return;
            }
            // What happened has happened, and only a record makes it count.
            tracing::warn!(%error, jobs = again.len(), "commit failed; trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN_AFTER * 100);
        }
        left = reread(engine, host, again).await;
    }
}

fn decide_all(
    engine: &Engine,
    host: &Host,
    finished: Vec<(Finished, Arc<Job>)>,
) -> (Vec<Change>, Vec<Finished>) {
    let mut changes = Vec::with_capacity(finished.len());
    let mut sources = Vec::with_capacity(finished.len());
    for (finished, job) in finished {
        let event = event(
            engine,
            Some(finished.generation),
            EventKind::Returned(finished.returned.clone()),
        );
        match decide(&job, &event) {
            Verdict::Move(movement) => {
                for effect in &movement.effects {
                    assert!(
                        matches!(effect, Effect::EndChildren { .. }),
                        "invariant: nothing is left of an inline job: {effect:?}"
                    );
                }
                changes.push(change_of(*movement, job.state, event.at, None).0);
                sources.push(finished);
            }
            // It was ended meanwhile.
            Verdict::Ignore(_) | Verdict::Refuse(_) => host.forget(&finished.job),
        }
    }
    (changes, sources)
}

/// The records of those that somebody else changed meanwhile.
async fn reread(engine: &Engine, host: &Host, again: Vec<Finished>) -> Vec<(Finished, Arc<Job>)> {
    let mut left = Vec::with_capacity(again.len());
    for finished in again {
        let mut pause = AGAIN_AFTER;
        loop {
            match engine.store().job(&finished.job).await {
                Ok(job) => {
                    left.push((finished, Arc::new(job)));
                    break;
                }
                Err(dauer_store::Error::NotFound(_)) => {
                    host.forget(&finished.job);
                    break;
                }
                Err(error) => {
                    tracing::warn!(job = %finished.job, %error, "reading a job; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_AFTER * 100);
                }
            }
        }
    }
    left
}

impl Host {
    fn forget_all(&self, jobs: &[Arc<Job>]) {
        let mut running = self.running();
        for job in jobs {
            running.remove(&job.id);
        }
        self.changed_count(&running);
    }
}
