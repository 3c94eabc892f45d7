//! Jobs, states and decisions: what Dauer does, as pure functions. No clock, no randomness, no IO.
//!
//! Reading order: [`job`] (the durable record), [`state`] (the legal moves), [`mod@decide`] (what an event
//! does to a job), [`plan`] (what to do about a record and what is really there).

pub mod access;
pub mod cache;
pub mod decide;
pub mod definition;
pub mod fork;
pub mod id;
pub mod image;
pub mod job;
pub mod kept;
pub mod lease;
pub mod ledger;
pub mod parse;
pub mod plan;
pub mod queue;
pub mod retry;
pub mod schedule;
pub mod snapshot;
pub mod spec;
pub mod state;
pub mod timeout;
pub mod warm;

pub use access::{AccessToken, Scope};
pub use cache::{CacheEntry, CacheState, CacheTotals};
pub use decide::{
    Effect, Ended, Event, EventKind, Move, Refusal, Returned, Then, Verdict, Why, decide,
};
pub use definition::{Definition, DefinitionRef};
pub use fork::Fork;
pub use id::{CheckpointId, JobId, NodeId, SandboxId, Timestamp};
pub use image::ImageConfig;
pub use job::{
    Checkpoint, End, EndsChildren, Forget, Intent, Job, Lock, Outcome, Progress, Reason, Token,
    TokenStatus,
};
pub use kept::{Json, Kept, Signal, Wait};
pub use lease::Lease;
pub use queue::{After, DEFAULT_QUEUE, OnConflict, Queue, Rate, Turn, Unique, When};
pub use retry::{Jitter, RetryFrom, RetryOn, RetryPolicy};
pub use schedule::{CatchUp, Overlap, Schedule, Timing};
pub use snapshot::{Snapshot, SnapshotKind};
pub use spec::{INLINE, Image, JobSpec, Mount, Network, Priority, Publish};
pub use state::{Operation, State};
pub use timeout::Limit;
pub use warm::{SnapshotAfter, Template, Warm, WarmStart};
