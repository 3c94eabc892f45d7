//! Client of Dauer's caller API, which the `dauer` command uses and any Rust program can, and the calls of a job for itself.
//!
#![doc = include_str!("../README.md")]
//!
//! Each call opens its own connection: a unix socket costs microseconds, and a daemon that was restarted in between is
//! not noticed. The message types are those of [`dauer_wire::http`].

mod calls;
mod connection;
mod definitions;
mod error;
mod exec;
mod files;
mod forks;
mod gc;
mod history;
mod host;
mod images;
pub mod job;
mod logs;
mod messages;
mod nodes;
mod queues;
mod schedules;
mod steps;
mod transfer;
mod usage;

pub use calls::{Client, EventStream, JsonLines, ListFilter};
pub use error::Error;
pub use exec::{ExecEvent, ExecReader, ExecSession, ExecWriter};
pub use files::ByteReader;
pub use history::HistoryQuery;
pub use host::{Host, Remote};
pub use images::{ImportWish, PullEvents};
pub use logs::{LogItem, LogStream, Output};
pub use steps::StepStream;
pub use usage::UsageFilter;
