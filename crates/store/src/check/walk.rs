//! Reading everything once, and looking again at what seemed wrong.

use super::job::{Standing, of_record, subject};
use super::{Finding, Rule};
use crate::moving::{self, BATCH, Portable, PortableJob, Progress, Section};
use crate::{Error, Store};
use dauer_core::ledger::{Interval, Owner, OwnerKind};
use dauer_core::{CacheState, Checkpoint, CheckpointId, Job, JobId, NodeId};
use std::collections::{BTreeSet, HashMap};

/// So many jobs that seem wrong are looked at again.
const SUSPECTS_MAX: usize = 10_000;

/// So often a job is looked at that is changed meanwhile.
const LOOKS_MAX: usize = 5;

/// Looks whether everything in a store is as it should be, and tells how far it got. Nothing is written. Errors: whatever keeps it
/// from looking at all.
pub async fn check(
    store: &dyn Store,
    mut tell: impl FnMut(Progress),
) -> Result<Vec<Finding>, Error> {
    let mut found: Vec<Finding> = store.check().await?;
    if let Some(mark) = moving::mark(store).await?
        && mark.done_at.is_none()
    {
        let what = format!("only a part of {} is here", mark.from);
        found.push(Finding::new(Rule::HalfMoved, "the store", what));
    }
    let mut walk = Walk::default();
    // Jobs behind what is told of them, so that nothing of a job has to be kept once its record was seen.
    for section in [
        Section::Journal,
        Section::Ledger,
        Section::Jobs,
        Section::Definitions,
        Section::Audit,
        Section::Schedules,
        Section::Snapshots,
        Section::Cache,
        Section::Queues,
        Section::Turns,
        Section::Access,
        Section::Daemons,
    ] {
        let walked = pages(store, section, &mut tell, |value| walk.take(value)).await;
        if let Err(error) = walked {
            // A value that cannot be read ends its section; the others are looked at all the same.
            walk.is_whole = false;
            let what = error.to_string();
            found.push(Finding::new(Rule::Unreadable, section.name(), what));
        }
    }
    walk.find_those_without_record(store).await?;
    if walk.suspects.len() > SUSPECTS_MAX {
        let what = format!(
            "{} jobs seem wrong, of which the first {SUSPECTS_MAX} were looked at",
            walk.suspects.len()
        );
        found.push(Finding::new(Rule::Damaged, "the store", what));
    }
    for id in walk.suspects.iter().take(SUSPECTS_MAX) {
        found.extend(look(store, id).await?);
    }
    found.extend(held_by_nobody(store, &walk.unsettled).await?);
    found.extend(twice(store, &walk.twice).await?);
    found.extend(dangling(store, &walk.dangling).await?);
    found.extend(outlived(store, walk.ephemeral).await?);
    found.sort();
    found.dedup();
    Ok(found)
}

async fn pages(
    store: &dyn Store,
    section: Section,
    tell: &mut impl FnMut(Progress),
    mut take: impl FnMut(&Portable),
) -> Result<(), Error> {
    let total = store.export(section, None, 0).await?.total.unwrap_or(0);
    let (mut after, mut done) = (None, 0);
    loop {
        let page = store.export(section, after.as_deref(), BATCH).await?;
        page.values.iter().for_each(&mut take);
        done += u64::try_from(page.values.len()).unwrap_or(u64::MAX);
        tell(Progress {
            comparing: true,
            section,
            done,
            total,
        });
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Enough of an id to tell millions apart.
type Short = [u8; 16];

fn short(id: &str) -> Short {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(id.as_bytes()).as_bytes()[..16]);
    short
}

/// What only one job may have: a word for it, and which.
type Claim = (&'static str, String);

struct Walk {
    /// Of jobs whose record was not seen yet.
    standings: HashMap<Short, Standing>,
    suspects: BTreeSet<JobId>,
    unsettled: Vec<JobId>,
    claims: HashMap<Claim, JobId>,
    twice: Vec<(Claim, [JobId; 2])>,
    snapshots: BTreeSet<Short>,
    /// Snapshots of runs, and the run of each.
    ephemeral: Vec<(CheckpointId, JobId)>,
    /// Keys of the cache that lead to a snapshot which was not seen.
    dangling: Vec<String>,
    /// Every section was read to its end.
    is_whole: bool,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            standings: HashMap::new(),
            suspects: BTreeSet::new(),
            unsettled: Vec::new(),
            claims: HashMap::new(),
            twice: Vec::new(),
            snapshots: BTreeSet::new(),
            ephemeral: Vec::new(),
            dangling: Vec::new(),
            is_whole: true,
        }
    }
}

impl Walk {
    fn take(&mut self, value: &Portable) {
        match value {
            Portable::Entry(entry) => {
                let standing = self.standings.entry(short(&entry.job.0)).or_default();
                if standing.tell(entry).is_some() {
                    self.suspects.insert(entry.job.clone());
                }
            }
            Portable::Interval(one) => {
                if let Some(id) = job_of(&one.interval) {
                    let is_open = one.interval.to.is_none();
                    let mut closed = Standing::default();
                    // A closed one leaves nothing to remember.
                    let standing = match is_open {
                        true => self.standings.entry(short(&id.0)).or_default(),
                        false => &mut closed,
                    };
                    if standing.count(&one.interval).is_some() {
                        self.suspects.insert(id);
                    }
                }
            }
            Portable::Job(job) => self.take_job(job),
            Portable::Snapshot(snapshot) => {
                self.snapshots.insert(short(&snapshot.id.0));
                if let Some(run) = &snapshot.ephemeral_of {
                    self.ephemeral
                        .push((snapshot.id.clone(), JobId(run.clone())));
                }
            }
            Portable::Cached(entry) => {
                if entry.state == CacheState::Ready
                    && !self.snapshots.contains(&short(&entry.snapshot.0))
                {
                    self.dangling.push(entry.key.clone());
                }
            }
            Portable::Definition(_)
            | Portable::Audit(_)
            | Portable::Schedule(_)
            | Portable::Queue(_)
            | Portable::Turns { .. }
            | Portable::Access(_)
            | Portable::Daemons { .. }
            | Portable::Move(_) => {}
        }
    }

    fn take_job(&mut self, moved: &PortableJob) {
        let job = &moved.job;
        let mut standing = self.standings.remove(&short(&job.id.0)).unwrap_or_default();
        standing.record(job);
        let checkpoints: Vec<Checkpoint> = moved
            .checkpoints
            .iter()
            .map(|one| one.value.clone())
            .collect();
        if !standing.ends(&job.id).is_empty() || !of_record(job, &checkpoints).is_empty() {
            self.suspects.insert(job.id.clone());
        }
        if crate::record::is_unsettled(job) {
            self.unsettled.push(job.id.clone());
        }
        for claim in claims(job) {
            if let Some(other) = self.claims.insert(claim.clone(), job.id.clone()) {
                self.twice.push((claim, [other, job.id.clone()]));
            }
        }
    }

    /// What is told of jobs that were not seen names them once more.
    async fn find_those_without_record(&mut self, store: &dyn Store) -> Result<(), Error> {
        if self.standings.is_empty() || !self.is_whole {
            return Ok(());
        }
        for section in [Section::Journal, Section::Ledger] {
            let (standings, suspects) = (&self.standings, &mut self.suspects);
            let name = |value: &Portable| {
                let id = match value {
                    Portable::Entry(entry) => Some(entry.job.clone()),
                    Portable::Interval(one) => job_of(&one.interval),
                    _ => None,
                };
                suspects.extend(id.filter(|id| standings.contains_key(&short(&id.0))));
            };
            pages(store, section, &mut |_| {}, name).await?;
        }
        Ok(())
    }
}

fn job_of(interval: &Interval) -> Option<JobId> {
    match interval.owner.kind {
        OwnerKind::Job => Some(JobId(interval.owner.id.clone())),
        OwnerKind::Machine => None,
    }
}

fn claims(job: &Job) -> impl Iterator<Item = Claim> {
    let name = job.spec.name.clone().map(|name| ("name", name));
    let sandbox = job.sandbox.clone().map(|sandbox| ("sandbox", sandbox.0));
    name.into_iter().chain(sandbox)
}

/// What is wrong with a job at one moment: its record is the same before and after.
async fn look(store: &dyn Store, id: &JobId) -> Result<Vec<Finding>, Error> {
    for _ in 0..LOOKS_MAX {
        let before = record(store, id).await?;
        let mut found = Vec::new();
        let mut standing = Standing::default();
        for entry in store.journal(Some(id), 0, usize::MAX).await? {
            found.extend(standing.tell(&entry));
        }
        for interval in store.intervals(&Owner::job(id)).await? {
            found.extend(standing.count(&interval));
        }
        if let Some(job) = &before {
            standing.record(job);
            found.extend(of_record(job, &store.checkpoints(id).await?));
        }
        found.extend(standing.ends(id));
        if record(store, id).await? == before {
            return Ok(found);
        }
    }
    // It is well enough to be changed all the time.
    Ok(Vec::new())
}

async fn record(store: &dyn Store, id: &JobId) -> Result<Option<Job>, Error> {
    match store.job(id).await {
        Ok(job) => Ok(Some(job)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Jobs held by a node whose lease nobody can take over.
async fn held_by_nobody(store: &dyn Store, unsettled: &[JobId]) -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    let held = store.held().await?;
    let leases: BTreeSet<NodeId> = store
        .leases()
        .await?
        .into_iter()
        .map(|one| one.node)
        .collect();
    let lost: BTreeSet<&NodeId> = held.keys().filter(|node| !leases.contains(*node)).collect();
    if lost.is_empty() {
        return Ok(found);
    }
    for id in unsettled {
        if let Some(node) = store.holder(id).await?.filter(|node| lost.contains(node)) {
            let what = format!("it is held by node {node}, which has no lease");
            found.push(Finding::new(Rule::HeldByNobody, subject(id), what));
        }
    }
    Ok(found)
}

/// What two jobs have, if both still have it.
async fn twice(store: &dyn Store, twice: &[(Claim, [JobId; 2])]) -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    for (claim, jobs) in twice {
        let mut holders = store.jobs(jobs.to_vec()).await?;
        holders.retain(|job| claims(job).any(|one| one == *claim));
        if holders.len() > 1 {
            let (word, which) = claim;
            let what = format!("it has the {word} {which:?}, as has job {}", jobs[0]);
            found.push(Finding::new(Rule::TwoHolders, subject(&jobs[1]), what));
        }
    }
    Ok(found)
}

/// Entries of the cache that may be used and lead nowhere, if they still do.
async fn dangling(store: &dyn Store, keys: &[String]) -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    for key in keys {
        let Some(entry) = store.cache_entry(key).await? else {
            continue;
        };
        // One that is put after this looked leads to what is there.
        if entry.state == CacheState::Ready && store.snapshot(&entry.snapshot).await?.is_none() {
            let what = format!(
                "it leads to snapshot {}, which is not there",
                entry.snapshot
            );
            let subject = format!("cache entry {key}");
            found.push(Finding::new(Rule::SnapshotMissing, subject, what));
        }
    }
    Ok(found)
}

/// Snapshots of runs that have ended, if they are still there.
async fn outlived(
    store: &dyn Store,
    ephemeral: Vec<(CheckpointId, JobId)>,
) -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    for (id, run) in ephemeral {
        let has_ended = match record(store, &run).await? {
            Some(job) => job.state.is_terminal() && job.operation.is_none(),
            None => true,
        };
        if has_ended && store.snapshot(&id).await?.is_some() {
            let what = format!("it belongs to run {run}, which has ended");
            let subject = format!("snapshot {id}");
            found.push(Finding::new(Rule::SnapshotOutlived, subject, what));
        }
    }
    Ok(found)
}
