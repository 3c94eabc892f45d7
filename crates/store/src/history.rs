//! What is recorded of everything that was done: the journal of jobs, and the audit of all else.

use crate::Entry;
use dauer_core::{JobId, Timestamp};
use serde::{Deserialize, Serialize};

/// Something done to what is not a job, or a job's removal; committed with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAudit {
    /// When.
    pub at: Timestamp,
    /// What was done, as a word: `definition_added`, `token_removed` ...
    pub event: String,
    /// To what.
    pub subject: String,
    /// A line more.
    pub detail: Option<String>,
    /// Who asked for it, as in [`crate::NewEntry`].
    pub by: Option<String>,
    /// What they asked it for.
    pub why: Option<String>,
}

/// A record of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Of a job.
    Job(Entry),
    /// Of something else.
    Other(NewAudit),
}

impl Recorded {
    /// When.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Job(entry) => entry.at,
            Self::Other(audit) => audit.at,
        }
    }

    /// What happened.
    #[must_use]
    pub fn event(&self) -> &str {
        match self {
            Self::Job(entry) => &entry.event,
            Self::Other(audit) => &audit.event,
        }
    }

    /// Who asked.
    #[must_use]
    pub fn by(&self) -> Option<&str> {
        match self {
            Self::Job(entry) => entry.by.as_deref(),
            Self::Other(audit) => audit.by.as_deref(),
        }
    }
}

/// A place in the history: a journal entry, and an audit record that was made after it and before the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryPlace {
    /// The position of the journal entry.
    pub seq: u64,
    /// The number of the audit record; 0 before all of them.
    pub audit: u64,
}

/// Which records.
#[derive(Clone, Debug, Default)]
pub struct HistoryFilter {
    /// Only of this job.
    pub job: Option<JobId>,
    /// Only from then on.
    pub since: Option<Timestamp>,
    /// Only before then.
    pub until: Option<Timestamp>,
    /// Only what this one asked for, such as `uid:0`; or all of a kind, such as `token`.
    pub by: Option<String>,
    /// Only of this word.
    pub event: Option<String>,
    /// Only behind this place: the end of the page before.
    pub after: HistoryPlace,
    /// At most so many.
    pub limit: usize,
}

impl HistoryFilter {
    /// Whether a record is one of those asked for, wherever in the history.
    #[must_use]
    pub fn accepts(&self, record: &Recorded) -> bool {
        let is_by = |wanted: &String| {
            record.by().is_some_and(|by| {
                let rest = by.strip_prefix(wanted.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
            })
        };
        let of_job = |wanted: &JobId| match record {
            Recorded::Job(entry) => entry.job == *wanted,
            Recorded::Other(_) => false,
        };
        self.since.is_none_or(|since| record.at() >= since)
            && self.until.is_none_or(|until| record.at() < until)
            && self
                .event
                .as_ref()
                .is_none_or(|event| record.event() == event)
            && self.by.as_ref().is_none_or(is_by)
            && self.job.as_ref().is_none_or(of_job)
    }
}

/// A part of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPage {
    /// In the order in which they were committed. There may be fewer than asked for, also none, and more behind them.
    pub records: Vec<Recorded>,
    /// Where the next page begins; absent where there is nothing more.
    pub next: Option<HistoryPlace>,
}
