//! Firing schedules: when a moment has come, the schedule's next one and the jobs of this one are one transaction at the
//! expected version. A daemon that dies before it fires again; one that dies after it finds it done.

use crate::after::Known;
use crate::asker::{Asker, audit};
use crate::calendar::Calendar;
use crate::submit::new_job;
use crate::{Engine, Error};
use dauer_core::plan::firing::{self, Firing};
use dauer_core::{CheckpointId, End, EventKind, Job, JobId, Schedule, Timestamp, When};
use dauer_store::{NewAudit, ScheduleChange};
use futures_util::future::join_all;
use std::sync::Arc;

/// How many are fired side by side: their commits share a sync to the disk.
const BATCH: usize = 64;

/// After an error of the store it is tried again so much later.
const RETRY_MS: u64 = 1_000;

/// Of so many moments that were missed it is known that they were.
const COUNTED_MAX: usize = 1_000;

/// Fires what is due; returns when the next is.
pub(crate) async fn fire_due(engine: &Engine) -> Result<Option<Timestamp>, dauer_store::Error> {
    loop {
        let now = engine.now();
        let due = engine.store().due_schedules(now, BATCH).await?;
        if due.is_empty() {
            return engine.store().next_schedule().await;
        }
        let fired = join_all(due.iter().map(|schedule| engine.attend(schedule, now))).await;
        if !fired.contains(&true) {
            // None of them could be, for a reason that may pass.
            return Ok(Some(now.plus_ms(RETRY_MS)));
        }
    }
}

impl Engine {
    /// Does what a schedule has to have done; false where it is left to do.
    async fn attend(&self, schedule: &Schedule, now: Timestamp) -> bool {
        let asker = Asker::new("schedule", &schedule.name);
        let attended = asker.asks(async {
            if schedule.ending.is_empty() {
                self.fire(schedule, now).await
            } else {
                self.end_replaced(schedule).await
            }
        });
        match attended.await {
            Ok(()) => true,
            // Somebody else fired, paused or removed it: what there is to do now is asked again.
            Err(Error::Conflict(_) | Error::NotFound(_) | Error::NoSchedule(_)) => true,
            Err(error) => {
                tracing::warn!(schedule = schedule.name, %error, "a schedule could not be fired");
                false
            }
        }
    }

    async fn fire(&self, schedule: &Schedule, now: Timestamp) -> Result<(), Error> {
        let Some(first) = schedule.next_at else {
            return Ok(());
        };
        let calendar = Calendar::of(schedule)?;
        let wanted = usize::try_from(firing::wanted(schedule.catch_up)).unwrap_or(usize::MAX);
        let come = calendar.come(first, now, wanted.max(COUNTED_MAX));
        let next = calendar.next(now);
        let former = self.former(schedule).await?;
        let plan = firing::plan(schedule, &come, former.is_some(), now);
        let made = self.jobs_of(schedule, &plan, former).await;
        let result = match made {
            Ok(jobs) => {
                let ids: Vec<JobId> = jobs.iter().map(|job| job.id.clone()).collect();
                let after = firing::fired(schedule, &plan, &ids, next);
                let committed = self.commit_firing(after, &jobs, None).await;
                committed.map_err(Error::from)
            }
            Err(error) => Err(error),
        };
        match result {
            // Nothing was written, and trying again helps.
            Err(
                error @ (Error::Store(_)
                | Error::NoSpace(_)
                | Error::Conflict(_)
                | Error::NotFound(_)
                | Error::Vanished(_)
                | Error::NoSchedule(_)),
            ) => Err(error),
            // The job of this moment cannot be. The next one may: its folder may be back, its name free.
            Err(error) => {
                tracing::warn!(schedule = schedule.name, %error, "a moment came to nothing");
                let after = firing::failed(schedule, &plan, next, error.to_string());
                let subject = format!("schedule {}", schedule.name);
                let said = audit("schedule_failed", subject, Some(error.to_string()));
                Ok(self.commit_firing(after, &[], Some(said)).await?)
            }
            Ok(()) => Ok(()),
        }
    }

    /// The job of the last firing, if it lives.
    pub(crate) async fn former(&self, schedule: &Schedule) -> Result<Option<JobId>, Error> {
        let Some(last) = &schedule.last_job else {
            return Ok(None);
        };
        match self.store().job(last).await {
            Ok(job) if job.state.is_terminal() => Ok(None),
            Ok(job) => Ok(Some(job.id)),
            Err(dauer_store::Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The jobs of a firing, checked, in its order.
    pub(crate) async fn jobs_of(
        &self,
        schedule: &Schedule,
        plan: &Firing,
        former: Option<JobId>,
    ) -> Result<Vec<Job>, Error> {
        let (mut jobs, mut before) = (Vec::new(), former);
        for at in &plan.fire {
            let mut spec = schedule.spec.clone();
            spec.schedule = Some(schedule.name.clone());
            spec.scheduled_at = Some(*at);
            let known: Vec<Known> = before
                .take()
                .filter(|_| plan.one_by_one)
                .map(|before| Known::Job(before, When::Ended))
                .into_iter()
                .collect();
            for job in self.new_jobs(vec![spec]).await? {
                let job = self.placed_after(job, &known, &[]).await?;
                before = Some(job.id.clone());
                jobs.push(job);
            }
        }
        Ok(jobs)
    }

    /// Commits a schedule and the jobs it fires.
    pub(crate) async fn commit_firing(
        &self,
        schedule: Schedule,
        jobs: &[Job],
        audit: Option<NewAudit>,
    ) -> Result<(), dauer_store::Error> {
        let mut new = Vec::with_capacity(jobs.len());
        for job in jobs {
            let shares = match self.shared_by(job).await {
                Ok(shares) => shares,
                // Decided anew when this is tried again.
                Err(Error::Vanished(id)) => {
                    return Err(dauer_store::Error::Unreferenced(CheckpointId(id)));
                }
                Err(error) => {
                    let cannot = std::io::Error::other(error.to_string());
                    return Err(dauer_store::Error::Backend(Arc::new(cannot)));
                }
            };
            new.push(new_job(job.clone(), None, shares));
        }
        let change = ScheduleChange {
            schedule,
            jobs: new,
            audit,
        };
        self.store().change_schedule(change).await?;
        self.accepted();
        for job in jobs {
            self.settle(job).await;
        }
        Ok(())
    }

    /// Tells jobs to end that were replaced. The schedule says that they are to until they were told.
    async fn end_replaced(&self, schedule: &Schedule) -> Result<(), Error> {
        for job in &schedule.ending {
            let end = EventKind::EndAsked {
                end: End::Stop,
                grace_ms: None,
                children: true,
            };
            match self.tell(job, end).await {
                // It ended by itself, or is ending, or was removed.
                Ok(_) | Err(Error::Conflict(_) | Error::Busy(_) | Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let mut after = schedule.clone();
        after.version += 1;
        after.ending.clear();
        Ok(self.commit_firing(after, &[], None).await?)
    }
}
