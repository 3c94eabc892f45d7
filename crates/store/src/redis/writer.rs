//! Who writes: one task that sends what has gathered while it waited for the answer before as one call, and tells each what became of
//! its own.
//!
//! ```text
//! write ──┐                        ┌─ GET answered:<handle>: this number? the same answers again
//! write ──┼─► group, number n ──► script: each write whole or refused, answers kept under n
//! write ──┘        ▲               └─► answers, one each
//!                  └── the connection broke: asked again under n, so that nothing is done twice
//! ```

use super::answer::outcome;
use super::fault::Fault;
use super::lease::Mine;
use super::link::Link;
use super::scripts;
use crate::Error;
use dauer_core::NodeId;
use redis::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// A call takes no more than so many writes and bytes, unless a single order is larger: the server does nothing else meanwhile.
const WRITES_MAX: usize = 512;
const BYTES_MAX: usize = 4 << 20;

/// So many orders may wait; whoever comes then waits to give theirs.
const ORDERS_MAX: usize = 4096;

/// What became of a write, and what it found out.
type Outcome = Result<Vec<String>, Error>;

/// Writes that belong together, and where their answers go.
struct Order {
    writes: Vec<Vec<u8>>,
    answer: oneshot::Sender<Vec<Outcome>>,
    lease: OfLease,
}

/// What an order has to do with the lease of its handle.
#[derive(Debug, PartialEq, Eq)]
enum OfLease {
    /// It is written under it, where there is one.
    Under,
    /// It is about it, and there has to be one.
    Needs,
    /// It takes the one of this node.
    Takes(NodeId),
}

impl Order {
    fn bytes(&self) -> usize {
        self.writes.iter().map(Vec::len).sum()
    }
}

/// Cheap to clone; the task ends with the last clone.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    orders: mpsc::Sender<Order>,
    pub(super) handle: Arc<Handle>,
}

/// Whose writes they are.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) name: String,
    /// Somebody wants to hear what others do.
    pub(super) wants_to_listen: AtomicBool,
    /// It hears it, and so would hear its own.
    pub(super) listens: AtomicBool,
    mine: Mutex<Option<Mine>>,
}

impl Handle {
    fn mine(&self) -> MutexGuard<'_, Option<Mine>> {
        // Every change of it leaves it whole.
        self.mine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under whose lease it writes; empty where it has none.
    pub(super) fn node(&self) -> String {
        self.mine()
            .as_ref()
            .map_or_else(String::new, |mine| mine.node.0.clone())
    }
}

impl Writer {
    pub(super) fn start(link: Arc<Link>) -> Self {
        let (orders, waiting) = mpsc::channel(ORDERS_MAX);
        let handle = Arc::new(Handle {
            name: Uuid::new_v4().simple().to_string(),
            wants_to_listen: AtomicBool::new(false),
            listens: AtomicBool::new(false),
            mine: Mutex::new(None),
        });
        tokio::spawn(work(link, Arc::clone(&handle), waiting));
        Self { orders, handle }
    }

    async fn order(&self, writes: Vec<Vec<u8>>, lease: OfLease) -> Vec<Outcome> {
        let count = writes.len();
        let (answer, answered) = oneshot::channel();
        let order = Order {
            writes,
            answer,
            lease,
        };
        if self.orders.send(order).await.is_ok()
            && let Ok(answers) = answered.await
        {
            return answers;
        }
        vec![Err(gone()); count]
    }

    /// Does all of these, in this order, each whole or not at all.
    pub(super) async fn write_all(&self, writes: Vec<Vec<u8>>) -> Vec<Result<(), Error>> {
        if writes.is_empty() {
            return Vec::new();
        }
        let answers = self.order(writes, OfLease::Under).await.into_iter();
        answers.map(|answer| answer.map(drop)).collect()
    }

    pub(super) async fn write(&self, write: Vec<u8>) -> Result<(), Error> {
        let mut answers = self.write_all(vec![write]).await;
        answers.pop().unwrap_or_else(|| Err(gone()))
    }

    /// A write about the lease of this handle, or that takes the one of this node.
    pub(super) async fn lease(&self, write: Vec<u8>, takes: Option<NodeId>) -> Outcome {
        let lease = takes.map_or(OfLease::Needs, OfLease::Takes);
        let mut answers = self.order(vec![write], lease).await;
        answers.pop().unwrap_or_else(|| Err(gone()))
    }
}

fn gone() -> Error {
    Fault::Rule("the task that writes to redis has ended".into()).into()
}

async fn work(link: Arc<Link>, handle: Arc<Handle>, mut orders: mpsc::Receiver<Order>) {
    let (mut number, mut put_back) = (0_u64, None);
    loop {
        let first = match put_back.take() {
            Some(order) => Some(order),
            None => orders.recv().await,
        };
        let Some(first) = first else { return };
        let (mut writes, mut bytes) = (first.writes.len(), first.bytes());
        let mut group = vec![first];
        while group[0].lease == OfLease::Under
            && let Ok(next) = orders.try_recv()
        {
            writes += next.writes.len();
            bytes += next.bytes();
            let fits = writes <= WRITES_MAX && bytes <= BYTES_MAX;
            if !fits || next.lease != OfLease::Under {
                put_back = Some(next);
                break;
            }
            group.push(next);
        }
        number += 1;
        call(&link, &handle, number, group).await;
    }
}

async fn call(link: &Link, handle: &Handle, number: u64, group: Vec<Order>) {
    let mine = handle.mine().clone();
    let (mut takes, mut waiting, mut writes) = (None, Vec::with_capacity(group.len()), Vec::new());
    for order in group {
        match order.lease {
            OfLease::Needs if mine.is_none() => {
                let none = Fault::Rule("this handle of the store has no lease".into());
                // Whoever does not wait any more needs no answer; so below.
                let _ = order.answer.send(vec![Err(none.into())]);
                return;
            }
            OfLease::Takes(node) => takes = Some(node),
            OfLease::Needs | OfLease::Under => {}
        }
        waiting.push((order.writes.len(), order.answer));
        writes.extend(order.writes);
    }
    // A lease is taken under none.
    let mine = mine.filter(|_| takes.is_none());
    let (node, epoch) = mine.map_or_else(Default::default, |mine| {
        (mine.node.0, mine.epoch.to_string())
    });
    let ears = u8::from(handle.listens.load(Ordering::SeqCst));
    let mut args: Vec<Vec<u8>> = [
        handle.name.clone(),
        number.to_string(),
        node,
        epoch,
        ears.to_string(),
    ]
    .map(String::into_bytes)
    .into();
    args.extend(writes);
    let mut answers = match link.run(&scripts::WRITE, &args).await {
        Ok(Value::Array(answers)) => Ok(answers.into_iter()),
        Ok(_) => Err(Fault::Form("a write").into()),
        Err(error) => Err(error),
    };
    for (count, answer) in waiting {
        let own = (0..count).map(|_| match &mut answers {
            Ok(answers) => match answers.next() {
                Some(answer) => outcome(answer),
                None => Err(Fault::Form("a write").into()),
            },
            Err(error) => Err(error.clone()),
        });
        let own: Vec<Outcome> = own.collect();
        if let (Some(node), Some(Ok(said))) = (&takes, own.first())
            && let Some(Ok(epoch)) = said.first().map(|epoch| epoch.parse())
        {
            let node = node.clone();
            *handle.mine() = Some(Mine { node, epoch });
        }
        let _ = answer.send(own);
    }
}
