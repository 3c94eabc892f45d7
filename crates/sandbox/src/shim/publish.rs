//! Ports of the host forwarded into the sandbox.

use crate::Error;
use crate::driver::Incarnation;

/// Opens the published ports; connections are served until the shim ends.
pub(super) fn publish(incarnation: &Incarnation) -> Result<(), Error> {
    if incarnation.spec.publish.is_empty() {
        return Ok(());
    }
    Err(Error::Unsupported("ports cannot be published yet".into()))
}
