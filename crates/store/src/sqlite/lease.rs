//! Leases as rows. A job names its holder by the number of the holder's row, which is bound with every write of a job.

use super::fault::Fault;
use super::writer::{self, Writer};
use super::{Sqlite, sql};
use crate::record::{signed, unsigned};
use crate::{Error, Leases, Notice};
use async_trait::async_trait;
use dauer_core::{JobId, Lease, NodeId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use tokio::sync::{broadcast, oneshot};

/// The lease under which a handle and its clones write.
#[derive(Clone, Debug)]
pub(super) struct Mine {
    num: i64,
    node: NodeId,
    epoch: u64,
}

/// By whom a job is held that is unsettled after this handle's write; absent without a lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder(pub(super) Option<i64>);

impl Mine {
    pub(super) fn holder(mine: Option<&Self>) -> Holder {
        Holder(mine.map(|mine| mine.num))
    }

    /// Inside the transaction that is to write. Errors: `Fenced`.
    pub(super) fn check(&self, connection: &Connection) -> Result<(), Fault> {
        let found: Option<i64> = connection
            .prepare_cached(sql::LEASE_EPOCH)?
            .query_row(params![self.num], |row| row.get(0))
            .optional()?;
        let found = found.map(unsigned);
        if found == Some(self.epoch) {
            return Ok(());
        }
        Err(Error::Fenced {
            node: self.node.clone(),
            epoch: self.epoch,
            found,
        }
        .into())
    }
}

/// Errors: `Held` where the job is held by the node of this number, and that is not this handle's.
pub(super) fn check_holder(
    connection: &Connection,
    job: &JobId,
    found: Option<i64>,
    me: Holder,
) -> Result<(), Fault> {
    match (found, me.0) {
        (None, _) | (_, None) => return Ok(()),
        (Some(found), Some(me)) if found == me => return Ok(()),
        (Some(_), Some(_)) => {}
    }
    let node = holder(connection, job)?;
    let node = node.ok_or_else(|| Fault::Rule(format!("nobody knows who holds job {job}")))?;
    let job = job.clone();
    Err(Error::Held { job, node }.into())
}

fn take(
    connection: &Connection,
    node: &NodeId,
    address: Option<&str>,
    until: Timestamp,
) -> Result<(Mine, Lease), Fault> {
    let (num, epoch): (i64, i64) = connection
        .prepare_cached(sql::LEASE_TAKE)?
        .query_row(params![node.0, until.0, address], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let mine = Mine {
        num,
        node: node.clone(),
        epoch: unsigned(epoch),
    };
    let lease = Lease {
        node: node.clone(),
        epoch: mine.epoch,
        until,
        address: address.map(str::to_owned),
    };
    Ok((mine, lease))
}

fn renew(connection: &Connection, mine: &Mine, until: Timestamp) -> Result<(), Fault> {
    connection
        .prepare_cached(sql::LEASE_RENEW)?
        .execute(params![mine.num, until.0])?;
    Ok(())
}

fn release(connection: &Connection, mine: &Mine) -> Result<(), Fault> {
    let holds_some = connection
        .prepare_cached(sql::JOBS_HELD)?
        .exists(params![mine.num])?;
    let until = holds_some.then_some(0);
    connection
        .prepare_cached(sql::LEASE_RENEW)?
        .execute(params![mine.num, until])?;
    Ok(())
}

fn take_over(
    connection: &Connection,
    mine: &Mine,
    node: &NodeId,
    epoch: u64,
    now: Timestamp,
) -> Result<Vec<JobId>, Fault> {
    if mine.node == *node {
        return Err(Fault::Rule("nobody takes over from itself".into()));
    }
    let theirs: Option<i64> = connection
        .prepare_cached(sql::LEASE_END)?
        .query_row(params![node.0, signed(epoch), now.0], |row| row.get(0))
        .optional()?;
    let Some(theirs) = theirs else {
        return Err(Error::LeaseChanged(node.clone()).into());
    };
    let jobs: Vec<JobId> = connection
        .prepare_cached(sql::JOBS_HELD)?
        .query_map(params![theirs], |row| Ok(JobId(row.get(0)?)))?
        .collect::<Result<_, _>>()?;
    connection
        .prepare_cached(sql::JOBS_TAKE_OVER)?
        .execute(params![theirs, mine.num])?;
    Ok(jobs)
}

fn all(connection: &Connection) -> Result<Vec<Lease>, Fault> {
    let mut statement = connection.prepare_cached(sql::LEASES)?;
    let leases = statement.query_map([], |row| {
        Ok(Lease {
            node: NodeId(row.get(0)?),
            epoch: unsigned(row.get(1)?),
            until: Timestamp(row.get(2)?),
            address: row.get(3)?,
        })
    })?;
    Ok(leases.collect::<Result<_, _>>()?)
}

fn holder(connection: &Connection, job: &JobId) -> Result<Option<NodeId>, Fault> {
    Ok(connection
        .prepare_cached(sql::HOLDER)?
        .query_row(params![job.0], |row| Ok(NodeId(row.get(0)?)))
        .optional()?)
}

fn held(connection: &Connection) -> Result<BTreeMap<NodeId, u64>, Fault> {
    let mut statement = connection.prepare_cached(sql::HELD)?;
    let mut rows = statement.query([])?;
    let mut held = BTreeMap::new();
    while let Some(row) = rows.next()? {
        *held.entry(NodeId(row.get(0)?)).or_default() += 1;
    }
    Ok(held)
}

impl Writer {
    /// Does this as a transaction of its own, after everything that was queued before; then what it says with the lease of the
    /// handle.
    async fn lease<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection, Option<&Mine>) -> Result<T, Fault> + Send + 'static,
        then: impl FnOnce(&T, &mut Option<Mine>) + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let alone = move |connection: &Connection, path: &Path, mine: &mut Option<Mine>| {
            let done =
                writer::transaction(connection, |connection| change(connection, mine.as_ref()));
            if let Ok(done) = &done {
                then(done, mine);
            }
            // Nobody waits any more: it is done or not all the same.
            let _ = answer.send(done.map_err(|fault| fault.in_file(path)));
        };
        self.alone(Box::new(alone)).await?;
        answered.await.unwrap_or_else(|_| Err(writer::gone()))
    }

    /// The same with a lease that stays as it is.
    async fn under_lease<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection, &Mine) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let change = |connection: &Connection, mine: Option<&Mine>| {
            let none = || Fault::Rule("this handle of the store has no lease".into());
            let mine = mine.ok_or_else(none)?;
            mine.check(connection)?;
            change(connection, mine)
        };
        self.lease(change, |_, _| {}).await
    }
}

#[async_trait]
impl Leases for Sqlite {
    async fn take_lease(
        &self,
        node: &NodeId,
        address: Option<&str>,
        until: Timestamp,
    ) -> Result<Lease, Error> {
        let (node, address) = (node.clone(), address.map(str::to_owned));
        let take = move |connection: &Connection, _: Option<&Mine>| {
            take(connection, &node, address.as_deref(), until)
        };
        let keep = |(taken, _): &(Mine, Lease), mine: &mut Option<Mine>| {
            *mine = Some(taken.clone());
        };
        let (mine, lease) = self.writer.lease(take, keep).await?;
        self.num.store(mine.num, Ordering::Relaxed);
        Ok(lease)
    }

    async fn renew_lease(&self, until: Timestamp) -> Result<(), Error> {
        self.writer
            .under_lease(move |connection, mine| renew(connection, mine, until))
            .await
    }

    async fn release_lease(&self) -> Result<(), Error> {
        self.writer.under_lease(release).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, Error> {
        self.read(all).await
    }

    async fn take_over(
        &self,
        node: &NodeId,
        epoch: u64,
        now: Timestamp,
    ) -> Result<Vec<JobId>, Error> {
        let node = node.clone();
        self.writer
            .under_lease(move |connection, mine| take_over(connection, mine, &node, epoch, now))
            .await
    }

    async fn holder(&self, job: &JobId) -> Result<Option<NodeId>, Error> {
        let job = job.clone();
        self.read(move |connection| holder(connection, &job)).await
    }

    async fn held(&self) -> Result<BTreeMap<NodeId, u64>, Error> {
        self.read(held).await
    }

    fn is_shared(&self) -> bool {
        self.shared
    }

    fn notices(&self) -> Option<broadcast::Receiver<Notice>> {
        None
    }
}
