//! A write as the script takes it: MessagePack in which every number that is not a small one of ours is a text.

use super::arrival::Arriving;
use super::shapes::{Changed, New, Record, ScheduleText, text};
use super::snapshots::{CachedText, SnapshotText};
use crate::Folder;
use crate::record::{
    CacheWrite, DefinitionRow, QueueWrite, ScheduleWrite, SnapshotWrite, Upkeep, Write,
};
use dauer_core::AccessToken;
use serde::Serialize;

/// Ahead of a member of a pair in one text. No name has it.
const BETWEEN: char = '\0';

/// The write as the script reads it.
pub(super) fn encoded(write: &Write) -> Vec<u8> {
    let (write, audit) = match write {
        Write::Audited(write, audit) => (&**write, Some(Record::of(audit))),
        other => (other, None),
    };
    let what = Doing::of(write);
    packed(&Framed { what, audit })
}

/// Plain data as MessagePack.
pub(super) fn packed<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("invariant: a write is plain data")
}

pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("invariant: plain data can be written as JSON")
}

/// A definition's name and version as the member of a set that sorts by both.
pub(super) fn definition_member(name: &str, version: &str) -> String {
    format!("{name}{BETWEEN}{version}")
}

/// A write of a lease.
#[derive(Serialize)]
#[serde(tag = "write", rename_all = "snake_case")]
pub(super) enum LeaseWrite<'a> {
    TakeLease {
        node: &'a str,
        address: Option<&'a str>,
        till: String,
    },
    RenewLease {
        till: String,
    },
    ReleaseLease,
    TakeOver {
        node: &'a str,
        epoch: String,
        now: String,
    },
}

pub(super) fn encoded_lease(what: LeaseWrite<'_>) -> Vec<u8> {
    packed(&Framed { what, audit: None })
}

#[derive(Serialize)]
struct Framed<W> {
    what: W,
    audit: Option<Record>,
}

#[derive(Serialize)]
#[serde(tag = "write", rename_all = "snake_case")]
enum Doing<'a> {
    Create {
        jobs: Vec<New<'a>>,
    },
    Begin {
        jobs: Vec<New<'a>>,
        changes: Vec<Changed<'a>>,
    },
    Commit {
        change: Box<Changed<'a>>,
    },
    DropCheckpoint {
        job: &'a str,
        names: [String; 2],
    },
    AddSnapshot {
        snapshot: SnapshotText<'a>,
        shared: bool,
    },
    ChangeSnapshot {
        snapshot: SnapshotText<'a>,
        expected: String,
    },
    RemoveSnapshot {
        id: &'a str,
    },
    PutCache {
        entry: CachedText<'a>,
        evict: &'a [String],
    },
    HitCache {
        key: &'a str,
        at: String,
    },
    PinCache {
        key: &'a str,
        pinned: bool,
    },
    MarkEvicting {
        keys: &'a [String],
    },
    RemoveCache {
        key: &'a str,
    },
    Define {
        id: String,
        text: String,
    },
    Undefine {
        id: String,
        called: String,
    },
    Remove {
        id: &'a str,
        version: String,
    },
    AddAccess {
        id: &'a str,
        text: String,
    },
    AccessUsed {
        id: &'a str,
        at: String,
    },
    RemoveAccess {
        id: &'a str,
    },
    AddSchedule {
        schedule: ScheduleText<'a>,
    },
    ChangeSchedule {
        schedule: ScheduleText<'a>,
        expected: String,
        jobs: Vec<New<'a>>,
    },
    RemoveSchedule {
        name: &'a str,
    },
    SetQueue {
        name: &'a str,
        text: &'a str,
    },
    RemoveQueue {
        name: &'a str,
    },
    DaemonStarted {
        at: String,
    },
    DaemonIs {
        completed: bool,
    },
    Heartbeat {
        at: String,
    },
    PruneLedger {
        before: String,
        about: u32,
    },
    ForgetRecords {
        before: String,
        limit: u32,
    },
    Import {
        values: Vec<Arriving<'a>>,
    },
}

/// More than anybody has, and no more than Lua counts exactly.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(super) fn definition_text(row: &DefinitionRow) -> String {
    json(&(
        &row.id.name,
        &row.id.version,
        &row.runtime_type,
        &row.config,
        &row.retry_policy,
        &row.metadata,
        row.created_at,
    ))
}

pub(super) fn access_text(token: &AccessToken) -> String {
    json(&(
        &token.id,
        &token.name,
        token.scope.name(),
        &token.digest,
        token.created_at,
        token.expires_at,
        token.last_used_at,
    ))
}

impl<'a> Doing<'a> {
    fn of(write: &'a Write) -> Self {
        match write {
            Write::Create(jobs) => Self::Create {
                jobs: New::all(jobs),
            },
            Write::Begin { new, changes } => Self::Begin {
                jobs: New::all(new),
                changes: changes.iter().map(Changed::of).collect(),
            },
            Write::Commit(commit) => Self::Commit {
                change: Box::new(Changed::of(commit)),
            },
            Write::DropCheckpoint(drop) => Self::DropCheckpoint {
                job: drop.job.as_str(),
                names: drop.names(),
            },
            Write::Snapshot(write) => Self::snapshot(write),
            Write::Cache(write) => Self::cache(write),
            Write::Define(row) => Self::Define {
                id: definition_member(&row.id.name, &row.id.version),
                text: definition_text(row),
            },
            Write::Undefine(id) => Self::Undefine {
                id: definition_member(&id.name, &id.version),
                called: id.to_string(),
            },
            Write::Remove { id, version } => Self::Remove {
                id: id.as_str(),
                version: version.to_string(),
            },
            Write::AddAccess(token) => Self::AddAccess {
                id: &token.id,
                text: access_text(token),
            },
            Write::AccessUsed { id, at } => Self::AccessUsed { id, at: text(*at) },
            Write::RemoveAccess(id) => Self::RemoveAccess { id },
            Write::Schedule(write) => Self::schedule(write),
            Write::Queue(write) => Self::queue(write),
            Write::Import(values) => Self::Import {
                values: values.iter().map(Arriving::of).collect(),
            },
            Write::Audited(..) => panic!("invariant: a write is audited once"),
            Write::ForgetRecords { before, limit } => Self::ForgetRecords {
                before: text(*before),
                limit: small(*limit),
            },
            Write::Upkeep(Upkeep::Prune { before, about }) => Self::PruneLedger {
                before: text(*before),
                about: small(*about),
            },
            Write::Upkeep(Upkeep::Heartbeat(at)) => Self::Heartbeat { at: text(*at) },
        }
    }

    fn snapshot(write: &'a SnapshotWrite) -> Self {
        match write {
            SnapshotWrite::Add { row, folder } => Self::AddSnapshot {
                snapshot: SnapshotText::of(row),
                shared: match folder {
                    Folder::New => false,
                    Folder::Shared => true,
                },
            },
            SnapshotWrite::Change(row) => Self::ChangeSnapshot {
                snapshot: SnapshotText::of(row),
                expected: row.version.saturating_sub(1).to_string(),
            },
            SnapshotWrite::Remove(id) => Self::RemoveSnapshot { id: id.as_str() },
        }
    }

    fn cache(write: &'a CacheWrite) -> Self {
        match write {
            CacheWrite::Put { entry, evict } => Self::PutCache {
                entry: CachedText::of(entry),
                evict,
            },
            CacheWrite::Hit { key, at } => Self::HitCache { key, at: text(*at) },
            CacheWrite::Pin { key, pinned } => Self::PinCache {
                key,
                pinned: *pinned,
            },
            CacheWrite::MarkEvicting(keys) => Self::MarkEvicting { keys },
            CacheWrite::Remove(key) => Self::RemoveCache { key },
        }
    }

    fn schedule(write: &'a ScheduleWrite) -> Self {
        match write {
            ScheduleWrite::Add(row) => Self::AddSchedule {
                schedule: ScheduleText::of(row),
            },
            ScheduleWrite::Change { row, jobs } => Self::ChangeSchedule {
                expected: row.version.saturating_sub(1).to_string(),
                schedule: ScheduleText::of(row),
                jobs: New::all(jobs),
            },
            ScheduleWrite::Remove(name) => Self::RemoveSchedule { name },
        }
    }

    fn queue(write: &'a QueueWrite) -> Self {
        match write {
            QueueWrite::Set { name, settings } => Self::SetQueue {
                name,
                text: settings,
            },
            QueueWrite::Remove(name) => Self::RemoveQueue { name },
            QueueWrite::DaemonStarted(at) => Self::DaemonStarted { at: text(*at) },
            QueueWrite::DaemonCompleted => Self::DaemonIs { completed: true },
            QueueWrite::DaemonEndedWell => Self::DaemonIs { completed: false },
        }
    }
}
