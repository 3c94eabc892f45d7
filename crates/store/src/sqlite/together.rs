//! Many writes as few statements. Where one of them cannot be written, nothing is said of it here: the transaction is rolled
//! back and each write is tried by itself (`writer`).

use super::fault::Fault;
use super::lease::Holder;
use super::rows;
use super::{kept, write};
use crate::NewEntry;
use crate::record::{CommitRow, JobRow, NewRow, Write};
use dauer_core::Kept;
use rusqlite::Connection;

/// What became of all of them.
pub(super) enum Outcome {
    /// Each was written, or was refused without having written anything.
    Done(Vec<Result<(), Fault>>),
    /// One of them was written in part.
    Torn,
}

/// Does all of them, in this order. An error is one after which the transaction has to be rolled back.
pub(super) fn apply(
    connection: &Connection,
    writes: &[Write],
    me: Holder,
) -> Result<Outcome, Fault> {
    let mut results = Vec::with_capacity(writes.len());
    let mut gathered = Gathered::default();
    for one in writes {
        if gathered.takes(one) {
            results.push(Ok(()));
            continue;
        }
        if !gathered.flush(connection, me)? {
            return Ok(Outcome::Torn);
        }
        if gathered.takes(one) {
            results.push(Ok(()));
            continue;
        }
        let before = connection.total_changes();
        match write::apply(connection, one, me) {
            Ok(()) => results.push(Ok(())),
            Err(fault) if connection.is_autocommit() => return Err(fault),
            Err(_) if connection.total_changes() != before => return Ok(Outcome::Torn),
            Err(fault) => results.push(Err(fault)),
        }
    }
    Ok(if gathered.flush(connection, me)? {
        Outcome::Done(results)
    } else {
        Outcome::Torn
    })
}

/// Writes of one kind that wait to be written together.
#[derive(Default)]
struct Gathered<'a> {
    /// With the record of each as it is in the end.
    new: Vec<(&'a NewRow, &'a JobRow)>,
    changed: Vec<&'a JobRow>,
    entries: Vec<(&'a JobRow, &'a NewEntry)>,
    kept: Vec<(&'a JobRow, &'a Kept)>,
}

impl<'a> Gathered<'a> {
    /// Takes a write that goes with those that are here, and is no more than rows.
    fn takes(&mut self, write: &'a Write) -> bool {
        match write {
            Write::Create(new) if self.changed.is_empty() && new.iter().all(NewRow::is_plain) => {
                self.new.extend(new.iter().map(|new| (new, &new.row)));
                self.entries.extend(
                    new.iter()
                        .flat_map(|new| new.entry.iter().map(|entry| (&new.row, entry))),
                );
                true
            }
            Write::Begin { new, changes } if self.changed.is_empty() => {
                let plain = |change: &CommitRow| {
                    change.is_plain() && change.kept.is_empty() && change.row.version == 2
                };
                if !new.iter().all(NewRow::is_plain) || !changes.iter().all(plain) {
                    return false;
                }
                self.begin(new, changes);
                true
            }
            Write::Commit(commit) => {
                // One statement writes a row once.
                let together = self.changed.len() % rows::MANY;
                let last = &self.changed[self.changed.len() - together..];
                if !self.new.is_empty()
                    || !commit.is_plain()
                    || last.iter().any(|row| row.id == commit.row.id)
                {
                    return false;
                }
                self.changed.push(&commit.row);
                self.entries
                    .extend(commit.entry.iter().map(|entry| (&commit.row, entry)));
                self.kept
                    .extend(commit.kept.iter().map(|kept| (&commit.row, kept)));
                true
            }
            Write::Create(_)
            | Write::Begin { .. }
            | Write::DropCheckpoint(_)
            | Write::Snapshot(_)
            | Write::Cache(_)
            | Write::Define(_)
            | Write::Undefine(_)
            | Write::Remove { .. }
            | Write::AddAccess(_)
            | Write::AccessUsed { .. }
            | Write::RemoveAccess(_)
            | Write::Schedule(_)
            | Write::Queue(_)
            | Write::Audited(..)
            | Write::Upkeep(_)
            | Write::Import(_)
            | Write::ForgetRecords { .. } => false,
        }
    }

    /// A row whose first change is known is written once, as it is after that.
    fn begin(&mut self, new: &'a [NewRow], changes: &'a [CommitRow]) {
        let mut changes = changes.iter().peekable();
        for new in new {
            let entry = new.entry.as_ref();
            self.entries.extend(entry.map(|entry| (&new.row, entry)));
            let change = changes.next_if(|change| change.row.id == new.row.id);
            self.new
                .push((new, change.map_or(&new.row, |change| &change.row)));
            if let Some(change) = change {
                let entry = change.entry.as_ref();
                self.entries.extend(entry.map(|entry| (&change.row, entry)));
            }
        }
    }

    /// Writes what is here; false where not all of it could be.
    fn flush(&mut self, connection: &Connection, me: Holder) -> Result<bool, Fault> {
        let written = self.write(connection, me);
        *self = Self::default();
        match written {
            Ok(whole) => Ok(whole),
            Err(fault) if connection.is_autocommit() => Err(fault),
            // A name in use, for one: who it is about is found by trying each.
            Err(Fault::Sql(_) | Fault::Rule(_) | Fault::Answer(_)) => Ok(false),
            Err(fault @ Fault::Unreadable { .. }) => Err(fault),
        }
    }

    fn write(&self, connection: &Connection, me: Holder) -> Result<bool, Fault> {
        rows::insert(connection, &self.new, me)?;
        for (new, _) in &self.new {
            write::put_tags(connection, new)?;
        }
        if rows::update(connection, &self.changed, me)? != self.changed.len() {
            return Ok(false);
        }
        for (row, kept) in &self.kept {
            kept::put(connection, &row.id, kept)?;
        }
        rows::journal(connection, &self.entries)?;
        Ok(true)
    }
}
