//! The methods of a store: each a write for the writer, or a question for the readers.

use super::Postgres;
use super::fault::Fault;
use super::row;
use super::sql::read as sql;
use crate::record::{self, QueueWrite, ScheduleWrite, Upkeep, Write, limit, signed, unsigned};
use crate::{
    Capabilities, Change, DaemonRun, DefinitionFilter, Entry, Error, Filter, HistoryFilter,
    HistoryPage, Keyed, NewAudit, NewJob, ScheduleChange, SignalFor, Sleeper, Store, UsageQuery,
    Waiting,
};
use async_trait::async_trait;
use dauer_core::ledger::{Account, Interval, Owner};
use dauer_core::plan::turn::{Ask, Due};
use dauer_core::{
    AccessToken, Checkpoint, CheckpointId, Definition, DefinitionRef, Job, JobId, Json, Queue,
    SandboxId, Schedule, State, Timestamp, Token, Turn, Unique, Wait,
};
use std::collections::BTreeMap;
use tokio_postgres::Row;

#[async_trait]
impl Store for Postgres {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn create_all(&self, jobs: Vec<NewJob>) -> Result<(), Error> {
        self.writer.write(Write::create(jobs)).await
    }

    async fn create_begun(&self, jobs: Vec<NewJob>, changes: Vec<Change>) -> Result<(), Error> {
        let write = Write::create_begun(jobs, changes);
        self.writer.write(write).await
    }

    async fn keyed(&self, keys: Vec<String>) -> Result<BTreeMap<String, Keyed>, Error> {
        let rows = self.rows(&sql::KEYED, &[&keys]).await?;
        let keyed = self.each(rows, |row| {
            let used = Keyed {
                job: JobId(row.try_get(1)?),
                digest: row.try_get(2)?,
            };
            Ok((row.try_get(0)?, used))
        })?;
        Ok(keyed.into_iter().collect())
    }

    async fn commit(&self, change: Change) -> Result<(), Error> {
        self.writer.write(Write::commit(change)).await
    }

    async fn commit_all(&self, changes: Vec<Change>) -> Vec<Result<(), Error>> {
        let writes = changes.into_iter().map(Write::commit).collect();
        self.writer.write_all(writes).await
    }

    async fn jobs(&self, ids: Vec<JobId>) -> Result<Vec<Job>, Error> {
        let ids: Vec<&str> = ids.iter().map(JobId::as_str).collect();
        let rows = self.rows(&sql::JOBS, &[&ids]).await?;
        self.each(rows, row::job)
    }

    async fn job(&self, id: &JobId) -> Result<Job, Error> {
        let ids = [id.as_str()];
        let job = self.first(&sql::JOBS, &[&&ids[..]], row::job).await?;
        job.ok_or_else(|| Error::NotFound(id.0.clone()))
    }

    async fn find(&self, text: &str) -> Result<JobId, Error> {
        self.found(text).await
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Job>, Error> {
        self.listed(filter).await
    }

    async fn unsettled(&self) -> Result<Vec<Job>, Error> {
        let rows = self.rows(&sql::UNSETTLED, &[&self.node()]).await?;
        self.each(rows, row::listed)
    }

    async fn ended(&self, after: Option<&JobId>, most: usize) -> Result<Vec<Job>, Error> {
        let after = after.map_or("", JobId::as_str);
        let terminal = |state: &State| state.is_terminal();
        let states: Vec<&str> = State::ALL
            .into_iter()
            .filter(terminal)
            .map(State::name)
            .collect();
        let rows = self
            .rows(&sql::ENDED, &[&after, &limit(most), &states])
            .await?;
        self.each(rows, row::listed)
    }

    async fn next_wake(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let found = self.first(&sql::NEXT_WAKE, &[&now.0], row::maybe_at).await;
        Ok(found?.flatten())
    }

    async fn due(&self, now: Timestamp, ask: &Ask) -> Result<Vec<Due>, Error> {
        self.claimed(now, ask).await
    }

    async fn expiring(&self, most: usize) -> Result<Vec<(JobId, Timestamp)>, Error> {
        let rows = self.rows(&sql::EXPIRING, &[&limit(most)]).await?;
        self.each(rows, |row| Ok((row::id(row)?, Timestamp(row.try_get(1)?))))
    }

    async fn children(
        &self,
        parent: &JobId,
        after: Option<&JobId>,
        most: usize,
    ) -> Result<Vec<JobId>, Error> {
        let after = after.map_or("", JobId::as_str);
        let rows = self
            .rows(&sql::CHILDREN, &[&parent.0, &after, &limit(most)])
            .await?;
        self.each(rows, row::id)
    }

    async fn owner(&self, sandbox: &SandboxId) -> Result<Option<JobId>, Error> {
        self.first(&sql::OWNER, &[&sandbox.0], row::id).await
    }

    async fn checkpoints(&self, job: &JobId) -> Result<Vec<Checkpoint>, Error> {
        let rows = self.rows(&sql::CHECKPOINTS, &[&job.0]).await?;
        self.each(rows, |row| Ok(record::checkpoint(job, row.try_get(0)?)?))
    }

    async fn drop_checkpoint(&self, job: &JobId, id: &CheckpointId) -> Result<(), Error> {
        let (job, id) = (job.clone(), id.clone());
        self.writer
            .write(Write::DropCheckpoint(record::Drop { job, id }))
            .await
    }

    async fn token(&self, job: &JobId, token: &str) -> Result<Option<Token>, Error> {
        let read = |row: &Row| row::token(job, token, row);
        self.first(&sql::TOKEN, &[&job.0, &token], read).await
    }

    async fn output(&self, job: &JobId) -> Result<Option<Json>, Error> {
        let read = |row: &Row| Ok(Json(row.try_get(0)?));
        self.first(&sql::OUTPUT, &[&job.0], read).await
    }

    async fn has_signal(&self, job: &JobId, id: &str) -> Result<bool, Error> {
        self.exists(&sql::HAS_SIGNAL, &[&job.0, &id]).await
    }

    async fn signal_for(
        &self,
        job: &JobId,
        name: &str,
        token: &str,
    ) -> Result<Option<SignalFor>, Error> {
        let read = |row: &Row| {
            let signal = row::signal(job, row)?;
            let rank: i64 = row.try_get(0)?;
            Ok(if rank == 0 {
                SignalFor::Taken(signal)
            } else {
                SignalFor::Waiting(signal)
            })
        };
        self.first(&sql::SIGNAL_FOR, &[&job.0, &name, &token], read)
            .await
    }

    async fn signals_waiting(&self, job: &JobId) -> Result<u64, Error> {
        let read = |row: &Row| Ok(unsigned(row.try_get(0)?));
        let found = self.first(&sql::SIGNALS_WAITING, &[&job.0], read).await?;
        Ok(found.unwrap_or(0))
    }

    async fn wait(&self, job: &JobId, token: &str) -> Result<Option<Wait>, Error> {
        let read = |row: &Row| {
            Ok(Wait {
                job: job.clone(),
                token: token.to_owned(),
                give_up_at: row::at(row)?,
                timed_out: row.try_get(1)?,
            })
        };
        self.first(&sql::WAIT, &[&job.0, &token], read).await
    }

    async fn journal(
        &self,
        job: Option<&JobId>,
        after: u64,
        most: usize,
    ) -> Result<Vec<Entry>, Error> {
        let (after, most) = (signed(after), limit(most));
        let rows = match job {
            Some(job) => {
                self.rows(&sql::JOURNAL_OF_JOB, &[&after, &most, &job.0])
                    .await?
            }
            None => self.rows(&sql::JOURNAL, &[&after, &most]).await?,
        };
        self.each(rows, |row| row::entry(row, 1))
    }

    async fn intervals(&self, owner: &Owner) -> Result<Vec<Interval>, Error> {
        let kind = owner.kind.name();
        let rows = self.rows(&sql::INTERVALS, &[&kind, &owner.id]).await?;
        self.each(rows, row::interval)
    }

    async fn usage(&self, query: UsageQuery) -> Result<Account, Error> {
        self.added_up(query).await
    }

    async fn prune_ledger(&self, before: Timestamp, about: usize) -> Result<(), Error> {
        let prune = Upkeep::Prune { before, about };
        self.writer.write(Write::Upkeep(prune)).await
    }

    async fn ledger_oldest(&self) -> Result<Option<Timestamp>, Error> {
        self.first(&sql::LEDGER_OLDEST, &[], row::at).await
    }

    async fn heartbeat(&self, at: Timestamp) -> Result<(), Error> {
        let beat = Upkeep::Heartbeat(at);
        self.writer.write(Write::Upkeep(beat)).await
    }

    async fn last_heartbeat(&self) -> Result<Option<Timestamp>, Error> {
        let node = self.node().unwrap_or_default();
        self.first(&sql::HEARTBEAT, &[&node], row::at).await
    }

    async fn add_access_token(&self, token: AccessToken, audit: NewAudit) -> Result<(), Error> {
        let write = Write::AddAccess(token).audited(audit);
        self.writer.write(write).await
    }

    async fn access_tokens(&self) -> Result<Vec<AccessToken>, Error> {
        let rows = self.rows(&sql::ACCESS, &[]).await?;
        self.each(rows, row::access)
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
        self.first(&sql::DEFINITION, &[&id.name, &id.version], row::definition)
            .await
    }

    async fn versions(&self, name: &str) -> Result<Vec<String>, Error> {
        let rows = self.rows(&sql::DEFINITION_VERSIONS, &[&name]).await?;
        self.each(rows, |row| Ok(row.try_get(0)?))
    }

    async fn definitions(&self, filter: DefinitionFilter) -> Result<Vec<Definition>, Error> {
        let (name, version) = match &filter.after {
            Some(after) => (after.name.as_str(), after.version.as_str()),
            None => ("", ""),
        };
        let most = limit(filter.limit);
        let rows = match filter.name.as_deref() {
            None => {
                self.rows(&sql::DEFINITIONS, &[&name, &version, &most])
                    .await?
            }
            // The page before ended behind all of this name.
            Some(only) if only < name => return Ok(Vec::new()),
            Some(only) => {
                let version = if only == name { version } else { "" };
                self.rows(&sql::DEFINITIONS_NAMED, &[&only, &version, &most])
                    .await?
            }
        };
        self.each(rows, row::definition)
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
        self.first(&sql::SCHEDULE, &[&name], schedule).await
    }

    async fn schedules(&self, after: Option<&str>, most: usize) -> Result<Vec<Schedule>, Error> {
        let after = after.unwrap_or_default();
        let rows = self.rows(&sql::SCHEDULES, &[&after, &limit(most)]).await?;
        self.each(rows, schedule)
    }

    async fn due_schedules(&self, now: Timestamp, most: usize) -> Result<Vec<Schedule>, Error> {
        let rows = self
            .rows(&sql::SCHEDULES_DUE, &[&now.0, &limit(most)])
            .await?;
        self.each(rows, schedule)
    }

    async fn next_schedule(&self) -> Result<Option<Timestamp>, Error> {
        let found = self.first(&sql::NEXT_SCHEDULE, &[], row::maybe_at).await?;
        Ok(found.flatten())
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
        self.recorded(&filter).await
    }

    async fn oldest_record(&self) -> Result<Option<Timestamp>, Error> {
        let found = self.first(&sql::OLDEST_RECORD, &[], row::maybe_at).await?;
        Ok(found.flatten())
    }

    async fn forget_records(&self, before: Timestamp, limit: usize) -> Result<(), Error> {
        let write = Write::ForgetRecords { before, limit };
        self.writer.write(write).await
    }

    async fn holders(&self, unique: Vec<Unique>) -> Result<BTreeMap<usize, JobId>, Error> {
        let (mut places, mut keys, mut states) = (Vec::new(), Vec::new(), Vec::new());
        for (place, unique) in unique.iter().enumerate() {
            for state in &unique.states {
                places.push(limit(place));
                keys.push(unique.key.as_str());
                states.push(state.name());
            }
        }
        let rows = self.rows(&sql::HOLDERS, &[&places, &keys, &states]).await?;
        let holders = self.each(rows, |row| {
            let place: i64 = row.try_get(0)?;
            Ok((usize::try_from(place).unwrap_or(0), JobId(row.try_get(1)?)))
        })?;
        Ok(holders.into_iter().collect())
    }

    async fn followers(&self, job: &JobId) -> Result<Vec<JobId>, Error> {
        let rows = self.rows(&sql::FOLLOWERS, &[&job.0]).await?;
        self.each(rows, row::id)
    }

    async fn has_followers(&self) -> Result<bool, Error> {
        self.exists(&sql::HAS_FOLLOWERS, &[]).await
    }

    async fn ended_before_followers(&self) -> Result<Vec<JobId>, Error> {
        let rows = self.rows(&sql::ENDED_BEFORE_FOLLOWERS, &[]).await?;
        self.each(rows, row::id)
    }

    async fn batch(&self, batch: &str) -> Result<BTreeMap<String, u64>, Error> {
        let rows = self.rows(&sql::BATCH, &[&batch]).await?;
        let counted = self.each(rows, |row| Ok((row.try_get(0)?, unsigned(row.try_get(1)?))))?;
        Ok(counted.into_iter().collect())
    }

    async fn batch_is_open(&self, batch: &str) -> Result<bool, Error> {
        self.exists(&sql::BATCH_OPEN, &[&batch]).await
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
        let rows = self.rows(&sql::QUEUES, &[]).await?;
        self.each(rows, |row| Ok(record::queue(row.try_get(0)?)?))
    }

    async fn waiting(&self, now: Timestamp) -> Result<Vec<Waiting>, Error> {
        let rows = self.rows(&sql::WAITING, &[&now.0]).await?;
        self.each(rows, |row| {
            Ok(Waiting {
                queue: row.try_get(0)?,
                due: unsigned(row.try_get(1)?),
                later: unsigned(row.try_get(2)?),
            })
        })
    }

    async fn sleepers(&self, queue: &str) -> Result<Vec<Sleeper>, Error> {
        let rows = self.rows(&sql::SLEEPERS, &[&queue]).await?;
        self.each(rows, |row| {
            Ok(Sleeper {
                job: row::id(row)?,
                key: row.try_get(1)?,
            })
        })
    }

    async fn turns(&self) -> Result<Vec<Turn>, Error> {
        let rows = self.rows(&sql::TURNS, &[]).await?;
        self.each(rows, |row| {
            Ok(Turn {
                queue: row.try_get(0)?,
                key: row.try_get(1)?,
                at: Timestamp(row.try_get(2)?),
            })
        })
    }

    async fn daemon_started(&self, at: Timestamp, most: usize) -> Result<Vec<DaemonRun>, Error> {
        let rows = self
            .rows(&sql::DAEMONS, &[&self.node(), &limit(most)])
            .await?;
        let before = self.each(rows, row::daemon)?;
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

fn schedule(row: &Row) -> Result<Schedule, Fault> {
    Ok(record::schedule(row.try_get(0)?)?)
}
