//! Moves what is committed from the log into the file, by a thread of its own: the writer goes on meanwhile.
//!
//! SQLite would do it in the commit that makes the log too long, and whoever waits for that one waits for two syncs more.

use super::fault::{Fault, failed};
use super::open;
use crate::Error;
use rusqlite::Connection;
use std::cell::Cell;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// So many pages the log may have before it is worth the while: a page that is written often moves once.
const PAGES: i32 = 4_000;

/// From so many on the writer does it itself. A log begins anew only where all of it is in the file, and a writer that never
/// rests is always ahead of the thread beside it.
const PAGES_MAX: i32 = 16_000;

thread_local! {
    /// How long the log was after this thread's last commit.
    static LENGTH: Cell<i32> = const { Cell::new(0) };
}

/// The way to the thread, which ends with this.
#[derive(Debug)]
pub(super) struct Checkpointer {
    wanted: SyncSender<()>,
}

impl Checkpointer {
    /// Starts the thread, for the log that is written through this connection.
    pub(super) fn start(connection: &Connection, path: &Path) -> Result<Self, Error> {
        connection.wal_hook(Some(|_, pages| {
            LENGTH.set(pages);
            Ok(())
        }));
        let (path, (wanted, requests)) = (path.to_owned(), sync_channel(1));
        std::thread::Builder::new()
            .name("store-log".into())
            .spawn(move || serve(&path, &requests))
            .map_err(|error| {
                failed(
                    "cannot start the thread that shortens the log",
                    Some(Box::new(error)),
                )
            })?;
        Ok(Self { wanted })
    }

    /// After a commit, by the thread that made it.
    pub(super) fn committed(&self, connection: &Connection) {
        let length = LENGTH.get();
        if length >= PAGES_MAX {
            shorten(connection);
        } else if length >= PAGES {
            match self.wanted.try_send(()) {
                Ok(()) | Err(TrySendError::Full(())) => {}
                // It could not open the file, and said so.
                Err(TrySendError::Disconnected(())) => shorten(connection),
            }
        }
    }
}

fn serve(path: &Path, requests: &Receiver<()>) {
    let connection = match open::reader(path) {
        Ok(connection) => connection,
        Err(fault) => {
            tracing::warn!(error = %fault.in_file(path), "the store's log is shortened by the writer");
            return;
        }
    };
    while requests.recv().is_ok() {
        shorten(&connection);
    }
}

/// As far as nobody reads or writes there.
fn shorten(connection: &Connection) {
    let shortened = connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)");
    let shortened = shortened.and_then(|mut pragma| pragma.query_row([], |_| Ok(())));
    if let Err(error) = shortened.map_err(Fault::from) {
        // Nothing is lost: the log is longer than it needs to be, and the next commit asks again.
        tracing::debug!(?error, "the store's log could not be shortened");
    }
}
