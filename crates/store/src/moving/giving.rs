//! What every back end does alike when it gives what it holds.

use super::{Mark, Page, Portable, PortableJob, Standing};
use crate::record::Broken;
use crate::{DaemonRun, DefinitionFilter};
use dauer_core::{AccessToken, Definition, DefinitionRef, Job, JobId, Queue, Timestamp, Turn};
use std::collections::BTreeMap;

/// A page of jobs ends behind so many bytes of them, so that a page of long ones fits into memory.
pub(crate) const PAGE_BYTES_MAX: usize = 8 << 20;

/// All runs of daemons that are kept.
pub(crate) const RUNS_MAX: usize = 1000;

impl PortableJob {
    /// Without what belongs to it.
    pub(crate) fn alone(job: Job) -> Self {
        Self {
            job,
            key: None,
            checkpoints: Vec::new(),
            tokens: Vec::new(),
            output: None,
            signals: Vec::new(),
            waits: Vec::new(),
        }
    }
}

/// The key of a section whose values are numbered.
pub(crate) fn number(after: Option<&str>) -> Result<u64, Broken> {
    let Some(after) = after else { return Ok(0) };
    let not_ours = || Broken::Rule(format!("{after:?} is no place in a section of this store"));
    after.parse().map_err(|_| not_ours())
}

/// The values of a section that never has many, by their keys.
pub(crate) struct Few(Vec<(String, Portable)>);

impl Few {
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn queues(queues: Vec<Queue>) -> Self {
        let value = |queue: Queue| (queue.name.clone(), Portable::Queue(queue));
        Self(queues.into_iter().map(value).collect())
    }

    /// By their queue.
    pub(crate) fn turns(turns: Vec<Turn>) -> Self {
        let mut queues: BTreeMap<String, Vec<Turn>> = BTreeMap::new();
        for turn in turns {
            queues.entry(turn.queue.clone()).or_default().push(turn);
        }
        let value = |(queue, mut turns): (String, Vec<Turn>)| {
            turns.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
            (queue.clone(), Portable::Turns { queue, turns })
        };
        Self(queues.into_iter().map(value).collect())
    }

    pub(crate) fn access(tokens: Vec<AccessToken>) -> Self {
        let value = |token: AccessToken| (token.id.clone(), Portable::Access(token));
        Self(tokens.into_iter().map(value).collect())
    }

    /// Of runs as stores give them, the newest first.
    pub(crate) fn daemons(mut runs: Vec<DaemonRun>, heartbeat: Option<Timestamp>) -> Self {
        if runs.is_empty() && heartbeat.is_none() {
            return Self::none();
        }
        runs.reverse();
        let value = Portable::Daemons { runs, heartbeat };
        Self(vec![("daemons".to_owned(), value)])
    }

    pub(crate) fn mark(mark: Option<Mark>) -> Self {
        let value = |mark| ("move".to_owned(), Portable::Move(Box::new(mark)));
        Self(mark.map(value).into_iter().collect())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        u64::try_from(self.0.len()).unwrap_or(u64::MAX)
    }

    /// Those behind this key, at most so many.
    pub(crate) fn behind(self, after: Option<&str>, most: usize) -> Page {
        let behind = |(key, _): &(String, Portable)| after.is_none_or(|after| key.as_str() > after);
        let found: Vec<_> = self.0.into_iter().filter(behind).take(most).collect();
        Page::behind(found, most, |(key, _)| key.clone(), |(_, value)| value)
    }
}

/// Which definitions are asked for by a page behind this key.
pub(crate) fn definitions_behind(after: Option<&str>, most: usize) -> DefinitionFilter {
    let after = after.and_then(|key| key.rsplit_once('@'));
    DefinitionFilter {
        name: None,
        after: after.map(|(name, version)| DefinitionRef {
            name: name.to_owned(),
            version: version.to_owned(),
        }),
        limit: most,
    }
}

/// The page of the definitions that were found so.
pub(crate) fn definitions_page(found: Vec<Definition>, most: usize) -> Page {
    let key = |one: &Definition| format!("{}@{}", one.name, one.version);
    let value = |one| Portable::Definition(Box::new(one));
    Page::behind(found, most, key, value)
}

/// What a column says of a signal of this job.
pub(crate) fn standing(job: &JobId, word: &str) -> Result<Standing, Broken> {
    Standing::from_name(word).ok_or_else(|| {
        Broken::Rule(format!(
            "a signal of job {job} has no good standing ({word})"
        ))
    })
}
