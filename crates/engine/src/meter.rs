//! What the ledger is told of the lives of sandboxes, how long it is kept, and the heartbeat that bounds what a crash hides from it.
//!
//! ```text
//! shim says when it began, its record when it ended           exact, also where no daemon listened
//! the connection to a shim broke, and there is no record      that moment
//! found dead at the start of a daemon, and no record          the last heartbeat, or the last write of its log
//! ```

use crate::runner::Runner;
use crate::{Engine, Error, check};
use dauer_core::decide::merge;
use dauer_core::ledger::{self, Account, Life};
use dauer_core::{Ended, EventKind, Job, JobId, SandboxId, Timestamp};
use dauer_sandbox::protocol::ExitRecord;
use dauer_store::UsageQuery;
use std::collections::BTreeMap;
use std::time::Duration;

/// So many intervals are forgotten in one commit.
const PRUNED_AT_ONCE: usize = 1000;

/// How often is looked for intervals that are too old.
const PRUNE_EVERY: Duration = Duration::from_secs(6 * 3600);

/// What the record of an exit says of the life before it.
pub(crate) fn life(exit: &ExitRecord) -> Life {
    let (at, life) = match exit {
        ExitRecord::Exited { at, life, .. } | ExitRecord::Lost { at, life, .. } => (*at, *life),
        ExitRecord::StartFailed { at, .. }
        | ExitRecord::RestoreFailed { at, .. }
        | ExitRecord::Suspended { at, .. } => (*at, Life::default()),
    };
    Life {
        ended_at: Some(Timestamp(at)),
        ..life
    }
}

/// What a runner knows of the life of one incarnation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    generation: u32,
    life: Life,
    /// It was connected to, so its end was noticed when it came.
    watched: bool,
}

impl Runner {
    /// The life of the present incarnation, for the ledger.
    pub(crate) fn life(&self) -> Life {
        if self.known.generation == self.job.generation {
            self.known.life
        } else {
            Life::default()
        }
    }

    fn known(&mut self) -> &mut Known {
        if self.known.generation != self.job.generation {
            self.known = Known {
                generation: self.job.generation,
                ..Known::default()
            };
        }
        &mut self.known
    }

    /// Its shim said so.
    pub(crate) fn note_life(&mut self, life: Life) {
        let known = self.known();
        known.watched = true;
        known.life = life;
    }

    /// Nothing more is heard of its shim.
    pub(crate) fn note_silence(&mut self) {
        let now = self.engine.now();
        let known = self.known();
        known.life.ended_at = known.watched.then_some(now);
    }

    /// It ended, and this is its record.
    pub(crate) fn note_exit(&mut self, exit: &ExitRecord) -> Ended {
        let before = self.life();
        let recorded = life(exit);
        self.known().life = Life {
            began_at: recorded.began_at.or(before.began_at),
            cpu_ms: recorded.cpu_ms.or(before.cpu_ms),
            memory_bytes: recorded.memory_bytes.or(before.memory_bytes),
            ended_at: recorded.ended_at,
        };
        crate::recover::ended(exit)
    }

    /// It lives.
    pub(crate) fn note_alive(&mut self) {
        self.known().life.ended_at = None;
    }

    /// It was on a node that was lost: it counts to when that was last heard of.
    pub(crate) fn note_lost(&mut self, node: &str) {
        let heard = self.engine.nodes().silent_since(node);
        let began = self.job.runs_since;
        self.known().life.ended_at = heard.max(began);
    }

    /// It is gone without a record. Where nobody watched, it counts to when it was last seen alive.
    pub(crate) async fn note_gone(&mut self, sandbox: &SandboxId) -> Result<(), Error> {
        if self.known().watched {
            return Ok(());
        }
        let written = self.engine.node().last_write(sandbox).await?;
        let seen = self.engine.seen_alive_before();
        // Never seen since it began: it counts for nothing, rather than for all the time in which no daemon ran.
        let began = self.job.runs_since;
        self.known().life.ended_at = written.max(seen).or(began);
        Ok(())
    }

    /// What the checkpoint of a job that has ended costs ends before its record goes.
    pub(crate) async fn discard_checkpoint(&mut self) {
        if self.job.checkpoint.is_some() {
            self.apply(None, EventKind::Discarded).await;
        }
    }
}

impl Engine {
    /// Adds up what the ledger has; what runs counts up to now.
    ///
    /// # Errors
    /// `Invalid` where there would be too many groups.
    pub async fn usage(&self, query: UsageQuery) -> Result<Account, Error> {
        Ok(self.store().usage(query).await?)
    }

    /// Sets tags and fields of a job's metadata, or removes them where they are `None`. In any state, also of a job that has ended.
    ///
    /// # Errors
    /// `NotFound`; `InvalidField` where it would have more of it, or other things, than a job may have.
    pub async fn describe(
        &self,
        id: &JobId,
        tags: BTreeMap<String, Option<String>>,
        metadata: BTreeMap<String, Option<serde_json::Value>>,
    ) -> Result<Job, Error> {
        let spec = self.job(id).await?.spec;
        let (mut all_tags, mut all_metadata) = (spec.tags.clone(), spec.metadata.clone());
        merge(&mut all_tags, &tags);
        merge(&mut all_metadata, &metadata);
        check::check_description(&all_tags, &all_metadata)?;
        self.tell(id, EventKind::Described { tags, metadata }).await
    }
}

/// Writes down again and again that the daemon lives, while anything does that it watches over.
pub(crate) async fn beat(engine: Engine) {
    let mut ticks = tokio::time::interval(Duration::from_millis(ledger::HEARTBEAT_MS));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        beat_once(&engine).await;
    }
}

pub(crate) async fn beat_once(engine: &Engine) {
    if !engine.places().is_anything_up() {
        return;
    }
    if let Err(error) = engine.store().heartbeat(engine.now()).await {
        // After a crash more may be missing from the ledger.
        tracing::warn!(%error, "cannot write down that the daemon lives");
    }
}

/// Forgets intervals that ended longer ago than they are kept.
pub(crate) async fn prune(engine: Engine, keep: Duration) {
    let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
    loop {
        if let Err(error) = prune_once(&engine, keep_ms).await {
            tracing::warn!(%error, "old entries of the ledger stay until the next time");
        }
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}

async fn prune_once(engine: &Engine, keep_ms: u64) -> Result<(), Error> {
    let before = engine.now().minus_ms(keep_ms);
    while engine
        .store()
        .ledger_oldest()
        .await?
        .is_some_and(|oldest| oldest < before)
    {
        engine.store().prune_ledger(before, PRUNED_AT_ONCE).await?;
    }
    Ok(())
}
