//! Whether the tables belong together, and their columns say what the records say.

use super::Postgres;
use super::fault::Fault;
use super::sql::{moving as sql, snapshots};
use crate::Error;
use crate::check::columns::{self, Beside, COLUMNS, DIFFERENT_MAX, Stored};
use crate::check::{Finding, Rule};
use crate::record::{self, Broken, limit};
use tokio_postgres::Row;

/// So many jobs at once.
const PIECE: usize = 1000;

/// The first of the columns that are compared.
const FIRST: usize = 4;

impl Postgres {
    /// What is wrong with the tables. What is committed meanwhile is seen whole: each statement is of one moment, and says of each row
    /// what stands beside it.
    pub(super) async fn checked(&self) -> Result<Vec<Finding>, Error> {
        let mut found = Vec::new();
        for row in self.rows(&sql::CHECK_ORPHANS, &[]).await? {
            let table: String = self.read(&row, |row| Ok(row.try_get(0)?))?;
            let what = "a row belongs to a job that is not there";
            found.push(Finding::new(Rule::Orphan, format!("table {table}"), what));
        }
        self.check_jobs(&mut found).await?;
        for row in self.rows(&sql::CHECK_SCHEDULES, &[]).await? {
            let (has, text): ((String, i64, Option<i64>), String) = self.read(&row, |row| {
                let has = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                Ok((has, row.try_get(3)?))
            })?;
            columns::schedule(&has, record::schedule(&text), &mut found);
        }
        for row in self.rows(&sql::CHECK_QUEUES, &[]).await? {
            let (name, settings): (String, String) =
                self.read(&row, |row| Ok((row.try_get(0)?, row.try_get(1)?)))?;
            columns::queue(&name, record::queue(&settings), &mut found);
        }
        for row in self.rows(&snapshots::CHECK_ALL_SNAPSHOTS, &[]).await? {
            let (has, text): ((String, u64, Option<String>), String) = self.read(&row, |row| {
                let version = record::unsigned(row.try_get(1)?);
                let has = (row.try_get(0)?, version, row.try_get(2)?);
                Ok((has, row.try_get(3)?))
            })?;
            columns::snapshot(&has, record::snapshot(&text), &mut found);
        }
        for row in self.rows(&sql::CHECK_NUMBERS, &[]).await? {
            let (table, newest, given): (String, Option<i64>, Option<i64>) = self
                .read(&row, |row| {
                    Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
                })?;
            columns::number(&table, newest, given, &mut found);
        }
        Ok(found)
    }

    async fn check_jobs(&self, found: &mut Vec<Finding>) -> Result<(), Error> {
        let mut after = String::new();
        loop {
            let rows = self
                .rows(&sql::CHECK_JOBS, &[&after, &limit(PIECE)])
                .await?;
            let is_last = rows.len() < PIECE;
            for row in rows {
                if found.len() >= DIFFERENT_MAX {
                    found.push(columns::and_more());
                    return Ok(());
                }
                after = self.read(&row, |row| Ok(row.try_get(0)?))?;
                let beside = self.read(&row, beside)?;
                let job = self.read(&row, |row| {
                    let (record, spec) = (row.try_get(1)?, row.try_get(2)?);
                    Ok(record::job(&after, record, spec, row.try_get(3)?))
                })?;
                columns::job(&after, job, &beside, found);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn read<T>(&self, row: &Row, read: impl Fn(&Row) -> Result<T, Fault>) -> Result<T, Error> {
        read(row).map_err(|fault| self.readers.error(fault))
    }
}

fn beside(row: &Row) -> Result<Beside, Fault> {
    let mut columns = [const { Stored::Absent }; COLUMNS.len()];
    for (index, column) in columns.iter_mut().enumerate() {
        let index = index + FIRST;
        *column = match *row.columns()[index].type_() {
            tokio_postgres::types::Type::INT8 => row.try_get::<_, Option<i64>>(index)?.into(),
            _ => row.try_get::<_, Option<String>>(index)?.into(),
        };
    }
    let tags: &str = row.try_get(FIRST + COLUMNS.len())?;
    let tags = serde_json::from_str(tags).map_err(|source| Broken::Unreadable {
        what: "the tags of a job".into(),
        source,
    })?;
    Ok(Beside {
        columns,
        tags,
        after: row.try_get(FIRST + COLUMNS.len() + 1)?,
    })
}
