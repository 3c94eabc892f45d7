//! Schedules as callers make and see them.

use super::{CreateJob, DefinitionRefView, Moment, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `POST /v1/schedules`: a job that is submitted at certain moments. One of `cron`, `every` and `at` says which.
/// Answer: 201 with a [`ScheduleView`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CreateSchedule {
    /// What it is called; unique.
    pub name: String,
    /// Five fields (minute, hour, day, month, weekday), six with seconds before them, or a word such as `@daily`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// On whose clocks, by its name in the time zone database; `UTC` where absent. With `cron` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Every so often: from `start_at`, or from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
    /// Once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Moment>,
    /// The job of each moment: described here or by a definition, of which it keeps a copy. Without `name`, `run_at`, `delay` and
    /// `idempotency_key`.
    pub job: CreateJob,
    /// What a moment does while the job of an earlier one has not ended: `skip` (default), `queue` (its job waits for that one),
    /// `replace` (that one is cancelled), `allow` (both run).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
    /// What becomes of moments that were missed while the daemon was down: `none`, `one` job for all of them (default), `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<String>,
    /// With `catch_up` `all`: for the newest of them only, at most so many; 100 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catch_up_max: Option<u32>,
    /// No moment before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Moment>,
    /// No moment after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_at: Option<Moment>,
    /// It begins paused.
    pub paused: bool,
}

/// A schedule: `GET /v1/schedules/{name}`, and an element of `GET /v1/schedules`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScheduleView {
    /// What it is called.
    pub name: String,
    /// Its cron expression …
    pub cron: Option<String>,
    /// … on the clocks of this time zone.
    pub time_zone: Option<String>,
    /// Or its period.
    pub every_ms: Option<u64>,
    /// Or its only moment.
    pub at: Option<i64>,
    /// `skip`, `queue`, `replace`, `allow`.
    pub overlap: String,
    /// `none`, `one`, `all`.
    pub catch_up: String,
    /// With `all`: at most so many.
    pub catch_up_max: Option<u32>,
    /// No moment before.
    pub start_at: Option<i64>,
    /// No moment after.
    pub end_at: Option<i64>,
    /// No moment counts.
    pub paused: bool,
    /// The next moment; absent while paused, and when there is none any more.
    pub next_at: Option<i64>,
    /// The newest moment that there is a job of.
    pub last_at: Option<i64>,
    /// That job.
    pub last_job: Option<String>,
    /// Jobs so far.
    pub fired: u64,
    /// Moments so far that came to nothing.
    pub skipped: u64,
    /// Why the last moment came to nothing, where something was wrong.
    pub last_error: Option<String>,
    /// When it was made.
    pub created_at: i64,
    /// Program and arguments of its jobs.
    pub argv: Vec<String>,
    /// The driver that runs them.
    pub driver: String,
    /// What they are made from.
    pub definition: Option<DefinitionRefView>,
    /// What they are searched by.
    pub tags: BTreeMap<String, String>,
    /// The whole spec of its jobs; only in `GET /v1/schedules/{name}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<serde_json::Value>,
}

/// `GET /v1/schedules`: by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SchedulePage {
    /// At most as many as asked for.
    pub schedules: Vec<ScheduleView>,
    /// Pass as `cursor` for the next page; absent on the last one.
    pub next_cursor: Option<String>,
}

/// `GET /v1/schedules/{name}/next`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NextMoments {
    /// In order; fewer than asked for where it ends.
    pub moments: Vec<MomentView>,
}

/// A moment of a schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MomentView {
    /// When.
    pub at: i64,
    /// The same as the clocks of its time zone show it: `2027-01-31T09:00:00+01:00[Europe/Berlin]`.
    pub local: String,
}
