//! The ledger: who used what from when to when, as intervals that are opened and closed with the transitions of their owner.
//!
//! `crate::decide()` opens and closes them; [`account`] adds them up. Why an interval says what it says: docs/decisions/0013-the-ledger.md.

pub mod account;
mod interval;

pub use account::{Account, By, Range, Sum, TooMany, Use};
pub use interval::{Closing, Interval, Kind, Labels, Life, Owner, OwnerKind, Relabelling};

/// What is counted for a job without a limit of its own: thousandths of a CPU.
pub const CPU_MILLIS_DEFAULT: u64 = 1000;

/// What is counted for a job without a limit of its own: bytes of memory.
pub const MEMORY_BYTES_DEFAULT: u64 = 512 << 20;

/// How often "alive" is written down while anything lives: after a crash, no more than this is missing from an interval.
pub const HEARTBEAT_MS: u64 = 30_000;
