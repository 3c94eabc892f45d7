//! Writing to a job's standard input, across freezes.

use crate::{Engine, Error};
use bytes::Bytes;
use dauer_core::{JobId, State};

/// The writing end of a job's standard input.
pub struct StdinSink {
    engine: Engine,
    job: JobId,
    sink: Option<dauer_sandbox::StdinSink>,
}

impl Engine {
    /// Opens a job's standard input.
    ///
    /// # Errors
    /// `Conflict` where it was created without one, or has ended.
    pub async fn stdin(&self, id: &JobId) -> Result<StdinSink, Error> {
        let job = self.job(id).await?;
        if !job.spec.stdin {
            return Err(Error::Conflict(
                "the job was created without standard input".into(),
            ));
        }
        Ok(StdinSink {
            engine: self.clone(),
            job: id.clone(),
            sink: None,
        })
    }
}

impl StdinSink {
    /// Writes; returns when the job's side has it, so that the writer is slowed down by the job. Waits while the job is suspended.
    ///
    /// # Errors
    /// `Conflict` where the job has ended.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        loop {
            let sink = match &mut self.sink {
                Some(sink) => sink,
                None => {
                    let opened = self.open().await?;
                    self.sink.insert(opened)
                }
            };
            match sink.write(bytes.clone()).await {
                Ok(()) => return Ok(()),
                // Frozen or lost meanwhile: not taken, so it is written again to the next incarnation.
                Err(dauer_sandbox::Error::Gone) => self.sink = None,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// End of file.
    ///
    /// # Errors
    /// As [`StdinSink::write`].
    pub async fn close(mut self) -> Result<(), Error> {
        loop {
            let sink = match self.sink.take() {
                Some(sink) => sink,
                None => self.open().await?,
            };
            match sink.close().await {
                Ok(()) => return Ok(()),
                Err(dauer_sandbox::Error::Gone) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn open(&self) -> Result<dauer_sandbox::StdinSink, Error> {
        loop {
            let runs = |job: &dauer_core::Job| {
                job.state.is_terminal() || (job.state == State::Running && job.operation.is_none())
            };
            let job = self.engine.wait_until(&self.job, runs).await?;
            if job.state.is_terminal() {
                return Err(Error::Conflict(format!(
                    "the job has ended ({})",
                    job.state
                )));
            }
            match self.engine.link(&self.job).await {
                Ok(link) => match link.stdin().await {
                    Ok(sink) => return Ok(sink),
                    Err(dauer_sandbox::Error::Gone) => self.let_it_settle(&job).await?,
                    Err(error) => return Err(error.into()),
                },
                Err(Error::Conflict(_)) => self.let_it_settle(&job).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// The connection broke but the record does not say so yet.
    async fn let_it_settle(&self, seen: &dauer_core::Job) -> Result<(), Error> {
        self.engine
            .wait_until(&self.job, |job| job.version != seen.version)
            .await
            .map(|_| ())
    }
}
