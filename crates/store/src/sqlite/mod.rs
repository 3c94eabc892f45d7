//! The store in one SQLite file: a writer thread with group commit, a few readers, write-ahead log.
//!
//! Reading order: the schema (`migrations/`), [`sql`], [`write`](mod@write), [`writer`], [`read`], [`readers`], [`open`](mod@open).

mod access;
pub mod backup;
mod cache;
mod check;
mod checkpointer;
mod export;
mod fault;
mod handle;
mod history;
mod hot;
mod import;
mod kept;
mod lease;
mod ledger;
mod open;
mod policy;
mod queues;
mod read;
mod readers;
mod removal;
mod row;
mod rows;
mod schedules;
mod snapshots;
mod sql;
#[cfg(test)]
mod tests;
mod together;
mod usage;
mod write;
mod writer;

pub use open::Durability;

use crate::record::{self, QueueWrite, ScheduleWrite, Upkeep, Write};
use crate::{
    Capabilities, Change, DaemonRun, DefinitionFilter, Durable, Entry, Error, Filter,
    HistoryFilter, HistoryPage, Keyed, NewAudit, NewJob, ScheduleChange, SignalFor, Sleeper, Store,
    UsageQuery, Waiting,
};
use async_trait::async_trait;
use dauer_core::ledger::{Account, Interval, Owner};
use dauer_core::plan::turn::{Ask, Due};
use dauer_core::{
    AccessToken, Checkpoint, CheckpointId, Definition, DefinitionRef, Job, JobId, Json, Queue,
    SandboxId, Schedule, Timestamp, Token, Turn, Unique, Wait,
};
use hot::Hot;
use readers::Readers;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use writer::Writer;

/// A record that is longer than this in the file is not kept in memory.
const HOT_BYTES_MAX: usize = 16 << 10;

/// A store in one SQLite file. Cheap to clone; all clones are one store.
#[derive(Clone, Debug)]
pub struct Sqlite {
    writer: Writer,
    /// Absent in memory, where only the writer's connection sees the tables.
    readers: Option<Readers>,
    hot: Hot,
    durability: Durability,
    /// The number of the node whose lease the handle took; 0 without one.
    num: Arc<AtomicI64>,
    shared: bool,
}

#[async_trait]
impl Store for Sqlite {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: match (&self.readers, self.durability) {
                (None, _) => Durable::Nothing,
                (Some(_), Durability::Full) => Durable::Always,
                (Some(_), Durability::Normal) => Durable::Process,
            },
            // There is no other copy.
            failover_safe: true,
            // In memory nobody expects anything else.
            volatile_accepted: true,
        }
    }

    async fn create_all(&self, jobs: Vec<NewJob>) -> Result<(), Error> {
        self.writer.write(Write::create(jobs)).await
    }

    async fn create_begun(&self, jobs: Vec<NewJob>, changes: Vec<Change>) -> Result<(), Error> {
        self.writer.write(Write::create_begun(jobs, changes)).await
    }

    async fn keyed(&self, keys: Vec<String>) -> Result<BTreeMap<String, Keyed>, Error> {
        self.read(move |connection| read::keyed(connection, &keys))
            .await
    }

    async fn commit(&self, change: Change) -> Result<(), Error> {
        self.writer.write(Write::commit(change)).await
    }

    async fn commit_all(&self, changes: Vec<Change>) -> Vec<Result<(), Error>> {
        let writes = changes.into_iter().map(Write::commit).collect();
        self.writer.write_all(writes).await
    }

    async fn jobs(&self, ids: Vec<JobId>) -> Result<Vec<Job>, Error> {
        self.read(move |connection| read::some_jobs(connection, &ids))
            .await
    }

    async fn job(&self, id: &JobId) -> Result<Job, Error> {
        let began = match self.hot.get(&id.0) {
            Ok(job) => return Ok(Job::clone(&job)),
            Err(began) => began,
        };
        let id = id.clone();
        let read = self.read(move |connection| read::job(connection, &id));
        let (job, bytes) = read.await?;
        if bytes > HOT_BYTES_MAX {
            return Ok(job);
        }
        let job = Arc::new(job);
        self.hot.was_read(began, &job);
        Ok(Arc::unwrap_or_clone(job))
    }

    async fn find(&self, text: &str) -> Result<JobId, Error> {
        // What is there is committed, and an exact id comes before all else.
        if self.hot.get(text).is_ok() {
            return Ok(JobId(text.to_owned()));
        }
        let text = text.to_owned();
        self.read(move |connection| read::find(connection, &text))
            .await
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Job>, Error> {
        self.read(move |connection| read::list(connection, &filter))
            .await
    }

    async fn unsettled(&self) -> Result<Vec<Job>, Error> {
        // 0 is the number of no node.
        let node = self.num.load(Ordering::Relaxed);
        self.read(move |connection| read::unsettled(connection, node))
            .await
    }

    async fn next_wake(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        self.read(move |connection| queues::next_wake(connection, now))
            .await
    }

    async fn due(&self, now: Timestamp, ask: &Ask) -> Result<Vec<Due>, Error> {
        let ask = ask.clone();
        self.read(move |connection| queues::due(connection, now, &ask))
            .await
    }

    async fn expiring(&self, limit: usize) -> Result<Vec<(JobId, Timestamp)>, Error> {
        self.read(move |connection| policy::expiring(connection, limit))
            .await
    }

    async fn children(
        &self,
        parent: &JobId,
        after: Option<&JobId>,
        limit: usize,
    ) -> Result<Vec<JobId>, Error> {
        let (parent, after) = (parent.clone(), after.cloned());
        self.read(move |connection| policy::children(connection, &parent, after.as_ref(), limit))
            .await
    }

    async fn owner(&self, sandbox: &SandboxId) -> Result<Option<JobId>, Error> {
        let sandbox = sandbox.clone();
        self.read(move |connection| read::owner(connection, &sandbox))
            .await
    }

    async fn checkpoints(&self, job: &JobId) -> Result<Vec<Checkpoint>, Error> {
        let job = job.clone();
        self.read(move |connection| read::checkpoints(connection, &job))
            .await
    }

    async fn drop_checkpoint(&self, job: &JobId, id: &CheckpointId) -> Result<(), Error> {
        let (job, id) = (job.clone(), id.clone());
        self.writer
            .write(Write::DropCheckpoint(record::Drop { job, id }))
            .await
    }

    async fn token(&self, job: &JobId, token: &str) -> Result<Option<Token>, Error> {
        let (job, token) = (job.clone(), token.to_owned());
        self.read(move |connection| read::token(connection, &job, &token))
            .await
    }

    async fn output(&self, job: &JobId) -> Result<Option<Json>, Error> {
        let job = job.clone();
        self.read(move |connection| kept::output(connection, &job))
            .await
    }

    async fn has_signal(&self, job: &JobId, id: &str) -> Result<bool, Error> {
        let (job, id) = (job.clone(), id.to_owned());
        self.read(move |connection| kept::has_signal(connection, &job, &id))
            .await
    }

    async fn signal_for(
        &self,
        job: &JobId,
        name: &str,
        token: &str,
    ) -> Result<Option<SignalFor>, Error> {
        let (job, name, token) = (job.clone(), name.to_owned(), token.to_owned());
        self.read(move |connection| kept::signal_for(connection, &job, &name, &token))
            .await
    }

    async fn signals_waiting(&self, job: &JobId) -> Result<u64, Error> {
        let job = job.clone();
        self.read(move |connection| kept::signals_waiting(connection, &job))
            .await
    }

    async fn wait(&self, job: &JobId, token: &str) -> Result<Option<Wait>, Error> {
        let (job, token) = (job.clone(), token.to_owned());
        self.read(move |connection| kept::wait(connection, &job, &token))
            .await
    }

    async fn journal(
        &self,
        job: Option<&JobId>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, Error> {
        let job = job.cloned();
        self.read(move |connection| read::journal(connection, job.as_ref(), after, limit))
            .await
    }

    async fn intervals(&self, owner: &Owner) -> Result<Vec<Interval>, Error> {
        let owner = owner.clone();
        self.read(move |connection| ledger::intervals(connection, &owner))
            .await
    }

    async fn usage(&self, query: UsageQuery) -> Result<Account, Error> {
        self.read(move |connection| usage::usage(connection, &query))
            .await
    }

    async fn prune_ledger(&self, before: Timestamp, about: usize) -> Result<(), Error> {
        let prune = Upkeep::Prune { before, about };
        self.writer.write(Write::Upkeep(prune)).await
    }

    async fn ledger_oldest(&self) -> Result<Option<Timestamp>, Error> {
        self.read(ledger::oldest).await
    }

    async fn heartbeat(&self, at: Timestamp) -> Result<(), Error> {
        let beat = Upkeep::Heartbeat(at);
        self.writer.write(Write::Upkeep(beat)).await
    }

    async fn last_heartbeat(&self) -> Result<Option<Timestamp>, Error> {
        self.read(ledger::last_beat).await
    }

    async fn add_access_token(&self, token: AccessToken, audit: NewAudit) -> Result<(), Error> {
        let write = Write::AddAccess(token).audited(audit);
        self.writer.write(write).await
    }

    async fn access_tokens(&self) -> Result<Vec<AccessToken>, Error> {
        self.read(access::all).await
    }

    async fn access_token_used(&self, id: &str, at: Timestamp) -> Result<(), Error> {
        let id = id.to_owned();
        self.writer.write(Write::AccessUsed { id, at }).await
    }

    async fn remove_access_token(&self, id: &str, audit: NewAudit) -> Result<(), Error> {
        let write = Write::RemoveAccess(id.to_owned()).audited(audit);
        self.writer.write(write).await
    }

    async fn remove(&self, id: &JobId, version: u64, audit: NewAudit) -> Result<(), Error> {
        let id = id.clone();
        let write = Write::Remove { id, version }.audited(audit);
        self.writer.write(write).await
    }

    async fn define(&self, definition: Definition, audit: NewAudit) -> Result<(), Error> {
        let write = Write::define(definition).audited(audit);
        self.writer.write(write).await
    }

    async fn definition(&self, id: &DefinitionRef) -> Result<Option<Definition>, Error> {
        let id = id.clone();
        self.read(move |connection| read::definition(connection, &id))
            .await
    }

    async fn versions(&self, name: &str) -> Result<Vec<String>, Error> {
        let name = name.to_owned();
        self.read(move |connection| read::versions(connection, &name))
            .await
    }

    async fn definitions(&self, filter: DefinitionFilter) -> Result<Vec<Definition>, Error> {
        self.read(move |connection| read::definitions(connection, &filter))
            .await
    }

    async fn undefine(&self, id: &DefinitionRef, audit: NewAudit) -> Result<(), Error> {
        let write = Write::Undefine(id.clone()).audited(audit);
        self.writer.write(write).await
    }

    async fn add_schedule(&self, schedule: Schedule, audit: NewAudit) -> Result<(), Error> {
        let write = Write::Schedule(ScheduleWrite::add(schedule)).audited(audit);
        self.writer.write(write).await
    }

    async fn schedule(&self, name: &str) -> Result<Option<Schedule>, Error> {
        let name = name.to_owned();
        self.read(move |connection| schedules::one(connection, &name))
            .await
    }

    async fn schedules(&self, after: Option<&str>, limit: usize) -> Result<Vec<Schedule>, Error> {
        let (after, limit) = (after.map(str::to_owned), record::limit(limit));
        self.read(move |connection| schedules::page(connection, after.as_deref(), limit))
            .await
    }

    async fn due_schedules(&self, now: Timestamp, limit: usize) -> Result<Vec<Schedule>, Error> {
        let limit = record::limit(limit);
        self.read(move |connection| schedules::due(connection, now, limit))
            .await
    }

    async fn next_schedule(&self) -> Result<Option<Timestamp>, Error> {
        self.read(schedules::next).await
    }

    async fn change_schedule(&self, mut change: ScheduleChange) -> Result<(), Error> {
        let audit = change.audit.take();
        let write = Write::Schedule(ScheduleWrite::change(change)).audited(audit);
        self.writer.write(write).await
    }

    async fn remove_schedule(&self, name: &str, audit: NewAudit) -> Result<(), Error> {
        let write = Write::Schedule(ScheduleWrite::Remove(name.to_owned())).audited(audit);
        self.writer.write(write).await
    }

    async fn history(&self, filter: HistoryFilter) -> Result<HistoryPage, Error> {
        self.read(move |connection| history::page(connection, &filter))
            .await
    }

    async fn oldest_record(&self) -> Result<Option<Timestamp>, Error> {
        self.read(history::oldest).await
    }

    async fn ended(&self, after: Option<&JobId>, limit: usize) -> Result<Vec<Job>, Error> {
        let after = after.cloned();
        self.read(move |connection| read::ended(connection, after.as_ref(), limit))
            .await
    }

    async fn forget_records(&self, before: Timestamp, limit: usize) -> Result<(), Error> {
        let write = Write::ForgetRecords { before, limit };
        self.writer.write(write).await
    }

    async fn holders(&self, unique: Vec<Unique>) -> Result<BTreeMap<usize, JobId>, Error> {
        self.read(move |connection| queues::holders(connection, &unique))
            .await
    }

    async fn followers(&self, job: &JobId) -> Result<Vec<JobId>, Error> {
        let job = job.clone();
        self.read(move |connection| queues::followers(connection, &job))
            .await
    }

    async fn has_followers(&self) -> Result<bool, Error> {
        self.read(queues::has_followers).await
    }

    async fn ended_before_followers(&self) -> Result<Vec<JobId>, Error> {
        self.read(queues::ended_before_followers).await
    }

    async fn batch(&self, batch: &str) -> Result<BTreeMap<String, u64>, Error> {
        let batch = batch.to_owned();
        self.read(move |connection| queues::batch(connection, &batch))
            .await
    }

    async fn batch_is_open(&self, batch: &str) -> Result<bool, Error> {
        let batch = batch.to_owned();
        self.read(move |connection| queues::batch_is_open(connection, &batch))
            .await
    }

    async fn set_queue(&self, queue: Queue, audit: NewAudit) -> Result<(), Error> {
        let write = Write::Queue(QueueWrite::set(&queue)).audited(audit);
        self.writer.write(write).await
    }

    async fn remove_queue(&self, name: &str, audit: NewAudit) -> Result<(), Error> {
        let write = Write::Queue(QueueWrite::Remove(name.to_owned())).audited(audit);
        self.writer.write(write).await
    }

    async fn queues(&self) -> Result<Vec<Queue>, Error> {
        self.read(queues::all).await
    }

    async fn waiting(&self, now: Timestamp) -> Result<Vec<Waiting>, Error> {
        self.read(move |connection| queues::waiting(connection, now))
            .await
    }

    async fn sleepers(&self, queue: &str) -> Result<Vec<Sleeper>, Error> {
        let queue = queue.to_owned();
        self.read(move |connection| queues::sleepers(connection, &queue))
            .await
    }

    async fn turns(&self) -> Result<Vec<Turn>, Error> {
        self.read(queues::turns).await
    }

    async fn daemon_started(&self, at: Timestamp, limit: usize) -> Result<Vec<DaemonRun>, Error> {
        let read = self.read(move |connection| queues::daemons(connection, limit));
        let before = read.await?;
        let write = Write::Queue(QueueWrite::DaemonStarted(at));
        self.writer.write(write).await?;
        Ok(before)
    }

    async fn daemon_completed_a_job(&self) -> Result<(), Error> {
        let write = Write::Queue(QueueWrite::DaemonCompleted);
        self.writer.write(write).await
    }

    async fn daemon_ended_well(&self) -> Result<(), Error> {
        let write = Write::Queue(QueueWrite::DaemonEndedWell);
        self.writer.write(write).await
    }
}
