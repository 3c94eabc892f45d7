//! This node among those on one store: its lease, taken before anything else is written and renewed well before it runs out; the
//! leases of others, whose jobs are taken over when they have run out; and its end where another node took over from it.
//!
//! ```text
//! take ─► recover ─► renew · look at the others · sleep until the earlier of both ─► …
//!                      └─ refused: fenced ─► stop every sandbox, say why, end
//! ```
//!
//! A store that only this daemon can open needs no renewal: its lease never runs out, and what an older node held is its own.

use crate::clock::WallTimer;
use crate::{Engine, Error, recover};
use dauer_core::{Job, JobId, Lease, NodeId, State, Timestamp};
use dauer_sandbox::Observed;
use dauer_store::Notice;
use futures_util::StreamExt;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

/// How long others wait for a node that says nothing, where nothing else is said.
pub const LEASE: Duration = Duration::from_secs(45);

/// A lease is renewed when a third of it is over: the store may be away for the rest.
const RENEWALS: u64 = 3;

/// After an error of the store it is asked again so much later.
const AGAIN_MS: u64 = 1_000;

/// A store that does not say what others do is asked so often.
const UNTOLD_EVERY: Duration = Duration::from_secs(1);

/// Each so many times it is asked for settings.
const UNTOLD_BETWEEN_SETTINGS: u64 = 10;

/// How long the sandboxes of a node that was fenced may take to go, all together.
const STOP_MAX: Duration = Duration::from_secs(20);

/// How many are stopped side by side.
const PARALLEL: usize = 32;

/// What a node is called, and how long others wait for it.
#[derive(Clone, Debug)]
pub struct Member {
    /// The same each time it starts.
    pub node: NodeId,
    /// Where its daemon can be asked.
    pub address: Option<String>,
    /// So long after it was last heard of, others take over its jobs.
    pub lease: Duration,
}

/// A node on the store.
#[derive(Clone, Debug)]
pub struct NodeState {
    /// Its lease.
    pub lease: Lease,
    /// It is this one.
    pub is_this: bool,
    /// So many jobs it holds.
    pub jobs: u64,
}

/// What an engine knows of the nodes on its store.
pub(crate) struct Nodes {
    member: Member,
    is_shared: bool,
    /// Why nothing is written any more.
    fenced: watch::Sender<Option<String>>,
    /// When a node that was taken over was last heard of.
    silent_since: Mutex<BTreeMap<String, Timestamp>>,
    /// Jobs that are due and rest on another node.
    elsewhere: Mutex<HashSet<JobId>>,
}

impl Nodes {
    pub(crate) fn new(member: Member, is_shared: bool) -> Self {
        Self {
            member,
            is_shared,
            fenced: watch::Sender::new(None),
            silent_since: Mutex::default(),
            elsewhere: Mutex::default(),
        }
    }

    pub(crate) fn lease_ms(&self) -> u64 {
        u64::try_from(self.member.lease.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    pub(crate) fn elsewhere(&self) -> MutexGuard<'_, HashSet<JobId>> {
        self.elsewhere.lock().expect("no panic while held")
    }

    /// What a record of this node says of where its incarnation began: this boot of the machine, and on a shared store the node.
    pub(crate) fn origin(&self, boot_id: &str) -> String {
        if self.is_shared {
            format!("{boot_id}@{}", self.member.node)
        } else {
            boot_id.to_owned()
        }
    }

    /// The other node on which an incarnation of this origin began.
    pub(crate) fn other_of(&self, origin: &str) -> Option<String> {
        let (_, node) = origin.split_once('@')?;
        (node != self.member.node.as_str()).then(|| node.to_owned())
    }

    pub(crate) fn silent_since(&self, node: &str) -> Option<Timestamp> {
        let silent = self.silent_since.lock().expect("no panic while held");
        silent.get(node).copied()
    }

    fn until(&self, now: Timestamp) -> Timestamp {
        if self.is_shared {
            now.plus_ms(self.lease_ms())
        } else {
            Timestamp(i64::MAX)
        }
    }
}

/// Takes the lease. Returns when this node was last heard of before, where the store says so.
pub(crate) async fn take(engine: &Engine) -> Result<Option<Timestamp>, Error> {
    let (store, nodes) = (engine.store(), engine.nodes());
    let Member { node, address, .. } = &nodes.member;
    let before = store.leases().await?;
    let until = nodes.until(engine.now());
    let lease = store.take_lease(node, address.as_deref(), until).await?;
    tracing::debug!(%node, epoch = lease.epoch, "lease taken");
    if nodes.is_shared {
        let own = before.into_iter().find(|lease| lease.node == *node);
        return Ok(own.map(|own| own.until.minus_ms(nodes.lease_ms())));
    }
    // Nobody else can have opened it: whoever held a lease is gone.
    for other in before.into_iter().filter(|lease| lease.node != *node) {
        let forever = Timestamp(i64::MAX);
        store.take_over(&other.node, other.epoch, forever).await?;
    }
    Ok(store.last_heartbeat().await?)
}

/// Keeps the lease, and takes over from those that do not keep theirs, until the engine ends.
pub(crate) async fn keep(engine: Engine) {
    let timer = match WallTimer::new() {
        Ok(timer) => timer,
        Err(error) => {
            tracing::error!(%error, "no timer: this node's lease runs out, and others take over its jobs");
            return;
        }
    };
    let every = engine.nodes().lease_ms() / RENEWALS;
    let mut renew_at = engine.now().plus_ms(every);
    // First it recovers what is its own.
    let mut look_at = renew_at;
    loop {
        tokio::select! {
            slept = timer.sleep_until(Some(renew_at.min(look_at))) => if let Err(error) = slept {
                tracing::warn!(%error, "sleeping until the lease is to be renewed");
                tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
            },
            () = engine.stopped() => return,
        }
        let now = engine.now();
        // Later than this it never is, unless the clock was set back.
        if renew_at <= now || renew_at > now.plus_ms(every) {
            renew_at = match engine.store().renew_lease(engine.nodes().until(now)).await {
                Ok(()) => now.plus_ms(every),
                Err(error) => {
                    if engine.heed(&error) {
                        return;
                    }
                    tracing::warn!(%error, "cannot renew this node's lease; trying again");
                    now.plus_ms(AGAIN_MS)
                }
            };
        }
        if look_at <= now || look_at > now.plus_ms(engine.nodes().lease_ms()) {
            look_at = match look(&engine).await {
                Ok(next) => next,
                Err(error) => {
                    if engine.heed(&error) {
                        return;
                    }
                    tracing::warn!(%error, "cannot look at the leases of other nodes; trying again");
                    engine.now().plus_ms(AGAIN_MS)
                }
            };
        }
    }
}

/// Takes over from those whose lease has run out before this node came.
pub(crate) async fn look_once(engine: &Engine) {
    if engine.nodes().is_shared()
        && let Err(error) = look(engine).await
        && !engine.heed(&error)
    {
        tracing::warn!(%error, "cannot look at the leases of other nodes; trying again later");
    }
}

/// Takes over from those whose lease has run out; returns when the next one would.
async fn look(engine: &Engine) -> Result<Timestamp, dauer_store::Error> {
    let (store, nodes) = (engine.store(), engine.nodes());
    // A node that comes meanwhile does not run out sooner, as far as this one knows.
    let mut next = engine.now().plus_ms(nodes.lease_ms());
    for lease in store.leases().await? {
        if lease.node == nodes.member.node {
            continue;
        }
        if !lease.has_run_out(engine.now()) {
            next = next.min(lease.until);
            continue;
        }
        match store
            .take_over(&lease.node, lease.epoch, engine.now())
            .await
        {
            Ok(jobs) => taken_over(engine, &lease, jobs).await?,
            // It came back, or somebody else was faster.
            Err(dauer_store::Error::LeaseChanged(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(next)
}

async fn taken_over(
    engine: &Engine,
    lease: &Lease,
    jobs: Vec<JobId>,
) -> Result<(), dauer_store::Error> {
    let node = &lease.node;
    tracing::warn!(%node, jobs = jobs.len(), "a node's lease has run out: its jobs were taken over");
    let nodes = engine.nodes();
    // It gave its lease back, or was last heard of about then.
    let heard = (lease.until.0 > 0).then(|| lease.until.minus_ms(nodes.lease_ms()));
    if let Some(heard) = heard {
        let mut silent = nodes.silent_since.lock().expect("no panic while held");
        silent.insert(node.0.clone(), heard);
    }
    nodes.elsewhere().clear();
    let records = engine.store().jobs(jobs).await?;
    // Not waited for: this task has a lease to keep.
    let engine = engine.clone();
    tokio::spawn(async move { recover::reconcile_all(&engine, records).await });
    Ok(())
}

/// Passes on what others do with the store, until the engine ends.
pub(crate) async fn listen(engine: Engine) {
    let (mut notices, mut untold) = (engine.store().notices(), 0_u64);
    loop {
        let next = async {
            match &mut notices {
                Some(notices) => notices.recv().await,
                None => {
                    tokio::time::sleep(UNTOLD_EVERY).await;
                    untold += 1;
                    Ok(if untold.is_multiple_of(UNTOLD_BETWEEN_SETTINGS) {
                        Notice::Settings
                    } else {
                        Notice::Work
                    })
                }
            }
        };
        let notice = tokio::select! {
            notice = next => notice,
            () = engine.stopped() => return,
        };
        match notice {
            Ok(Notice::Job(job)) => engine.changed_by_others(&job),
            Ok(Notice::Work) => engine.any_changed_by_others(),
            Ok(Notice::Settings) => engine.settings_changed_by_others(),
            Err(RecvError::Lagged(_)) => {
                engine.any_changed_by_others();
                engine.settings_changed_by_others();
            }
            Err(RecvError::Closed) => {
                tracing::warn!("the store says no more what others do: it is asked instead");
                notices = None;
            }
        }
    }
}

impl Engine {
    /// Where the store says that this node was taken over, the engine's end begins: nothing of it is written any more. True then.
    pub(crate) fn heed(&self, error: &dauer_store::Error) -> bool {
        let dauer_store::Error::Fenced { epoch, found, .. } = error else {
            return false;
        };
        let node = &self.nodes().member.node;
        let now = found.map_or_else(|| "no epoch".to_owned(), |found| format!("epoch {found}"));
        let why = format!(
            "another daemon took over from node {node} (epoch {epoch}, now {now}), which was silent for longer than its lease or started a second time: its sandboxes here were stopped; start the daemon again"
        );
        // Only the first to hear of it acts.
        let first = self.nodes().fenced.send_if_modified(|fenced| {
            let first = fenced.is_none();
            fenced.get_or_insert_with(String::new);
            first
        });
        if first {
            tracing::error!(%error, "fenced: stopping every sandbox of this node");
            self.stop_tasks();
            // Whoever waits for an answer is told that there is none.
            self.lock_live().clear();
            let engine = self.clone();
            tokio::spawn(async move {
                if tokio::time::timeout(STOP_MAX, engine.stop_sandboxes())
                    .await
                    .is_err()
                {
                    tracing::error!(
                        "some sandboxes did not go; the next daemon of this node ends them"
                    );
                }
                engine.nodes().fenced.send_replace(Some(why));
            });
        }
        true
    }

    /// Returns, with the reason, when another daemon has taken over and nothing of this one runs any more.
    pub async fn fenced(&self) -> String {
        let mut fenced = self.nodes().fenced.subscribe();
        let ended = fenced.wait_for(|why| why.as_ref().is_some_and(|why| !why.is_empty()));
        match ended.await {
            Ok(why) => why.clone().unwrap_or_default(),
            // Its sender lives as long as this engine.
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends everything of this node that lives, whatever its records say.
    async fn stop_sandboxes(&self) {
        if self.inline().is_some() {
            return self.drop_calls();
        }
        let sandboxes = match self.node().sandboxes().await {
            Ok(sandboxes) => sandboxes,
            Err(error) => {
                tracing::error!(%error, "cannot list the sandboxes of this node");
                return;
            }
        };
        futures_util::stream::iter(sandboxes)
            .for_each_concurrent(PARALLEL, |sandbox| async move {
                if let Err(error) = self.stop_sandbox(&sandbox, |_| true).await {
                    tracing::error!(%sandbox, %error, "a sandbox could not be stopped");
                }
            })
            .await;
    }

    /// Ends what lives of a sandbox, as far as it is one of those generations.
    pub(crate) async fn stop_sandbox(
        &self,
        sandbox: &dauer_core::SandboxId,
        which: impl Fn(u32) -> bool,
    ) -> Result<(), Error> {
        let node = self.node();
        for generation in node.incarnations(sandbox).await? {
            if !which(generation) || node.observe(sandbox, generation).await? != Observed::Alive {
                continue;
            }
            if let Some(spec) = node.spec(sandbox, generation).await? {
                node.destroy(sandbox, generation, &spec.driver).await?;
            }
        }
        Ok(())
    }

    /// Gives the lease back at the end, where this node holds nothing that lives on without its daemon.
    pub(crate) async fn give_back_lease(&self) {
        if self.places().is_anything_up() && self.nodes().is_shared() {
            // Its next daemon goes on with them, if it comes before the lease runs out.
            return;
        }
        if let Err(error) = self.store().release_lease().await {
            tracing::debug!(%error, "the lease was not given back; it runs out");
        }
    }

    /// Why this engine must leave a job alone: another node holds it.
    pub(crate) async fn held_elsewhere(&self, job: &Job) -> Result<Option<Error>, Error> {
        if !self.nodes().is_shared() || is_settled(job) {
            return Ok(None);
        }
        match self.store().holder(&job.id).await? {
            Some(node) if node != self.nodes().member.node => {
                Ok(Some(self.held_by(&job.id, node).await?))
            }
            Some(_) | None => Ok(None),
        }
    }

    pub(crate) async fn held_by(&self, job: &JobId, node: NodeId) -> Result<Error, Error> {
        let leases = self.store().leases().await?;
        let lease = leases.into_iter().find(|lease| lease.node == node);
        Ok(Error::HeldElsewhere {
            job: job.0.clone(),
            node: node.0,
            address: lease.and_then(|lease| lease.address),
        })
    }

    /// The nodes on the store, by their names.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn node_states(&self) -> Result<Vec<NodeState>, Error> {
        let leases = self.store().leases().await?;
        let mut held = self.store().held().await?;
        let state = |lease: Lease| NodeState {
            is_this: lease.node == self.nodes().member.node,
            jobs: held.remove(&lease.node).unwrap_or(0),
            lease,
        };
        Ok(leases.into_iter().map(state).collect())
    }

    /// This node's name.
    #[must_use]
    pub fn node_id(&self) -> &NodeId {
        &self.nodes().member.node
    }

    /// Errors: `HeldElsewhere` where a job sleeps on another node.
    pub(crate) async fn check_rests_here(&self, id: &JobId) -> Result<(), Error> {
        if !self.nodes().is_shared() || !self.rests_elsewhere(id).await? {
            return Ok(());
        }
        self.job_here(id).await.map(|_| ())
    }

    /// The record of a job whose log and files are asked for. Errors: `NotFound`; `HeldElsewhere` where it began on another node.
    pub(crate) async fn job_here(&self, id: &JobId) -> Result<Job, Error> {
        let job = self.job(id).await?;
        let origin = job.boot_id.as_deref();
        match origin.and_then(|origin| self.nodes().other_of(origin)) {
            Some(node) => Err(self.held_by(id, NodeId(node)).await?),
            None => Ok(job),
        }
    }

    /// Of jobs that are due, those that can go on here: an image lies on the node that took it.
    pub(crate) async fn rests_elsewhere(&self, job: &JobId) -> Result<bool, Error> {
        let record = match self.job(job).await {
            Err(Error::NotFound(_)) => return Ok(false),
            record => record?,
        };
        let Some(checkpoint) = record.checkpoint.as_ref().or(record.begins_from()) else {
            return Ok(false);
        };
        Ok(self.node().published(checkpoint).await?.is_none())
    }
}

/// Nobody holds it.
fn is_settled(job: &Job) -> bool {
    let rests = match job.state {
        State::Pending
        | State::Suspended
        | State::PendingRetry
        | State::Completed
        | State::Failed
        | State::Cancelled => job.operation.is_none(),
        State::Running | State::Stopped | State::Error => false,
    };
    rests && !job.is_ending_children()
}
