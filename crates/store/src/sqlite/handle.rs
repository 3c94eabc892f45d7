//! Opening the store, and asking it.

use super::Sqlite;
use super::checkpointer::Checkpointer;
use super::fault::Fault;
use super::hot::Hot;
use super::open::{self, Durability};
use super::readers::Readers;
use super::writer::{self, Writer};
use crate::Error;
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::oneshot;

impl Sqlite {
    /// Opens or makes the file, with [`Durability::Full`]. Blocks for the moment this takes, longer when the schema has to be
    /// updated. Errors: `NoSpace`; `Backend` naming the file where it is damaged, another program's or of a newer dauer (then
    /// it was not touched).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, Durability::Full)
    }

    /// As [`Sqlite::open`], with the durability given.
    pub fn open_with(path: impl AsRef<Path>, durability: Durability) -> Result<Self, Error> {
        let connection = open::writer(path.as_ref(), durability)?;
        Self::on(connection, path.as_ref(), durability)
    }

    /// As [`Sqlite::open_with`], for a file that others write too: no record is answered from memory, and a lease has to be
    /// renewed. All of them have to be on this machine.
    pub fn open_shared(path: impl AsRef<Path>, durability: Durability) -> Result<Self, Error> {
        let connection = open::writer(path.as_ref(), durability)?;
        let mut shared = Self::on(connection, path.as_ref(), durability)?;
        shared.hot.keep_nothing();
        shared.shared = true;
        Ok(shared)
    }

    pub(super) fn on(
        connection: Connection,
        path: &Path,
        durability: Durability,
    ) -> Result<Self, Error> {
        let (hot, log) = (Hot::new(), Checkpointer::start(&connection, path)?);
        Ok(Self {
            writer: Writer::start(connection, path.to_owned(), hot.clone(), Some(log))?,
            readers: Some(Readers::of(path.to_owned())),
            hot,
            durability,
            num: Arc::default(),
            shared: false,
        })
    }

    /// A store that is gone with its last clone, for tests.
    pub fn memory() -> Result<Self, Error> {
        let connection = open::memory()?;
        let hot = Hot::new();
        Ok(Self {
            writer: Writer::start(connection, ":memory:".into(), hot.clone(), None)?,
            readers: None,
            hot,
            durability: Durability::Normal,
            num: Arc::default(),
            shared: false,
        })
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Error> {
        let Some(readers) = &self.readers else {
            let (answer, answered) = oneshot::channel();
            let on_writer = move |connection: &Connection| {
                // Nobody waits any more: nothing is lost, it only read.
                let _ = answer.send(read(connection));
            };
            self.writer.read(Box::new(on_writer)).await?;
            let result = answered.await.map_err(|_| writer::gone())?;
            return result.map_err(|fault| fault.in_file(Path::new(":memory:")));
        };
        readers.read(read).await
    }
}
