//! Reaching into a running job: other programs beside it, its terminal, its shim.

use crate::engine::on_its_way;
use crate::{Engine, Error, scheduler};
use dauer_core::{Job, JobId, State};
use dauer_sandbox::{ExecSession, Link};
use dauer_wire::guest::Command;
use std::time::Duration;

/// How long a call that needs a running job waits for its turn to begin.
const TURN_SOON: Duration = Duration::from_secs(5);

impl Engine {
    fn is_due(&self, job: &Job) -> bool {
        job.state == State::Pending && job.wake_at.is_none_or(|at| at <= self.now())
    }

    /// Runs another program beside the job.
    ///
    /// # Errors
    /// `Conflict` where it does not run.
    pub async fn exec(&self, id: &JobId, mut command: Command) -> Result<ExecSession, Error> {
        let job = self.job(id).await?;
        for (name, value) in &job.spec.env {
            command
                .env
                .entry(name.clone())
                .or_insert_with(|| value.clone());
        }
        command.workdir = command.workdir.or_else(|| job.spec.workdir.clone());
        command.user = command.user.or_else(|| job.spec.user.clone());
        Ok(self.link(id).await?.exec(command).await?)
    }

    /// Tells the job's terminal its size.
    ///
    /// # Errors
    /// `Conflict` where it does not run.
    pub async fn resize(&self, id: &JobId, rows: u16, columns: u16) -> Result<(), Error> {
        Ok(self.link(id).await?.resize(rows, columns).await?)
    }

    /// The connection to a job's shim, once it runs.
    pub(crate) async fn link(&self, id: &JobId) -> Result<Link, Error> {
        // One whose turn is about to come is waited for, too, but not one that waits in a long queue or for a date.
        let begun = self.wait_until(id, |job| !scheduler::waits(job) || !self.is_due(job));
        if let Ok(Err(error)) = tokio::time::timeout(TURN_SOON, begun).await {
            return Err(error);
        }
        let job = self.wait_until(id, |job| !on_its_way(job)).await?;
        if let Some(error) = self.held_elsewhere(&job).await? {
            return Err(error);
        }
        let live = self.lock_live().get(id).cloned();
        let link = live.and_then(|live| live.link.lock().expect("no panic while held").clone());
        match link {
            Some(link) if job.state == State::Running => Ok(link),
            Some(_) | None => Err(Error::Conflict(format!(
                "the job is {}, not running",
                job.state
            ))),
        }
    }
}
