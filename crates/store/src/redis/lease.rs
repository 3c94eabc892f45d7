//! Leases: who acts, under which epoch, until when.

use super::Redis;
use super::answer::{list, number, some_text, text, tuple};
use super::ask::Ask;
use super::encode::{LeaseWrite, encoded_lease};
use super::fault::Fault;
use crate::{Error, Leases, Notice};
use async_trait::async_trait;
use dauer_core::{JobId, Lease, NodeId, Timestamp};
use std::collections::BTreeMap;
use tokio::sync::broadcast;

/// Under which a handle writes.
#[derive(Clone, Debug)]
pub(super) struct Mine {
    pub(super) node: NodeId,
    pub(super) epoch: u64,
}

#[async_trait]
impl Leases for Redis {
    async fn take_lease(
        &self,
        node: &NodeId,
        address: Option<&str>,
        until: Timestamp,
    ) -> Result<Lease, Error> {
        let take = LeaseWrite::TakeLease {
            node: node.as_str(),
            address,
            till: until.0.to_string(),
        };
        let said = self
            .writer
            .lease(encoded_lease(take), Some(node.clone()))
            .await?;
        let epoch = said.first().and_then(|epoch| epoch.parse().ok());
        Ok(Lease {
            node: node.clone(),
            epoch: epoch.ok_or(Fault::Form("a lease"))?,
            until,
            address: address.map(str::to_owned),
        })
    }

    async fn renew_lease(&self, until: Timestamp) -> Result<(), Error> {
        let till = until.0.to_string();
        let renew = LeaseWrite::RenewLease { till };
        self.writer
            .lease(encoded_lease(renew), None)
            .await
            .map(drop)
    }

    async fn release_lease(&self) -> Result<(), Error> {
        let release = encoded_lease(LeaseWrite::ReleaseLease);
        self.writer.lease(release, None).await.map(drop)
    }

    async fn leases(&self) -> Result<Vec<Lease>, Error> {
        let mut leases = Vec::new();
        for row in list(Ask::of("leases").on(&self.reading).await?)? {
            let [node, epoch, until, address] = tuple(row)?;
            leases.push(Lease {
                node: NodeId(text(node)?),
                epoch: number(epoch)?,
                until: Timestamp(number(until)?),
                address: some_text(address)?,
            });
        }
        leases.sort_by(|one, other| one.node.cmp(&other.node));
        Ok(leases)
    }

    async fn take_over(
        &self,
        node: &NodeId,
        epoch: u64,
        now: Timestamp,
    ) -> Result<Vec<JobId>, Error> {
        let take = LeaseWrite::TakeOver {
            node: node.as_str(),
            epoch: epoch.to_string(),
            now: now.0.to_string(),
        };
        let jobs = self.writer.lease(encoded_lease(take), None).await?;
        Ok(jobs.into_iter().map(JobId).collect())
    }

    async fn holder(&self, job: &JobId) -> Result<Option<NodeId>, Error> {
        let found = Ask::of("holder")
            .about(job.as_str())
            .on(&self.reading)
            .await?;
        Ok(some_text(found)?.map(NodeId))
    }

    async fn held(&self) -> Result<BTreeMap<NodeId, u64>, Error> {
        let mut held = BTreeMap::new();
        for row in list(Ask::of("held").on(&self.reading).await?)? {
            let [node, count] = tuple(row)?;
            held.insert(NodeId(text(node)?), number(count)?);
        }
        Ok(held)
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn notices(&self) -> Option<broadcast::Receiver<Notice>> {
        Some(self.ears.listen())
    }
}
