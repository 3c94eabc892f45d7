//! Which checkpoints of a job are kept: a going back needs one to go back to, and each takes room.

use crate::{Checkpoint, CheckpointId, Timestamp};
use serde::{Deserialize, Serialize};

/// How many checkpoints a job keeps, and for how long. The one it would go on from is always among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepCheckpoints {
    /// So many of the newest; at least 1.
    pub last: u32,
    /// None of them longer than this; absent: for as long as the job does not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

impl Default for KeepCheckpoints {
    fn default() -> Self {
        Self {
            last: 1,
            for_ms: None,
        }
    }
}

impl KeepCheckpoints {
    /// Those of a job that are to go. `resume` is the one it would go on from: older ones count from there, and after a going back newer
    /// ones are still among the newest.
    #[must_use]
    pub fn superfluous(
        self,
        checkpoints: &[Checkpoint],
        resume: &CheckpointId,
        now: Timestamp,
    ) -> Vec<CheckpointId> {
        let mut others: Vec<&Checkpoint> =
            checkpoints.iter().filter(|one| one.id != *resume).collect();
        others.sort_by(|a, b| (b.taken_at, &b.id).cmp(&(a.taken_at, &a.id)));
        let room = (self.last.max(1) - 1) as usize;
        let goes = |(number, one): (usize, &&Checkpoint)| {
            let is_old = self
                .for_ms
                .is_some_and(|ms| one.taken_at.plus_ms(ms) <= now);
            (number >= room || is_old).then(|| one.id.clone())
        };
        others.iter().enumerate().filter_map(goes).collect()
    }

    /// When the next of them is too old; absent: never.
    #[must_use]
    pub fn next_expiry(
        self,
        checkpoints: &[Checkpoint],
        resume: &CheckpointId,
    ) -> Option<Timestamp> {
        let for_ms = self.for_ms?;
        let others = checkpoints.iter().filter(|one| one.id != *resume);
        others.map(|one| one.taken_at.plus_ms(for_ms)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobId;

    fn taken(name: &str, at: i64) -> Checkpoint {
        Checkpoint {
            id: CheckpointId(name.into()),
            job: JobId("job".into()),
            generation: 1,
            taken_at: Timestamp(at),
            frozen_ms: 0,
            memory_bytes: 0,
            disk_bytes: 0,
            log_offset: 0,
            token: None,
            blocks_bytes: None,
        }
    }

    fn goes(last: u32, for_ms: Option<u64>, resume: &str, now: i64) -> Vec<String> {
        let all = [
            taken("c", 30),
            taken("a", 10),
            taken("d", 40),
            taken("b", 20),
        ];
        let keep = KeepCheckpoints { last, for_ms };
        let gone = keep.superfluous(&all, &CheckpointId(resume.into()), Timestamp(now));
        gone.into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn the_newest_are_kept_and_the_resume_point_always() {
        assert_eq!(goes(1, None, "d", 50), ["c", "b", "a"]);
        assert_eq!(goes(0, None, "d", 50), ["c", "b", "a"]);
        assert_eq!(goes(3, None, "d", 50), ["a"]);
        assert_eq!(goes(9, None, "d", 50), [""; 0]);
        // It went back: those after it can still be gone to.
        assert_eq!(goes(2, None, "a", 50), ["c", "b"]);
    }

    #[test]
    fn what_is_too_old_goes_but_for_the_resume_point() {
        assert_eq!(goes(9, Some(20), "d", 50), ["c", "b", "a"]);
        assert_eq!(goes(9, Some(25), "d", 50), ["b", "a"]);
        assert_eq!(goes(9, Some(1), "a", 50), ["d", "c", "b"]);
        let all = [taken("c", 30), taken("a", 10), taken("d", 40)];
        let keep = KeepCheckpoints {
            last: 9,
            for_ms: Some(5),
        };
        assert_eq!(
            keep.next_expiry(&all, &CheckpointId("a".into())),
            Some(Timestamp(35))
        );
    }
}
