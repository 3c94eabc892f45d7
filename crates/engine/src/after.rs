//! Jobs that wait for others. Whoever has to end is told of in the record of those that follow; its end is told to them by the
//! daemon under which it was committed, or by the next one.

use crate::asker::Asker;
use crate::{Engine, Error};
use dauer_core::{After, EventKind, Job, JobId, State, When};
use futures_util::{StreamExt, TryStreamExt};
use std::collections::BTreeSet;
use std::time::Duration;

/// How many are told side by side.
const PARALLEL: usize = 32;

/// After an error of the store it is tried again so much later, then twice that, up to ten times that.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Nobody waits for more jobs than this.
const AFTER_MAX: usize = 1000;

/// That a job follows another one, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follows {
    /// Whom.
    pub whom: Whom,
    /// How that has to end.
    pub when: When,
}

/// Another job, as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// By its id, its name, or a beginning of its id.
    Job(String),
    /// By its place in the same request.
    Place(usize),
}

/// The same, where the other one is known to be there, or to be in the same request.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    Job(JobId, When),
    Place(usize, When),
}

impl Engine {
    /// Looks up what is named; `own` is the place of the job that names it.
    pub(crate) async fn resolve(
        &self,
        follows: &[Follows],
        own: usize,
    ) -> Result<Vec<Known>, Error> {
        if follows.len() > AFTER_MAX {
            let text = format!("it comes after {} jobs: at most {AFTER_MAX}", follows.len());
            return Err(Error::invalid("after", text));
        }
        let mut known = Vec::with_capacity(follows.len());
        for (index, Follows { whom, when }) in follows.iter().enumerate() {
            let field = || format!("after[{index}]");
            known.push(match whom {
                Whom::Place(place) if *place < own => Known::Place(*place, *when),
                Whom::Place(place) => {
                    let text = format!(
                        "index {place} is not that of a job before this one in the same request"
                    );
                    return Err(Error::invalid(field(), text));
                }
                Whom::Job(text) => match self.find(text).await {
                    Ok(id) => Known::Job(id, *when),
                    Err(error @ (Error::NotFound(_) | Error::Ambiguous(_))) => {
                        return Err(Error::invalid(field(), error.to_string()));
                    }
                    Err(error) => return Err(error),
                },
            });
        }
        Ok(known)
    }

    /// The job with what it waits for; `together` are the jobs of the same request, in their places.
    pub(crate) async fn placed_after(
        &self,
        mut job: Job,
        known: &[Known],
        together: &[JobId],
    ) -> Result<Job, Error> {
        let mut blocked_by = BTreeSet::new();
        for known in known {
            let (id, when) = match known {
                Known::Job(id, when) => (id, *when),
                Known::Place(place, when) => match together.get(*place) {
                    Some(id) => (id, *when),
                    None => return Err(Error::Failed("a place without a job".into())),
                },
            };
            job.spec_mut().after.push(After {
                job: id.clone(),
                when,
            });
            let ended = match self.job(id).await {
                Ok(other) => other.state.is_terminal().then_some(other.state),
                // Of this request, and not there yet.
                Err(Error::NotFound(_)) => None,
                Err(error) => return Err(error),
            };
            // Where it ended in another way, the job is told so as soon as it is there.
            if !ended.is_some_and(|state| when.is_met_by(Some(state))) {
                blocked_by.insert(id.clone());
            }
        }
        if !blocked_by.is_empty() {
            self.queue_settings().set_followed();
        }
        Ok(job.blocked_by(blocked_by.into_iter().collect()))
    }

    /// A job that waits for others was written down: those that ended before that told nobody.
    pub(crate) async fn settle(&self, job: &Job) {
        for by in &job.blocked_by {
            let ended = match self.job(by).await {
                Ok(other) if other.state.is_terminal() => Some(other.state),
                Ok(_) => continue,
                Err(Error::NotFound(_)) => None,
                Err(error) => {
                    tracing::warn!(job = %job.id, %error, "looking for what it comes after; it waits until the next start");
                    continue;
                }
            };
            if let Err(error) = self.tell_one(&job.id, by, ended).await {
                tracing::warn!(job = %job.id, %error, "telling what it comes after; it waits until the next start");
            }
        }
    }

    /// The same, and the job as it is then.
    pub(crate) async fn settled(&self, job: Job) -> Result<Job, Error> {
        if job.blocked_by.is_empty() {
            return Ok(job);
        }
        self.settle(&job).await;
        self.job(&job.id).await
    }

    async fn tell_one(
        &self,
        follower: &JobId,
        ended: &JobId,
        state: Option<State>,
    ) -> Result<(), Error> {
        let event = EventKind::DependencyEnded {
            job: ended.clone(),
            ended: state,
        };
        match self.tell(follower, event).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Tells those that wait for this job that it has ended; absent: it is gone.
    pub(crate) async fn tell_followers(
        &self,
        ended: &JobId,
        state: Option<State>,
    ) -> Result<(), Error> {
        let followers = self.store().followers(ended).await?;
        let asker = Asker::new("job", ended);
        let telling = futures_util::stream::iter(followers)
            .map(|follower| async move { self.tell_one(&follower, ended, state).await })
            .buffer_unordered(PARALLEL)
            .try_collect::<()>();
        asker.asks(telling).await
    }

    /// The same on a task of its own, until it is done.
    pub(crate) fn spawn_telling(&self, ended: JobId, state: Option<State>) {
        let engine = self.clone();
        tokio::spawn(async move {
            let mut pause = AGAIN_AFTER;
            while let Err(error) = engine.tell_followers(&ended, state).await {
                tracing::warn!(job = %ended, %error, "telling those that wait for it; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(AGAIN_AFTER * 10);
            }
        });
    }

    /// After a start: the daemon before may have died between an end and the telling of it.
    pub(crate) async fn tell_all_followers(&self) -> Result<(), Error> {
        for ended in self.store().ended_before_followers().await? {
            let state = match self.job(&ended).await {
                Ok(job) => Some(job.state),
                Err(Error::NotFound(_)) => None,
                Err(error) => return Err(error),
            };
            self.spawn_telling(ended, state);
        }
        Ok(())
    }
}
