//! Schedules: what is to be submitted again and again, and when. Moments are worked out elsewhere; what to do at one is
//! [`crate::plan::firing`].

use crate::{JobId, JobSpec, Timestamp};
use serde::{Deserialize, Serialize};

/// A job that is submitted at certain moments, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// What it is called; unique.
    pub name: String,
    /// Grows by one with each commit; a writer that expected another one loses.
    pub version: u64,
    /// The moments.
    pub timing: Timing,
    /// The job of each moment: without a name, and complete, so that what it was made from may go.
    pub spec: JobSpec,
    /// What a moment does while the job of an earlier one has not ended.
    pub overlap: Overlap,
    /// What becomes of moments that were missed.
    pub catch_up: CatchUp,
    /// No moment before.
    pub start_at: Option<Timestamp>,
    /// No moment after.
    pub end_at: Option<Timestamp>,
    /// No moment counts while it is.
    pub paused: bool,
    /// The next moment; absent while paused, and when there is none any more.
    pub next_at: Option<Timestamp>,
    /// The newest moment that there is a job of.
    pub last_at: Option<Timestamp>,
    /// That job.
    pub last_job: Option<JobId>,
    /// Jobs that a newer one replaced and that are still to be told to end.
    pub ending: Vec<JobId>,
    /// Jobs so far.
    pub fired: u64,
    /// Moments so far that came to nothing, missed ones included where they are known.
    pub skipped: u64,
    /// Why the last moment came to nothing, where something was wrong.
    pub last_error: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Schedule {
    /// The moment at which somebody has to look at it.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        if self.ending.is_empty() {
            return self.next_at;
        }
        Some(Timestamp(0))
    }
}

/// Which moments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Timing {
    /// Those of a cron expression on the clocks of a time zone.
    Cron {
        /// Five or six fields, or a word such as `@daily`.
        expression: String,
        /// By its name in the time zone database.
        zone: String,
    },
    /// Every so often, counted from a moment.
    Every {
        /// From one to the next; at least 1.
        every_ms: u64,
        /// From here.
        from: Timestamp,
    },
    /// Once.
    At {
        /// Then.
        at: Timestamp,
    },
}

/// What a moment does while the job of an earlier one has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Nothing: it is skipped.
    #[default]
    Skip,
    /// Its job waits until that one has ended.
    Queue,
    /// That one is cancelled, and its job begins when that has ended.
    Replace,
    /// Its job runs beside that one.
    Allow,
}

impl Overlap {
    /// Each.
    pub const ALL: [Self; 4] = [Self::Skip, Self::Queue, Self::Replace, Self::Allow];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Queue => "queue",
            Self::Replace => "replace",
            Self::Allow => "allow",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|overlap| overlap.name() == name)
    }
}

/// What becomes of moments that passed while nobody looked, because the daemon or the machine was down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CatchUp {
    /// Nothing.
    None,
    /// One job for all of them together, that of the newest.
    #[default]
    One,
    /// A job for each of the newest of them.
    All {
        /// At most so many.
        max: u32,
    },
}
