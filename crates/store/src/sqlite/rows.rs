//! The statements that write rows of jobs and of the journal: of one, or of many at once. A statement of its own for each row
//! costs more than the row.

use super::fault::Fault;
use super::lease::Holder;
use crate::NewEntry;
use crate::record::{JobRow, NewRow, signed};
use dauer_core::State;
use rusqlite::{CachedStatement, Connection, ToSql};
use std::sync::LazyLock;

/// So many rows a statement writes, where there are so many.
pub(super) const MANY: usize = 16;

/// One list of columns, and the statement for one row and for many.
pub(super) struct Statement {
    pub(super) one: String,
    pub(super) many: String,
    columns: usize,
}

impl Statement {
    fn of(columns: usize, text: impl Fn(&str) -> String) -> Self {
        let row = format!("({})", vec!["?"; columns].join(", "));
        Self {
            one: text(&row),
            many: text(&vec![row; MANY].join(", ")),
            columns,
        }
    }

    /// Runs it for these rows, as many at once as it takes; how many rows were written.
    fn run<T>(
        &self,
        connection: &Connection,
        rows: &[T],
        bind: impl Fn(&T, &mut Binder<'_, '_>) -> rusqlite::Result<()>,
    ) -> Result<usize, Fault> {
        let (mut left, mut written) = (rows, 0);
        while !left.is_empty() {
            let (text, length) = match left.len() {
                MANY.. => (&self.many, MANY),
                _ => (&self.one, 1),
            };
            let (now, later) = left.split_at(length);
            let mut statement = connection.prepare_cached(text)?;
            let mut binder = Binder {
                statement: &mut statement,
                bound: 0,
            };
            for row in now {
                bind(row, &mut binder)?;
            }
            let bound = binder.bound;
            assert_eq!(
                bound,
                self.columns * length,
                "invariant: every column has its value"
            );
            written += statement.raw_execute()?;
            left = later;
        }
        Ok(written)
    }
}

/// Gives the columns of a statement their values, in order.
struct Binder<'a, 'b> {
    statement: &'a mut CachedStatement<'b>,
    bound: usize,
}

impl Binder<'_, '_> {
    fn all(&mut self, values: &[&dyn ToSql]) -> rusqlite::Result<()> {
        for value in values {
            self.bound += 1;
            self.statement.raw_bind_parameter(self.bound, *value)?;
        }
        Ok(())
    }
}

const JOB: &[&str] = &[
    "id",
    "version",
    "name",
    "state",
    "operation",
    "wake_at",
    "stage",
    "created_at",
    "record",
    "spec",
    "priority",
    "params",
    "sandbox",
    "checkpoint",
    "expires_at",
    "ends_children",
    "parent",
    "queue",
    "lane",
    "concurrency_key",
    "cpu_millis",
    "memory_bytes",
    "unique_key",
    "batch",
    "node",
];

/// A new row.
pub(super) static INSERT_JOBS: LazyLock<Statement> = LazyLock::new(|| {
    let columns = JOB.join(", ");
    Statement::of(JOB.len(), |rows| {
        format!("INSERT INTO jobs ({columns}) VALUES {rows}")
    })
});

/// The next version of a row that has neither sandbox nor checkpoint and gets none.
pub(super) static UPDATE_JOBS: LazyLock<Statement> = LazyLock::new(|| {
    Statement::of(11, |rows| {
        format!(
            "UPDATE jobs SET version = column2, state = column3, operation = column4, wake_at = column5, stage = column6,
                 record = column7, expires_at = column8, ends_children = column9, lane = column10,
                 node = CASE WHEN column6 & 2 THEN column11 END
             FROM (VALUES {rows})
             WHERE id = column1 AND version = column2 - 1 AND sandbox IS NULL AND checkpoint IS NULL
               AND (node IS NULL OR column11 IS NULL OR node = column11)"
        )
    })
});

const ENTRY: &[&str] = &[
    "job",
    "at",
    "event",
    "from_state",
    "to_state",
    "operation",
    "generation",
    "detail",
    "by",
    "why",
];

/// A journal entry.
pub(super) static INSERT_ENTRIES: LazyLock<Statement> = LazyLock::new(|| {
    let columns = ENTRY.join(", ");
    Statement::of(ENTRY.len(), |rows| {
        format!("INSERT INTO journal ({columns}) VALUES {rows}")
    })
});

/// Adds these rows, each with its record. An id or a name that is taken is an error of SQLite.
pub(super) fn insert(
    connection: &Connection,
    rows: &[(&NewRow, &JobRow)],
    me: Holder,
) -> Result<(), Fault> {
    INSERT_JOBS.run(connection, rows, |(new, row), columns| {
        columns.all(&[
            &row.id.0,
            &signed(row.version),
            &new.name,
            &row.state.name(),
            &row.operation,
            &row.wake_at,
            &row.stage,
            &new.created_at.0,
            &row.record,
            &new.spec,
            &new.urgency,
            &new.params,
            &row.sandbox,
            &row.checkpoint,
            &row.expires_at,
            &row.ends_children,
            &new.parent,
            &new.queued.queue,
            &row.lane,
            &new.queued.key,
            &new.queued.cpu_millis,
            &new.queued.memory_bytes,
            &new.queued.unique.as_ref().map(|unique| &unique.key),
            &new.queued.batch,
            &me.0.filter(|_| row.is_unsettled()),
        ])
    })?;
    Ok(())
}

/// Writes the next versions of these rows; how many of them were there to be written.
pub(super) fn update(
    connection: &Connection,
    rows: &[&JobRow],
    me: Holder,
) -> Result<usize, Fault> {
    UPDATE_JOBS.run(connection, rows, |row, columns| {
        columns.all(&[
            &row.id.0,
            &signed(row.version),
            &row.state.name(),
            &row.operation,
            &row.wake_at,
            &row.stage,
            &row.record,
            &row.expires_at,
            &row.ends_children,
            &row.lane,
            &me.0,
        ])
    })
}

/// Adds these entries to the journal, in this order.
pub(super) fn journal(
    connection: &Connection,
    entries: &[(&JobRow, &NewEntry)],
) -> Result<(), Fault> {
    INSERT_ENTRIES.run(connection, entries, |(row, entry), columns| {
        columns.all(&[
            &row.id.0,
            &entry.at.0,
            &entry.event,
            &entry.from.map(State::name),
            &row.state.name(),
            &row.operation,
            &row.generation,
            &entry.detail,
            &entry.by,
            &entry.why,
        ])
    })?;
    Ok(())
}
