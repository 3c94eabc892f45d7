//! One transaction of many writes: all of them together, or each in a savepoint.

use super::connection::{Connection, Value};
use super::fault::{Fault, Trouble};
use super::listen::Voice;
use super::plan::{Batch, Plan};
use super::sql::{Statement, moving, write as sql};
use super::writer::{Done, Results, Stop};
use super::{import, refusal};
use crate::Error;
use crate::record::Write;
use futures_util::future::{BoxFuture, FutureExt, maybe_done};
use futures_util::poll;
use std::collections::HashSet;
use tokio_postgres::Row;
use uuid::Uuid;

/// One whose refusal cannot be explained is tried so often: what refused it may be gone.
const TRIES_MAX: u32 = 4;

/// The handle's row in `writers` goes from `before` to `to` with the transaction, or there is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fence {
    pub(super) id: Uuid,
    pub(super) before: i64,
    pub(super) to: i64,
}

impl Fence {
    pub(super) fn values(&self) -> [Value<'_>; 3] {
        [&self.id, &self.before, &self.to]
    }
}

/// What a transaction is made with.
pub(super) struct Group<'a> {
    pub(super) connection: &'a Connection,
    pub(super) voice: &'a Voice,
    pub(super) fence: Fence,
    pub(super) node: Option<&'a str>,
}

/// Why it came to nothing.
pub(super) enum Cut {
    /// One of the writes cannot be written.
    Refused(Fault),
    /// They cannot be written together.
    Apart,
    /// Nothing was committed, and this is the answer.
    Said(Done),
    /// The fence was not where it was left.
    Fenced,
    /// It was stopped by something else.
    Stop(Stop<Done>),
}

impl From<Fault> for Cut {
    fn from(fault: Fault) -> Self {
        match Stop::from(fault) {
            Stop::Refused(fault) => Self::Refused(fault),
            stop => Self::Stop(stop),
        }
    }
}

/// What is sent: a statement and its values.
type Sent<'a> = (&'static Statement, Vec<Value<'a>>);

impl Group<'_> {
    /// Writes them.
    pub(super) async fn write(&self, writes: &[Write], tries: u32) -> Result<Results, Cut> {
        match (self.together(writes).await, writes) {
            (Err(Cut::Refused(fault)), [one]) if may_be_explained(&fault) => {
                // The fence stands where it stood: nothing was committed, and nothing has to be.
                let error = self.explain(one, fault, tries).await?;
                Err(Cut::Said(Done::Writes(vec![Err(error)])))
            }
            (Err(Cut::Refused(_) | Cut::Apart), _) => self.each(writes, tries).await,
            (done, _) => done,
        }
    }

    /// All of them, in one journey. The commit is sent with them: each statement is an error where it could not write everything.
    pub(super) async fn together(&self, writes: &[Write]) -> Result<Results, Cut> {
        let mut plan = Plan::new(self.node);
        for write in writes {
            plan.take(write).map_err(|_| Cut::Apart)?;
        }
        let word = self.voice.word(&plan);
        let mut batches = plan.batches();
        batches.extend(word);
        let mut sent: Vec<Sent<'_>> = vec![(&sql::FENCE, self.fence.values().to_vec())];
        sent.extend(batches.iter().map(sent_batch));
        for (statement, _) in &sent {
            self.connection.prepare(statement).await?;
        }
        let mut answers = self.send(Word::Begin, &sent, Word::Commit).await;
        let committed = answers.pop();
        let failed = answers.into_iter().enumerate().find_map(|(place, answer)| {
            let fault = answer.err()?;
            Some((place, fault))
        });
        match (failed, committed) {
            (None, Some(Ok(_))) => Ok(vec![Ok(()); writes.len()]),
            // The server said no, and then what it did of it: nothing.
            (Some((place, fault)), Some(Ok(_))) => Err(match fault.trouble() {
                Some(Trouble::Refused) if place == 1 => Cut::Fenced,
                Some(Trouble::Refused | Trouble::Lost | Trouble::Again | Trouble::Pooled)
                | None => Cut::from(fault),
            }),
            (None, Some(Err(fault))) if fault.trouble() != Some(Trouble::Lost) => {
                Err(Cut::from(fault))
            }
            (failed, committed) => {
                // A pooler that has no statement of this name: it was not even begun, but what was is looked up all the same.
                let faults = failed.map(|(_, fault)| fault).into_iter();
                for fault in faults.chain(committed.and_then(Result::err)) {
                    self.connection.survives(&fault);
                }
                let results = vec![Ok(()); writes.len()];
                Err(Cut::Stop(Stop::Unknown(Done::Writes(results))))
            }
        }
    }

    /// Each in a savepoint: one that is refused leaves the others.
    pub(super) async fn each(&self, writes: &[Write], tries: u32) -> Result<Results, Cut> {
        self.connection.begin().await?;
        let tried = self.each_begun(writes, tries).await;
        if tried.is_err() {
            // Where this fails the connection is gone, and the transaction with it.
            if let Err(fault) = self.connection.execute("ROLLBACK").await {
                tracing::debug!(?fault, "a transaction of the store was not rolled back");
            }
        }
        let results = tried?;
        match self.connection.execute("COMMIT").await {
            Ok(()) => Ok(results),
            Err(fault) if fault.trouble() == Some(Trouble::Lost) => {
                Err(Cut::Stop(Stop::Unknown(Done::Writes(results))))
            }
            Err(fault) => Err(fault.into()),
        }
    }

    async fn each_begun(&self, writes: &[Write], tries: u32) -> Result<Results, Cut> {
        self.fence().await?;
        let mut results = Vec::with_capacity(writes.len());
        for write in writes {
            match self.one(write).await {
                Ok(()) => results.push(Ok(())),
                Err(fault) if may_be_explained(&fault) => {
                    self.connection.execute("ROLLBACK TO one").await?;
                    results.push(Err(self.explain(write, fault, tries).await?));
                }
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(results)
    }

    /// Moves the number of this handle on.
    pub(super) async fn fence(&self) -> Result<(), Cut> {
        self.connection.prepare(&sql::FENCE).await?;
        let values = self.fence.values();
        match self.connection.rows(&sql::FENCE, &values).await {
            Ok(_) => Ok(()),
            Err(fault) => Err(match fault.trouble() {
                Some(Trouble::Refused) => Cut::Fenced,
                Some(Trouble::Lost | Trouble::Again | Trouble::Pooled) | None => fault.into(),
            }),
        }
    }

    async fn one(&self, write: &Write) -> Result<(), Fault> {
        let mut plan = Plan::new(self.node);
        if let Write::Import(values) = write {
            let there = self.there(&import::jobs(values)).await?;
            plan.take_in(values, &there);
        } else if plan.take(write).is_err() {
            // It contradicts itself, such as by making one job twice.
            self.connection.execute("SAVEPOINT one").await?;
            return Err(crate::record::Broken::Rule(
                "a write of the store contradicts itself".into(),
            )
            .into());
        }
        let word = self.voice.word(&plan);
        let mut batches = plan.batches();
        batches.extend(word);
        let sent: Vec<Sent<'_>> = batches.iter().map(sent_batch).collect();
        for (statement, _) in &sent {
            self.connection.prepare(statement).await?;
        }
        let answers = self.send(Word::Savepoint, &sent, Word::Release).await;
        for answer in answers {
            answer?;
        }
        Ok(())
    }

    /// Those of these jobs that are there.
    async fn there(&self, ids: &[&str]) -> Result<HashSet<String>, Fault> {
        self.connection.prepare(&moving::THERE).await?;
        let rows = self.connection.rows(&moving::THERE, &[&ids]).await?;
        let ids: Result<HashSet<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        Ok(ids?)
    }

    /// The error for the caller of a write that was refused.
    pub(super) async fn explain(
        &self,
        write: &Write,
        fault: Fault,
        tries: u32,
    ) -> Result<Error, Cut> {
        match refusal::why(self.connection, write, self.node).await? {
            Some(error) => Ok(error),
            // What refused it has gone since.
            None if refusal::is_a_check(&fault) && tries < TRIES_MAX => {
                Err(Cut::Stop(Stop::Again("a write was refused".into())))
            }
            None => Ok(fault.at(self.connection.place())),
        }
    }

    /// Sends all of it, then waits for the answers: to the first word, to each statement, to the last word.
    async fn send(
        &self,
        first: Word,
        sent: &[Sent<'_>],
        last: Word,
    ) -> Vec<Result<Vec<Row>, Fault>> {
        let connection = self.connection;
        let say = |word: Word| match word {
            Word::Begin => connection.begin().map(no_rows).boxed(),
            Word::Commit => connection.execute("COMMIT").map(no_rows).boxed(),
            Word::Savepoint => connection.execute("SAVEPOINT one").map(no_rows).boxed(),
            Word::Release => connection.execute("RELEASE one").map(no_rows).boxed(),
        };
        let mut all = Vec::with_capacity(sent.len() + 2);
        all.push(say(first));
        for (statement, values) in sent {
            all.push(connection.rows(statement, values).boxed());
        }
        all.push(say(last));
        in_order(all).await
    }
}

/// What stands around statements.
#[derive(Clone, Copy, Debug)]
enum Word {
    Begin,
    Commit,
    Savepoint,
    Release,
}

fn no_rows(done: Result<(), Fault>) -> Result<Vec<Row>, Fault> {
    done.map(|()| Vec::new())
}

fn sent_batch<'a>(batch: &'a Batch<'_>) -> Sent<'a> {
    (batch.statement, batch.values())
}

/// Not the transaction as a whole.
fn may_be_explained(fault: &Fault) -> bool {
    matches!(fault.trouble(), Some(Trouble::Refused) | None)
}

/// Polls each once, in this order: with that it is sent. Then waits for their answers.
async fn in_order<T>(all: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut begun: Vec<_> = all
        .into_iter()
        .map(|one| Box::pin(maybe_done(one)))
        .collect();
    for one in &mut begun {
        // Whether it is done already is seen below.
        let _ = poll!(one.as_mut());
    }
    let mut answers = Vec::with_capacity(begun.len());
    for mut one in begun {
        one.as_mut().await;
        if let Some(answer) = one.as_mut().take_output() {
            answers.push(answer);
        }
    }
    answers
}
