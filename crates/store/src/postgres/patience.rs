//! How long and how often something is tried again.

use super::fault::Fault;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;
use tokio::time::Instant;

/// A server that comes back, or another one that takes its place, does so in less than this. After it callers get an error.
const AT_MOST: Duration = Duration::from_secs(60);

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(2);

/// The waits of one thing that is tried again.
#[derive(Debug)]
pub(super) struct Patience {
    waits: ExponentialBackoff,
    until: Instant,
}

impl Patience {
    pub(super) fn new() -> Self {
        let waits = ExponentialBuilder::default()
            .with_min_delay(FIRST)
            .with_max_delay(LONGEST)
            .with_jitter()
            .without_max_times()
            .build();
        Self {
            waits,
            until: Instant::now() + AT_MOST,
        }
    }

    /// Waits; an error where it was tried for long enough.
    pub(super) async fn wait(&mut self, why: &str) -> Result<(), Fault> {
        if Instant::now() >= self.until {
            return Err(Fault::Unreachable(why.to_owned()));
        }
        self.pause().await;
        Ok(())
    }

    /// Waits, however often it was tried.
    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.waits.next().unwrap_or(LONGEST)).await;
    }
}
