//! The engine: one runner task for each live job, recovery, the scheduler, housekeeping. Knows no HTTP and no
//! names of back ends.
//!
//! Reading order: [`Engine`] (what callers ask), `runner` (the actor), `commit` (decide, commit, then act), `perform`
//! (effects), `recover` (start-up and drift), `scheduler` (who begins, and when).

mod access;
mod after;
mod alarm;
mod ask;
mod asker;
mod at_rest;
mod batch;
mod begin;
mod calendar;
mod capacity;
mod check;
mod children;
mod clock;
mod commit;
mod definitions;
mod ending;
mod engine;
mod error;
pub mod executor;
mod expiry;
mod files;
mod firing;
mod fork;
mod freeze;
mod gc;
mod history;
mod housekeeping;
mod images;
pub mod inline;
mod input;
mod lease;
mod leave;
mod logs;
mod meter;
mod own;
mod perform;
mod places;
mod pool;
mod queues;
mod reach;
mod recover;
mod retention;
mod runner;
mod runtime;
mod scheduler;
mod schedules;
mod signals;
mod snapshots;
mod steps;
mod storage;
mod stream;
mod submit;
mod transfer;
mod warm;
mod watchers;
mod workshop;

pub use access::Bearer;
pub use after::{Follows, Whom};
pub use asker::{Asker, still_asked};
pub use batch::{Batch, BatchState};
pub use capacity::{CPU_OVERCOMMIT, MEMORY_OVERCOMMIT, Room, limits};
pub use engine::{Config, Engine};
pub use error::Error;
pub use files::ByteStream;
pub use fork::{FORKS_MAX, Forks};
pub use gc::{Unneeded, UnneededKind};
pub use images::{ImagePull, ImageState};
pub use input::StdinSink;
pub use lease::{LEASE, Member, NodeState};
pub use logs::{LogChunk, LogTail};
pub use queues::QueueState;
pub use retention::Keep;
pub use runtime::{Caller, REQUEST_HEADER, RuntimeApi};
pub use schedules::NewSchedule;
pub use signals::{WaitCall, Waited};
pub use snapshots::Saving;
pub use steps::{CacheState, Step, StepKey, StepResult};
pub use stream::{JobStream, Position, StreamItem, StreamPart, Streamed};
pub use submit::{Accepted, RequestKey, Submission};
pub use warm::{Readiness, TemplateState};
pub use workshop::Workshop;

// What the engine hands out of the crates below it, for callers that must not know those.
pub use dauer_core::NodeId;
pub use dauer_core::ledger::{Account, By, Owner, Range, Sum};
pub use dauer_core::plan::admission::Limits;
pub use dauer_core::plan::eviction::Capacity;
pub use dauer_sandbox::ExecSession;
pub use dauer_sandbox::disk::{ChangeKind, Changed};
pub use dauer_sandbox::image::{
    Credentials, DiskKind, Limits as ImageLimits, Progress as PullProgress, Pruned, Removed,
    Wish as ImageWish,
};
pub use dauer_sandbox::log::Place;
pub use dauer_store::{
    DefinitionFilter, Entry, Filter, HistoryFilter, HistoryPage, HistoryPlace, Recorded, UsageQuery,
};
