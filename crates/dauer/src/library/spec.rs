//! What is asked for with a job.

use crate::{Error, JobId, Priority, RetryPolicy, Timestamp};
use dauer_core::retry::RetryFrom;
use dauer_core::{INLINE, Image, JobSpec, Network, When};
use dauer_engine::{Follows, Whom};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

/// The year 9999: whoever streams such a job asks for it long before.
const NOT_BY_ITSELF: Timestamp = Timestamp(253_402_300_799_000);

/// From being asked to end to being dropped, where nothing else is said.
const STOP_GRACE_MS: u64 = 10_000;

/// What every job of a handler begins with.
static TEMPLATE: LazyLock<JobSpec> = LazyLock::new(|| {
    let spec = serde_json::from_value::<JobSpec>(serde_json::json!({
        "driver": INLINE, "image": Image::Host, "network": Network::None, "stop_grace_ms": STOP_GRACE_MS,
    }));
    let mut spec =
        spec.expect("invariant: a spec needs no more than a driver, an image and a network");
    spec.retry.from = RetryFrom::Checkpoint;
    spec
});

/// A job that is to be submitted: which handler, with which parameters, under which policy.
#[derive(Clone, Debug)]
pub struct Spec {
    pub(crate) spec: JobSpec,
    pub(crate) key: Option<String>,
    pub(crate) after: Vec<Follows>,
}

impl Spec {
    /// A job of this handler: no parameters, normal priority, no retries, no timeout.
    #[must_use]
    pub fn new(handler: impl Into<String>) -> Self {
        let mut spec = TEMPLATE.clone();
        spec.argv = vec![handler.into()];
        Self {
            spec,
            key: None,
            after: Vec::new(),
        }
    }

    /// What the handler is called with.
    ///
    /// # Errors
    /// `Invalid` where it cannot be written as JSON.
    pub fn params<T: Serialize>(mut self, params: &T) -> Result<Self, Error> {
        let params = serde_json::to_value(params)
            .map_err(|error| Error::Invalid(format!("the parameters: {error}")))?;
        self.spec.params = Some(params);
        Ok(self)
    }

    /// A name that no other kept job has.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.spec.name = Some(name.into());
        self
    }

    /// Something to find it by; of several with one key the last counts.
    #[must_use]
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.spec.tags.insert(key.into(), value.into());
        self
    }

    /// Whatever is to be found with the job.
    #[must_use]
    pub fn metadata(mut self, metadata: BTreeMap<String, Value>) -> Self {
        self.spec.metadata = metadata;
        self
    }

    /// Which of the jobs that wait begins first.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.spec.priority = priority;
        self
    }

    /// At most so many attempts after a failed one, with the delays of the policy: one second, then twice as long each time.
    #[must_use]
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.spec.retry.max_retries = retries;
        self
    }

    /// What follows a failed attempt, in full.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.spec.retry = policy;
        self
    }

    /// What follows a failed attempt as it stands, to build on.
    #[must_use]
    pub fn policy(&self) -> &RetryPolicy {
        &self.spec.retry
    }

    /// How long an attempt may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.spec.timeout_ms = Some(millis(timeout));
        self
    }

    /// How long the whole job may take, with all of its attempts and what lies between them.
    #[must_use]
    pub fn job_timeout(mut self, timeout: Duration) -> Self {
        self.spec.job_timeout_ms = Some(millis(timeout));
        self
    }

    /// How long it may wait for its turn.
    #[must_use]
    pub fn queue_timeout(mut self, timeout: Duration) -> Self {
        self.spec.queue_timeout_ms = Some(millis(timeout));
        self
    }

    /// From being asked to end to being dropped; 10 s where nothing is said.
    #[must_use]
    pub fn stop_grace(mut self, grace: Duration) -> Self {
        self.spec.stop_grace_ms = millis(grace);
        self
    }

    /// The queue it waits in, with the limits and the rate that this has.
    #[must_use]
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.spec.queue = Some(name.into());
        self
    }

    /// Jobs of one key share what their queue allows a key.
    #[must_use]
    pub fn concurrency_key(mut self, key: impl Into<String>) -> Self {
        self.spec.concurrency_key = Some(key.into());
        self
    }

    /// It begins when that job has completed, and fails where it ends otherwise.
    #[must_use]
    pub fn after(mut self, job: &JobId) -> Self {
        self.after.push(Follows {
            whom: Whom::Job(job.0.clone()),
            when: When::Completed,
        });
        self
    }

    /// It does not begin before.
    #[must_use]
    pub fn run_at(mut self, moment: Timestamp) -> Self {
        self.spec.run_at = Some(moment);
        self
    }

    /// It does not begin by itself: [`Engine::execute_and_stream`](crate::Engine::execute_and_stream) begins it.
    #[must_use]
    pub fn held(self) -> Self {
        self.run_at(NOT_BY_ITSELF)
    }

    /// Submitting again with the same key answers with the same job.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The record is removed when the job has ended.
    #[must_use]
    pub fn remove_when_ended(mut self) -> Self {
        self.spec.remove_on_exit = true;
        self
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
