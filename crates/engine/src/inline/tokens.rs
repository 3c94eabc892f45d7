//! Following what a function emits, from before it begins until its job has ended.

use crate::{Engine, Error};
use dauer_core::{EventKind, Job, JobId, State};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Stream};
use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// So many tokens wait for a slow reader; then the function does.
const TOKENS_MAX: usize = 64;

/// Who listens to which job.
#[derive(Default)]
pub(super) struct Listeners {
    channels: Mutex<HashMap<JobId, mpsc::Sender<String>>>,
}

impl Listeners {
    fn channels(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, mpsc::Sender<String>>> {
        self.channels.lock().expect("no panic while held")
    }

    fn listen(&self, job: &JobId) -> Option<mpsc::Receiver<String>> {
        let mut channels = self.channels();
        if channels.contains_key(job) {
            return None;
        }
        let (sender, receiver) = mpsc::channel(TOKENS_MAX);
        channels.insert(job.clone(), sender);
        Some(receiver)
    }

    pub(super) async fn emit(&self, job: &JobId, token: String) {
        let sender = self.channels().get(job).cloned();
        if let Some(sender) = sender {
            // Whoever listened has gone away: there is nobody to miss it.
            let _gone = sender.send(token).await;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.channels().len()
    }
}

/// What becomes of a job whose stream is dropped before its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenAbandoned {
    /// It goes on, and its output can be asked for.
    #[default]
    GoOn,
    /// It is cancelled.
    Cancel,
}

/// A piece of a stream. As text: the token itself, `[DONE]`, `[ERROR] reason`, `[CANCELLED]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Something that the function emitted.
    Token(String),
    /// The last: the job completed.
    Done,
    /// The last: the job failed, for this reason.
    Error(String),
    /// The last: the job was cancelled.
    Cancelled,
}

impl Item {
    fn of_end(job: &Job) -> Self {
        match job.state {
            State::Completed => Self::Done,
            State::Cancelled => Self::Cancelled,
            State::Failed
            | State::Pending
            | State::Running
            | State::Suspended
            | State::PendingRetry
            | State::Stopped
            | State::Error => {
                let outcome = job.outcome.as_ref();
                let said = outcome.and_then(|outcome| outcome.message.clone());
                let reason = outcome.and_then(|outcome| outcome.reason);
                let reason = reason.map(|reason| reason.name().to_owned());
                Self::Error(said.or(reason).unwrap_or_else(|| "it failed".into()))
            }
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(token) => f.write_str(token),
            Self::Done => f.write_str("[DONE]"),
            Self::Error(reason) => write!(f, "[ERROR] {reason}"),
            Self::Cancelled => f.write_str("[CANCELLED]"),
        }
    }
}

/// The tokens of a job as they come, and how it ended as the last. Dropping it is leaving.
pub struct Tokens {
    /// Absent where the job had ended before.
    tokens: Option<mpsc::Receiver<String>>,
    end: BoxFuture<'static, Item>,
    last: Last,
    /// Dropped last.
    _place: Option<Place>,
}

/// How far the stream is.
enum Last {
    /// The job goes on.
    ToCome,
    /// What is left in the channel comes first.
    Known(Item),
    /// It was given.
    Given,
}

/// Who listens; given back when the stream is dropped.
struct Place {
    engine: Engine,
    job: JobId,
    when_abandoned: WhenAbandoned,
    ended: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(host) = self.engine.inline() {
            host.listeners.channels().remove(&self.job);
        }
        let cancels = self.when_abandoned == WhenAbandoned::Cancel && !self.ended;
        // Without a runtime the program is ending, and the job with it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if cancels {
            let (engine, job) = (self.engine.clone(), self.job.clone());
            runtime.spawn(async move {
                match engine.cancel(&job, None, false).await {
                    // It ended by itself just now.
                    Ok(_) | Err(Error::Conflict(_) | Error::NotFound(_)) => {}
                    Err(error) => {
                        tracing::warn!(%job, %error, "an abandoned job could not be cancelled");
                    }
                }
            });
        }
    }
}

impl Stream for Tokens {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let this = &mut *self;
        if let Last::ToCome = this.last
            && let Poll::Ready(end) = this.end.poll_unpin(context)
        {
            if let Some(place) = &mut this._place {
                place.ended = true;
            }
            this.last = Last::Known(end);
        }
        let next = match &mut this.tokens {
            Some(tokens) if !matches!(this.last, Last::Given) => tokens.poll_recv(context),
            Some(_) | None => Poll::Ready(None),
        };
        match (next, std::mem::replace(&mut this.last, Last::Given)) {
            (Poll::Ready(Some(token)), last) => {
                this.last = last;
                Poll::Ready(Some(Item::Token(token)))
            }
            (Poll::Pending | Poll::Ready(None), Last::Known(end)) => {
                // Nobody emits any more.
                this.tokens = None;
                this._place = None;
                Poll::Ready(Some(end))
            }
            (Poll::Pending | Poll::Ready(None), Last::ToCome) => {
                this.last = Last::ToCome;
                Poll::Pending
            }
            (Poll::Pending | Poll::Ready(None), Last::Given) => Poll::Ready(None),
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Engine {
    /// Follows an inline job to its end, and begins it where it waits to be asked for or for its time. Tokens that it emitted
    /// before are not repeated.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where somebody follows it already.
    pub async fn execute_and_stream(
        &self,
        id: &JobId,
        when_abandoned: WhenAbandoned,
    ) -> Result<Tokens, Error> {
        let job = self.job(id).await?;
        let Some(host) = self.inline().filter(|_| job.is_inline()) else {
            return Err(Error::Unsupported(format!("job {id} is not inline")));
        };
        if job.state.is_terminal() {
            let end = Item::of_end(&job);
            return Ok(Tokens {
                tokens: None,
                end: futures_util::future::pending().boxed(),
                last: Last::Known(end),
                _place: None,
            });
        }
        let Some(tokens) = host.listeners.listen(id) else {
            return Err(Error::Conflict(format!(
                "somebody follows job {id} already"
            )));
        };
        let place = Place {
            engine: self.clone(),
            job: id.clone(),
            when_abandoned,
            ended: false,
        };
        let begun = self.tell(id, EventKind::BeginAsked).await;
        // It ended just now: its stream says how.
        if let Err(error) = begun
            && !matches!(error, Error::Conflict(_))
        {
            return Err(error);
        }
        let (engine, id) = (self.clone(), id.clone());
        let end = async move {
            match engine.wait(&id).await {
                Ok(job) => Item::of_end(&job),
                Err(error) => Item::Error(error.to_string()),
            }
        };
        Ok(Tokens {
            tokens: Some(tokens),
            end: end.boxed(),
            last: Last::ToCome,
            _place: Some(place),
        })
    }

    /// How many streams are open: each is one entry, gone with it.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.inline().map_or(0, |host| host.listeners.len())
    }

    /// How many functions run.
    #[must_use]
    pub fn inline_running(&self) -> usize {
        self.inline().map_or(0, |host| *host.count.borrow())
    }
}
