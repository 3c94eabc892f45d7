//! The call that removes what nothing refers to.

use crate::{Client, Error};
use dauer_wire::http::{GcCall, GcReport};

impl Client {
    /// Removes what nothing refers to on the daemon's node, or only says what that is.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Unreachable`], [`Error::Lost`].
    pub async fn collect_garbage(&self, dry_run: bool) -> Result<GcReport, Error> {
        self.post("/v1/gc", &GcCall { dry_run }).await
    }
}
