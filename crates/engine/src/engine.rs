//! What callers ask of the engine, and the registry of runners.

mod notices;
mod parts;

use crate::access::Access;
use crate::asker::{self, Asker};
use crate::images::Keeper;
use crate::inline::Host;
use crate::lease::{self, Member, Nodes};
use crate::places::Places;
use crate::pool::Pools;
use crate::queues::Queues;
use crate::runner::{Letter, Message, Runner};
use crate::steps::{self, Steps};
use crate::storage::{self, Storage};
use crate::watchers::Watchers;
use crate::{Caller, Error, Keep, RuntimeApi, housekeeping, meter, recover, retention, scheduler};
use dauer_core::plan::admission::{Limits, Place, place};
use dauer_core::plan::eviction::Capacity;
use dauer_core::{EventKind, Job, JobId, Timestamp};
use dauer_sandbox::{Layout, Link, Node};
use dauer_store::{Entry, Filter, Store};
use dauer_wire::guest::{ApiRequest, ApiResponse};
use dauer_wire::http::Handles;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// How long a question about a job waits for its sandbox to be up.
const UP_SOON: Duration = Duration::from_secs(1);

/// Whether a job's sandbox is still to come up.
pub(crate) fn on_its_way(job: &Job) -> bool {
    place(job) == Some(Place::Rising)
}

/// What an engine needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its folders.
    pub layout: Layout,
    /// The program that is a shim when called as `shim SPEC`.
    pub shim_binary: PathBuf,
    /// The guest agent.
    pub guest_binary: PathBuf,
    /// What `auto` means; absent: the best that this machine and this user have.
    pub default_driver: Option<String>,
    /// What this machine has room for.
    pub limits: Limits,
    /// How long the ledger keeps what ended; absent: for ever.
    pub usage_keep: Option<Duration>,
    /// What this node is among those on the store.
    pub member: Member,
    /// Nothing begins until somebody says so.
    pub paused: bool,
    /// The same after so many daemons that ended badly, one after another within minutes; 0: never.
    pub pause_after_crashes: u32,

    /// How long history and jobs are kept.
    pub keep: Keep,
    /// A checkpoint that nobody has used for so long is packed, and later emptied; absent: never.
    pub pack_after: Option<Duration>,
    /// How much the cache of steps holds.
    pub cache: Capacity,
}

/// A running engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    node: Node,
    store: Arc<dyn Store>,
    runtime_api: Arc<dyn RuntimeApi>,
    boot_id: String,
    watchers: Watchers,
    live: Mutex<HashMap<JobId, Arc<Live>>>,
    commits: watch::Sender<u64>,
    schedule_changed: Notify,
    places: Places,
    queue_settings: Queues,
    followers: Mutex<HashMap<JobId, Followers>>,
    access: Access,
    nodes: Nodes,
    storage: Storage,
    keeper: Keeper,
    pools: Pools,
    /// When the daemon before this one was last heard of.
    seen_alive_before: OnceLock<Option<Timestamp>>,
    inline: Option<Host>,
    /// Absent without sandboxes, and once the engine is let go.
    steps: Mutex<Option<Arc<Steps>>>,
    /// True when its tasks are to end.
    stop: watch::Sender<bool>,
}

/// Who follows the log of a job that is to be removed when it ends.
#[derive(Default)]
pub(crate) struct Followers {
    pub(crate) present: usize,
    pub(crate) changed: Arc<Notify>,
    pub(crate) had_some: bool,
}

/// A job that has a runner.
pub(crate) struct Live {
    mailbox: mpsc::UnboundedSender<Letter>,
    /// Its shim, while connected.
    pub(crate) link: Mutex<Option<Link>>,
    /// Keys of checkpoints that the job asked for and that wait their turn.
    pub(crate) queued: Mutex<Vec<String>>,
    /// For `inspect`.
    pub(crate) handles: watch::Sender<Option<Handles>>,
}

impl Live {
    fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Letter>) {
        let (mailbox, messages) = mpsc::unbounded_channel();
        let entry = Self {
            mailbox,
            link: Mutex::default(),
            queued: Mutex::default(),
            handles: watch::Sender::new(None),
        };
        (Arc::new(entry), messages)
    }
}

impl Engine {
    /// Starts an engine: brings what is written down and what lives together, then wakes what is due.
    ///
    /// # Errors
    /// Those of the store, and of reading this boot's id.
    pub async fn start(
        config: Config,
        store: Arc<dyn Store>,
        runtime_api: Arc<dyn RuntimeApi>,
    ) -> Result<Self, Error> {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_err(|e| Error::Failed(format!("reading this boot's id: {e}")))?;
        let boot_id = boot_id.trim().to_owned();
        let engine = Self::assemble(config, store, runtime_api, boot_id, None).await?;
        engine.join().await?;
        engine.load_access().await?;
        engine.load_queues().await?;
        engine.recover_images().await;
        recover::at_start(&engine).await?;
        lease::look_once(&engine).await;
        engine.tell_all_followers().await?;
        *engine.lock_steps() = Some(steps::begin(&engine));
        tokio::spawn(scheduler::run(engine.clone()));
        tokio::spawn(housekeeping::at_start(engine.clone()));
        tokio::spawn(retention::run(engine.clone()));
        tokio::spawn(storage::run(engine.clone()));
        tokio::spawn(meter::beat(engine.clone()));
        if let Some(keep) = engine.config().usage_keep {
            tokio::spawn(meter::prune(engine.clone(), keep));
        }
        Ok(engine)
    }

    /// An engine of which nothing runs yet.
    pub(crate) async fn assemble(
        config: Config,
        store: Arc<dyn Store>,
        runtime_api: Arc<dyn RuntimeApi>,
        boot_id: String,
        inline: Option<Host>,
    ) -> Result<Self, Error> {
        let node = Node::new(
            config.layout.clone(),
            config.shim_binary.clone(),
            config.guest_binary.clone(),
        );
        let keeper = Keeper::new(dauer_sandbox::image::Images::open(&config.layout));
        let places = Places::new(config.limits);
        dauer_store::moving::check_is_whole(&*store).await?;
        dauer_store::check_keeps(&*store)?;
        let nodes = Nodes::new(config.member.clone(), store.is_shared());
        let boot_id = nodes.origin(&boot_id);
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                node,
                store,
                runtime_api,
                boot_id,
                watchers: Watchers::default(),
                live: Mutex::default(),
                commits: watch::channel(0).0,
                schedule_changed: Notify::new(),
                places,
                queue_settings: Queues::default(),
                followers: Mutex::default(),
                access: Access::default(),
                nodes,
                storage: Storage::default(),
                keeper,
                pools: Pools::default(),
                seen_alive_before: OnceLock::new(),
                inline,
                steps: Mutex::default(),
                stop: watch::channel(false).0,
            }),
        })
    }

    /// Takes this node's lease, under which everything else is written.
    pub(crate) async fn join(&self) -> Result<(), Error> {
        let seen_alive = lease::take(self).await?;
        // Only this sets it.
        let _first = self.inner.seen_alive_before.set(seen_alive);
        if self.nodes().is_shared() {
            tokio::spawn(lease::keep(self.clone()));
            tokio::spawn(lease::listen(self.clone()));
        }
        Ok(())
    }

    /// Lets go of everything; jobs live on and the next engine adopts them.
    pub async fn shutdown(&self) {
        meter::beat_once(self).await;
        if let Err(error) = self.store().daemon_ended_well().await {
            tracing::warn!(%error, "the next daemon will take this end for a crash");
        }
        // Every committed state is on disk and every shim works alone: there is nothing to flush.
        self.stop_tasks();
        self.leave_pools().await;
        // They have the engine, as it has them.
        drop(self.lock_steps().take());
        self.lock_live().clear();
        self.give_back_lease().await;
    }

    /// The id a person means: an id, a name or the beginning of an id.
    ///
    /// # Errors
    /// `NotFound`, `Ambiguous`.
    pub async fn find(&self, text: &str) -> Result<JobId, Error> {
        Ok(self.store().find(text).await?)
    }

    /// A job's record.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn job(&self, id: &JobId) -> Result<Job, Error> {
        Ok(self.store().job(id).await?)
    }

    /// What is true of it only now. One that is on its way up is waited for, for a second.
    pub async fn handles(&self, id: &JobId) -> Option<Handles> {
        let present = || {
            let live = self.lock_live().get(id).cloned()?;
            Some(live.handles.subscribe())
        };
        let whole = async {
            if present().is_none_or(|handles| handles.borrow().is_none()) {
                self.wait_until(id, |job| !on_its_way(job)).await.ok()?;
            }
            // The program may run some milliseconds before its runtime says which process the sandbox is.
            let is_whole = |handles: &Option<Handles>| {
                handles
                    .as_ref()
                    .is_none_or(|handles| handles.sandbox_pid.is_some())
            };
            let mut handles = present()?;
            handles.wait_for(is_whole).await.ok().map(|_| ())
        };
        // It takes longer, or is gone: then there is what there is.
        let _ = tokio::time::timeout(UP_SOON, whole).await;
        present().and_then(|handles| handles.borrow().clone())
    }

    /// A page of jobs, newest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list(&self, filter: Filter) -> Result<Vec<Job>, Error> {
        Ok(self.store().list(filter).await?)
    }

    /// Waits until a job has ended.
    ///
    /// # Errors
    /// `NotFound`, also when it is removed meanwhile.
    pub async fn wait(&self, id: &JobId) -> Result<Job, Error> {
        self.wait_until(id, |job| job.state.is_terminal()).await
    }

    /// Journal entries after `after`, of one job or of all, oldest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn journal(
        &self,
        job: Option<&JobId>,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, Error> {
        Ok(self.store().journal(job, after, limit).await?)
    }

    /// Changes with every commit.
    #[must_use]
    pub fn journal_changes(&self) -> watch::Receiver<u64> {
        self.inner.commits.subscribe()
    }

    /// Returns once the record satisfies `enough`.
    pub(crate) async fn wait_until(
        &self,
        id: &JobId,
        enough: impl Fn(&Job) -> bool,
    ) -> Result<Job, Error> {
        let mut changes = self.subscribe(id);
        loop {
            changes.mark_unchanged();
            let job = self.job(id).await?;
            if enough(&job) {
                return Ok(job);
            }
            if changes.changed().await.is_err() {
                changes = self.subscribe(id);
            }
        }
    }

    /// Gives an event of a caller or of the clock to the job's runner; returns the record committed for it.
    pub(crate) async fn tell(&self, id: &JobId, event: EventKind) -> Result<Job, Error> {
        self.tell_about(id, None, event).await
    }

    /// The same about one incarnation: of another one it changes nothing.
    pub(crate) async fn tell_about(
        &self,
        id: &JobId,
        generation: Option<u32>,
        event: EventKind,
    ) -> Result<Job, Error> {
        let (answer, told) = oneshot::channel();
        self.send(
            id,
            Message::Event {
                generation,
                event,
                answer: Some(answer),
            },
        );
        told.await
            .map_err(|_| Error::Failed("the engine is shutting down".into()))?
    }

    /// Puts a message into the job's mailbox, with a new runner where it has none.
    pub(crate) fn send(&self, id: &JobId, message: Message) {
        let letter = Letter {
            asker: asker::current(),
            message,
        };
        let mut live = self.lock_live();
        if let Some(runner) = live.get(id) {
            match runner.mailbox.send(letter) {
                Ok(()) => {}
                // That runner stopped without leaving (the version race); a new one takes its place.
                Err(returned) => self.spawn_runner(&mut live, id, returned.0),
            }
        } else {
            self.spawn_runner(&mut live, id, letter);
        }
    }

    fn spawn_runner(&self, live: &mut HashMap<JobId, Arc<Live>>, id: &JobId, first: Letter) {
        let (entry, messages) = Live::new();
        entry
            .mailbox
            .send(first)
            .unwrap_or_else(|_| unreachable!("its receiver is right here"));
        live.insert(id.clone(), Arc::clone(&entry));
        tokio::spawn(Runner::run(self.clone(), id.clone(), entry, messages));
    }

    /// Starts the runner of a job that nobody can know yet.
    pub(crate) fn register<F: Future<Output = ()> + Send + 'static>(
        &self,
        id: &JobId,
        runner: impl FnOnce(Arc<Live>, mpsc::UnboundedReceiver<Letter>) -> F,
    ) {
        let (entry, messages) = Live::new();
        self.lock_live().insert(id.clone(), Arc::clone(&entry));
        tokio::spawn(runner(entry, messages));
    }

    /// Takes a runner with an empty mailbox out of the registry. Under the registry's lock nobody can send meanwhile.
    pub(crate) fn leave(
        &self,
        id: &JobId,
        entry: &Arc<Live>,
        messages: &mpsc::UnboundedReceiver<Letter>,
    ) -> bool {
        let mut live = self.lock_live();
        if !messages.is_empty() {
            return false;
        }
        if live
            .get(id)
            .is_some_and(|present| Arc::ptr_eq(present, entry))
        {
            live.remove(id);
        }
        true
    }

    pub(crate) fn lock_live(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Arc<Live>>> {
        self.inner.live.lock().expect("no panic while held")
    }

    /// A sender of messages that does not keep the runner alive.
    pub(crate) fn mailbox(entry: &Live) -> mpsc::WeakUnboundedSender<Letter> {
        entry.mailbox.downgrade()
    }

    /// What a program that waits for its job is told while there is none.
    pub(crate) fn still_waiting(&self, request: &ApiRequest) -> Option<ApiResponse> {
        self.inner.runtime_api.still_waiting(request)
    }

    pub(crate) async fn answer(&self, caller: Caller, request: ApiRequest) -> ApiResponse {
        let asker = Asker::new("job", &caller.job);
        let handled = self.inner.runtime_api.handle(self.clone(), caller, request);
        asker.asks(handled).await
    }

    pub(crate) fn followers(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Followers>> {
        self.inner.followers.lock().expect("no panic while held")
    }
}
