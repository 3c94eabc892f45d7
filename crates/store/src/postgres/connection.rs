//! One connection: its statements, prepared once each, or none where a pooler stands between.

use super::fault::{Fault, Trouble, said};
use super::sql::Statement;
use super::tls::Tls;
use super::url::Settings;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, NoTls, Row, RowStream, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Statements are prepared once and go by indexes whatever the tables looked like then; and a client that is stopped amid a transaction
/// does not hold others up for long. The last says that these were heard by the server itself: a pooler keeps them for itself.
const OPTIONS: &str = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off \
    -c jit=off -c idle_in_transaction_session_timeout=15s -c client_min_messages=warning -c dauer.direct=1";

/// Whether they were; and what is acknowledged is on the disk, whatever the database has as its default.
const HEARD: &str = "SELECT current_setting('dauer.direct', true), CASE
    WHEN current_setting('dauer.direct', true) = '1' AND current_setting('synchronous_commit') IN ('off', 'local')
    THEN set_config('synchronous_commit', 'on', false) END";

/// The same for one transaction, where the next has another session.
const TRANSACTION: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off;
    SET LOCAL enable_mergejoin = off; SET LOCAL jit = off; SET LOCAL idle_in_transaction_session_timeout = '15s';
    SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') IN ('off', 'local')";

/// The way to the server, shared by all connections of a store.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) settings: Settings,
    pooled: AtomicBool,
}

impl Way {
    pub(super) fn of(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            pooled: AtomicBool::new(settings.pooled),
            settings,
        })
    }

    pub(super) fn place(&self) -> &str {
        &self.settings.place
    }

    /// Nothing is prepared by name.
    pub(super) fn is_pooled(&self) -> bool {
        self.pooled.load(Ordering::Relaxed)
    }

    /// A pooler was found out.
    pub(super) fn set_pooled(&self) {
        if !self.pooled.swap(true, Ordering::Relaxed) {
            tracing::info!(
                store = self.place(),
                "a pooler stands before the store and gives each transaction another connection: `pgbouncer=true` in the URL says so \
                 from the start"
            );
        }
    }

    /// A statement's text, in the schema of this store.
    pub(super) fn text(&self, sql: &'static str) -> Cow<'static, str> {
        match self.settings.schema.as_str() {
            "dauer" => Cow::Borrowed(sql),
            // In quotes: `full` or `user` is a good name, and a word of SQL.
            schema => Cow::Owned(sql.replace("dauer.", &format!("\"{schema}\"."))),
        }
    }

    /// Connects.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<Connection, Fault> {
        self.connect_listening(None).await
    }

    /// Connects; what the server tells unasked goes there, which ends with the connection.
    pub(super) async fn connect_listening(
        self: &Arc<Self>,
        heard: Option<mpsc::UnboundedSender<String>>,
    ) -> Result<Connection, Fault> {
        let client = match self.client(heard.clone()).await {
            Err(fault) if refuses_options(&fault) => {
                self.set_pooled();
                self.client(heard).await?
            }
            client => client?,
        };
        if !self.is_pooled() && !is_direct(&client).await? {
            self.set_pooled();
        }
        Ok(Connection {
            client,
            way: Arc::clone(self),
            prepared: Mutex::default(),
        })
    }

    async fn client(&self, heard: Option<mpsc::UnboundedSender<String>>) -> Result<Client, Fault> {
        let mut config = self.settings.config.clone();
        if !self.is_pooled() {
            let theirs = config.get_options().unwrap_or_default();
            let options = format!("{theirs} {OPTIONS}");
            config.options(options.trim());
        }
        match &self.settings.tls {
            Tls::Off => {
                let (client, connection) = config.connect(NoTls).await?;
                drive(connection, heard);
                Ok(client)
            }
            Tls::Prefer(tls) | Tls::Require(tls) => {
                let tls = MakeRustlsConnect::new(rustls::ClientConfig::clone(tls));
                let (client, connection) = config.connect(tls).await?;
                drive(connection, heard);
                Ok(client)
            }
        }
    }
}

/// A pooler that does not carry them to the server.
fn refuses_options(fault: &Fault) -> bool {
    match fault {
        Fault::Sql(error) => said(error).contains("startup parameter"),
        Fault::Answer(_) | Fault::Broken(_) | Fault::Unreachable(_) => false,
    }
}

async fn is_direct(client: &Client) -> Result<bool, Fault> {
    let said = client.simple_query(HEARD).await?;
    Ok(said.iter().any(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0) == Some("1"),
        _ => false,
    }))
}

/// Carries what is said over a connection until it ends; those who wait for an answer then get an error.
fn drive<S, T>(
    mut connection: tokio_postgres::Connection<S, T>,
    heard: Option<mpsc::UnboundedSender<String>>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        loop {
            match std::future::poll_fn(|context| connection.poll_message(context)).await {
                None => return,
                Some(Ok(AsyncMessage::Notification(notice))) => {
                    if let Some(heard) = &heard {
                        // Nobody listens any more: the connection is about to be closed.
                        let _ = heard.send(notice.payload().to_owned());
                    }
                }
                // Notices of the server are for people at a terminal.
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "a connection to the store ended");
                    return;
                }
            }
        }
    });
}

/// A value of a parameter.
pub(super) type Value<'a> = &'a (dyn ToSql + Sync);

/// One connection.
pub(super) struct Connection {
    client: Client,
    way: Arc<Way>,
    prepared: Mutex<HashMap<&'static str, tokio_postgres::Statement>>,
}

impl Connection {
    pub(super) fn place(&self) -> &str {
        self.way.place()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    fn known(&self, statement: &Statement) -> Option<tokio_postgres::Statement> {
        // Every change leaves it whole.
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.get(statement.sql).cloned()
    }

    /// Prepares it if that is still to be done, so that asking it sends one message.
    pub(super) async fn prepare(&self, statement: &Statement) -> Result<(), Fault> {
        if self.way.is_pooled() || self.known(statement).is_some() {
            return Ok(());
        }
        let text = self.way.text(statement.sql);
        let prepared = self.client.prepare_typed(&text, statement.types).await?;
        let mut known = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(statement.sql, prepared);
        Ok(())
    }

    /// Asks, and gives the rows. The question is sent when this is first polled, if it was prepared before.
    pub(super) async fn rows(
        &self,
        statement: &Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, Fault> {
        assert_eq!(
            values.len(),
            statement.types.len(),
            "invariant: every parameter has its value"
        );
        if let Some(prepared) = self.known(statement)
            && !self.way.is_pooled()
        {
            return Ok(self.client.query(&prepared, values).await?);
        }
        let typed: Vec<(Value<'_>, Type)> = values
            .iter()
            .copied()
            .zip(statement.types.iter().cloned())
            .collect();
        let text = self.way.text(statement.sql);
        Ok(self.client.query_typed(&text, &typed).await?)
    }

    /// The same, row by row: there may be very many.
    pub(super) async fn stream(
        &self,
        statement: &Statement,
        values: &[Value<'_>],
    ) -> Result<RowStream, Fault> {
        let typed: Vec<(Value<'_>, Type)> = values
            .iter()
            .copied()
            .zip(statement.types.iter().cloned())
            .collect();
        let text = self.way.text(statement.sql);
        Ok(self.client.query_typed_raw(&text, typed).await?)
    }

    /// Begins a transaction.
    pub(super) async fn begin(&self) -> Result<(), Fault> {
        let text = if self.way.is_pooled() {
            TRANSACTION
        } else {
            "BEGIN ISOLATION LEVEL READ COMMITTED"
        };
        self.execute(text).await
    }

    /// Runs what gives no rows and has no parameters.
    pub(super) async fn execute(&self, text: &str) -> Result<(), Fault> {
        Ok(self.client.batch_execute(text).await?)
    }

    /// Whether it is still good for something after this.
    pub(super) fn survives(&self, fault: &Fault) -> bool {
        match fault.trouble() {
            Some(Trouble::Pooled) => {
                self.way.set_pooled();
                !self.is_closed()
            }
            Some(Trouble::Lost) => false,
            Some(Trouble::Again | Trouble::Refused) | None => !self.is_closed(),
        }
    }
}
