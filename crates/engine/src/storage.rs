//! The room that checkpoints take: those that rest are packed, what nobody needs of the packs goes. One task, which sleeps until the
//! next is due; what is due stands in the checkpoints' folders themselves, so that nothing is lost with the daemon.

use crate::clock::WallTimer;
use crate::{Engine, Error};
use dauer_core::{CheckpointId, JobId, Timestamp};
use dauer_sandbox::Stored;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// So long after something was removed, together with what is removed until then.
const SWEEP_AFTER_MS: u64 = 10_000;

/// What could not be done is tried again so much later.
const RETRY_MS: u64 = 60_000;

/// Its pages are most likely in the newest few of the same job.
const RELATED_MAX: usize = 4;

/// What the task is told.
enum Told {
    /// From now on this checkpoint rests.
    Rests(CheckpointId),
    /// There is a newer one: it will hardly be needed.
    Replaced(CheckpointId),
    /// One was removed.
    Removed,
}

/// The engine's end of the task.
pub(crate) struct Storage {
    tell: mpsc::UnboundedSender<Told>,
    told: Mutex<Option<mpsc::UnboundedReceiver<Told>>>,
    /// Packing and sweeping exclude each other: a pack that was just written has nobody yet who refers to it.
    turn: tokio::sync::Mutex<()>,
    /// Published soon, and committed after that.
    arriving: Mutex<HashSet<CheckpointId>>,
}

impl Default for Storage {
    fn default() -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Self {
            tell,
            told: Mutex::new(Some(told)),
            turn: tokio::sync::Mutex::default(),
            arriving: Mutex::default(),
        }
    }
}

impl Storage {
    /// A checkpoint was published, or somebody begins to read it.
    pub(crate) fn rests(&self, id: &CheckpointId) {
        self.say(Told::Rests(id.clone()));
    }

    /// A newer one of the same job stands before it.
    pub(crate) fn replaced(&self, id: &CheckpointId) {
        self.say(Told::Replaced(id.clone()));
    }

    /// A checkpoint was removed.
    pub(crate) fn removed(&self) {
        self.say(Told::Removed);
    }

    fn say(&self, what: Told) {
        // A task that has ended has no use for it, and the next daemon looks at everything.
        let _ = self.tell.send(what);
    }

    /// For the one task.
    fn listen(&self) -> Option<mpsc::UnboundedReceiver<Told>> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.take()
    }

    /// Those that are on their way.
    pub(crate) fn arriving(&self) -> MutexGuard<'_, HashSet<CheckpointId>> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever packs or sweeps holds this.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }
}

/// When a checkpoint is to be looked at.
#[derive(Clone, Copy)]
struct Look {
    at: Timestamp,
    /// There is a newer one, so this one need not rest first.
    is_replaced: bool,
}

/// When what is to be looked at next.
#[derive(Default)]
struct Due {
    checkpoints: BTreeMap<CheckpointId, Look>,
    sweep: Option<Timestamp>,
}

impl Due {
    fn next(&self) -> Option<Timestamp> {
        let looks = self.checkpoints.values().map(|look| look.at);
        looks.chain(self.sweep).min()
    }

    fn look(&mut self, id: CheckpointId, at: Timestamp, is_replaced: bool) {
        self.checkpoints.insert(id, Look { at, is_replaced });
    }

    fn hear(&mut self, told: Told, now: Timestamp, rest_ms: u64) {
        match told {
            Told::Rests(id) => {
                self.look(id, now.plus_ms(rest_ms), false);
            }
            Told::Replaced(id) => {
                self.look(id, now, true);
            }
            Told::Removed => {
                self.sweep.get_or_insert(now.plus_ms(SWEEP_AFTER_MS));
            }
        }
    }
}

/// Runs until the engine stops.
pub(crate) async fn run(engine: Engine) {
    let Some(mut told) = engine.storage().listen() else {
        return;
    };
    let timer = match WallTimer::new() {
        Ok(timer) => timer,
        Err(error) => {
            tracing::error!(%error, "no timer: checkpoints will not be packed");
            return;
        }
    };
    let rest_ms = engine.config().pack_after.map(ms);
    let mut due = Due::default();
    match engine.node().snapshots().await {
        Ok(ids) => {
            for id in ids {
                due.look(id, engine.now(), false);
            }
        }
        Err(error) => tracing::warn!(%error, "looking for checkpoints to pack"),
    }
    due.hear(Told::Removed, engine.now(), 0);
    loop {
        tokio::select! {
            () = engine.stopped() => return,
            what = told.recv() => {
                let Some(what) = what else { return };
                due.hear(what, engine.now(), rest_ms.unwrap_or(0));
            }
            slept = timer.sleep_until(due.next()) => {
                if let Err(error) = slept {
                    tracing::warn!(%error, "sleeping until a checkpoint rests");
                    tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
                }
                look(&engine, &mut due, rest_ms).await;
            }
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Does the one thing that has been due for longest.
async fn look(engine: &Engine, due: &mut Due, rest_ms: Option<u64>) {
    let now = engine.now();
    if due.sweep.is_some_and(|at| at <= now) {
        due.sweep = None;
        let _turn = engine.storage().turn().await;
        match engine.node().sweep(None).await {
            Ok(swept) if swept.unused.is_empty() && swept.unused_within_bytes == 0 => {}
            Ok(swept) => tracing::debug!(
                packs = swept.unused.len(),
                bytes = swept.unused_within_bytes,
                "room of packs given back"
            ),
            Err(error) => tracing::warn!(%error, "looking for what nobody needs of the packs"),
        }
    }
    let oldest = due.checkpoints.iter().min_by_key(|(_, look)| look.at);
    let Some((id, look)) = oldest.filter(|(_, look)| look.at <= now) else {
        return;
    };
    let (id, is_replaced) = (id.clone(), look.is_replaced);
    due.checkpoints.remove(&id);
    let looked = async {
        let expires = expire(engine, &id).await?;
        let rests = match rest_ms {
            Some(rest_ms) => attend(engine, &id, is_replaced, rest_ms).await?,
            // Nothing is packed here; what was packed before stays so.
            None => None,
        };
        Ok::<_, Error>(expires.into_iter().chain(rests).min())
    };
    match looked.await {
        Ok(Some(at)) => due.look(id, at, is_replaced),
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(checkpoint = %id, %error, "looking after a checkpoint; it stays as it is");
            due.look(id, now.plus_ms(RETRY_MS), is_replaced);
        }
    }
}

/// Drops a checkpoint that its job has kept for long enough. Returns when that will be, if ever.
async fn expire(engine: &Engine, id: &CheckpointId) -> Result<Option<Timestamp>, Error> {
    let Some(checkpoint) = engine.node().published(id).await? else {
        return Ok(None);
    };
    let job = match engine.store().job(&checkpoint.job).await {
        Ok(job) => job,
        Err(dauer_store::Error::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (Some(keep), Some(resume)) = (job.spec.keep_checkpoints, &job.checkpoint) else {
        return Ok(None);
    };
    match keep.next_expiry(&[checkpoint], resume) {
        Some(at) if at <= engine.now() => {
            engine.drop_checkpoints(&job, Some(resume)).await?;
            Ok(None)
        }
        next => Ok(next),
    }
}

/// Packs what rests, and takes the content out of what nobody has read for as long. Returns when to look again.
async fn attend(
    engine: &Engine,
    id: &CheckpointId,
    is_replaced: bool,
    rest_ms: u64,
) -> Result<Option<Timestamp>, Error> {
    let now = engine.now();
    let rest = |since| timestamp(since).plus_ms(rest_ms);
    match engine.node().stored(id).await? {
        Stored::Absent | Stored::Packed => Ok(None),
        Stored::Whole(_, taken_at) if !is_replaced && rest(taken_at) > now => {
            Ok(Some(rest(taken_at)))
        }
        Stored::Whole(job, _) => {
            pack(engine, id, &job).await?;
            if is_replaced {
                return release(engine, id).await;
            }
            // Beside its content for as long again: packing takes nothing from whoever wakes it now.
            Ok(Some(engine.now().plus_ms(rest_ms)))
        }
        Stored::Cached(used_at) if rest(used_at) > now => Ok(Some(rest(used_at))),
        Stored::Cached(_) => release(engine, id).await,
    }
}

async fn release(engine: &Engine, id: &CheckpointId) -> Result<Option<Timestamp>, Error> {
    let is_out = engine.node().drop_raw(id).await?;
    Ok((!is_out).then(|| engine.now().plus_ms(RETRY_MS)))
}

async fn pack(engine: &Engine, id: &CheckpointId, job: &JobId) -> Result<(), Error> {
    let mut related = engine.store().checkpoints(job).await?;
    related.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.taken_at));
    let related = related.into_iter().map(|checkpoint| checkpoint.id);
    let related = related.filter(|other| other != id).take(RELATED_MAX);
    let _turn = engine.storage().turn().await;
    if let Some(packed) = engine.node().pack(id, related.collect()).await? {
        let (content, new) = (packed.content_bytes, packed.new_bytes);
        tracing::debug!(checkpoint = %id, content, new, "packed");
    }
    Ok(())
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
