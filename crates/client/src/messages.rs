//! What goes to a job and what comes of it: signals, its result.

use crate::calls::path;
use crate::{Client, Error};
use dauer_wire::http::{ResultView, SignalCall, SignalSent};

impl Client {
    /// Sends a signal to a job that has not ended. When this returns, it is durable. Give a token where it may be sent again.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `conflict` where it has ended; [`Error::Lost`] leaves open whether it was sent.
    pub async fn signal(&self, job: &str, call: &SignalCall) -> Result<SignalSent, Error> {
        self.post(&path(job, "/signal"), call).await
    }

    /// How a job ended and what it left; with `wait` when it has ended or after 20 s.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn result(&self, job: &str, wait: bool) -> Result<ResultView, Error> {
        self.get(&path(job, &format!("/result?wait={wait}"))).await
    }
}
