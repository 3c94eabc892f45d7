//! Whether what a store holds is as it should be: the records, what happened to them, and what stands beside them.
//!
//! Everything is read once, page by page, with a few bytes kept of each job. A daemon may work on the store meanwhile: what looks
//! wrong then is looked at again by itself, and only what is wrong of one moment is told.

pub(crate) mod columns;
mod job;
#[cfg(test)]
mod tests;
mod walk;

pub use walk::check;

use serde::Serialize;

/// Which rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The back end itself cannot read what it wrote.
    Damaged,
    /// A value of the store cannot be read.
    Unreadable,
    /// Something belongs to what is not there.
    Orphan,
    /// A record points to a checkpoint that is not there, or that is another job's.
    CheckpointMissing,
    /// An entry of the cache leads to a snapshot that is not there.
    SnapshotMissing,
    /// A snapshot of a run is there though that has ended.
    SnapshotOutlived,
    /// A job waits for nothing that could come.
    NeverDue,
    /// Two jobs have what only one may have.
    TwoHolders,
    /// The journal tells a move that there is not.
    JournalMove,
    /// The journal ends elsewhere than the record.
    JournalEnd,
    /// Somebody has two open intervals of a kind.
    TwoOpenIntervals,
    /// An interval ends before it began.
    IntervalBackwards,
    /// An interval is open and nothing will ever end it.
    IntervalOpen,
    /// What runs is not counted.
    IntervalMissing,
    /// A job is held by a node that nobody will take it over from.
    HeldByNobody,
    /// What is searched by says something else than the record.
    ColumnDiffers,
    /// A number may be given twice.
    NumberUsed,
    /// Something was being moved into the store and was not brought to an end.
    HalfMoved,
}

impl Rule {
    /// What to do about it.
    #[must_use]
    pub fn fix(self) -> &'static str {
        match self {
            Self::Damaged | Self::Unreadable => {
                "restore a good copy: `dauer store restore FILE`, or your server's own"
            }
            Self::Orphan | Self::ColumnDiffers | Self::NumberUsed => {
                "the records are what counts: stop the daemon and `dauer store migrate` into an empty store, which writes all else anew"
            }
            Self::CheckpointMissing => {
                "the job cannot go on from there: `dauer cancel` it, or restore a good copy"
            }
            Self::SnapshotMissing => {
                "`dauer cache rm` the key: the step is done anew when it is next asked for"
            }
            Self::SnapshotOutlived => "start the daemon once, or `dauer snapshot rm` it",
            Self::NeverDue => "`dauer cancel` the job and submit it again, or restore a good copy",
            Self::TwoHolders => "`dauer rm` or `dauer cancel` one of them",
            Self::JournalMove | Self::JournalEnd => {
                "the record counts; nothing has to be done, but find out who else writes to this store"
            }
            Self::TwoOpenIntervals
            | Self::IntervalBackwards
            | Self::IntervalOpen
            | Self::IntervalMissing => {
                "what `dauer usage` says of this job is wrong; find out who else writes to this store"
            }
            Self::HeldByNobody => "start the daemon of that node once",
            Self::HalfMoved => "go on with `dauer store migrate`, or use the old store",
        }
    }

    /// The serialized name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Unreadable => "unreadable",
            Self::Orphan => "orphan",
            Self::CheckpointMissing => "checkpoint_missing",
            Self::SnapshotMissing => "snapshot_missing",
            Self::SnapshotOutlived => "snapshot_outlived",
            Self::NeverDue => "never_due",
            Self::TwoHolders => "two_holders",
            Self::JournalMove => "journal_move",
            Self::JournalEnd => "journal_end",
            Self::TwoOpenIntervals => "two_open_intervals",
            Self::IntervalBackwards => "interval_backwards",
            Self::IntervalOpen => "interval_open",
            Self::IntervalMissing => "interval_missing",
            Self::HeldByNobody => "held_by_nobody",
            Self::ColumnDiffers => "column_differs",
            Self::NumberUsed => "number_used",
            Self::HalfMoved => "half_moved",
        }
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Which rule is broken.
    pub rule: Rule,
    /// Where: `job <id>`, `schedule <name>` …
    pub subject: String,
    /// What is there and what should be.
    pub what: String,
    /// What to do about it.
    pub fix: &'static str,
}

impl Finding {
    pub(crate) fn new(rule: Rule, subject: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            rule,
            subject: subject.into(),
            what: what.into(),
            fix: rule.fix(),
        }
    }
}
