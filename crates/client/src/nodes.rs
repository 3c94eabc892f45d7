//! The calls about the nodes on the daemon's store.

use crate::{Client, Error};
use dauer_wire::http::NodeList;

impl Client {
    /// The nodes that share the daemon's store, and what each holds.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Lost`].
    pub async fn nodes(&self) -> Result<NodeList, Error> {
        self.get("/v1/nodes").await
    }
}
