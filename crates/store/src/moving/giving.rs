//! What every back end does alike when it gives what it holds.

use super::{Portable, PortableJob, Standing};
use crate::record::Broken;
use dauer_core::{Job, JobId, Turn};
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

/// Turns by their queue.
pub(crate) fn turns_by_queue(turns: Vec<Turn>) -> Vec<(String, Portable)> {
    let mut queues: BTreeMap<String, Vec<Turn>> = BTreeMap::new();
    for turn in turns {
        queues.entry(turn.queue.clone()).or_default().push(turn);
    }
    let portable = |(queue, mut turns): (String, Vec<Turn>)| {
        turns.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
        let key = queue.clone();
        (key, Portable::Turns { queue, turns })
    };
    queues.into_iter().map(portable).collect()
}

/// What a column says of a signal of this job.
pub(crate) fn standing(job: &JobId, word: &str) -> Result<Standing, Broken> {
    Standing::from_name(word).ok_or_else(|| {
        Broken::Rule(format!(
            "a signal of job {job} has no good standing ({word})"
        ))
    })
}
