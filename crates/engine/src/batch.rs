//! Batches: many jobs handed over together, and one handle to look at them, wait for them and end them.

use crate::submit::{answers_existing, new_job};
use crate::{Engine, Error, RequestKey, Submission, warm};
use dauer_core::{End, EventKind, Job, JobId, State, parse};
use dauer_store::{Filter, Keyed, NewJob};
use futures_util::{StreamExt, TryStreamExt};
use std::collections::{BTreeMap, HashMap};

/// How many are ended side by side.
const PARALLEL: usize = 32;

/// How many are looked up at once.
const PAGE: usize = 256;

/// Jobs that were handed over together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Their handle.
    pub id: String,
    /// Their ids, in the order of the request.
    pub jobs: Vec<JobId>,
}

/// How a batch stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchState {
    /// How many jobs are in each state that some are in.
    pub states: BTreeMap<String, u64>,
}

impl BatchState {
    /// How many jobs there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.states.values().sum()
    }

    /// How many of them have ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        let ended = |name: &str| State::from_name(name).is_some_and(State::is_terminal);
        let states = self.states.iter();
        states
            .filter(|(name, _)| ended(name))
            .map(|(_, count)| count)
            .sum()
    }
}

impl Engine {
    /// Accepts all of these jobs, or none. They begin as there is room. With the handle of a batch that is there they are added
    /// to it; where all of them were accepted before, the answer is as it was then.
    ///
    /// # Errors
    /// As [`Engine::submit`]; a field is named with the place of its job, such as `jobs[7].argv`.
    pub async fn submit_all(
        &self,
        submissions: Vec<Submission>,
        batch: Option<String>,
    ) -> Result<Batch, Error> {
        if let Some(batch) = &batch {
            parse::name(batch).map_err(|text| Error::invalid("batch_id", text))?;
        }
        let batch = batch.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let mut submissions = submissions;
        for submission in &mut submissions {
            submission.spec.batch = Some(batch.clone());
        }
        let (jobs, added) = self.add_each(submissions).await?;
        let before = match jobs.first().filter(|_| !added) {
            Some(first) => self.job(first).await?.spec.batch.clone(),
            None => None,
        };
        Ok(Batch {
            id: before.unwrap_or(batch),
            jobs,
        })
    }

    /// The same without a handle: what nobody asks for as a batch is not written down as one.
    ///
    /// # Errors
    /// As [`Engine::submit_all`].
    pub async fn submit_each(&self, submissions: Vec<Submission>) -> Result<Vec<JobId>, Error> {
        Ok(self.add_each(submissions).await?.0)
    }

    /// Their ids, in their order; and whether any of them was not there before.
    async fn add_each(&self, submissions: Vec<Submission>) -> Result<(Vec<JobId>, bool), Error> {
        let many = submissions.len();
        let (mut specs, mut keys, mut after) = (
            Vec::with_capacity(many),
            Vec::with_capacity(many),
            Vec::with_capacity(many),
        );
        for (place, submission) in submissions.into_iter().enumerate() {
            let known = self.resolve(&submission.after, place).await;
            after.push(known.map_err(|error| error.within(&format!("jobs[{place}]")))?);
            specs.push(submission.spec);
            keys.push(submission.key);
        }
        // Until they are committed.
        let _images = self.keep_images(&specs.iter().collect::<Vec<_>>()).await;
        let mut jobs = self.new_jobs(specs).await?;
        'again: loop {
            let mut there = self.there(&jobs, &keys).await?;
            let (mut ids, mut new) = (Vec::with_capacity(many), Vec::with_capacity(many));
            for (place, (key, known)) in keys.iter().zip(&after).enumerate() {
                let job = &jobs[place];
                if let Some(id) = there.find(ids.len(), job, key.as_ref())? {
                    ids.push(id);
                    continue;
                }
                let mut job = job.clone();
                if !known.is_empty() {
                    job = self.placed_after(job, known, &ids).await?;
                }
                ids.push(job.id.clone());
                let pair = key.clone().map(|key| (key.key, key.digest));
                let shares = match self.shared_by(&job).await {
                    Err(Error::Vanished(_)) if job.spec.is_warm() => {
                        jobs = warm::without_templates(jobs);
                        continue 'again;
                    }
                    shares => shares?,
                };
                new.push(new_job(job, pair, shares));
            }
            if new.is_empty() {
                return Ok((ids, false));
            }
            let blocked = new.iter().map(|new| &new.job);
            let blocked: Vec<Job> = blocked
                .filter(|job| !job.blocked_by.is_empty())
                .cloned()
                .collect();
            match self.create(new).await? {
                Created::Yes => {}
                Created::LookAgain => continue,
                Created::TemplateGone => {
                    jobs = warm::without_templates(jobs);
                    continue;
                }
            }
            for job in blocked {
                self.settle(&job).await;
            }
            return Ok((ids, true));
        }
    }

    async fn create(&self, new: Vec<NewJob>) -> Result<Created, Error> {
        let any_is_warm = new.iter().any(|new| new.job.spec.is_warm());
        let asks_for_existing = new.iter().any(|new| answers_existing(&new.job.spec));
        let added = match self.inline() {
            Some(_) => self.add_inline(new).await.map(|_| ()),
            None => self.store().create_all(new).await.inspect(|()| {
                self.accepted();
                self.schedule_changed().notify_one();
            }),
        };
        match added {
            Ok(()) => Ok(Created::Yes),
            // Somebody used one of the keys just now.
            Err(dauer_store::Error::KeyInUse { .. }) => Ok(Created::LookAgain),
            Err(dauer_store::Error::Unreferenced(_)) if any_is_warm => Ok(Created::TemplateGone),
            Err(dauer_store::Error::NotUnique { .. }) if asks_for_existing => {
                Ok(Created::LookAgain)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Which of these jobs are there already.
    async fn there(&self, jobs: &[Job], keys: &[Option<RequestKey>]) -> Result<There, Error> {
        let asked: Vec<_> = keys.iter().flatten().map(|key| key.key.clone()).collect();
        let known = if asked.is_empty() {
            BTreeMap::new()
        } else {
            self.store().keyed(asked).await?
        };
        let places = (0..jobs.len()).filter(|place| jobs[*place].spec.unique.is_some());
        let places: Vec<usize> = places.collect();
        let unique = jobs.iter().filter_map(|job| job.spec.unique.clone());
        let unique: Vec<_> = unique.collect();
        let holders = if unique.is_empty() {
            BTreeMap::new()
        } else {
            self.store().holders(unique).await?
        };
        let holders = holders
            .into_iter()
            .map(|(index, job)| (places[index], job))
            .collect();
        Ok(There {
            keyed: known,
            holders,
            together: HashMap::new(),
        })
    }

    /// How many jobs of a batch are in each state.
    ///
    /// # Errors
    /// `NoBatch`.
    pub async fn batch(&self, batch: &str) -> Result<BatchState, Error> {
        let states = self.store().batch(batch).await?;
        if states.is_empty() {
            return Err(Error::NoBatch(batch.to_owned()));
        }
        Ok(BatchState { states })
    }

    /// Waits until all jobs of a batch have ended; or, with `seen`, until another number of them has.
    ///
    /// # Errors
    /// `NoBatch`, also when the last of its jobs is removed meanwhile.
    pub async fn wait_for_batch(
        &self,
        batch: &str,
        seen: Option<u64>,
    ) -> Result<BatchState, Error> {
        let signal = JobId(batch.to_owned());
        let mut changes = self.queue_settings().batches.subscribe(&signal);
        loop {
            changes.mark_unchanged();
            if seen.is_some() || !self.store().batch_is_open(batch).await? {
                let state = self.batch(batch).await?;
                let ended = state.ended();
                if ended == state.total() || seen.is_some_and(|seen| seen != ended) {
                    return Ok(state);
                }
            }
            if changes.changed().await.is_err() {
                changes = self.queue_settings().batches.subscribe(&signal);
            }
        }
    }

    /// Ends every job of a batch that has not ended: TERM, its grace, KILL. Returns when all have.
    ///
    /// # Errors
    /// `NoBatch`.
    pub async fn cancel_batch(
        &self,
        batch: &str,
        grace_ms: Option<u64>,
    ) -> Result<BatchState, Error> {
        self.batch(batch).await?;
        let states = State::ALL.into_iter().filter(|state| !state.is_terminal());
        let mut filter = Filter {
            states: states.collect(),
            batch: Some(batch.to_owned()),
            limit: PAGE,
            ..Filter::default()
        };
        loop {
            let page = self.list(filter.clone()).await?;
            let Some(last) = page.last() else {
                return self.wait_for_batch(batch, None).await;
            };
            filter.before = Some(last.id.clone());
            futures_util::stream::iter(page)
                .map(|job| self.ask_to_end(job.id, grace_ms))
                .buffer_unordered(PARALLEL)
                .try_collect::<()>()
                .await?;
        }
    }

    async fn ask_to_end(&self, job: JobId, grace_ms: Option<u64>) -> Result<(), Error> {
        let end = EventKind::EndAsked {
            end: End::Stop,
            grace_ms,
            children: false,
        };
        match self.tell(&job, end).await {
            // It has ended, or was removed: nothing is left to do.
            Ok(_) | Err(Error::Conflict(_) | Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

enum Created {
    Yes,
    LookAgain,
    /// The template that some were to begin from was removed just now.
    TemplateGone,
}

/// What is known of jobs that are there already, before a batch or earlier in it.
struct There {
    keyed: BTreeMap<String, Keyed>,
    /// By the place of the job they stand for.
    holders: HashMap<usize, JobId>,
    /// By unique key: those of the batch itself.
    together: HashMap<String, JobId>,
}

impl There {
    /// The job that stands for this one at this place of the batch. Errors: `KeyInUse`, `NotUnique`.
    fn find(
        &mut self,
        place: usize,
        job: &Job,
        key: Option<&RequestKey>,
    ) -> Result<Option<JobId>, Error> {
        if let Some(key) = key {
            if let Some(used) = self.keyed.get(&key.key) {
                return key.made(used.clone()).map(Some);
            }
            let used = Keyed {
                job: job.id.clone(),
                digest: key.digest.clone(),
            };
            self.keyed.insert(key.key.clone(), used);
        }
        let Some(unique) = &job.spec.unique else {
            return Ok(None);
        };
        let waiting = unique.states.contains(&State::Pending);
        let together = self.together.get(&unique.key).filter(|_| waiting);
        match together.or(self.holders.get(&place)) {
            None => {
                self.together.insert(unique.key.clone(), job.id.clone());
                Ok(None)
            }
            Some(holder) if answers_existing(&job.spec) => {
                let holder = holder.clone();
                if let Some(key) = key {
                    // The key was not used after all: the request made no job.
                    self.keyed.remove(&key.key);
                }
                Ok(Some(holder))
            }
            Some(holder) => {
                let error = Error::NotUnique {
                    key: unique.key.clone(),
                    job: holder.0.clone(),
                };
                Err(error.within(&format!("jobs[{place}]")))
            }
        }
    }
}
