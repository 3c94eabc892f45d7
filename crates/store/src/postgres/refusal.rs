//! Why a write was refused: the statement that refused it says only that it did.

use super::connection::{Connection, Value};
use super::fault::Fault;
use super::sql::{Statement, read as sql};
use crate::error::failed;
use crate::record::{CommitRow, NewRow, QueueWrite, ScheduleWrite, Write, unsigned};
use crate::{Error, Keyed};
use dauer_core::{JobId, Kept, NodeId, State};
use std::collections::HashMap;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

/// It was refused for what was stored then: by a check, or by an index that has each value once.
pub(super) fn is_a_check(fault: &Fault) -> bool {
    match fault {
        Fault::Sql(error) => matches!(
            error.code(),
            Some(&SqlState::DIVISION_BY_ZERO | &SqlState::UNIQUE_VIOLATION)
        ),
        Fault::Answer(_) | Fault::Broken(_) | Fault::Unreachable(_) => false,
    }
}

/// Looks for the reason; nothing where there is none (any more).
pub(super) async fn why(
    connection: &Connection,
    write: &Write,
    node: Option<&str>,
) -> Result<Option<Error>, Fault> {
    let asked = Asked { connection, node };
    match write {
        Write::Create(jobs) => asked.create(jobs).await,
        Write::Begin { new, changes } => {
            if let Some(error) = asked.create(new).await? {
                return Ok(Some(error));
            }
            for change in changes {
                if let Some(error) = asked.belongings(change).await? {
                    return Ok(Some(error));
                }
            }
            Ok(None)
        }
        Write::Commit(commit) => asked.commit(commit).await,
        Write::DropCheckpoint(drop) => {
            let [name, shared] = drop.names();
            let values: [Value<'_>; 3] = [&drop.job.0, &name, &shared];
            let found = asked.one(&sql::POINTS_TO, &values).await?;
            let conflict = |row: Row| -> Result<Error, Fault> {
                Ok(Error::Conflict {
                    job: JobId(row.try_get(0)?),
                    expected: 0,
                    found: unsigned(row.try_get(1)?),
                })
            };
            found.map(conflict).transpose()
        }
        Write::Snapshot(write) => asked.snapshot(write).await,
        Write::Cache(write) => asked.cache(write).await,
        Write::Define(definition) => {
            let id = &definition.id;
            let found = asked
                .one(&sql::DEFINITION, &[&id.name, &id.version])
                .await?;
            Ok(found.map(|_| Error::Defined(id.clone())))
        }
        Write::Undefine(id) => {
            let found = asked
                .one(&sql::DEFINITION, &[&id.name, &id.version])
                .await?;
            Ok(missing(found, &id.to_string()))
        }
        Write::Remove { id, version } => asked.remove(id, *version).await,
        Write::RemoveAccess(id) => Ok(missing(asked.one(&sql::HAS_ACCESS, &[id]).await?, id)),
        Write::Schedule(write) => asked.schedule(write).await,
        Write::Queue(QueueWrite::Remove(name)) => {
            Ok(missing(asked.one(&sql::HAS_QUEUE, &[name]).await?, name))
        }
        Write::Audited(write, _) => Box::pin(why(connection, write, node)).await,
        Write::AddAccess(_)
        | Write::Import(_)
        | Write::AccessUsed { .. }
        | Write::Queue(
            QueueWrite::Set { .. }
            | QueueWrite::DaemonStarted(_)
            | QueueWrite::DaemonCompleted
            | QueueWrite::DaemonEndedWell,
        )
        | Write::ForgetRecords { .. }
        | Write::Upkeep(_) => Ok(None),
    }
}

fn missing(found: Option<Row>, what: &str) -> Option<Error> {
    match found {
        Some(_) => None,
        None => Some(Error::NotFound(what.to_owned())),
    }
}

fn rule(text: String) -> Error {
    failed(text, None)
}

/// What is stored of a job.
struct Stored {
    version: u64,
    state: Option<State>,
    ends_children: bool,
    node: Option<String>,
}

pub(super) struct Asked<'a> {
    connection: &'a Connection,
    node: Option<&'a str>,
}

impl Asked<'_> {
    pub(super) async fn one(
        &self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Option<Row>, Fault> {
        self.connection.prepare(statement).await?;
        let mut rows = self.connection.rows(statement, values).await?;
        Ok(if rows.is_empty() {
            None
        } else {
            Some(rows.swap_remove(0))
        })
    }

    async fn stored(&self, id: &str) -> Result<Option<Stored>, Fault> {
        let Some(row) = self.one(&sql::STORED, &[&id]).await? else {
            return Ok(None);
        };
        let (state, ends): (&str, Option<&str>) = (row.try_get(1)?, row.try_get(2)?);
        Ok(Some(Stored {
            version: unsigned(row.try_get(0)?),
            state: State::from_name(state),
            ends_children: ends.is_some(),
            node: row.try_get(3)?,
        }))
    }

    fn held(&self, id: &JobId, stored: &Stored) -> Option<Error> {
        match (&stored.node, self.node) {
            (Some(node), Some(mine)) if node != mine => Some(Error::Held {
                job: id.clone(),
                node: NodeId(node.clone()),
            }),
            _ => None,
        }
    }

    /// In the order in which one after the other would be refused; those of one write see the ones before them.
    async fn create(&self, jobs: &[NewRow]) -> Result<Option<Error>, Fault> {
        let mut before = Before::default();
        for new in jobs {
            if let Some(error) = self.create_one(new, &before).await? {
                return Ok(Some(error));
            }
            before.take(new);
        }
        Ok(None)
    }

    async fn create_one(&self, new: &NewRow, before: &Before<'_>) -> Result<Option<Error>, Fault> {
        let id = &new.row.id;
        let there = self.stored(id.as_str()).await?.map(|there| there.version);
        if let Some(found) = there.or(before.ids.get(id.as_str()).copied()) {
            return Ok(Some(Error::Conflict {
                job: id.clone(),
                expected: 0,
                found,
            }));
        }
        if let Some((key, _)) = &new.key {
            let keys = [key];
            let stored = match self.one(&sql::KEYED, &[&&keys[..]]).await? {
                Some(row) => Some(Keyed {
                    job: JobId(row.try_get(1)?),
                    digest: row.try_get(2)?,
                }),
                None => None,
            };
            if let Some(used) = stored.or_else(|| before.keys.get(key.as_str()).cloned()) {
                let key = key.clone();
                return Ok(Some(Error::KeyInUse { key, used }));
            }
        }
        if let Some(name) = &new.name {
            let stored = match self.one(&sql::OF_NAME, &[name]).await? {
                Some(row) => Some(JobId(row.try_get(0)?)),
                None => None,
            };
            if let Some(job) = stored.or_else(|| before.names.get(name.as_str()).cloned()) {
                let name = name.clone();
                return Ok(Some(Error::NameInUse { name, job }));
            }
        }
        if let Some(parent) = &new.parent {
            match self.stored(parent).await? {
                Some(stored) if stored.ends_children => {
                    return Ok(Some(Error::ParentEnding(JobId(parent.clone()))));
                }
                None if !before.ids.contains_key(parent.as_str()) => {
                    return Ok(Some(Error::NotFound(parent.clone())));
                }
                Some(_) | None => {}
            }
        }
        if let Some(unique) = &new.queued.unique {
            let states: Vec<&str> = unique.states.iter().map(|state| state.name()).collect();
            let keys = vec![unique.key.as_str(); states.len()];
            let places = vec![0_i64; states.len()];
            let stored = match self.one(&sql::HOLDERS, &[&places, &keys, &states]).await? {
                Some(row) => Some(JobId(row.try_get(1)?)),
                None => None,
            };
            if let Some(job) = stored.or_else(|| before.unique.get(unique.key.as_str()).cloned()) {
                let key = unique.key.clone();
                return Ok(Some(Error::NotUnique { key, job }));
            }
        }
        match new.shares.as_ref().and_then(|row| row.folder.as_ref()) {
            Some(folder) => self.unreferenced(folder).await,
            None => Ok(None),
        }
    }

    async fn commit(&self, commit: &CommitRow) -> Result<Option<Error>, Fault> {
        let row = &commit.row;
        let Some(stored) = self.stored(row.id.as_str()).await? else {
            return Ok(Some(Error::NotFound(row.id.0.clone())));
        };
        if let Some(held) = self.held(&row.id, &stored) {
            return Ok(Some(held));
        }
        if stored.version + 1 != row.version {
            return Ok(Some(Error::Conflict {
                job: row.id.clone(),
                expected: row.version.saturating_sub(1),
                found: stored.version,
            }));
        }
        self.belongings(commit).await
    }

    async fn belongings(&self, commit: &CommitRow) -> Result<Option<Error>, Fault> {
        let id = &commit.row.id;
        if let Some(checkpoint) = &commit.checkpoint
            && let Some(row) = self.one(&sql::CHECKPOINT_OF, &[&checkpoint.name]).await?
            && row.try_get::<_, &str>(0)? != id.as_str()
        {
            return Ok(Some(rule(format!(
                "checkpoint {} belongs to another job than {id}",
                checkpoint.name
            ))));
        }
        let written = commit.checkpoint.as_ref().map(|written| &written.name);
        if let Some(points_to) = &commit.row.checkpoint
            && written != Some(points_to)
            && self.one(&sql::CHECKPOINT_OF, &[points_to]).await?.is_none()
        {
            return Ok(Some(rule(format!(
                "the record of job {id} points to the checkpoint {points_to}, which is not there"
            ))));
        }
        if let Some(sandbox) = &commit.row.sandbox
            && let Some(row) = self.one(&sql::OWNER, &[sandbox]).await?
            && row.try_get::<_, &str>(0)? != id.as_str()
        {
            return Ok(Some(rule(format!(
                "the sandbox {sandbox} is another job's than {id}"
            ))));
        }
        for kept in &commit.kept {
            if let Kept::SignalTaken { signal, .. } = kept
                && self
                    .one(&sql::SIGNAL_WAITS, &[&id.0, signal])
                    .await?
                    .is_none()
            {
                return Ok(Some(rule(format!(
                    "the signal {signal} of job {id} does not wait to be taken"
                ))));
            }
        }
        Ok(None)
    }

    async fn remove(&self, id: &JobId, version: u64) -> Result<Option<Error>, Fault> {
        let Some(stored) = self.stored(id.as_str()).await? else {
            return Ok(Some(Error::NotFound(id.0.clone())));
        };
        if let Some(held) = self.held(id, &stored) {
            return Ok(Some(held));
        }
        let conflict = Error::Conflict {
            job: id.clone(),
            expected: version,
            found: stored.version,
        };
        let is_terminal = stored.state.is_some_and(State::is_terminal);
        Ok((stored.version != version || !is_terminal).then_some(conflict))
    }

    async fn schedule(&self, write: &ScheduleWrite) -> Result<Option<Error>, Fault> {
        let version = async |name: &String| -> Result<Option<u64>, Fault> {
            match self.one(&sql::SCHEDULE_VERSION, &[name]).await? {
                Some(row) => Ok(Some(unsigned(row.try_get(0)?))),
                None => Ok(None),
            }
        };
        match write {
            ScheduleWrite::Add(row) => {
                let there = version(&row.name).await?;
                Ok(there.map(|_| Error::ScheduleExists(row.name.clone())))
            }
            ScheduleWrite::Change { row, jobs } => match version(&row.name).await? {
                None => Ok(Some(Error::NotFound(row.name.clone()))),
                Some(found) if found + 1 != row.version => {
                    Ok(Some(Error::ScheduleChanged(row.name.clone())))
                }
                Some(_) => self.create(jobs).await,
            },
            ScheduleWrite::Remove(name) => {
                let there = version(name).await?;
                Ok(there.is_none().then(|| Error::NotFound(name.clone())))
            }
        }
    }
}

/// What the jobs before one of the same write take.
#[derive(Default)]
struct Before<'a> {
    ids: HashMap<&'a str, u64>,
    keys: HashMap<&'a str, Keyed>,
    names: HashMap<&'a str, JobId>,
    unique: HashMap<&'a str, JobId>,
}

impl<'a> Before<'a> {
    fn take(&mut self, new: &'a NewRow) {
        let id = &new.row.id;
        self.ids.insert(id.as_str(), new.row.version);
        if let Some((key, digest)) = &new.key {
            let used = Keyed {
                job: id.clone(),
                digest: digest.clone(),
            };
            self.keys.insert(key, used);
        }
        if let Some(name) = &new.name {
            self.names.insert(name, id.clone());
        }
        if let Some(unique) = &new.queued.unique
            && unique.states.contains(&new.row.state)
        {
            self.unique.insert(&unique.key, id.clone());
        }
    }
}
