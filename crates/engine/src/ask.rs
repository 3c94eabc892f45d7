//! A request for a checkpoint, on its way to the runner. Requests that come while an operation is in flight wait their turn:
//! the state frozen by the one in flight may be older than the request. Those that wait collapse into one where they can.

use crate::{Engine, Error};
use dauer_core::{Checkpoint, JobId, Then};
use tokio::sync::oneshot;

/// The end of a request that waits.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// Somebody wants a checkpoint.
pub(crate) struct Ask {
    /// The job's own key, where the job asked.
    pub(crate) token: Option<String>,
    /// The incarnation that asked, where the job did: what an earlier one asked was rolled back or answered.
    pub(crate) generation: Option<u32>,
    /// What comes after.
    pub(crate) then: Then,
    /// Answered when the request is committed.
    pub(crate) accepted: Option<Answer<()>>,
    /// Answered when the checkpoint is committed.
    pub(crate) done: Option<Answer<Checkpoint>>,
}

impl Ask {
    /// A request of a caller; the receiver gets the committed checkpoint.
    pub(crate) fn by_a_caller(then: Then) -> (Self, oneshot::Receiver<Result<Checkpoint, Error>>) {
        let (done, receiver) = oneshot::channel();
        (
            Self {
                token: None,
                generation: None,
                then,
                accepted: None,
                done: Some(done),
            },
            receiver,
        )
    }

    /// A request of the job itself; the receiver hears when it is committed.
    pub(crate) fn by_the_job(
        generation: u32,
        token: &str,
        then: Then,
    ) -> (Self, oneshot::Receiver<Result<(), Error>>) {
        let (accepted, receiver) = oneshot::channel();
        let token = Some(token.to_owned());
        (
            Self {
                token,
                generation: Some(generation),
                then,
                accepted: Some(accepted),
                done: None,
            },
            receiver,
        )
    }

    /// It will not be done.
    pub(crate) fn refuse(self, error: &Error) {
        // A caller that went away needs no answer.
        if let Some(accepted) = self.accepted {
            let _gone = accepted.send(Err(error.clone()));
        }
        if let Some(done) = self.done {
            let _gone = done.send(Err(error.clone()));
        }
    }

    /// One checkpoint serves both: neither has a key of its own, and both go on afterwards.
    pub(crate) fn joins(&self, other: &Self) -> bool {
        self.token.is_none()
            && other.token.is_none()
            && self.then == Then::Continue
            && other.then == Then::Continue
    }
}

impl Engine {
    /// Hands a request to the job's runner.
    pub(crate) fn ask_checkpoint(&self, job: &JobId, ask: Ask) -> Result<(), Error> {
        self.send(job, crate::runner::Message::Ask(ask));
        Ok(())
    }
}
