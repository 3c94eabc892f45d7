//! Restored sandboxes that wait for a job: how many, which, and whose they become.
//!
//! One that waits belongs to no job: it has no record and no interval in the ledger. Its program is in the call with which it says that
//! it is ready, and hears nothing but that it is to ask again. A job that is admitted is written down with the sandbox first and gets it
//! then; a daemon that finds such a record gives it again. What a daemon leaves that dies, the next one removes: it says in its spec that
//! it waits.

use crate::{Config, Engine, Error, submit};
use dauer_core::plan::admission::Wants;
use dauer_core::plan::pool::{Wish, share};
use dauer_core::{CheckpointId, Job, JobId, JobSpec, SandboxId, Snapshot, Timestamp};
use dauer_sandbox::protocol::Phase;
use dauer_sandbox::{HOST_NAME, Link, LinkEvent, LinkEvents, Origin, SandboxSpec};
use futures_util::FutureExt;
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;

/// So many are made side by side: jobs that begin want the processors more.
const RISING_MAX: usize = 2;

/// A template of which so many in a row did not come up is left alone: the next job that begins from it finds out what is wrong with it.
const FAILURES_MAX: u32 = 3;

/// A program that waits is told so often that it is to go on waiting. Shorter than any client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon that ends waits so long for them to be gone; the next one removes what is left.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// Those of one node.
#[derive(Default)]
pub(crate) struct Pools {
    pools: Mutex<BTreeMap<String, Pool>>,
    changed: Notify,
}

/// Those of one template.
struct Pool {
    template: CheckpointId,
    spec: JobSpec,
    /// Of what is restored from it.
    generation: u32,
    count: u32,
    members: Vec<Member>,
    failures: u32,
}

struct Member {
    sandbox: SandboxId,
    stage: Stage,
    leave: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// On its way up.
    Rising,
    /// It can be given to a job at once.
    Waiting,
    /// It is promised to a job whose record is being written, or given to it.
    Given,
    /// It is being destroyed.
    Leaving,
}

impl Pool {
    /// Lets all of them go but those that are promised to a job: it will ask for them.
    fn dissolve(&mut self) -> Vec<Member> {
        let (given, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.members)
            .into_iter()
            .partition(|member| member.stage == Stage::Given);
        others.iter().for_each(|member| member.leave.notify_one());
        given
    }

    fn wish(&self) -> Wish {
        Wish {
            count: if self.failures < FAILURES_MAX {
                self.count
            } else {
                0
            },
            wants: Wants::of(&self.spec),
        }
    }

    fn counted(&self, stages: &[Stage]) -> usize {
        let members = self.members.iter();
        members
            .filter(|member| stages.contains(&member.stage))
            .count()
    }
}

impl Pools {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Pool>> {
        self.pools.lock().expect("no panic while held")
    }

    /// There may be more room now, or less.
    pub(crate) fn look_again(&self) {
        self.changed.notify_one();
    }

    /// Jobs may begin from this template from now on.
    fn add(&self, name: String, mut pool: Pool) {
        let mut pools = self.lock();
        if let Some(mut before) = pools.remove(&name) {
            pool.members = before.dissolve();
        }
        pools.insert(name, pool);
        drop(pools);
        self.look_again();
    }

    /// A template is gone, and those that wait for its jobs with it.
    pub(crate) fn remove(&self, template: &CheckpointId) {
        let mut pools = self.lock();
        let name = pools.iter().find(|(_, pool)| pool.template == *template);
        let Some(name) = name.map(|(name, _)| name.clone()) else {
            return;
        };
        if let Some(mut pool) = pools.remove(&name) {
            pool.count = 0;
            pool.members = pool.dissolve();
            if !pool.members.is_empty() {
                pools.insert(name, pool);
            }
        }
    }

    /// Whether a sandbox is one of these.
    pub(crate) fn has(&self, sandbox: &SandboxId) -> bool {
        let pools = self.lock();
        let mut members = pools.values().flat_map(|pool| &pool.members);
        members.any(|member| member.sandbox == *sandbox)
    }

    /// How many wait for a job of this template.
    pub(crate) fn waiting(&self, template: &CheckpointId) -> usize {
        let pools = self.lock();
        let pool = pools.values().find(|pool| pool.template == *template);
        pool.map_or(0, |pool| pool.counted(&[Stage::Waiting]))
    }

    /// Whether any waits.
    pub(crate) fn any_waits(&self) -> bool {
        let pools = self.lock();
        pools
            .values()
            .any(|pool| pool.counted(&[Stage::Waiting]) > 0)
    }

    /// Promises one to a job that has not begun yet; it is [`Pools::take`]n when that is written down, or [`Engine::promise_no_longer`] is called.
    pub(crate) fn promise(&self, job: &Job) -> Option<SandboxId> {
        if !job.is_warm() || job.sandbox.is_some() {
            return None;
        }
        let mut pools = self.lock();
        let pool = pools.values_mut().find(|pool| {
            Some(&pool.template) == job.forked_from() && pool.generation == job.generation + 1
        })?;
        let mut members = pool.members.iter_mut();
        let member = members.find(|member| member.stage == Stage::Waiting)?;
        member.stage = Stage::Given;
        Some(member.sandbox.clone())
    }

    /// It is the sandbox of a job now, where it was promised to one.
    pub(crate) fn take(&self, sandbox: &SandboxId) -> bool {
        let taken = self.forget(sandbox).is_some();
        if taken {
            self.look_again();
        }
        taken
    }

    fn forget(&self, sandbox: &SandboxId) -> Option<Member> {
        let mut pools = self.lock();
        pools.values_mut().find_map(|pool| {
            let place = pool
                .members
                .iter()
                .position(|one| one.sandbox == *sandbox)?;
            Some(pool.members.swap_remove(place))
        })
    }

    fn change(&self, sandbox: &SandboxId, change: impl FnOnce(&mut u32, &mut Member)) -> bool {
        let mut pools = self.lock();
        for pool in pools.values_mut() {
            let (failures, members) = (&mut pool.failures, &mut pool.members);
            if let Some(member) = members.iter_mut().find(|one| one.sandbox == *sandbox) {
                change(failures, member);
                return true;
            }
        }
        false
    }
}

/// Keeps as many as there are to be, until the engine ends.
pub(crate) async fn run(engine: Engine) {
    match engine.templates().await {
        Ok(templates) => {
            for one in templates {
                engine.wait_for_jobs(&one.snapshot).await;
            }
        }
        // Those of templates that are kept from now on wait nonetheless.
        Err(error) => tracing::warn!(%error, "looking for templates"),
    }
    loop {
        let changed = engine.pools().changed.notified();
        engine.adjust_pools();
        tokio::select! {
            () = changed => {}
            () = engine.stopped() => return,
        }
    }
}

impl Engine {
    /// Keeps as many sandboxes of this template waiting as its definition says.
    pub(crate) async fn wait_for_jobs(&self, snapshot: &Snapshot) {
        let template = snapshot
            .template
            .as_ref()
            .filter(|template| template.pool > 0);
        let (Some(template), Some(spec)) = (template, crate::warm::spec_of(snapshot).ok()) else {
            return;
        };
        match self.manifest(&snapshot.id).await {
            Ok(manifest) => self.pools().add(
                template.definition.to_string(),
                Pool {
                    template: snapshot.id.clone(),
                    spec,
                    generation: manifest.generation + 1,
                    count: template.pool,
                    members: Vec::new(),
                    failures: 0,
                },
            ),
            Err(error) => {
                tracing::warn!(definition = %template.definition, %error, "none will wait")
            }
        }
    }

    /// Begins what is missing, and lets go of what there is no room for.
    fn adjust_pools(&self) {
        let (taken, some_wait) = {
            let places = self.places().plan();
            (places.taken(), !places.has_room())
        };
        let mut pools = self.pools().lock();
        let wishes: Vec<Wish> = pools.values().map(Pool::wish).collect();
        let shares = share(&self.config().limits, taken, &wishes);
        let all = pools.values();
        let mut rising: usize = all.map(|pool| pool.counted(&[Stage::Rising])).sum();
        for (pool, share) in pools.values_mut().zip(shares) {
            let share = usize::try_from(share).unwrap_or(usize::MAX);
            let there = pool.counted(&[Stage::Rising, Stage::Waiting]);
            let waiting = pool
                .members
                .iter_mut()
                .filter(|one| one.stage == Stage::Waiting);
            for member in waiting.take(there.saturating_sub(share)) {
                member.stage = Stage::Leaving;
                member.leave.notify_one();
            }
            for _ in there..share {
                if some_wait || rising >= RISING_MAX {
                    break;
                }
                rising += 1;
                pool.members.push(self.begin_to_wait(pool));
            }
        }
    }

    /// One more is on its way up. Known before anything of it is on disk, so that nobody takes it for a leftover.
    fn begin_to_wait(&self, pool: &Pool) -> Member {
        let member = Member {
            sandbox: SandboxId(submit::random_id()),
            stage: Stage::Rising,
            leave: Arc::default(),
        };
        let spec = spec_of_member(pool, &member.sandbox, self.config());
        tokio::spawn(keep(self.clone(), spec, Arc::clone(&member.leave)));
        member
    }

    /// A promised sandbox did not become its job's after all.
    pub(crate) fn promise_no_longer(&self, sandbox: &SandboxId) {
        self.pools().change(sandbox, |_, member| {
            if member.stage == Stage::Given {
                member.stage = Stage::Waiting;
            }
        });
        self.pools().look_again();
    }

    /// Lets a job have the sandbox that was promised to it, if one was. `None` where there is none, or it is of no use any more.
    pub(crate) async fn given(&self, spec: &SandboxSpec) -> Option<(Link, LinkEvents)> {
        if !self.pools().take(&spec.id) {
            return None;
        }
        let given = async {
            let (link, events) = self
                .node()
                .connect(&spec.id, spec.generation)
                .await?
                .ok_or(dauer_sandbox::Error::Gone)?;
            link.assign(&spec.job, &spec.host_name).await?;
            Ok::<_, dauer_sandbox::Error>((link, events))
        };
        match given.await {
            Ok(given) => Some(given),
            Err(error) => {
                tracing::warn!(job = spec.job, %error, "a sandbox that waited is of no use: another one is made");
                self.remove_member(&spec.id, spec.generation, &spec.driver)
                    .await;
                None
            }
        }
    }

    async fn remove_member(&self, sandbox: &SandboxId, generation: u32, driver: &str) {
        let node = self.node();
        let removed = async {
            node.destroy(sandbox, generation, driver).await?;
            node.remove(sandbox).await
        };
        if let Err(error) = removed.await {
            tracing::warn!(%sandbox, %error, "a sandbox that waited stays until the next start");
        }
    }

    /// All of them go: the daemon ends.
    pub(crate) async fn leave_pools(&self) {
        let pools = std::mem::take(&mut *self.pools().lock());
        let leaving = pools.values().flat_map(|pool| {
            let waiting = pool.members.iter().filter(|one| one.stage != Stage::Given);
            waiting.map(|one| self.remove_member(&one.sandbox, pool.generation, &pool.spec.driver))
        });
        // What is left the next daemon finds.
        let _ = tokio::time::timeout(LEAVE_MAX, join_all(leaving)).await;
    }
}

/// The life of one, until it is a job's or gone.
async fn keep(engine: Engine, spec: SandboxSpec, leave: Arc<Notify>) {
    let (sandbox, generation, driver) = (spec.id.clone(), spec.generation, spec.driver.clone());
    let mut asked = false;
    match engine.node().launch(spec).await {
        Ok((link, mut events)) => loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = leave.notified() => {
                    asked = true;
                    break;
                }
            };
            match event {
                LinkEvent::State {
                    phase: Phase::Running,
                    ..
                } => {
                    engine.pools().change(&sandbox, |failures, member| {
                        if member.stage == Stage::Rising {
                            member.stage = Stage::Waiting;
                            *failures = 0;
                        }
                    });
                    engine.pools().look_again();
                }
                LinkEvent::State {
                    phase: Phase::Starting | Phase::Frozen { .. },
                    ..
                } => {}
                LinkEvent::State {
                    phase: Phase::Ended { .. },
                    ..
                }
                | LinkEvent::Closed => break,
                LinkEvent::Request { id, request } => {
                    // Whatever else it asks is for its job to ask.
                    if let Some(response) = engine.still_waiting(&request) {
                        let link = link.clone();
                        tokio::spawn(async move {
                            tokio::time::sleep(PATIENCE).await;
                            // A job that has it by now answers over a connection of its own.
                            link.respond(id, response);
                        });
                    }
                }
            }
        },
        Err(error) => {
            tracing::warn!(%sandbox, %error, "a sandbox that was to wait did not come up")
        }
    }
    // Its pool may have gone before it came to listen.
    asked |= leave.notified().now_or_never().is_some();
    let mut is_a_jobs = false;
    let known = engine.pools().change(&sandbox, |failures, member| {
        is_a_jobs = member.stage == Stage::Given;
        asked |= member.stage == Stage::Leaving;
        if !is_a_jobs {
            member.stage = Stage::Leaving;
            *failures += u32::from(!asked);
        }
    });
    // A job has it that is not one of these any more; unless its template is gone, which said so.
    if is_a_jobs || (!known && !asked) {
        return;
    }
    engine.remove_member(&sandbox, generation, &driver).await;
    engine.pools().forget(&sandbox);
    engine.pools().look_again();
}

/// What its shim is told: a sandbox of the definition's, of no job.
fn spec_of_member(pool: &Pool, sandbox: &SandboxId, config: &Config) -> SandboxSpec {
    let mut job = Job::new(JobId(String::new()), pool.spec.clone(), Timestamp(0));
    job.sandbox = Some(sandbox.clone());
    job.generation = pool.generation;
    let origin = Origin::Checkpoint {
        checkpoint: pool.template.clone(),
        after_loss: false,
    };
    SandboxSpec {
        host_name: HOST_NAME.to_owned(),
        // Ports of the host are the job's that comes; there can be but one.
        ..submit::sandbox_spec(&job, origin, config)
    }
}

/// Removes what waits without a daemon that would give it to a job. Returns false where it does not wait.
pub(crate) async fn remove_leftover(engine: &Engine, sandbox: &SandboxId) -> Result<bool, Error> {
    for generation in engine.node().incarnations(sandbox).await? {
        let spec = engine.node().spec(sandbox, generation).await?;
        if spec.is_some_and(|spec| spec.waits_for_a_job()) {
            tracing::info!(%sandbox, "a sandbox that waited for a job is removed");
            crate::housekeeping::remove_orphan(engine, sandbox).await?;
            return Ok(true);
        }
    }
    Ok(false)
}
