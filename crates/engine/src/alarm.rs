//! What is due without anybody saying so, while a job has a runner: KILL after TERM, the ends of its times, a rise that takes too
//! long.

use crate::runner::Runner;
use dauer_core::{Ended, EventKind, Intent, Operation, timeout};
use std::time::Duration;
use tokio::time::Instant;

/// A sandbox that is not up after so long is given up.
const RISE_MAX: Duration = Duration::from_secs(180);

impl Runner {
    /// The next moment at which something is due without anybody saying so.
    pub(crate) fn next_alarm(&self) -> Option<Instant> {
        let due = match &self.job.intent {
            Some(Intent::End { kill_at, .. }) => Some(*kill_at),
            Some(Intent::Checkpoint { .. } | Intent::Wake { .. }) | None => {
                timeout::next_limit(&self.job).map(|(over_at, _)| over_at)
            }
        };
        let now = self.engine.now();
        // Checkpoints wait for locks.
        let locks = self.job.locks_held(now).filter(|_| !self.asks.is_empty());
        let due = due
            .into_iter()
            .chain(locks.filter_map(|lock| lock.expires_at))
            .min();
        let due = due.map(|due| Instant::now() + Duration::from_millis(due.since(now)));
        let given_up = self.rising_since.map(|(_, since)| since + RISE_MAX);
        [due, self.look_again_at, given_up, self.unwritten.due_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Every state on the way has an end: notes since when a sandbox is on its way up.
    pub(crate) fn watch_the_rise(&mut self) {
        let rising = matches!(
            self.job.operation,
            Some(Operation::Starting | Operation::Waking | Operation::Restarting)
        );
        match self.rising_since {
            _ if !rising => self.rising_since = None,
            Some((generation, _)) if generation == self.job.generation => {}
            Some(_) | None => self.rising_since = Some((self.job.generation, Instant::now())),
        }
    }

    async fn give_up_the_rise(&mut self) {
        let message = format!("its sandbox was not up after {} s", RISE_MAX.as_secs());
        let ended = match self.job.operation {
            Some(Operation::Starting) => Ended::StartFailed { code: 125, message },
            Some(
                Operation::Waking
                | Operation::Restarting
                | Operation::Checkpointing
                | Operation::Suspending
                | Operation::Terminating
                | Operation::Exiting,
            )
            | None => Ended::RestoreFailed {
                message,
                bad_image: false,
            },
        };
        self.apply(Some(self.job.generation), EventKind::Ended(ended))
            .await;
    }

    pub(crate) async fn ring(&mut self) {
        if self.look_again_at.is_some_and(|at| at <= Instant::now()) {
            self.look_again_at = None;
            self.look_again_after = (self.look_again_after * 2).min(Duration::from_secs(30));
            self.reconcile().await;
            return;
        }
        if self
            .rising_since
            .is_some_and(|(_, since)| since + RISE_MAX <= Instant::now())
        {
            self.rising_since = None;
            self.give_up_the_rise().await;
            return;
        }
        if self
            .unwritten
            .due_at()
            .is_some_and(|at| at <= Instant::now())
        {
            self.write_progress().await;
            return;
        }
        let now = self.engine.now();
        match self.job.intent {
            Some(Intent::End { kill_at, .. }) if kill_at <= now => {
                self.apply(None, EventKind::GraceOver).await
            }
            Some(Intent::End { .. } | Intent::Checkpoint { .. } | Intent::Wake { .. }) | None => {
                self.apply(None, EventKind::DeadlineReached).await
            }
        }
    }
}
