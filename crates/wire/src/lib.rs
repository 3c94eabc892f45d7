//! Messages between Dauer's processes: frames between the guest agent and its shim, and the HTTP bodies of
//! both APIs. Plain data; knows nothing of the other crates.

pub mod frame;
pub mod guest;
pub mod http;
