//! The nodes on one store.

use serde::{Deserialize, Serialize};

/// A daemon that has a lease on the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeView {
    /// Its name, the same each time it starts.
    pub node: String,
    /// Grows each time it starts, and when another node takes over from it.
    pub epoch: u64,
    /// If nothing is heard of it until then, another node takes over its jobs. Absent where the store is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until_at: Option<i64>,
    /// Where its daemon can be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// So many jobs it holds: those that run, or are on their way up or down.
    pub jobs: u64,
    /// It is the node that answers.
    pub this: bool,
}

/// `GET /v1/nodes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeList {
    /// By their names.
    pub nodes: Vec<NodeView>,
}
