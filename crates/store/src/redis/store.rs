//! What a store can be asked and told, each as one question or one write.

use super::answer::{self, list, text, texts, tuple};
use super::ask::Ask;
use super::encode::{definition_member, encoded};
use super::fault::Fault;
use super::{Redis, decoded, jobs, ledger, records, waiting};
use crate::record::{self, QueueWrite, ScheduleWrite, Upkeep, Write};
use crate::{
    Capabilities, Change, DaemonRun, DefinitionFilter, Entry, Error, Filter, HistoryFilter,
    HistoryPage, Keyed, NewAudit, NewJob, ScheduleChange, SignalFor, Sleeper, Store, UsageQuery,
    Waiting,
};
use async_trait::async_trait;
use dauer_core::ledger::{Account, Interval, Owner};
use dauer_core::plan::turn::{self, Due};
use dauer_core::{
    AccessToken, Checkpoint, CheckpointId, Definition, DefinitionRef, Job, JobId, Json, Queue,
    SandboxId, Schedule, State, Timestamp, Token, Turn, Unique, Wait,
};
use std::collections::BTreeMap;

#[async_trait]
impl Store for Redis {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn create_all(&self, jobs: Vec<NewJob>) -> Result<(), Error> {
        self.write(Write::create(jobs)).await
    }

    async fn create_begun(&self, jobs: Vec<NewJob>, changes: Vec<Change>) -> Result<(), Error> {
        self.write(Write::create_begun(jobs, changes)).await
    }

    async fn keyed(&self, keys: Vec<String>) -> Result<BTreeMap<String, Keyed>, Error> {
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        let asked: Vec<&str> = keys.iter().map(String::as_str).collect();
        let found: Vec<Option<String>> = self.on_key("HMGET", "keys", &asked).await?;
        let mut known = BTreeMap::new();
        for (key, used) in keys.into_iter().zip(found) {
            if let Some(used) = used {
                known.insert(key, answer::keyed(&used)?);
            }
        }
        Ok(known)
    }

    async fn commit(&self, change: Change) -> Result<(), Error> {
        self.write(Write::commit(change)).await
    }

    async fn commit_all(&self, changes: Vec<Change>) -> Vec<Result<(), Error>> {
        let writes = changes
            .into_iter()
            .map(|change| encoded(&Write::commit(change)));
        self.writer.write_all(writes.collect()).await
    }

    async fn jobs(&self, ids: Vec<JobId>) -> Result<Vec<Job>, Error> {
        jobs::some(&self.reading, &ids).await
    }

    async fn job(&self, id: &JobId) -> Result<Job, Error> {
        jobs::one(&self.reading, id).await
    }

    async fn find(&self, text: &str) -> Result<JobId, Error> {
        jobs::find(&self.reading, text).await
    }

    async fn list(&self, filter: Filter) -> Result<Vec<Job>, Error> {
        jobs::newest(&self.reading, &filter).await
    }

    async fn unsettled(&self) -> Result<Vec<Job>, Error> {
        let node = self.writer.handle.node();
        let mut sets = vec!["unsettled:".to_owned()];
        if !node.is_empty() {
            sets.push(format!("unsettled:{node}"));
        }
        jobs::oldest(&self.reading, &sets, None, usize::MAX).await
    }

    async fn ended(&self, after: Option<&JobId>, limit: usize) -> Result<Vec<Job>, Error> {
        jobs::ended(&self.reading, after, limit).await
    }

    async fn next_wake(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let ask = Ask::of("next_wake")
            .number(now.0)
            .about(self.writer.handle.node());
        waiting::moment(ask.on(&self.reading).await?)
    }

    async fn due(&self, now: Timestamp, ask: &turn::Ask) -> Result<Vec<Due>, Error> {
        waiting::due(&self.reading, &self.writer.handle.node(), now, ask).await
    }

    async fn expiring(&self, limit: usize) -> Result<Vec<(JobId, Timestamp)>, Error> {
        waiting::expiring(&self.reading, limit).await
    }

    async fn children(
        &self,
        parent: &JobId,
        after: Option<&JobId>,
        limit: usize,
    ) -> Result<Vec<JobId>, Error> {
        let from = after.map_or("-".into(), |after| format!("({after}"));
        let (key, limit) = (
            format!("children:{parent}"),
            limit.min(u32::MAX as usize).to_string(),
        );
        let found: Vec<String> = self
            .on_key("ZRANGEBYLEX", &key, &[&from, "+", "LIMIT", "0", &limit])
            .await?;
        Ok(found.into_iter().map(JobId).collect())
    }

    async fn owner(&self, sandbox: &SandboxId) -> Result<Option<JobId>, Error> {
        let found: Option<String> = self
            .on_key("HGET", "sandboxes", &[sandbox.as_str()])
            .await?;
        Ok(found.map(JobId))
    }

    async fn checkpoints(&self, job: &JobId) -> Result<Vec<Checkpoint>, Error> {
        let found = texts(
            Ask::of("checkpoints")
                .about(job.as_str())
                .on(&self.reading)
                .await?,
        )?;
        let read: Result<_, record::Broken> = found
            .iter()
            .map(|text| record::checkpoint(job, text))
            .collect();
        Ok(read?)
    }

    async fn drop_checkpoint(&self, job: &JobId, id: &CheckpointId) -> Result<(), Error> {
        let (job, id) = (job.clone(), id.clone());
        self.write(Write::DropCheckpoint(record::Drop { job, id }))
            .await
    }

    async fn token(&self, job: &JobId, token_of: &str) -> Result<Option<Token>, Error> {
        let key = format!("tokens:{job}");
        let found: Option<String> = self.on_key("HGET", &key, &[token_of]).await?;
        found
            .map(|text| decoded::token(job, token_of, &text))
            .transpose()
    }

    async fn output(&self, job: &JobId) -> Result<Option<Json>, Error> {
        let found: Option<String> = self.on_key("GET", &format!("output:{job}"), &[]).await?;
        Ok(found.map(Json))
    }

    async fn has_signal(&self, job: &JobId, id: &str) -> Result<bool, Error> {
        self.on_key("HEXISTS", &format!("signals:{job}"), &[id])
            .await
    }

    async fn signal_for(
        &self,
        job: &JobId,
        name: &str,
        token: &str,
    ) -> Result<Option<SignalFor>, Error> {
        let ask = Ask::of("signal_for")
            .about(job.as_str())
            .about(name)
            .about(token);
        let found = texts(ask.on(&self.reading).await?)?;
        let Some(signal) = found.get(1) else {
            return Ok(None);
        };
        let signal = decoded::read(signal, "a signal")?;
        Ok(Some(match found[0].as_str() {
            "taken" => SignalFor::Taken(signal),
            "waiting" => SignalFor::Waiting(signal),
            _ => return Err(Fault::Form("a signal").into()),
        }))
    }

    async fn signals_waiting(&self, job: &JobId) -> Result<u64, Error> {
        self.on_key("ZCARD", &format!("inbox:{job}"), &[]).await
    }

    async fn wait(&self, job: &JobId, token: &str) -> Result<Option<Wait>, Error> {
        let found: Option<String> = self
            .on_key("HGET", &format!("waits:{job}"), &[token])
            .await?;
        found.map(|wait| decoded::read(&wait, "a wait")).transpose()
    }

    async fn journal(
        &self,
        job: Option<&JobId>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, Error> {
        records::journal(&self.reading, job, after, limit).await
    }

    async fn intervals(&self, owner: &Owner) -> Result<Vec<Interval>, Error> {
        ledger::of_owner(&self.reading, owner).await
    }

    async fn usage(&self, query: UsageQuery) -> Result<Account, Error> {
        ledger::usage(&self.reading, &query).await
    }

    async fn prune_ledger(&self, before: Timestamp, about: usize) -> Result<(), Error> {
        self.write(Write::Upkeep(Upkeep::Prune { before, about }))
            .await
    }

    async fn ledger_oldest(&self) -> Result<Option<Timestamp>, Error> {
        waiting::moment(Ask::of("ledger_oldest").on(&self.reading).await?)
    }

    async fn heartbeat(&self, at: Timestamp) -> Result<(), Error> {
        self.write(Write::Upkeep(Upkeep::Heartbeat(at))).await
    }

    async fn last_heartbeat(&self) -> Result<Option<Timestamp>, Error> {
        let found: Option<i64> = self.on_key("GET", "heartbeat", &[]).await?;
        Ok(found.map(Timestamp))
    }

    async fn add_access_token(&self, token: AccessToken, audit: NewAudit) -> Result<(), Error> {
        self.write(Write::AddAccess(token).audited(audit)).await
    }

    async fn access_tokens(&self) -> Result<Vec<AccessToken>, Error> {
        decoded::access_tokens(Ask::of("access").on(&self.reading).await?)
    }

    async fn access_token_used(&self, id: &str, at: Timestamp) -> Result<(), Error> {
        let id = id.to_owned();
        self.write(Write::AccessUsed { id, at }).await
    }

    async fn remove_access_token(&self, id: &str, audit: NewAudit) -> Result<(), Error> {
        self.write(Write::RemoveAccess(id.to_owned()).audited(audit))
            .await
    }

    async fn remove(&self, id: &JobId, version: u64, audit: NewAudit) -> Result<(), Error> {
        let id = id.clone();
        self.write(Write::Remove { id, version }.audited(audit))
            .await
    }

    async fn define(&self, definition: Definition, audit: NewAudit) -> Result<(), Error> {
        self.write(Write::define(definition).audited(audit)).await
    }

    async fn definition(&self, id: &DefinitionRef) -> Result<Option<Definition>, Error> {
        let member = definition_member(&id.name, &id.version);
        let found: Option<String> = self.on_key("HGET", "definitions", &[&member]).await?;
        found.map(|text| decoded::definition(&text)).transpose()
    }

    async fn versions(&self, name: &str) -> Result<Vec<String>, Error> {
        Ok(texts(
            Ask::of("versions").about(name).on(&self.reading).await?,
        )?)
    }

    async fn definitions(&self, filter: DefinitionFilter) -> Result<Vec<Definition>, Error> {
        let behind =
            |after: &DefinitionRef| format!("({}", definition_member(&after.name, &after.version));
        let ask = match (&filter.name, &filter.after) {
            (None, after) => {
                Ask::of("definitions").about(after.as_ref().map_or("-".into(), behind))
            }
            // The page before ended behind all of this name.
            (Some(only), Some(after)) if *only < after.name => return Ok(Vec::new()),
            (Some(only), Some(after)) if *only == after.name => {
                Ask::of("definitions_of").about(only).about(behind(after))
            }
            (Some(only), _) => {
                let all = format!("[{}", definition_member(only, ""));
                Ask::of("definitions_of").about(only).about(all)
            }
        };
        let found = texts(ask.limit(filter.limit).on(&self.reading).await?)?;
        found.iter().map(|text| decoded::definition(text)).collect()
    }

    async fn undefine(&self, id: &DefinitionRef, audit: NewAudit) -> Result<(), Error> {
        self.write(Write::Undefine(id.clone()).audited(audit)).await
    }

    async fn add_schedule(&self, schedule: Schedule, audit: NewAudit) -> Result<(), Error> {
        self.write(Write::Schedule(ScheduleWrite::add(schedule)).audited(audit))
            .await
    }

    async fn schedule(&self, name: &str) -> Result<Option<Schedule>, Error> {
        let found: Option<String> = self.on_key("HGET", "schedules", &[name]).await?;
        Ok(found.map(|text| record::schedule(&text)).transpose()?)
    }

    async fn schedules(&self, after: Option<&str>, limit: usize) -> Result<Vec<Schedule>, Error> {
        let from = after.map_or("-".into(), |after| format!("({after}"));
        let ask = Ask::of("schedules").about(from).limit(limit);
        decoded::schedules(ask.on(&self.reading).await?)
    }

    async fn due_schedules(&self, now: Timestamp, limit: usize) -> Result<Vec<Schedule>, Error> {
        let ask = Ask::of("due_schedules").number(now.0).limit(limit);
        decoded::schedules(ask.on(&self.reading).await?)
    }

    async fn next_schedule(&self) -> Result<Option<Timestamp>, Error> {
        waiting::moment(Ask::of("next_schedule").on(&self.reading).await?)
    }

    async fn change_schedule(&self, mut change: ScheduleChange) -> Result<(), Error> {
        let audit = change.audit.take();
        self.write(Write::Schedule(ScheduleWrite::change(change)).audited(audit))
            .await
    }

    async fn remove_schedule(&self, name: &str, audit: NewAudit) -> Result<(), Error> {
        let write = ScheduleWrite::Remove(name.to_owned());
        self.write(Write::Schedule(write).audited(audit)).await
    }

    async fn history(&self, filter: HistoryFilter) -> Result<HistoryPage, Error> {
        records::page(&self.reading, &filter).await
    }

    async fn oldest_record(&self) -> Result<Option<Timestamp>, Error> {
        records::oldest(&self.reading).await
    }

    async fn forget_records(&self, before: Timestamp, limit: usize) -> Result<(), Error> {
        self.write(Write::ForgetRecords { before, limit }).await
    }

    async fn holders(&self, unique: Vec<Unique>) -> Result<BTreeMap<usize, JobId>, Error> {
        waiting::holders(&self.reading, &unique).await
    }

    async fn followers(&self, job: &JobId) -> Result<Vec<JobId>, Error> {
        let found: Vec<String> = self
            .on_key("ZRANGE", &format!("followers:{job}"), &["0", "-1"])
            .await?;
        Ok(found.into_iter().map(JobId).collect())
    }

    async fn has_followers(&self) -> Result<bool, Error> {
        self.on_key("EXISTS", "followed", &[]).await
    }

    async fn ended_before_followers(&self) -> Result<Vec<JobId>, Error> {
        let found = texts(Ask::of("ended_before_followers").on(&self.reading).await?)?;
        Ok(found.into_iter().map(JobId).collect())
    }

    async fn batch(&self, batch: &str) -> Result<BTreeMap<String, u64>, Error> {
        let ask = Ask::of("batch")
            .about(batch)
            .each(State::ALL.map(State::name));
        let mut counts = BTreeMap::new();
        for row in list(ask.on(&self.reading).await?)? {
            let [state, count] = tuple(row)?;
            counts.insert(text(state)?, answer::number(count)?);
        }
        Ok(counts)
    }

    async fn batch_is_open(&self, batch: &str) -> Result<bool, Error> {
        let counts = self.batch(batch).await?;
        let open = [
            State::Pending,
            State::Running,
            State::Suspended,
            State::PendingRetry,
        ];
        Ok(open.iter().any(|state| counts.contains_key(state.name())))
    }

    async fn set_queue(&self, queue: Queue, audit: NewAudit) -> Result<(), Error> {
        self.write(Write::Queue(QueueWrite::set(&queue)).audited(audit))
            .await
    }

    async fn remove_queue(&self, name: &str, audit: NewAudit) -> Result<(), Error> {
        let write = QueueWrite::Remove(name.to_owned());
        self.write(Write::Queue(write).audited(audit)).await
    }

    async fn queues(&self) -> Result<Vec<Queue>, Error> {
        let found: BTreeMap<String, String> = self.on_key("HGETALL", "queues", &[]).await?;
        let read: Result<_, record::Broken> =
            found.values().map(|text| record::queue(text)).collect();
        Ok(read?)
    }

    async fn waiting(&self, now: Timestamp) -> Result<Vec<Waiting>, Error> {
        waiting::waiting(&self.reading, now).await
    }

    async fn sleepers(&self, queue: &str) -> Result<Vec<Sleeper>, Error> {
        waiting::sleepers(&self.reading, queue).await
    }

    async fn turns(&self) -> Result<Vec<Turn>, Error> {
        waiting::turns(&self.reading).await
    }

    async fn daemon_started(&self, at: Timestamp, limit: usize) -> Result<Vec<DaemonRun>, Error> {
        let before = waiting::daemons(&self.reading, limit).await?;
        self.write(Write::Queue(QueueWrite::DaemonStarted(at)))
            .await?;
        Ok(before)
    }

    async fn daemon_completed_a_job(&self) -> Result<(), Error> {
        self.write(Write::Queue(QueueWrite::DaemonCompleted)).await
    }

    async fn daemon_ended_well(&self) -> Result<(), Error> {
        self.write(Write::Queue(QueueWrite::DaemonEndedWell)).await
    }
}
