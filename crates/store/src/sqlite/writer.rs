//! The only writer: one thread that commits what has queued up in one transaction.
//!
//! A sync to the disk takes longer than many writes. So whatever arrived while the last one was under way shares the
//! next one:
//!
//! ```text
//! callers ──► queue ──► BEGIN · all of them together · COMMIT (one sync) ──► an answer to each
//! ```
//!
//! Nearly always all of them can be written, as few statements (`together`). Where one cannot (a conflict, a name in use), the
//! transaction is rolled back and begun again with a savepoint for each: it does not touch its neighbours. If the transaction as
//! a whole fails, every one of them gets that error and none of them was written.

use super::checkpointer::Checkpointer;
use super::fault::{Fault, failed};
use super::hot::Hot;
use super::lease::{Holder, Mine};
use super::together::{self, Outcome};
use super::write;
use crate::Error;
use crate::record::Write;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, oneshot};

/// More requests than this do not share a commit, so that the first of them does not wait for ever.
const BATCH_MAX: usize = 256;

/// Nor do more rows than this, where several requests have many.
const ROWS_MAX: usize = 4096;

/// Callers beyond this wait before they are queued.
const QUEUE_MAX: usize = 1024;

/// A read that has to run on the writer's connection.
type Read = Box<dyn FnOnce(&Connection) + Send>;

/// What is done with the lease under which everything else is written.
type Alone = Box<dyn FnOnce(&Connection, &Path, &mut Option<Mine>) + Send>;

/// Who waits for the results of some writes.
type Answer = oneshot::Sender<Vec<Result<(), Error>>>;

enum Request {
    Write(Vec<Write>, Answer),
    Read(Read),
    Alone(Alone),
}

/// The way to the thread. It ends when the last of these is gone and the queue is empty.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Request>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(
        connection: Connection,
        path: PathBuf,
        hot: Hot,
        log: Option<Checkpointer>,
    ) -> Result<Self, Error> {
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || serve(&connection, &path, &hot, log.as_ref(), requests))
            .map_err(|error| {
                failed("cannot start the thread that writes", Some(Box::new(error)))
            })?;
        Ok(Self { queue })
    }

    /// Returns when it is on the disk. A caller that stops waiting leaves open whether it is written.
    pub(super) async fn write(&self, write: Write) -> Result<(), Error> {
        let mut results = self.write_all(vec![write]).await;
        results.pop().unwrap_or_else(|| Err(gone()))
    }

    /// The same with several, which share a transaction; the results in their order.
    pub(super) async fn write_all(&self, writes: Vec<Write>) -> Vec<Result<(), Error>> {
        let length = writes.len();
        let (answer, answered) = oneshot::channel();
        let results = match self.queue.send(Request::Write(writes, answer)).await {
            Ok(()) => answered.await.ok(),
            Err(_) => None,
        };
        results.unwrap_or_else(|| vec![Err(gone()); length])
    }

    /// Does something by itself, after what was queued before.
    pub(super) async fn alone(&self, what: Alone) -> Result<(), Error> {
        self.queue
            .send(Request::Alone(what))
            .await
            .map_err(|_| gone())
    }

    /// Runs a read between two transactions.
    pub(super) async fn read(&self, read: Read) -> Result<(), Error> {
        self.queue
            .send(Request::Read(read))
            .await
            .map_err(|_| gone())
    }
}

/// Does this as one transaction.
pub(super) fn transaction<T>(
    connection: &Connection,
    change: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let changed = execute(connection, "BEGIN IMMEDIATE").and_then(|()| change(connection));
    finish(connection, changed)
}

/// Commits what was done, or rolls it back.
fn finish<T>(connection: &Connection, changed: Result<T, Fault>) -> Result<T, Fault> {
    let done = changed.and_then(|done| {
        execute(connection, "COMMIT")?;
        Ok(done)
    });
    if done.is_err() {
        roll_back(connection);
    }
    done
}

/// Begins a transaction under this lease, which nobody takes away before its end.
fn begin(connection: &Connection, mine: Option<&Mine>) -> Result<(), Fault> {
    execute(connection, "BEGIN IMMEDIATE")?;
    mine.map_or(Ok(()), |mine| mine.check(connection))
}

/// After a fault of the whole transaction, which SQLite may have given up already.
fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        // The next BEGIN will fail and say so; nothing is acknowledged in between.
        tracing::error!(%error, "cannot roll back a failed transaction of the store");
    }
}

/// The thread ended although somebody still wants something: it panicked, and said why.
pub(super) fn gone() -> Error {
    failed("the thread that writes has stopped: restart dauer", None)
}

/// Where it writes.
struct File<'a> {
    connection: &'a Connection,
    path: &'a Path,
    hot: &'a Hot,
}

fn serve(
    connection: &Connection,
    path: &Path,
    hot: &Hot,
    log: Option<&Checkpointer>,
    mut requests: mpsc::Receiver<Request>,
) {
    let mut waiting = Vec::with_capacity(BATCH_MAX);
    let file = File {
        connection,
        path,
        hot,
    };
    let mut mine = None;
    while requests.blocking_recv_many(&mut waiting, BATCH_MAX) > 0 {
        let (mut writes, mut answers, mut reads) = (Vec::new(), Vec::new(), Vec::new());
        let mut rows = 0;
        for request in waiting.drain(..) {
            match request {
                Request::Write(some, answer) => {
                    rows += some.iter().map(Write::len).sum::<usize>();
                    answers.push((answer, some.len()));
                    writes.extend(some);
                }
                Request::Read(read) => reads.push(read),
                Request::Alone(what) => {
                    answer(&file, mine.as_ref(), &mut writes, &mut answers);
                    rows = 0;
                    what(connection, path, &mut mine);
                }
            }
            if rows >= ROWS_MAX {
                answer(&file, mine.as_ref(), &mut writes, &mut answers);
                rows = 0;
            }
        }
        answer(&file, mine.as_ref(), &mut writes, &mut answers);
        if let Some(log) = log {
            log.committed(connection);
        }
        for read in reads {
            read(connection);
        }
    }
}

/// Commits what is here and answers each.
fn answer(
    file: &File<'_>,
    mine: Option<&Mine>,
    writes: &mut Vec<Write>,
    answers: &mut Vec<(Answer, usize)>,
) {
    file.hot
        .committing(writes.iter().filter_map(|write| write.changes_job()));
    let mut results = commit(file, mine, writes).into_iter();
    file.hot.committed();
    writes.clear();
    for (answer, length) in answers.drain(..) {
        // Nobody waits any more: it is written or not all the same.
        let _ = answer.send(results.by_ref().take(length).collect());
    }
}

/// One transaction; the results in the order of the writes.
fn commit(file: &File<'_>, mine: Option<&Mine>, writes: &[Write]) -> Vec<Result<(), Error>> {
    if writes.is_empty() {
        return Vec::new();
    }
    try_commit(file, mine, writes).unwrap_or_else(|fault| {
        let error = fault.in_file(file.path);
        tracing::error!(%error, writes = writes.len(), "a commit of the store failed");
        vec![Err(error); writes.len()]
    })
}

/// An error here is one of the whole transaction, of which nothing is left.
fn try_commit(
    file: &File<'_>,
    mine: Option<&Mine>,
    writes: &[Write],
) -> Result<Vec<Result<(), Error>>, Fault> {
    let results = finish(file.connection, all_or_each(file.connection, mine, writes));
    let in_file = |result: Result<(), Fault>| result.map_err(|fault| fault.in_file(file.path));
    Ok(results?.into_iter().map(in_file).collect())
}

fn all_or_each(
    connection: &Connection,
    mine: Option<&Mine>,
    writes: &[Write],
) -> Result<Vec<Result<(), Fault>>, Fault> {
    let me = Mine::holder(mine);
    begin(connection, mine)?;
    match together::apply(connection, writes, me)? {
        Outcome::Done(results) => Ok(results),
        Outcome::Torn => {
            execute(connection, "ROLLBACK")?;
            begin(connection, mine)?;
            each(connection, writes, me)
        }
    }
}

fn each(
    connection: &Connection,
    writes: &[Write],
    me: Holder,
) -> Result<Vec<Result<(), Fault>>, Fault> {
    let mut results = Vec::with_capacity(writes.len());
    for one in writes {
        execute(connection, "SAVEPOINT one")?;
        match write::apply(connection, one, me) {
            Ok(()) => {
                execute(connection, "RELEASE one")?;
                results.push(Ok(()));
            }
            // A full disk, for one, makes SQLite roll back everything.
            Err(fault) if connection.is_autocommit() => return Err(fault),
            Err(fault) => {
                execute(connection, "ROLLBACK TO one")?;
                execute(connection, "RELEASE one")?;
                results.push(Err(fault));
            }
        }
    }
    Ok(results)
}

fn execute(connection: &Connection, sql: &str) -> Result<(), Fault> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}
