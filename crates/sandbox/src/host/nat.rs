//! Outbound network by address translation (root only).

use crate::Error;
use crate::driver::Incarnation;
use std::os::fd::OwnedFd;

/// Connects a network namespace to the outside.
pub fn connect(incarnation: &Incarnation, _namespace: &OwnedFd) -> Result<(), Error> {
    Err(Error::Unsupported(format!(
        "{}: --network nat is not there yet",
        incarnation.instance
    )))
}

/// Removes what [`connect`] made.
pub fn disconnect(_instance: &str) -> Result<(), Error> {
    Ok(())
}
