//! The calls of a job for itself: what a Rust program that runs in a sandbox of Dauer programs against.
//!
//! ```no_run
//! use dauer_client::job;
//! use std::time::Duration;
//!
//! # async fn gather() -> String { String::new() }
//! # async fn send(_: &str) {}
//! # async fn example() -> Result<(), dauer_client::Error> {
//! let report = gather().await;                       // runs once, also if the machine is switched off at the next line
//! job::checkpoint(None).await?;
//! let answer: serde_json::Value = job::wait_signal("decision", Default::default()).await?;   // suspended: no memory
//! job::with_lock(None, async { send(&report).await }).await?;                   // no checkpoint in here
//! job::sleep(Duration::from_secs(3600)).await?;      // suspended again
//! job::exit(&answer, 0).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A freeze can cut each of these requests at any byte. So each has its key before its first try and is repeated until it has a whole
//! answer. Outside of Dauer they are harmless: [`checkpoint`] answers [`Status::NotManaged`], [`sleep`] sleeps.

mod api;
mod freeze;
mod lock;
mod ready;
mod signal;
mod tell;
#[cfg(test)]
mod tests;

pub use freeze::{Checkpointed, Status, checkpoint, restored, sleep};
pub use lock::{Lock, lock, with_lock};
pub use ready::{Readiness, Ready, ready};
pub use signal::{Wait, wait_signal};
pub use tell::{Metadata, exit, metadata, params, progress};

/// Whether this process runs as a job of Dauer.
#[must_use]
pub fn managed() -> bool {
    api::address().is_some()
}
