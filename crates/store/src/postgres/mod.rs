//! The store in PostgreSQL: a writer with group commit, a few connections for reading, one for word of what others do.
//!
//! Reading order: the schema (`migrations/`), [`sql`], [`plan`] and [`gather`], [`group`], [`writer`], [`readers`], [`listen`], [`lease`].

mod asked;
mod check;
mod connection;
mod export;
mod fault;
mod gather;
mod group;
mod import;
mod lease;
mod listen;
mod patience;
mod plan;
mod readers;
mod refusal;
mod row;
mod schema;
mod snapshots;
mod sql;
mod store;
mod tls;
mod url;
mod writer;

use crate::{Capabilities, Durable, Error};
use connection::{Value, Way};
use dauer_core::NodeId;
use fault::Fault;
use listen::{Ears, Voice};
use readers::Readers;
use sql::Statement;
use std::sync::{Arc, PoisonError, RwLock};
use tokio_postgres::Row;
use writer::Writer;

/// A store in a PostgreSQL database. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Postgres {
    writer: Writer,
    readers: Readers,
    ears: Ears,
    /// Whose lease this handle has.
    node: Arc<RwLock<Option<NodeId>>>,
    capabilities: Capabilities,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

static PROMISES: Statement = Statement {
    sql: "SELECT current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on',
              current_setting('synchronous_standby_names') <> '' OR NOT EXISTS (SELECT 1 FROM pg_stat_replication)",
    types: &[],
    repeats: true,
};

impl Postgres {
    /// Connects to `postgres://user:password@host:port/database`, and makes or updates the tables. Beside PostgreSQL's own settings the
    /// URL may say `schema` (where the tables are, `dauer`), `pgbouncer=true` (a pooler in transaction mode stands between) and
    /// `sslmode=verify-ca|verify-full` with `sslrootcert`. Errors: `Backend` naming the server, without the password: it cannot be
    /// reached, is older than 13, or has the tables of a newer dauer, which were not touched.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let way = Way::of(url::parse(url)?);
        let opened = Self::open(&way).await;
        opened.map_err(|fault| fault.at(way.place()))
    }

    async fn open(way: &Arc<Way>) -> Result<Self, Fault> {
        let connection = way.connect().await?;
        schema::bring_up_to_date(&connection, way).await?;
        connection.rows(&sql::write::FORGET_WRITERS, &[]).await?;
        let capabilities = capabilities(&connection.rows(&PROMISES, &[]).await?)?;
        let voice = Voice::of(way);
        let readers = Readers::of(Arc::clone(way));
        Ok(Self {
            ears: Ears::open(Arc::clone(way), voice.clone(), readers.clone()),
            writer: Writer::start(Arc::clone(way), connection, voice),
            readers,
            node: Arc::default(),
            capabilities,
        })
    }

    fn set_node(&self, node: &NodeId) {
        // Every change leaves it whole.
        let mut mine = self.node.write().unwrap_or_else(PoisonError::into_inner);
        *mine = Some(node.clone());
    }

    /// The node whose lease this handle has.
    fn node(&self) -> Option<String> {
        let mine = self.node.read().unwrap_or_else(PoisonError::into_inner);
        mine.as_ref().map(|node| node.0.clone())
    }

    async fn rows(
        &self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, Error> {
        let rows = self.readers.rows(statement, values).await;
        rows.map_err(|fault| self.readers.error(fault))
    }

    /// Whether there is any row.
    async fn exists(
        &self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<bool, Error> {
        Ok(!self.rows(statement, values).await?.is_empty())
    }

    /// What each row says.
    fn each<T>(
        &self,
        rows: Vec<Row>,
        read: impl Fn(&Row) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Error> {
        let read: Result<Vec<T>, Fault> = rows.iter().map(read).collect();
        read.map_err(|fault| self.readers.error(fault))
    }

    /// What the first row says, if there is one.
    async fn first<T>(
        &self,
        statement: &'static Statement,
        values: &[Value<'_>],
        read: impl Fn(&Row) -> Result<T, Fault>,
    ) -> Result<Option<T>, Error> {
        let rows = self.rows(statement, values).await?;
        let first = rows.first().map(read).transpose();
        first.map_err(|fault| self.readers.error(fault))
    }
}

fn capabilities(rows: &[Row]) -> Result<Capabilities, Fault> {
    let (synced, failover_safe) = match rows.first() {
        Some(row) => (row.try_get(0)?, row.try_get(1)?),
        None => (false, false),
    };
    Ok(Capabilities {
        durable: if synced {
            Durable::Always
        } else {
            Durable::Process
        },
        failover_safe,
        volatile_accepted: false,
    })
}
