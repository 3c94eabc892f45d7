//! A few connections for reading. Each carries many questions at once, so none is ever taken out.

use super::connection::{Connection, Value, Way};
use super::fault::{Fault, Trouble, said};
use super::patience::Patience;
use super::sql::Statement;
use crate::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Mutex;
use tokio_postgres::{Row, RowStream};

/// So many; an answer that takes long holds up only those behind it on its own.
const CONNECTIONS: usize = 3;

/// The connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Readers {
    shared: Arc<Shared>,
}

struct Shared {
    way: Arc<Way>,
    places: [Mutex<Option<Arc<Connection>>>; CONNECTIONS],
    next: AtomicUsize,
}

impl Readers {
    pub(super) fn of(way: Arc<Way>) -> Self {
        Self {
            shared: Arc::new(Shared {
                way,
                places: std::array::from_fn(|_| Mutex::new(None)),
                next: AtomicUsize::new(0),
            }),
        }
    }

    /// Asks. Where the connection is lost it asks again over another one: reading changes nothing.
    pub(super) async fn rows(
        &self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, Fault> {
        let mut patience = Patience::new();
        loop {
            let place = self.place();
            let asked = match self.connection(place).await {
                Ok(connection) => match connection.prepare(statement).await {
                    Ok(()) => connection
                        .rows(statement, values)
                        .await
                        .map_err(|fault| (fault, Some(connection))),
                    Err(fault) => Err((fault, Some(connection))),
                },
                Err(fault) => Err((fault, None)),
            };
            match asked {
                Ok(rows) => return Ok(rows),
                Err((fault, connection)) => {
                    self.failed(place, fault, connection, &mut patience).await?;
                }
            }
        }
    }

    /// Asks for very many rows. What fails after the first is not asked for again.
    pub(super) async fn stream(
        &self,
        statement: &'static Statement,
        values: &[Value<'_>],
    ) -> Result<RowStream, Fault> {
        let mut patience = Patience::new();
        loop {
            let place = self.place();
            let asked = match self.connection(place).await {
                Ok(connection) => connection
                    .stream(statement, values)
                    .await
                    .map_err(|fault| (fault, Some(connection))),
                Err(fault) => Err((fault, None)),
            };
            match asked {
                Ok(rows) => return Ok(rows),
                Err((fault, connection)) => {
                    self.failed(place, fault, connection, &mut patience).await?;
                }
            }
        }
    }

    /// The error for a caller.
    pub(super) fn error(&self, fault: Fault) -> Error {
        fault.at(self.shared.way.place())
    }

    fn place(&self) -> usize {
        self.shared.next.fetch_add(1, Ordering::Relaxed) % CONNECTIONS
    }

    async fn connection(&self, place: usize) -> Result<Arc<Connection>, Fault> {
        let mut kept = self.shared.places[place].lock().await;
        if let Some(connection) = &*kept
            && !connection.is_closed()
        {
            return Ok(Arc::clone(connection));
        }
        let connection = Arc::new(self.shared.way.connect().await?);
        *kept = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Waits before the next try, if there is to be one.
    async fn failed(
        &self,
        place: usize,
        fault: Fault,
        connection: Option<Arc<Connection>>,
        patience: &mut Patience,
    ) -> Result<(), Fault> {
        if let Some(connection) = connection
            && !connection.survives(&fault)
        {
            let mut kept = self.shared.places[place].lock().await;
            if kept
                .as_ref()
                .is_some_and(|kept| Arc::ptr_eq(kept, &connection))
            {
                *kept = None;
            }
        }
        match (fault.trouble(), fault) {
            (Some(Trouble::Lost | Trouble::Again | Trouble::Pooled), Fault::Sql(error)) => {
                let why = said(&error);
                tracing::debug!(%why, "a read of the store is tried again");
                patience.wait(&why).await
            }
            (_, fault) => Err(fault),
        }
    }
}
