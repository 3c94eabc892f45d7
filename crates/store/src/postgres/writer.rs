//! The only writer of a handle: one task that commits what has queued up in one transaction, sent to the server at once.
//!
//! ```text
//! callers ──► queue ──► BEGIN · fence · all of them together · COMMIT (one journey, one sync) ──► an answer to each
//! ```
//!
//! Nearly always all of them can be written. Where one cannot (a conflict, a name in use), the statement that cannot write it ends the
//! transaction, and all are tried again with a savepoint for each: it does not touch its neighbours.
//!
//! A commit whose answer is lost is looked up. The fence counts: the row of this handle in `writers` goes from the number before to the
//! group's own, in the same transaction, or there is no transaction. So the number says whether it was committed; and who looks moves it
//! on, so that a commit that is still under way somewhere can no longer come.

use super::connection::{Connection, Way};
use super::fault::{Fault, Trouble, said};
use super::group::{Cut, Fence, Group};
use super::lease::{self, LeaseChange, LeaseChanged, Mine};
use super::listen::Voice;
use super::patience::Patience;
use super::sql::write as sql;
use crate::Error;
use crate::error::failed;
use crate::record::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// More requests than this do not share a commit, so that the first of them does not wait for ever.
const GROUP_MAX: usize = 512;

/// Nor do more rows than this, where several requests have many.
const ROWS_MAX: usize = 4096;

/// Callers beyond this wait before they are queued.
const QUEUE_MAX: usize = 1024;

/// So long it is waited for those who were answered.
const COMING_BACK_MAX: Duration = Duration::from_micros(200);

/// What became of each write.
pub(super) type Results = Vec<Result<(), Error>>;

/// Who waits for the results of some writes.
type Answer = oneshot::Sender<Results>;

enum Request {
    Write(Vec<Write>, Answer),
    /// A transaction of its own, after everything that was queued before.
    Lease(LeaseChange, oneshot::Sender<Result<LeaseChanged, Error>>),
}

/// What a transaction is about.
enum Work<'a> {
    Writes(&'a [Write]),
    Lease(&'a LeaseChange),
}

/// What it did.
pub(super) enum Done {
    Writes(Results),
    Lease(LeaseChanged),
}

/// The way to the task. It ends when the last of these is gone and the queue is empty.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Request>,
}

impl Writer {
    /// Starts the task.
    pub(super) fn start(way: Arc<Way>, connection: Connection, voice: Voice) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let task = Task {
            way,
            id: Uuid::new_v4(),
            number: None,
            mine: None,
            connection: Some(connection),
            voice,
        };
        tokio::spawn(task.serve(requests));
        Self { queue }
    }

    /// Returns when it is committed. A caller that stops waiting leaves open whether it is written.
    pub(super) async fn write(&self, write: Write) -> Result<(), Error> {
        let mut results = self.write_all(vec![write]).await;
        results.pop().unwrap_or_else(|| Err(gone()))
    }

    /// The same with several, which share a transaction; the results in their order.
    pub(super) async fn write_all(&self, writes: Vec<Write>) -> Results {
        let length = writes.len();
        let (answer, answered) = oneshot::channel();
        let results = match self.queue.send(Request::Write(writes, answer)).await {
            Ok(()) => answered.await.ok(),
            Err(_) => None,
        };
        results.unwrap_or_else(|| vec![Err(gone()); length])
    }

    /// The same with what changes the lease.
    pub(super) async fn lease(&self, change: LeaseChange) -> Result<LeaseChanged, Error> {
        let (answer, answered) = oneshot::channel();
        let asked = self.queue.send(Request::Lease(change, answer)).await;
        asked.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// The task ended although somebody still wants something: it panicked, and said why.
fn gone() -> Error {
    failed("the task that writes has stopped: restart dauer", None)
}

/// Those who were just answered often have more to say, and half of them would wait for the commit of the other half for ever: a sync
/// takes far longer than this.
async fn come_back(
    requests: &mut mpsc::Receiver<Request>,
    waiting: &mut Vec<Request>,
    answered: usize,
) {
    let all = (waiting.len() + answered).min(GROUP_MAX);
    let until = Instant::now() + COMING_BACK_MAX;
    while waiting.len() < all && Instant::now() < until {
        match requests.try_recv() {
            Ok(request) => waiting.push(request),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// Why nothing is committed yet.
pub(super) enum Stop<T> {
    /// Nothing of it was written: try again.
    Again(String),
    /// Nothing of it was written, and never will be.
    Refused(Fault),
    /// Nobody knows. This is the answer where it was committed.
    Unknown(T),
}

impl<T> From<Fault> for Stop<T> {
    fn from(fault: Fault) -> Self {
        match (fault.trouble(), fault) {
            (Some(Trouble::Lost | Trouble::Again | Trouble::Pooled), Fault::Sql(error)) => {
                Self::Again(said(&error))
            }
            (_, fault) => Self::Refused(fault),
        }
    }
}

struct Task {
    way: Arc<Way>,
    /// Of this handle's row in `writers`.
    id: Uuid,
    /// What stands there; unknown at first, and below 0 once somebody else has taken the lease.
    number: Option<i64>,
    mine: Option<Mine>,
    connection: Option<Connection>,
    voice: Voice,
}

impl Task {
    async fn serve(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut waiting = Vec::with_capacity(GROUP_MAX);
        let mut answered = 0;
        while requests.recv_many(&mut waiting, GROUP_MAX).await > 0 {
            come_back(&mut requests, &mut waiting, answered).await;
            answered = waiting.len();
            let (mut writes, mut answers) = (Vec::new(), Vec::new());
            let mut rows = 0;
            for request in waiting.drain(..) {
                match request {
                    Request::Write(some, answer) => {
                        rows += some.iter().map(Write::len).sum::<usize>();
                        answers.push((answer, some.len()));
                        writes.extend(some);
                    }
                    Request::Lease(change, answer) => {
                        self.answer(&mut writes, &mut answers).await;
                        rows = 0;
                        let changed = self.change_lease(&change).await;
                        // Nobody waits any more: it is done or not all the same.
                        let _ = answer.send(changed.map_err(|fault| fault.at(self.way.place())));
                    }
                }
                if rows >= ROWS_MAX {
                    self.answer(&mut writes, &mut answers).await;
                    rows = 0;
                }
            }
            self.answer(&mut writes, &mut answers).await;
        }
    }

    /// Commits what is here and answers each.
    async fn answer(&mut self, writes: &mut Vec<Write>, answers: &mut Vec<(Answer, usize)>) {
        let results = match self.until_known(&Work::Writes(writes)).await {
            Ok(Done::Writes(results)) => results,
            Ok(Done::Lease(_)) => unreachable!("writes are answered as writes"),
            Err(fault) => {
                let error = fault.at(self.way.place());
                tracing::error!(%error, writes = writes.len(), "a commit of the store failed");
                vec![Err(error); writes.len()]
            }
        };
        writes.clear();
        let mut results = results.into_iter();
        for (answer, length) in answers.drain(..) {
            // Nobody waits any more: it is written or not all the same.
            let _ = answer.send(results.by_ref().take(length).collect());
        }
    }

    async fn change_lease(&mut self, change: &LeaseChange) -> Result<LeaseChanged, Fault> {
        if let LeaseChange::Take { .. } = change {
            // A row of its own: that of the lease before may be fenced off.
            self.id = Uuid::new_v4();
            self.number = None;
            self.mine = None;
        }
        let changed = match self.until_known(&Work::Lease(change)).await? {
            Done::Lease(changed) => changed,
            Done::Writes(_) => unreachable!("a lease is answered as a lease"),
        };
        if let LeaseChanged::Taken(lease) = &changed {
            self.mine = Some(Mine::of(lease));
        }
        Ok(changed)
    }

    /// Does it, and comes back only when it is known what became of it.
    async fn until_known(&mut self, work: &Work<'_>) -> Result<Done, Fault> {
        if matches!(work, Work::Writes([])) {
            return Ok(Done::Writes(Vec::new()));
        }
        let mut patience = Patience::new();
        for tries in 1.. {
            let stop = match self.attempt(work, tries).await {
                Ok(done) => return Ok(done),
                Err(stop) => stop,
            };
            match stop {
                Stop::Unknown(done) => {
                    if self.was_committed().await {
                        return Ok(done);
                    }
                }
                Stop::Again(why) => {
                    tracing::debug!(%why, "a commit of the store is tried again");
                    patience.wait(&why).await?;
                }
                Stop::Refused(fault) => return Err(fault),
            }
        }
        unreachable!("there are more numbers than tries")
    }

    /// One transaction.
    async fn attempt(&mut self, work: &Work<'_>, tries: u32) -> Result<Done, Stop<Done>> {
        let connection = match self.connection.take() {
            Some(connection) if !connection.is_closed() => connection,
            Some(_) | None => self.way.connect().await?,
        };
        let done = self.attempt_on(&connection, work, tries).await;
        if !connection.is_closed() && !matches!(done, Err(Stop::Unknown(_))) {
            self.connection = Some(connection);
        }
        done
    }

    async fn attempt_on(
        &mut self,
        connection: &Connection,
        work: &Work<'_>,
        tries: u32,
    ) -> Result<Done, Stop<Done>> {
        let before = match self.number {
            Some(number) => number,
            None => self.register(connection).await?,
        };
        if before < 0 {
            return Err(Stop::Refused(self.fenced(connection).await?));
        }
        let group = Group {
            connection,
            voice: &self.voice,
            fence: Fence {
                id: self.id,
                before,
                to: before + 2,
            },
            node: self.mine.as_ref().map(Mine::node),
        };
        let done = match work {
            Work::Writes(writes) => group.write(writes, tries).await.map(Done::Writes),
            Work::Lease(change) => lease::change(&group, self.mine.as_ref(), change)
                .await
                .map(Done::Lease),
        };
        match done {
            Ok(done) => {
                self.number = Some(before + 2);
                Ok(done)
            }
            Err(Cut::Fenced) => {
                let number = self.look_up(connection, before + 1).await?;
                if number < 0 {
                    return Err(Stop::Refused(self.fenced(connection).await?));
                }
                Err(Stop::Again("the row of this handle had moved on".into()))
            }
            Err(Cut::Said(done)) => Ok(done),
            Err(Cut::Stop(stop)) => Err(stop),
            Err(Cut::Apart) => Err(Stop::Again("writes that do not go together".into())),
            Err(Cut::Refused(fault)) => Err(Stop::Refused(fault)),
        }
    }

    /// Asks until there is an answer: whoever waits must not be told what nobody knows.
    async fn was_committed(&mut self) -> bool {
        let before = self.number.unwrap_or(0);
        let mut patience = Patience::new();
        let mut said_so = false;
        loop {
            let asked = match self.way.connect().await {
                Ok(connection) => self.look_up(&connection, before + 1).await,
                Err(fault) => Err(fault),
            };
            match asked {
                Ok(number) => {
                    let committed = number > before + 1;
                    tracing::info!(committed, "the lost answer to a commit was looked up");
                    return committed;
                }
                Err(fault) => {
                    let why = fault.at(self.way.place());
                    if !said_so {
                        said_so = true;
                        tracing::warn!(%why, "the answer to a commit was lost, and the store cannot be asked yet");
                    }
                    patience.pause().await;
                }
            }
        }
    }

    /// Puts this handle's row there.
    async fn register(&mut self, connection: &Connection) -> Result<i64, Fault> {
        connection.rows(&sql::REGISTER, &[&self.id, &0_i64]).await?;
        self.number = Some(0);
        Ok(0)
    }

    /// What stands in this handle's row. From now on no group that was to make it less can be committed.
    async fn look_up(&mut self, connection: &Connection, at_least: i64) -> Result<i64, Fault> {
        let asked = connection
            .rows(&sql::LOOK_UP, &[&self.id, &at_least])
            .await?;
        let number = match asked.first() {
            Some(row) => row.try_get(0)?,
            None if self.mine.is_some() => -1,
            None => {
                connection
                    .rows(&sql::REGISTER, &[&self.id, &at_least])
                    .await?;
                at_least
            }
        };
        self.number = Some(number);
        Ok(number)
    }

    /// What to say once somebody else has the lease.
    async fn fenced(&self, connection: &Connection) -> Result<Fault, Fault> {
        match &self.mine {
            Some(mine) => Ok(mine.fenced(connection).await?.into()),
            None => Ok(failed("this handle of the store was fenced off", None).into()),
        }
    }
}
