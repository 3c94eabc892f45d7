//! What a record is to every back end: which part of it is JSON, which values stand beside it as columns, and a write in its final form.
//!
//! A back end adds how that is stored. Nothing here knows of any.

mod arrival;
mod checkpoint;
mod columns;
mod job;
mod lean;
mod page;
mod snapshot;
mod write;

pub(crate) use arrival::{Arrival, JobArrival};
pub(crate) use checkpoint::{CheckpointRow, Drop};
#[cfg(feature = "postgres")]
pub(crate) use columns::json;
pub(crate) use columns::{
    DefinitionRow, cache_state, checkpoint, interval_kind, labels, limit, mark, owner_kind, queue,
    read_labels, schedule, scope, signed, snapshot, state, token_columns, token_status, unsigned,
};
pub(crate) use job::{LANE_BEGINS_MAX, is_unsettled, job, of_lane};
pub(crate) use page::{Filling, Halving};
pub(crate) use snapshot::{CacheWrite, SnapshotRow, SnapshotWrite};
pub(crate) use write::{
    CommitRow, JobRow, NewRow, QueueWrite, Queued, ScheduleRow, ScheduleWrite, Upkeep, Write,
};

/// What is stored breaks a rule, or was asked to.
#[derive(Debug)]
pub(crate) enum Broken {
    /// Something that was written cannot be read.
    Unreadable {
        /// What it is.
        what: String,
        /// Why not.
        source: serde_json::Error,
    },
    /// A rule of the store.
    Rule(String),
}
