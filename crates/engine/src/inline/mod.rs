//! Jobs that are async functions of the program which the engine is part of: the driver `inline`.
//!
//! They go the way of every job: the scheduler asks who is due, `decide` says what becomes of the record, the store commits it,
//! and only then something happens. What differs is what happens (a function is called) and that it is done for many at once:
//!
//! ```text
//! scheduler ─► claim: decide each · commit all ─► call: a task each ─► finish: decide each · commit all
//! ```
//!
//! The process is to them what a sandbox is to others. A function that runs in a process that ended is called again.

mod call;
mod claim;
mod context;
mod finish;
mod start;
mod stop;
mod tell;
mod tokens;

pub use context::{Context, SAVED_BYTES_MAX};
pub use start::Embedded;
pub use tokens::{Item, Tokens, WhenAbandoned};

use crate::{Engine, submit};
use dauer_core::ledger::Life;
use dauer_core::{Event, EventKind, Job, JobId, Json, Returned, State};
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use tokens::Listeners;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// So many records of jobs that were just accepted are kept until it is their turn, so that they need not be read again.
const RECENT_MAX: usize = 4096;

/// How a function failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One line.
    pub message: String,
    /// Trying again is useless.
    pub fatal: bool,
}

/// An async function, called with the parameters of a job. What it returns is the job's output.
pub type Handler =
    Arc<dyn Fn(Context) -> BoxFuture<'static, Result<Option<Json>, Failure>> + Send + Sync>;

/// The functions by name, and what of them runs.
pub(crate) struct Host {
    handlers: BTreeMap<String, Handler>,
    /// Of this process; a job that another one ran is lost when this one begins.
    process: String,
    running: Mutex<HashMap<JobId, Running>>,
    /// How many run.
    count: watch::Sender<usize>,
    recent: Mutex<HashMap<JobId, Job>>,
    finished: mpsc::UnboundedSender<Finished>,
    listeners: Listeners,
    /// Nothing begins any more.
    closing: AtomicBool,
}

/// A function that is called, or about to be.
struct Running {
    /// The record as it was last committed, or is being committed.
    job: Arc<Job>,
    cancelled: CancellationToken,
    call: Call,
}

impl Running {
    fn coming(job: &Arc<Job>) -> Self {
        Self {
            job: Arc::clone(job),
            cancelled: CancellationToken::new(),
            call: Call::Coming,
        }
    }
}

enum Call {
    /// Its record is being committed.
    Coming,
    Now(AbortHandle),
    /// It is not to be called any more.
    Dropped,
}

/// A call that is over.
struct Finished {
    job: JobId,
    generation: u32,
    returned: Returned,
}

impl Host {
    /// Also what hears of calls that are over, for [`finish::run`].
    pub(crate) fn new(handlers: BTreeMap<String, Handler>, process: String) -> (Self, Ended) {
        let (finished, ended) = mpsc::unbounded_channel();
        let host = Self {
            handlers,
            process,
            running: Mutex::default(),
            count: watch::channel(0).0,
            recent: Mutex::default(),
            finished,
            listeners: Listeners::default(),
            closing: AtomicBool::new(false),
        };
        (host, Ended(ended))
    }

    fn running(&self) -> MutexGuard<'_, HashMap<JobId, Running>> {
        self.running.lock().expect("no panic while held")
    }

    /// Whether this process calls the function of this job.
    pub(crate) fn runs(&self, job: &JobId) -> bool {
        self.running().contains_key(job)
    }

    /// Why a job of this spec cannot be accepted, if it cannot.
    pub(crate) fn refuses(&self, argv: &[String]) -> Option<String> {
        match argv {
            [name] if self.handlers.contains_key(name) => None,
            [name] => Some(format!("there is no handler {name:?}")),
            [] | [_, _, ..] => Some("an inline job names one handler".into()),
        }
    }

    /// Records of jobs that were just accepted, for when it is their turn. There is no harm in not having them.
    pub(crate) fn remember(&self, jobs: Vec<Job>) {
        let mut recent = self.recent.lock().expect("no panic while held");
        let room = RECENT_MAX.saturating_sub(recent.len());
        for job in jobs.into_iter().take(room) {
            recent.insert(job.id.clone(), job);
        }
    }

    /// A record was committed by somebody else than those who claim and finish.
    fn note(&self, job: &Job) {
        let mut running = self.running();
        let Some(entry) = running.get_mut(&job.id) else {
            return;
        };
        if entry.job.version >= job.version {
            return;
        }
        if job.state == State::Running {
            entry.job = Arc::new(job.clone());
        } else {
            running.remove(&job.id);
            self.changed_count(&running);
        }
    }

    fn changed_count(&self, running: &HashMap<JobId, Running>) {
        self.count.send_replace(running.len());
    }
}

/// What hears of calls that are over.
pub(crate) struct Ended(mpsc::UnboundedReceiver<Finished>);

/// Begins to hear of calls that are over.
pub(crate) fn start(engine: &Engine, ended: Ended) {
    tokio::spawn(finish::run(engine.clone(), ended.0));
}

/// Something that happens to an inline job now.
fn event(engine: &Engine, generation: Option<u32>, kind: EventKind) -> Event {
    Event {
        at: engine.now(),
        generation,
        chance: submit::random_number(),
        life: Life::default(),
        kind,
    }
}

impl Engine {
    /// What a job left as its result, as JSON.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn output(&self, job: &JobId) -> Result<Option<Json>, crate::Error> {
        Ok(self.store().output(job).await?)
    }
}
