//! Adds the ledger up: of each row only what is added, and labels that many rows share are read once.

use super::fault::Fault;
use super::sql;
use crate::record::{interval_kind, read_labels, unsigned};
use crate::{Error, UsageQuery};
use dauer_core::Timestamp;
use dauer_core::ledger::{Account, Labels, Range, Use};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Params, Row, params};
use std::collections::HashMap;

/// So many texts of labels are remembered. Rows beside each other mostly have the same few; jobs that each have labels of their own
/// must not fill the memory.
const LABELS_REMEMBERED: usize = 1024;

pub(super) fn usage(connection: &Connection, query: &UsageQuery) -> Result<Account, Fault> {
    let mut adding = Adding {
        query,
        account: Account::new(query.by.clone(), query.range, query.now),
        labels: HashMap::new(),
        none: Labels::default(),
    };
    // Both questions see the same moment.
    let moment = connection.unchecked_transaction()?;
    let Range { since, until } = query.range;
    let until = until.map_or(i64::MAX, |until| until.0);
    match (&query.owner, since) {
        (Some(owner), _) => {
            let asked = params![owner.kind.name(), owner.id];
            adding.rows(&moment, sql::USAGE_OF_OWNER, asked)?;
        }
        // All of them in the order in which they lie there: by when they ended, each would be looked up in another place.
        (None, None) => adding.rows(&moment, sql::USAGE_ALL, params![i64::MIN, until])?,
        (None, Some(since)) => {
            adding.rows(&moment, sql::USAGE_CLOSED, params![since.0, until])?;
            adding.rows(&moment, sql::USAGE_OPEN, params![until])?;
        }
    }
    Ok(adding.account)
}

struct Adding<'a> {
    query: &'a UsageQuery,
    account: Account,
    labels: HashMap<String, Labels>,
    none: Labels,
}

impl Adding<'_> {
    fn rows(
        &mut self,
        connection: &Connection,
        question: &str,
        asked: impl Params,
    ) -> Result<(), Fault> {
        let mut statement = connection.prepare_cached(question)?;
        let mut rows = statement.query(asked)?;
        while let Some(row) = rows.next()? {
            self.row(row)?;
        }
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>) -> Result<(), Fault> {
        let owner = text(row, 0)?;
        let labels = if self.query.by.asks_labels() || !self.query.tags.is_empty() {
            let text = text(row, 6)?;
            if !self.labels.contains_key(text) {
                if self.labels.len() >= LABELS_REMEMBERED {
                    self.labels.clear();
                }
                let read = read_labels("owner", owner, text)?;
                self.labels.insert(text.to_owned(), read);
            }
            &self.labels[text]
        } else {
            &self.none
        };
        if !self.query.asks_for_labels(labels) {
            return Ok(());
        }
        let one = Use {
            group: self.query.by.group(owner, labels),
            kind: interval_kind(text(row, 1)?)?,
            amount: unsigned(row.get(2)?),
            from: Timestamp(row.get(3)?),
            to: row.get::<_, Option<i64>>(4)?.map(Timestamp),
            used: row.get::<_, Option<i64>>(5)?.map(unsigned),
        };
        self.account
            .add_use(one)
            .map_err(|_| Fault::from(Error::TooManyGroups))
    }
}

/// A text as it lies in the row, not a copy of it.
fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, Fault> {
    let value: ValueRef<'a> = row.get_ref(column)?;
    value
        .as_str()
        .map_err(|error| Fault::from(rusqlite::Error::from(error)))
}
