//! The only writer: one thread that commits what has queued up in one transaction.
//!
//! A sync to the disk takes longer than many writes. So whatever arrived while the last one was under way shares the
//! next one:
//!
//! ```text
//! callers ──► queue ──► BEGIN · savepoint each · COMMIT (one sync) ──► an answer to each
//! ```
//!
//! A write that fails (a conflict, a name in use) is rolled back to its savepoint and does not touch its neighbours.
//! If the transaction as a whole fails, every one of them gets that error and none of them was written.

use super::fault::{Fault, failed};
use super::hot::Hot;
use super::write::Write;
use crate::Error;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, oneshot};

/// More than this do not share a commit, so that the first of them does not wait for ever.
const BATCH_MAX: usize = 256;

/// Callers beyond this wait before they are queued.
const QUEUE_MAX: usize = 1024;

/// A read that has to run on the writer's connection.
type Read = Box<dyn FnOnce(&Connection) + Send>;

enum Request {
    Write(Box<Write>, oneshot::Sender<Result<(), Error>>),
    Read(Read),
}

/// The way to the thread. It ends when the last of these is gone and the queue is empty.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Request>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(connection: Connection, path: PathBuf, hot: Hot) -> Result<Self, Error> {
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || serve(&connection, &path, &hot, requests))
            .map_err(|error| {
                failed("cannot start the thread that writes", Some(Box::new(error)))
            })?;
        Ok(Self { queue })
    }

    /// Returns when it is on the disk. A caller that stops waiting leaves open whether it is written.
    pub(super) async fn write(&self, write: Write) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.queue
            .send(Request::Write(Box::new(write), answer))
            .await
            .map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Runs a read between two transactions.
    pub(super) async fn read(&self, read: Read) -> Result<(), Error> {
        self.queue
            .send(Request::Read(read))
            .await
            .map_err(|_| gone())
    }
}

/// The thread ended although somebody still wants something: it panicked, and said why.
pub(super) fn gone() -> Error {
    failed("the thread that writes has stopped: restart dauer", None)
}

fn serve(connection: &Connection, path: &Path, hot: &Hot, mut requests: mpsc::Receiver<Request>) {
    let mut waiting = Vec::with_capacity(BATCH_MAX);
    while requests.blocking_recv_many(&mut waiting, BATCH_MAX) > 0 {
        let (mut writes, mut answers, mut reads) = (Vec::new(), Vec::new(), Vec::new());
        for request in waiting.drain(..) {
            match request {
                Request::Write(write, answer) => {
                    writes.push(write);
                    answers.push(answer);
                }
                Request::Read(read) => reads.push(read),
            }
        }
        hot.committing(writes.iter().filter_map(|write| write.changes_job()));
        let results = commit(connection, path, &writes);
        hot.committed();
        for (answer, result) in answers.into_iter().zip(results) {
            // Nobody waits any more: it is written or not all the same.
            let _ = answer.send(result);
        }
        for read in reads {
            read(connection);
        }
    }
}

/// One transaction; the results in the order of the writes.
fn commit(connection: &Connection, path: &Path, writes: &[Box<Write>]) -> Vec<Result<(), Error>> {
    if writes.is_empty() {
        return Vec::new();
    }
    try_commit(connection, path, writes).unwrap_or_else(|fault| {
        let error = fault.in_file(path);
        tracing::error!(%error, writes = writes.len(), "a commit of the store failed");
        vec![Err(error); writes.len()]
    })
}

/// An error here is one of the whole transaction, of which nothing is left.
fn try_commit(
    connection: &Connection,
    path: &Path,
    writes: &[Box<Write>],
) -> Result<Vec<Result<(), Error>>, Fault> {
    let result = transaction(connection, path, writes);
    if result.is_err()
        && !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        // The next BEGIN will fail and say so; nothing is acknowledged in between.
        tracing::error!(%error, "cannot roll back a failed transaction of the store");
    }
    result
}

fn transaction(
    connection: &Connection,
    path: &Path,
    writes: &[Box<Write>],
) -> Result<Vec<Result<(), Error>>, Fault> {
    execute(connection, "BEGIN IMMEDIATE")?;
    let mut results = Vec::with_capacity(writes.len());
    for write in writes {
        execute(connection, "SAVEPOINT one")?;
        match write.apply(connection) {
            Ok(()) => {
                execute(connection, "RELEASE one")?;
                results.push(Ok(()));
            }
            // A full disk, for one, makes SQLite roll back everything.
            Err(fault) if connection.is_autocommit() => return Err(fault),
            Err(fault) => {
                execute(connection, "ROLLBACK TO one")?;
                execute(connection, "RELEASE one")?;
                results.push(Err(fault.in_file(path)));
            }
        }
    }
    execute(connection, "COMMIT")?;
    Ok(results)
}

fn execute(connection: &Connection, sql: &str) -> Result<(), Fault> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}
