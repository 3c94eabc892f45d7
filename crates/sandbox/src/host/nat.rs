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
/// The addresses of an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The sandbox's own.
    pub sandbox: std::net::Ipv4Addr,
    /// The host's end.
    pub gateway: std::net::Ipv4Addr,
}
/// x
pub fn address(_i: &Incarnation) -> Result<Addresses, Error> {
    Err(Error::Gone)
}
/// x
pub fn link_name(_i: &str) -> String {
    String::new()
}
