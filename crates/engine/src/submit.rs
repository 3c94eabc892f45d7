//! Accepting jobs: everything that can be refused is refused before anything is written.

use crate::after::Follows;
use crate::asker::{self, Asker};
use crate::check::{self, check};
use crate::{Config, Engine, Error, clock, images, warm};
use dauer_core::{Checkpoint, EventKind, Job, JobId, JobSpec, OnConflict, SandboxId};
use dauer_sandbox::driver::{self, probe};
use dauer_sandbox::{HOST_NAME, Origin, SandboxSpec};
use dauer_store::{Keyed, NewEntry, NewJob};
use dauer_wire::http::DriverView;
use std::sync::Arc;

/// 16 random hexadecimal digits.
pub(crate) fn random_id() -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    random[..16].to_owned()
}

/// A random number, any as likely as any other. Nobody's secret: it spreads what would happen at once.
pub(crate) fn random_number() -> u64 {
    fastrand::u64(..)
}

/// A request for a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// What is asked for; its driver may be `auto`.
    pub spec: JobSpec,
    /// What makes the request safe to repeat.
    pub key: Option<RequestKey>,
    /// What has to end before it begins; this, and not what the spec says of it, counts.
    pub after: Vec<Follows>,
}

/// A job that was handed over.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The job.
    pub job: Job,
    /// It was there before and stands for the one that was asked for.
    pub existing: bool,
}

/// The key of a request: the same request with it is answered with the same job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// Chosen by the caller.
    pub key: String,
    /// Of all that the request asks for: another one with this key is refused.
    pub digest: String,
}

impl RequestKey {
    /// The job that this very request made. Errors: `KeyInUse`.
    pub(crate) fn made(&self, used: Keyed) -> Result<JobId, Error> {
        if used.digest == self.digest {
            return Ok(used.job);
        }
        Err(Error::KeyInUse {
            key: self.key.clone(),
            job: used.job.0,
        })
    }
}

impl Engine {
    /// Accepts a job, and starts it where it is due and there is room. Returns when that is committed.
    ///
    /// # Errors
    /// `InvalidField`, `Invalid` and `Unsupported` with one line that says what to do; `NameInUse`; `KeyInUse`; `NotUnique`.
    /// Nothing was written then.
    pub async fn submit(&self, submission: Submission) -> Result<Accepted, Error> {
        let spec = &submission.spec;
        let is_limited = spec.cpu_millis.is_some() || spec.memory_bytes.is_some();
        self.node().foresee(&spec.driver, is_limited);
        // Until it is committed.
        let _images = self.keep_images(&[spec]).await;
        let [new] = self
            .new_jobs(vec![submission.spec])
            .await?
            .try_into()
            .map_err(|_| Error::Failed("one request made several jobs".into()))?;
        let after = self.resolve(&submission.after, 0).await?;
        let mut job = self.placed_after(new, &after, &[]).await?;
        let key = submission.key;
        let pair = key.clone().map(|key| (key.key, key.digest));
        loop {
            let shares = match self.shared_by(&job).await {
                Err(Error::Vanished(_)) if job.spec.is_warm() => {
                    job = warm::without_template(job);
                    continue;
                }
                shares => shares?,
            };
            let (other, existing) = match self.add(new_job(job.clone(), pair.clone(), shares)).await
            {
                Err(dauer_store::Error::Unreferenced(_)) if job.spec.is_warm() => {
                    job = warm::without_template(job);
                    continue;
                }
                Ok(job) => {
                    let job = self.settled(job).await?;
                    let existing = false;
                    return Ok(Accepted { job, existing });
                }
                Err(dauer_store::Error::NotUnique { job: holder, .. })
                    if answers_existing(&job.spec) =>
                {
                    (holder, true)
                }
                // The same request was faster.
                Err(dauer_store::Error::KeyInUse { used, key: text }) => {
                    let Some(key) = &key else {
                        return Err(Error::Failed(format!("the key {text:?} was never given")));
                    };
                    (key.made(used)?, false)
                }
                Err(error) => return Err(error.into()),
            };
            match self.job(&other).await {
                Ok(job) => return Ok(Accepted { job, existing }),
                // Removed just now: nothing stands for this one any more.
                Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The job that this very request made before, if it did.
    ///
    /// # Errors
    /// `KeyInUse` where another request made one with this key.
    pub async fn submitted(&self, key: &RequestKey) -> Result<Option<Job>, Error> {
        match self
            .store()
            .keyed(vec![key.key.clone()])
            .await?
            .remove(&key.key)
        {
            Some(used) => Ok(Some(self.job(&key.made(used)?).await?)),
            None => Ok(None),
        }
    }

    /// Jobs of these specs, checked and with ids that grow in their order.
    pub(crate) async fn new_jobs(&self, specs: Vec<JobSpec>) -> Result<Vec<Job>, Error> {
        let several = specs.len() > 1;
        let mut jobs = Vec::with_capacity(specs.len());
        for mut spec in specs {
            // Whatever was decided when it was described: a schedule's jobs are described once.
            spec.begin_cold(None);
            self.resolve_from(&mut spec).await?;
            if spec.driver == "auto" {
                spec.driver = self.default_driver().await?;
            }
            if let Some(parent) = spec.parent {
                let place = format!("jobs[{}]", jobs.len());
                let found = self.parent(&parent).await;
                let found =
                    found.map_err(|error| if several { error.within(&place) } else { error })?;
                spec.parent = Some(found);
            }
            let id = JobId(uuid::Uuid::now_v7().to_string());
            jobs.push(Job::new(id, spec, clock::now()));
        }
        if let Some(host) = self.inline().filter(|_| jobs.iter().all(Job::is_inline)) {
            check::check_inline(&jobs, host)?;
            return Ok(jobs);
        }
        let jobs = self.check_all(jobs, several).await?;
        self.warmed_up(jobs).await
    }

    /// Checks on a thread that may block.
    pub(crate) async fn check_all(
        &self,
        mut jobs: Vec<Job>,
        several: bool,
    ) -> Result<Vec<Job>, Error> {
        let config = self.config().clone();
        let images = self.keeper().images.clone();
        let work = move || {
            for (index, job) in jobs.iter_mut().enumerate() {
                let checked = images::resolve(&images, Arc::make_mut(&mut job.spec))
                    .and_then(|()| check(job, &config));
                if let Err(error) = checked {
                    let place = format!("jobs[{index}]");
                    return Err(if several { error.within(&place) } else { error });
                }
            }
            Ok(jobs)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| Error::Failed(format!("checking the job: {e}")))?
    }

    /// Finds the kept state on whose files a job is to begin: what is below them is its image.
    async fn resolve_from(&self, spec: &mut JobSpec) -> Result<(), Error> {
        let Some(named) = spec.from.as_ref().filter(|_| spec.fork.is_none()) else {
            return Ok(());
        };
        let Some(id) = self.kept_by_name(named.as_str()).await? else {
            let text = format!("no snapshot {named}: `dauer snapshot ls` lists those there are");
            return Err(Error::invalid("from", text));
        };
        let manifest = self.manifest(&id).await?;
        if spec.driver == "auto" {
            spec.driver = manifest.identity.driver;
        }
        spec.image = manifest.image;
        spec.from = Some(id);
        Ok(())
    }

    /// The row that keeps what a job begins from for as long as the job is kept.
    pub(crate) async fn shared_by(&self, job: &Job) -> Result<Option<Checkpoint>, Error> {
        match &job.spec.from {
            Some(from) => Ok(Some(self.manifest(from).await?.checkpoint_of(&job.id))),
            None => Ok(None),
        }
    }

    /// The event that gives a waiting job its sandbox: one that waits for it, or a new one.
    pub(crate) fn admission(
        &self,
        promised: Option<SandboxId>,
        counted_ms: Option<u64>,
    ) -> EventKind {
        EventKind::Admitted {
            sandbox: promised.unwrap_or_else(|| SandboxId(random_id())),
            boot_id: self.boot_id().to_owned(),
            counted_ms,
        }
    }

    /// What `auto` means on this machine, for this user.
    ///
    /// # Errors
    /// `Unsupported` where no driver works at all.
    pub async fn default_driver(&self) -> Result<String, Error> {
        if let Some(driver) = &self.config().default_driver {
            return Ok(driver.clone());
        }
        let layout = self.config().layout.clone();
        let best = tokio::task::spawn_blocking(move || probe::best(&layout)).await;
        Ok(best.map_err(|e| Error::Failed(format!("probing the drivers: {e}")))??)
    }

    /// What each driver can do here.
    pub async fn drivers(&self) -> Vec<DriverView> {
        let layout = self.config().layout.clone();
        tokio::task::spawn_blocking(move || probe::all(&layout))
            .await
            .unwrap_or_else(|error| {
                tracing::error!(%error, "probing the drivers");
                Vec::new()
            })
    }

    /// Why a job of this spec cannot be frozen, if it cannot.
    #[must_use]
    pub fn cannot_freeze(&self, spec: &JobSpec) -> Option<String> {
        let job = Job::new(JobId(String::new()), spec.clone(), clock::now());
        let sandbox = sandbox_spec(&job, Origin::Fresh, self.config());
        let driver = driver::by_name(&spec.driver).ok()?;
        driver.freezable(&sandbox).err().map(|e| e.to_string())
    }
}

/// Whether a request for a job that another one stands for is answered with that.
pub(crate) fn answers_existing(spec: &JobSpec) -> bool {
    let unique = spec.unique.as_ref();
    unique.is_some_and(|unique| unique.on_conflict == OnConflict::Existing)
}

/// Such a job with its first entry of the journal, and the row for the kept state that it begins from.
pub(crate) fn new_job(
    job: Job,
    key: Option<(String, String)>,
    shares: Option<Checkpoint>,
) -> NewJob {
    let (by, why) = Asker::words(asker::current().as_deref());
    let entry = NewEntry {
        at: job.created_at,
        event: "submitted".into(),
        from: None,
        detail: described(&job.spec),
        by,
        why,
    };
    NewJob {
        job,
        entry,
        key,
        shares,
    }
}

/// What it was made from, and how it begins where that is said.
fn described(spec: &JobSpec) -> Option<String> {
    let definition = spec.definition.as_ref()?;
    let begins = match &spec.warm {
        Some(_) if spec.is_warm() => ", begins warm".to_owned(),
        Some(warm) => match (&warm.differs, &warm.cold) {
            (Some(field), _) => {
                format!(", begins cold: its {field} is not that of its definition")
            }
            (None, Some(why)) => format!(", begins cold: {why}"),
            (None, None) => String::new(),
        },
        None => String::new(),
    };
    Some(format!("from {definition}{begins}"))
}

/// Its own name where a host may have it, else one made from its id, of which the end is random.
pub(crate) fn host_name(job: &Job) -> String {
    let may = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let name = job.spec.name.as_deref().filter(|name| {
        name.len() <= 63 && name.chars().all(may) && !name.starts_with('-') && !name.ends_with('-')
    });
    match (name, job.id.as_str().rsplit_once('-')) {
        (Some(name), _) => name.to_owned(),
        (None, Some((_, end))) => end.to_owned(),
        (None, None) => HOST_NAME.to_owned(),
    }
}

/// What a shim is told of a job's present incarnation.
pub(crate) fn sandbox_spec(job: &Job, origin: Origin, config: &Config) -> SandboxSpec {
    let spec = JobSpec::clone(&job.spec);
    SandboxSpec {
        id: job
            .sandbox
            .clone()
            .unwrap_or_else(|| SandboxId(String::new())),
        generation: job.generation,
        origin,
        job: job.id.0.clone(),
        host_name: host_name(job),
        driver: spec.driver,
        image: spec.image,
        argv: spec.argv,
        env: spec.env,
        workdir: spec.workdir,
        user: spec.user,
        tty: spec.tty,
        stdin: spec.stdin,
        mounts: spec.mounts,
        inject: spec.inject,
        cpu_millis: spec.cpu_millis,
        memory_bytes: spec.memory_bytes,
        network: spec.network,
        publish: spec.publish,
        keep_disk: spec.keep_disk,
        layout: config.layout.clone(),
        guest_binary: config.guest_binary.clone(),
    }
}
