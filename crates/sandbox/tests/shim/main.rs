//! The shim from outside, with real sandboxes of every driver that this machine has: as the daemon uses it.

mod fixture;
mod freeze;
mod lifecycle;
mod output;
mod requests;
mod streams;
