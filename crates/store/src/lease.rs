//! What several daemons on one store need of it: who holds what, since when, until when, and word of what others did.

use crate::Error;
use async_trait::async_trait;
use dauer_core::{JobId, Lease, NodeId, Timestamp};
use std::collections::BTreeMap;
use tokio::sync::broadcast;

/// What somebody else did with the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Something may begin earlier than it seemed. Also said once after words may have been lost.
    Work,
    /// This job was changed.
    Job(JobId),
    /// The settings of a queue or the tokens for callers were changed. Also said once after words may have been lost.
    Settings,
}

/// Leases. A handle and its clones write under the lease they took last; each of their writes is refused with
/// [`Error::Fenced`], and nothing of it written, once its epoch is not the stored one of its node.
///
/// A job that is unsettled after a write is held by the node that wrote it, any other by nobody. What changes or removes a job
/// that another node holds is refused with [`Error::Held`]. A handle without a lease is not asked for anything of this, and what
/// it writes is held by nobody.
#[async_trait]
pub trait Leases: Send + Sync + 'static {
    /// Takes the lease of this node, which it may have had before: its epoch grows, and every older handle of the node is fenced.
    async fn take_lease(
        &self,
        node: &NodeId,
        address: Option<&str>,
        until: Timestamp,
    ) -> Result<Lease, Error>;

    /// Keeps it until then, also where it had run out and nobody took it over. Errors: `Fenced`; `Backend` without a lease.
    async fn renew_lease(&self, until: Timestamp) -> Result<(), Error>;

    /// Gives it back: whatever it still holds may be taken over at once, and the node is forgotten where it holds nothing. The
    /// handle writes under it as before, until somebody takes it. Errors: as `renew_lease`.
    async fn release_lease(&self) -> Result<(), Error>;

    /// The leases that were neither taken over nor given back by a node that held nothing, by their nodes.
    async fn leases(&self) -> Result<Vec<Lease>, Error>;

    /// Takes over the jobs of a node whose lease of this epoch has run out by `now`: its epoch grows, and what it held is held by
    /// this handle's node. Returns those jobs. Of several who try one succeeds. Errors, with nothing written: `LeaseChanged`;
    /// `Fenced`; `Backend` without a lease of one's own, or for it.
    async fn take_over(
        &self,
        node: &NodeId,
        epoch: u64,
        now: Timestamp,
    ) -> Result<Vec<JobId>, Error>;

    /// The node that holds a job.
    async fn holder(&self, job: &JobId) -> Result<Option<NodeId>, Error>;

    /// How many jobs each node holds; those that hold none are left out.
    async fn held(&self) -> Result<BTreeMap<NodeId, u64>, Error>;

    /// Whether others may use it at the same time, so that a lease has to be renewed.
    fn is_shared(&self) -> bool;

    /// What others do with the store, from now on; absent where nobody says.
    fn notices(&self) -> Option<broadcast::Receiver<Notice>>;
}
