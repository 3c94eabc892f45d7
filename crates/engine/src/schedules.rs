//! Schedules as callers ask for them: made, looked at, paused, fired by hand, removed.

use crate::asker::audit;
use crate::calendar::Calendar;
use crate::{Engine, Error};
use dauer_core::plan::firing;
use dauer_core::{CatchUp, Job, JobId, JobSpec, Overlap, Schedule, Timestamp, Timing, parse};
use dauer_store::{NewAudit, ScheduleChange};
use std::sync::Arc;

/// Jobs that one catching up makes at most.
const CATCH_UP_MAX: u32 = 1_000;

/// A schedule that is asked for.
#[derive(Clone, Debug)]
pub struct NewSchedule {
    /// What it is to be called.
    pub name: String,
    /// Its moments.
    pub timing: Timing,
    /// The job of each of them; its driver may be `auto`.
    pub spec: JobSpec,
    /// What a moment does while the job of an earlier one has not ended.
    pub overlap: Overlap,
    /// What becomes of moments that were missed.
    pub catch_up: CatchUp,
    /// No moment before.
    pub start_at: Option<Timestamp>,
    /// No moment after.
    pub end_at: Option<Timestamp>,
    /// It begins paused.
    pub paused: bool,
}

impl Engine {
    /// Makes a schedule. Its job is checked as one that is submitted now.
    ///
    /// # Errors
    /// `InvalidField` naming the field of the request, of its job with `job.` before; whatever [`Engine::submit`] would refuse;
    /// `ScheduleExists`.
    pub async fn add_schedule(&self, new: NewSchedule) -> Result<Schedule, Error> {
        parse::name(&new.name).map_err(|text| Error::invalid("name", text))?;
        let calendar = Calendar::new(&new.timing, new.start_at, new.end_at)?;
        if let CatchUp::All { max } = new.catch_up
            && !(1..=CATCH_UP_MAX).contains(&max)
        {
            let text = format!("{max} jobs at once: at least 1, at most {CATCH_UP_MAX}");
            return Err(Error::invalid("catch_up_max", text));
        }
        check_template(&new.spec)?;
        let now = self.now();
        let first = calendar.next(now).ok_or_else(|| {
            let field = match new.timing {
                Timing::Cron { .. } => "cron",
                Timing::Every { .. } => "every",
                Timing::At { .. } => "at",
            };
            let text = "no moment of it is still to come: look at it and at its end";
            Error::invalid(field, text)
        })?;
        let _images = self.keep_images(&[&new.spec]).await;
        let sample = self.new_jobs(vec![new.spec]).await;
        let [sample] = sample
            .map_err(|error| error.within("job"))?
            .try_into()
            .map_err(|_| Error::Failed("one schedule has several jobs".into()))?;
        let mut spec = Arc::unwrap_or_clone(sample.spec);
        // Each of its jobs begins as it can when its moment comes.
        spec.begin_cold(None);
        let schedule = Schedule {
            name: new.name,
            version: 1,
            timing: new.timing,
            spec,
            overlap: new.overlap,
            catch_up: new.catch_up,
            start_at: new.start_at,
            end_at: new.end_at,
            paused: new.paused,
            next_at: Some(first).filter(|_| !new.paused),
            last_at: None,
            last_job: None,
            ending: Vec::new(),
            fired: 0,
            skipped: 0,
            last_error: None,
            created_at: now,
        };
        let said = noted("schedule_added", &schedule);
        self.store().add_schedule(schedule.clone(), said).await?;
        self.schedule_changed().notify_one();
        Ok(schedule)
    }

    /// The schedule of this name.
    ///
    /// # Errors
    /// `NoSchedule`.
    pub async fn schedule(&self, name: &str) -> Result<Schedule, Error> {
        let found = self.store().schedule(name).await?;
        found.ok_or_else(|| Error::NoSchedule(name.to_owned()))
    }

    /// A page of schedules, by name.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn schedules(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Schedule>, Error> {
        Ok(self.store().schedules(after, limit).await?)
    }

    /// The next moments of a schedule, as they would be if it were not paused.
    ///
    /// # Errors
    /// `NoSchedule`.
    pub async fn next_moments(&self, name: &str, count: usize) -> Result<Vec<Timestamp>, Error> {
        let schedule = self.schedule(name).await?;
        let calendar = Calendar::of(&schedule)?;
        let first = schedule.next_at.or_else(|| calendar.next(self.now()));
        Ok(std::iter::successors(first, |at| calendar.next(*at))
            .take(count)
            .collect())
    }

    /// Lets no moment of a schedule count until it is resumed. Fine where it is paused already.
    ///
    /// # Errors
    /// `NoSchedule`.
    pub async fn pause_schedule(&self, name: &str) -> Result<Schedule, Error> {
        self.edit_schedule(name, "schedule_paused", |schedule| {
            let paused = !std::mem::replace(&mut schedule.paused, true);
            schedule.next_at = None;
            Ok(paused)
        })
        .await
    }

    /// Lets the moments of a schedule count again that come from now on. Fine where it is not paused.
    ///
    /// # Errors
    /// `NoSchedule`.
    pub async fn resume_schedule(&self, name: &str) -> Result<Schedule, Error> {
        self.edit_schedule(name, "schedule_resumed", |schedule| {
            let resumed = std::mem::replace(&mut schedule.paused, false);
            if resumed {
                schedule.next_at = Calendar::of(schedule)?.next(self.now());
            }
            Ok(resumed)
        })
        .await
    }

    /// Edits a schedule, once more where somebody else was faster; `edit` says whether there is anything to write.
    async fn edit_schedule(
        &self,
        name: &str,
        event: &str,
        edit: impl Fn(&mut Schedule) -> Result<bool, Error>,
    ) -> Result<Schedule, Error> {
        loop {
            let mut schedule = self.schedule(name).await?;
            if !edit(&mut schedule)? {
                return Ok(schedule);
            }
            schedule.version += 1;
            let change = ScheduleChange {
                schedule: schedule.clone(),
                jobs: Vec::new(),
                audit: Some(noted(event, &schedule)),
            };
            match self.store().change_schedule(change).await {
                Ok(()) => {
                    self.schedule_changed().notify_one();
                    return Ok(schedule);
                }
                // Of another moment, or the template that it was to begin from is gone.
                Err(
                    dauer_store::Error::ScheduleChanged(_) | dauer_store::Error::Unreferenced(_),
                ) => {}
                Err(error) => return Err(of_schedule(error)),
            }
        }
    }

    /// Makes the job of a schedule now, as if a moment had come, also while it is paused. Its moments stay as they are.
    ///
    /// # Errors
    /// `NoSchedule`; `Conflict` where the job of an earlier moment has not ended and the schedule skips such moments; whatever
    /// [`Engine::submit`] would refuse.
    pub async fn trigger_schedule(&self, name: &str) -> Result<Job, Error> {
        loop {
            let schedule = self.schedule(name).await?;
            let now = self.now();
            let former = self.former(&schedule).await?;
            let plan = firing::plan(&schedule, &[now], former.is_some(), now);
            if let (true, Some(former)) = (plan.fire.is_empty(), &former) {
                let text = format!(
                    "job {former} of this schedule has not ended, and it skips moments while one lives: cancel it with: dauer cancel {former}"
                );
                return Err(Error::Conflict(text));
            }
            let jobs = self.jobs_of(&schedule, &plan, former).await?;
            let ids: Vec<JobId> = jobs.iter().map(|job| job.id.clone()).collect();
            let after = firing::fired(&schedule, &plan, &ids, schedule.next_at);
            let said = noted("schedule_triggered", &schedule);
            match self.commit_firing(after, &jobs, Some(said)).await {
                Ok(()) => {
                    self.schedule_changed().notify_one();
                    return jobs
                        .into_iter()
                        .next()
                        .ok_or_else(|| Error::Failed("a firing made no job".into()));
                }
                Err(dauer_store::Error::ScheduleChanged(_)) => {}
                Err(error) => return Err(of_schedule(error)),
            }
        }
    }

    /// Removes a schedule; the jobs it made stay.
    ///
    /// # Errors
    /// `NoSchedule`.
    pub async fn remove_schedule(&self, name: &str) -> Result<(), Error> {
        let said = audit("schedule_removed", format!("schedule {name}"), None);
        let removed = self.store().remove_schedule(name, said).await;
        removed.map_err(of_schedule)
    }
}

/// What each job says for itself does not belong into a template.
fn check_template(spec: &JobSpec) -> Result<(), Error> {
    let foreign = [
        (
            "name",
            spec.name.is_some(),
            "each of its jobs would need another one; use a tag",
        ),
        ("run_at", spec.run_at.is_some(), "the schedule says when"),
        (
            "parent",
            spec.parent.is_some(),
            "its jobs are nobody's children",
        ),
    ];
    match foreign.into_iter().find(|(_, is_there, _)| *is_there) {
        Some((field, _, why)) => {
            let text = format!("{field} does not belong into the job of a schedule: {why}");
            Err(Error::invalid(format!("job.{field}"), text))
        }
        None => Ok(()),
    }
}

fn noted(event: &str, schedule: &Schedule) -> NewAudit {
    audit(event, format!("schedule {}", schedule.name), None)
}

fn of_schedule(error: dauer_store::Error) -> Error {
    match error {
        dauer_store::Error::NotFound(name) => Error::NoSchedule(name),
        other => other.into(),
    }
}
