//! Calls about the nodes on the store.

use crate::error::Refusal;
use crate::routes::Shared;
use axum::Json;
use axum::extract::State;
use dauer_engine::NodeState;
use dauer_wire::http::{NodeList, NodeView};

/// The nodes on the store of this daemon
///
/// Each holds the jobs that run on it. What another node holds is read from any of them and changed only there:
/// `held_by_another_node` says where.
#[utoipa::path(get, path = "/v1/nodes", tag = "daemon", responses((status = 200, description = "The nodes.", body = NodeList)))]
pub(crate) async fn list(State(shared): State<Shared>) -> Result<Json<NodeList>, Refusal> {
    let nodes = shared.engine.node_states().await?;
    Ok(Json(NodeList {
        nodes: nodes.into_iter().map(view).collect(),
    }))
}

fn view(state: NodeState) -> NodeView {
    let until = state.lease.until.0;
    NodeView {
        node: state.lease.node.0,
        epoch: state.lease.epoch,
        lease_until_at: (until < i64::MAX).then_some(until),
        address: state.lease.address,
        jobs: state.jobs,
        this: state.is_this,
    }
}
