//! Many writes as few statements, whose order alone says that they are right.
//!
//! ```text
//! records that change · unique keys · new records · parents · what belongs to them · checkpoints pointed to · journal · audit
//! ```
//!
//! What belongs to one job is written in the order in which it was asked for; of different jobs each kind goes together. A job that is
//! written several times in one group is written once, as it is in the end, with every one of its entries. Where writes of a group
//! are about the same thing in a way that this order does not keep, they are [`Apart`], and each is tried by itself (`each`).

use super::connection::Value;
use super::sql::{Statement, moving, write as sql};
use crate::record::{CommitRow, JobRow, NewRow, signed};
use crate::{NewAudit, NewEntry};
use dauer_core::State;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// They cannot be written together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Apart;

/// A value of a column.
#[derive(Debug)]
pub(super) enum Cell<'a> {
    Text(Option<Cow<'a, str>>),
    Number(Option<i64>),
    Flag(bool),
}

macro_rules! cells {
    ($($type:ty => |$value:ident| $cell:expr;)*) => {
        $(impl<'a> From<$type> for Cell<'a> {
            fn from($value: $type) -> Self { $cell }
        })*
    };
}

cells! {
    &'a str => |text| Cell::Text(Some(Cow::Borrowed(text)));
    &'a String => |text| Cell::Text(Some(Cow::Borrowed(text)));
    String => |text| Cell::Text(Some(Cow::Owned(text)));
    Option<&'a str> => |text| Cell::Text(text.map(Cow::Borrowed));
    &'a Option<String> => |text| Cell::Text(text.as_deref().map(Cow::Borrowed));
    &'a Cow<'static, str> => |text| Cell::Text(Some(Cow::Borrowed(text)));
    &'a Option<Cow<'static, str>> => |text| Cell::Text(text.as_deref().map(Cow::Borrowed));
    i64 => |number| Cell::Number(Some(number));
    u32 => |number| Cell::Number(Some(i64::from(number)));
    u64 => |number| Cell::Number(Some(signed(number)));
    Option<i64> => |number| Cell::Number(number);
    bool => |flag| Cell::Flag(flag);
}

/// A row of a statement.
macro_rules! row {
    ($($value:expr),* $(,)?) => { [$(crate::postgres::plan::Cell::from($value)),*] };
}
pub(super) use row;

/// A column of the rows that a statement writes.
#[derive(Debug)]
enum Column<'a> {
    Texts(Vec<Option<Cow<'a, str>>>),
    Numbers(Vec<Option<i64>>),
    Flags(Vec<bool>),
}

impl<'a> Column<'a> {
    fn of(cell: Cell<'a>) -> Self {
        match cell {
            Cell::Text(text) => Self::Texts(vec![text]),
            Cell::Number(number) => Self::Numbers(vec![number]),
            Cell::Flag(flag) => Self::Flags(vec![flag]),
        }
    }

    fn push(&mut self, cell: Cell<'a>) {
        match (self, cell) {
            (Self::Texts(column), Cell::Text(text)) => column.push(text),
            (Self::Numbers(column), Cell::Number(number)) => column.push(number),
            (Self::Flags(column), Cell::Flag(flag)) => column.push(flag),
            (column, cell) => panic!("invariant: a column has one type: {column:?} and {cell:?}"),
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Self::Texts(column) => column,
            Self::Numbers(column) => column,
            Self::Flags(column) => column,
        }
    }
}

/// A statement, and the rows it writes.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub(super) statement: &'static Statement,
    columns: Vec<Column<'a>>,
}

impl<'a> Batch<'a> {
    pub(super) fn of(statement: &'static Statement) -> Self {
        Self {
            statement,
            columns: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, row: impl IntoIterator<Item = Cell<'a>>) {
        if self.columns.is_empty() {
            self.columns = row.into_iter().map(Column::of).collect();
            return;
        }
        for (column, cell) in self.columns.iter_mut().zip(row) {
            column.push(cell);
        }
    }

    /// The values of its parameters.
    pub(super) fn values(&self) -> Vec<Value<'_>> {
        self.columns.iter().map(Column::value).collect()
    }
}

/// What a group makes of one job.
#[derive(Debug)]
struct Changed<'a> {
    /// It is new.
    new: Option<&'a NewRow>,
    /// The version it had.
    expected: u64,
    /// What it is in the end.
    row: &'a JobRow,
}

/// What a group of writes does.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// The node that writes.
    node: Option<&'a str>,
    jobs: HashMap<&'a str, Changed<'a>>,
    removed: HashSet<&'a str>,
    unique: HashSet<&'a str>,
    belongings: Vec<Batch<'a>>,
    /// By what they belong to, where in `belongings` its last row is.
    last: HashMap<&'a str, usize>,
    journal: Batch<'a>,
    audit: Batch<'a>,
    /// Something may begin now that could not before.
    pub(super) makes_work: bool,
    /// What every daemon goes by is another one.
    pub(super) changes_settings: bool,
}

impl<'a> Plan<'a> {
    pub(super) fn new(node: Option<&'a str>) -> Self {
        Self {
            node,
            jobs: HashMap::new(),
            removed: HashSet::new(),
            unique: HashSet::new(),
            belongings: Vec::new(),
            last: HashMap::new(),
            journal: Batch::of(&sql::INSERT_JOURNAL),
            audit: Batch::of(&sql::INSERT_AUDIT),
            makes_work: false,
            changes_settings: false,
        }
    }

    pub(super) fn node(&self) -> Option<&'a str> {
        self.node
    }

    /// A row that is written after all that was said of this subject before.
    pub(super) fn put<const COLUMNS: usize>(
        &mut self,
        subject: &'a str,
        statement: &'static Statement,
        row: [Cell<'a>; COLUMNS],
    ) {
        let first = match self.last.get(subject) {
            Some(last) if statement.repeats => *last,
            Some(last) => last + 1,
            None => 0,
        };
        let same = |batch: &Batch<'_>| std::ptr::eq(batch.statement, statement);
        let found = self.belongings.get(first..).and_then(|behind| {
            let found = behind.iter().position(same)?;
            Some(first + found)
        });
        let place = found.unwrap_or_else(|| {
            self.belongings.push(Batch::of(statement));
            self.belongings.len() - 1
        });
        self.belongings[place].push(row);
        self.last.insert(subject, place);
    }

    /// A new job.
    pub(super) fn add(&mut self, new: &'a NewRow) -> Result<(), Apart> {
        let changed = Changed {
            new: Some(new),
            expected: 0,
            row: &new.row,
        };
        if self.removed.contains(new.row.id.as_str())
            || self.jobs.insert(new.row.id.as_str(), changed).is_some()
        {
            return Err(Apart);
        }
        if let Some(unique) = &new.queued.unique
            && !self.unique.insert(&unique.key)
        {
            return Err(Apart);
        }
        self.makes_work = true;
        if let Some(entry) = &new.entry {
            self.entry(&new.row, entry);
        }
        Ok(())
    }

    /// A new version of a job.
    pub(super) fn change(&mut self, commit: &'a CommitRow) -> Result<(), Apart> {
        let row = &commit.row;
        let before = row.version.checked_sub(1).ok_or(Apart)?;
        if self.removed.contains(row.id.as_str()) {
            return Err(Apart);
        }
        match self.jobs.get_mut(row.id.as_str()) {
            Some(changed) if changed.row.version == before => changed.row = row,
            Some(_) => return Err(Apart),
            None => {
                let changed = Changed {
                    new: None,
                    expected: before,
                    row,
                };
                self.jobs.insert(row.id.as_str(), changed);
            }
        }
        self.makes_work |= row.stage & 2 == 0;
        if let Some(entry) = &commit.entry {
            self.entry(row, entry);
        }
        Ok(())
    }

    /// A job goes, with all that belongs to it.
    pub(super) fn remove(&mut self, id: &'a str, version: u64) -> Result<(), Apart> {
        if self.jobs.contains_key(id) || !self.removed.insert(id) {
            return Err(Apart);
        }
        let node = self.node;
        self.put(id, &sql::DELETE_JOBS, row![id, version, node]);
        Ok(())
    }

    pub(super) fn audit(&mut self, audit: &'a NewAudit) {
        self.audit.push(row![
            audit.at.0,
            &audit.event,
            &audit.subject,
            &audit.detail,
            &audit.by,
            &audit.why,
        ]);
    }

    /// Numbers that were taken in are behind those that are given out from then on.
    pub(super) fn raise_numbers(&mut self) {
        let mut raise = Batch::of(&moving::RAISE_NUMBERS);
        raise.push(row![1_i64]);
        self.belongings.push(raise);
    }

    fn entry(&mut self, row: &'a JobRow, entry: &'a NewEntry) {
        self.journal.push(row![
            row.id.as_str(),
            entry.at.0,
            &entry.event,
            entry.from.map(State::name),
            row.state.name(),
            row.operation,
            row.generation,
            &entry.detail,
            &entry.by,
            &entry.why,
        ]);
    }

    /// The jobs that are other ones afterwards.
    pub(super) fn changed(&self) -> impl Iterator<Item = &'a str> {
        self.jobs.keys().chain(&self.removed).copied()
    }

    /// The statements, in their order.
    pub(super) fn batches(self) -> Vec<Batch<'a>> {
        let Self { node, mut jobs, .. } = self;
        let mut rows: Vec<Changed<'a>> = jobs.drain().map(|(_, changed)| changed).collect();
        // In one order everywhere, so that two groups do not wait for each other.
        rows.sort_unstable_by(|one, other| one.row.id.cmp(&other.row.id));
        let mut update = Batch::of(&sql::UPDATE_JOBS);
        let mut insert = Batch::of(&sql::INSERT_JOBS);
        let mut lock_unique = Batch::of(&sql::LOCK_UNIQUE);
        let mut check_unique = Batch::of(&sql::CHECK_UNIQUE);
        let mut parents = Batch::of(&sql::CHECK_PARENTS);
        let mut checkpoints = Batch::of(&sql::CHECK_CHECKPOINTS);
        for changed in &rows {
            let row = changed.row;
            let holds = node.filter(|_| row.stage & 2 != 0);
            if let Some(checkpoint) = &row.checkpoint {
                checkpoints.push(row![checkpoint]);
            }
            let Some(new) = changed.new else {
                update.push(changes(changed, holds, node));
                continue;
            };
            if let Some(parent) = &new.parent {
                parents.push(row![parent]);
            }
            if let Some(unique) = &new.queued.unique {
                lock_unique.push(row![&unique.key]);
                for state in &unique.states {
                    check_unique.push(row![&unique.key, state.name()]);
                }
            }
            insert.push(additions(new, row, holds));
        }
        let first = [update, lock_unique, check_unique, insert, parents];
        let last = [checkpoints, self.journal, self.audit];
        let all = first.into_iter().chain(self.belongings).chain(last);
        all.filter(|batch| !batch.columns.is_empty()).collect()
    }
}

fn changes<'a>(
    changed: &Changed<'a>,
    holds: Option<&'a str>,
    node: Option<&'a str>,
) -> [Cell<'a>; 15] {
    let row = changed.row;
    row![
        row.id.as_str(),
        changed.expected,
        row.version,
        row.state.name(),
        row.operation,
        row.wake_at,
        row.stage,
        &row.record,
        &row.sandbox,
        &row.checkpoint,
        row.expires_at,
        row.ends_children,
        row.lane,
        holds,
        node,
    ]
}

/// A new row of `jobs`.
pub(super) fn additions<'a>(
    new: &'a NewRow,
    row: &'a JobRow,
    holds: Option<&'a str>,
) -> [Cell<'a>; 25] {
    row![
        row.id.as_str(),
        row.version,
        &new.name,
        row.state.name(),
        row.operation,
        row.wake_at,
        row.stage,
        new.created_at.0,
        &row.record,
        &new.spec,
        new.urgency,
        &new.params,
        &row.sandbox,
        &row.checkpoint,
        row.expires_at,
        &new.parent,
        row.ends_children,
        &new.queued.queue,
        row.lane,
        &new.queued.key,
        new.queued.cpu_millis.map(i64::from),
        new.queued.memory_bytes,
        new.queued.unique.as_ref().map(|unique| unique.key.as_str()),
        &new.queued.batch,
        holds,
    ]
}
