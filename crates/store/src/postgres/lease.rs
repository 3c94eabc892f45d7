//! Leases as rows, and what a lease of this handle means for what it writes.

use super::Postgres;
use super::connection::{Connection, Value};
use super::fault::Fault;
use super::group::{Cut, Group};
use super::sql::{Statement, read, write as sql};
use super::writer::{Done, Stop};
use crate::error::failed;
use crate::record::{signed, unsigned};
use crate::{Error, Leases, Notice};
use async_trait::async_trait;
use dauer_core::{JobId, Lease, NodeId, Timestamp};
use std::collections::BTreeMap;
use tokio::sync::broadcast;
use tokio_postgres::Row;

/// The lease under which a handle and its clones write.
#[derive(Clone, Debug)]
pub(super) struct Mine {
    node: NodeId,
    epoch: u64,
}

impl Mine {
    pub(super) fn of(lease: &Lease) -> Self {
        Self {
            node: lease.node.clone(),
            epoch: lease.epoch,
        }
    }

    pub(super) fn node(&self) -> &str {
        self.node.as_str()
    }

    /// The error once somebody else has taken it.
    pub(super) async fn fenced(&self, connection: &Connection) -> Result<Error, Fault> {
        let rows = connection.rows(&read::LEASE_EPOCH, &[&self.node.0]).await?;
        let found: Option<i64> = match rows.first() {
            Some(row) => row.try_get(0)?,
            None => None,
        };
        Ok(Error::Fenced {
            node: self.node.clone(),
            epoch: self.epoch,
            found: found.map(unsigned),
        })
    }
}

/// What is done with leases.
#[derive(Debug)]
pub(super) enum LeaseChange {
    Take {
        node: NodeId,
        address: Option<String>,
        until: Timestamp,
    },
    Renew(Timestamp),
    Release,
    TakeOver {
        node: NodeId,
        epoch: u64,
        now: Timestamp,
    },
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) enum LeaseChanged {
    Taken(Lease),
    Done,
    TakenOver(Vec<JobId>),
}

/// As a transaction of its own.
pub(super) async fn change(
    group: &Group<'_>,
    mine: Option<&Mine>,
    change: &LeaseChange,
) -> Result<LeaseChanged, Cut> {
    let transaction = Transaction { group };
    group.connection.begin().await?;
    let changed = transaction.change(mine, change).await;
    if changed.is_err() {
        // Where this fails the connection is gone, and the transaction with it.
        if let Err(fault) = group.connection.execute("ROLLBACK").await {
            tracing::debug!(?fault, "a transaction of the store was not rolled back");
        }
    }
    let changed = changed?;
    match group.connection.execute("COMMIT").await {
        Ok(()) => Ok(changed),
        Err(fault) => match Stop::from(fault) {
            Stop::Refused(fault) => Err(Cut::Refused(fault)),
            Stop::Again(_) | Stop::Unknown(()) => {
                Err(Cut::Stop(Stop::Unknown(Done::Lease(changed))))
            }
        },
    }
}

struct Transaction<'a> {
    group: &'a Group<'a>,
}

impl Transaction<'_> {
    async fn ask(
        &self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, Cut> {
        self.group.connection.prepare(statement).await?;
        Ok(self.group.connection.rows(statement, values).await?)
    }

    async fn change(&self, mine: Option<&Mine>, change: &LeaseChange) -> Result<LeaseChanged, Cut> {
        self.group.fence().await?;
        match (change, mine) {
            (
                LeaseChange::Take {
                    node,
                    address,
                    until,
                },
                _,
            ) => self.take(node, address.as_ref(), *until).await,
            (_, None) => Err(rule("this handle of the store has no lease").into()),
            (LeaseChange::Renew(until), Some(mine)) => {
                self.ask(&sql::LEASE_RENEW, &[&mine.node.0, &until.0])
                    .await?;
                Ok(LeaseChanged::Done)
            }
            (LeaseChange::Release, Some(mine)) => {
                self.ask(&sql::LEASE_RELEASE, &[&mine.node.0]).await?;
                Ok(LeaseChanged::Done)
            }
            (LeaseChange::TakeOver { node, epoch, now }, Some(mine)) => {
                self.take_over(mine, node, *epoch, *now).await
            }
        }
    }

    async fn take(
        &self,
        node: &NodeId,
        address: Option<&String>,
        until: Timestamp,
    ) -> Result<LeaseChanged, Cut> {
        let rows = self
            .ask(&sql::LEASE_TAKE, &[&node.0, &until.0, &address])
            .await?;
        let epoch: i64 = match rows.first() {
            Some(row) => row.try_get(0).map_err(Fault::from)?,
            None => return Err(rule("a lease was taken without a number").into()),
        };
        let id = &self.group.fence.id;
        self.ask(&sql::FENCE_OFF, &[&node.0, id]).await?;
        self.ask(&sql::WRITE_UNDER, &[id, &node.0, &epoch]).await?;
        Ok(LeaseChanged::Taken(Lease {
            node: node.clone(),
            epoch: unsigned(epoch),
            until,
            address: address.cloned(),
        }))
    }

    async fn take_over(
        &self,
        mine: &Mine,
        node: &NodeId,
        epoch: u64,
        now: Timestamp,
    ) -> Result<LeaseChanged, Cut> {
        if mine.node == *node {
            return Err(rule("nobody takes over from itself").into());
        }
        let ended = self
            .ask(&sql::LEASE_END, &[&node.0, &signed(epoch), &now.0])
            .await?;
        if ended.is_empty() {
            return Err(Fault::from(Error::LeaseChanged(node.clone())).into());
        }
        // From here on its holder commits nothing any more, and what it committed is seen below.
        let id = &self.group.fence.id;
        self.ask(&sql::FENCE_OFF, &[&node.0, id]).await?;
        let rows = self
            .ask(&sql::TAKE_OVER_JOBS, &[&node.0, &mine.node.0])
            .await?;
        let jobs: Result<Vec<JobId>, _> =
            rows.iter().map(|row| row.try_get(0).map(JobId)).collect();
        let mut jobs = jobs.map_err(Fault::from)?;
        jobs.sort_unstable();
        Ok(LeaseChanged::TakenOver(jobs))
    }
}

fn rule(text: &str) -> Fault {
    failed(text, None).into()
}

#[async_trait]
impl Leases for Postgres {
    async fn take_lease(
        &self,
        node: &NodeId,
        address: Option<&str>,
        until: Timestamp,
    ) -> Result<Lease, Error> {
        let change = LeaseChange::Take {
            node: node.clone(),
            address: address.map(str::to_owned),
            until,
        };
        match self.writer.lease(change).await? {
            LeaseChanged::Taken(lease) => {
                self.set_node(&lease.node);
                Ok(lease)
            }
            LeaseChanged::Done | LeaseChanged::TakenOver(_) => {
                Err(failed("a lease was not taken", None))
            }
        }
    }

    async fn renew_lease(&self, until: Timestamp) -> Result<(), Error> {
        self.writer.lease(LeaseChange::Renew(until)).await?;
        Ok(())
    }

    async fn release_lease(&self) -> Result<(), Error> {
        self.writer.lease(LeaseChange::Release).await?;
        Ok(())
    }

    async fn leases(&self) -> Result<Vec<Lease>, Error> {
        let rows = self.rows(&read::LEASES, &[]).await?;
        self.each(rows, |row| {
            Ok(Lease {
                node: NodeId(row.try_get(0)?),
                epoch: unsigned(row.try_get(1)?),
                until: Timestamp(row.try_get(2)?),
                address: row.try_get(3)?,
            })
        })
    }

    async fn take_over(
        &self,
        node: &NodeId,
        epoch: u64,
        now: Timestamp,
    ) -> Result<Vec<JobId>, Error> {
        let change = LeaseChange::TakeOver {
            node: node.clone(),
            epoch,
            now,
        };
        match self.writer.lease(change).await? {
            LeaseChanged::TakenOver(jobs) => Ok(jobs),
            LeaseChanged::Done | LeaseChanged::Taken(_) => {
                Err(failed("a lease was not taken over", None))
            }
        }
    }

    async fn holder(&self, job: &JobId) -> Result<Option<NodeId>, Error> {
        let rows = self.rows(&read::HOLDER, &[&job.0]).await?;
        let mut holders = self.each(rows, |row| Ok(NodeId(row.try_get(0)?)))?;
        Ok(holders.pop())
    }

    async fn held(&self) -> Result<BTreeMap<NodeId, u64>, Error> {
        let rows = self.rows(&read::HELD, &[]).await?;
        let held = self.each(rows, |row| {
            Ok((NodeId(row.try_get(0)?), unsigned(row.try_get(1)?)))
        })?;
        Ok(held.into_iter().collect())
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn notices(&self) -> Option<broadcast::Receiver<Notice>> {
        Some(self.ears.notices())
    }
}
