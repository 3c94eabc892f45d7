//! A backend without sandboxes: what it is asked is noted, and each call can be made to fail, panic, hang, or wait.

use crate::Error;
use crate::executor::backend::Taken;
use crate::executor::{Action, Backend, Executor, Exit, Owner, Policy, Shared, Sink, Slot, Source};
use async_trait::async_trait;
use dauer_core::plan::eviction::Capacity;
use dauer_core::{CheckpointId, NodeId};
use dauer_store::{Sqlite, Store};
use dauer_wire::guest::Stream;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, Semaphore};

/// What a call does instead of its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Fails,
    Panics,
    /// Until it is dropped.
    Hangs,
}

#[derive(Default)]
pub(super) struct Noted {
    pub(super) calls: Vec<String>,
    pub(super) lives: BTreeSet<String>,
    pub(super) destroyed: BTreeMap<String, usize>,
    pub(super) files: BTreeSet<CheckpointId>,
}

pub(super) struct Fake {
    pub(super) noted: Mutex<Noted>,
    /// By name of the call.
    pub(super) faults: Mutex<BTreeMap<&'static str, Fault>>,
    /// How programs end.
    pub(super) exit: Mutex<Exit>,
    pub(super) bytes: Mutex<u64>,
    /// A program ends when it gets one of these.
    pub(super) ends: Semaphore,
    /// Told whenever a call begins.
    pub(super) begun: Notify,
}

impl Fake {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            noted: Mutex::default(),
            faults: Mutex::default(),
            exit: Mutex::new(Exit::Code(0)),
            bytes: Mutex::new(10),
            ends: Semaphore::new(1_000_000),
            begun: Notify::new(),
        })
    }

    pub(super) fn fault(&self, call: &'static str, fault: Fault) {
        self.faults.lock().unwrap().insert(call, fault);
    }

    pub(super) fn heal(&self) {
        self.faults.lock().unwrap().clear();
    }

    pub(super) fn exits(&self, exit: Exit) {
        *self.exit.lock().unwrap() = exit;
    }

    /// Programs end one by one, by `ends`.
    pub(super) fn hold_programs(&self) {
        self.ends.forget_permits(1_000_000);
    }

    /// Returns once so many calls of this name have begun.
    pub(super) async fn seen(&self, call: &str, times: usize) {
        loop {
            let told = self.begun.notified();
            if self.count(call) >= times {
                return;
            }
            told.await;
        }
    }

    pub(super) fn count(&self, call: &str) -> usize {
        let noted = self.noted.lock().unwrap();
        noted.calls.iter().filter(|noted| *noted == call).count()
    }

    pub(super) fn files(&self) -> usize {
        self.noted.lock().unwrap().files.len()
    }

    /// Returns once there are the files of so many snapshots.
    pub(super) async fn has_files(&self, number: usize) {
        loop {
            let told = self.begun.notified();
            if self.files() == number {
                return;
            }
            told.await;
        }
    }

    /// What was made is destroyed, each once.
    pub(super) fn assert_cleared(&self) {
        let noted = self.noted.lock().unwrap();
        assert_eq!(noted.lives, BTreeSet::new(), "{:?}", noted.calls);
        assert!(
            noted.destroyed.values().all(|times| *times == 1),
            "{:?}",
            noted.destroyed
        );
    }

    async fn call(&self, name: &'static str) -> Result<(), Error> {
        self.noted.lock().unwrap().calls.push(name.to_owned());
        self.begun.notify_waiters();
        // Whoever watches may act before it goes on.
        tokio::task::yield_now().await;
        let fault = self.faults.lock().unwrap().get(name).cloned();
        match fault {
            None => Ok(()),
            Some(Fault::Fails) => Err(Error::Failed(format!("{name} was made to fail"))),
            Some(Fault::Panics) => panic!("{name} was made to panic"),
            Some(Fault::Hangs) => std::future::pending().await,
        }
    }

    fn lives(&self, slot: &Slot) {
        self.noted.lock().unwrap().lives.insert(slot.id.clone());
    }
}

#[async_trait]
impl Backend for Fake {
    async fn create(&self, slot: &Slot, _: &Action) -> Result<(), Error> {
        // Half of it is made when it fails.
        self.lives(slot);
        self.call("create").await
    }

    async fn restore(&self, slot: &Slot, _: &Action, from: &CheckpointId) -> Result<(), Error> {
        self.lives(slot);
        self.call("restore").await?;
        match self.noted.lock().unwrap().files.contains(from) {
            true => Ok(()),
            false => Err(Error::NoSnapshot(from.0.clone())),
        }
    }

    async fn inject(&self, _: &Slot, _: &Path) -> Result<(), Error> {
        self.call("inject").await
    }

    async fn exec(&self, _: &Slot, action: &Action, sink: &mut dyn Sink) -> Result<Exit, Error> {
        sink.output(Stream::Stdout, action.cmd.join(" ").into())
            .await;
        self.call("exec").await?;
        self.ends.acquire().await.unwrap().forget();
        Ok(*self.exit.lock().unwrap())
    }

    async fn snapshot(&self, slot: &Slot) -> Result<Taken, Error> {
        // It is there when something after it fails.
        self.noted
            .lock()
            .unwrap()
            .files
            .insert(slot.snapshot.clone());
        self.call("snapshot").await?;
        Ok(Taken {
            bytes: *self.bytes.lock().unwrap(),
            ..Taken::default()
        })
    }

    async fn destroy(&self, slot: &Slot) -> Result<(), Error> {
        {
            let mut noted = self.noted.lock().unwrap();
            noted.lives.remove(&slot.id);
            *noted.destroyed.entry(slot.id.clone()).or_default() += 1;
        }
        self.call("destroy").await
    }

    async fn has(&self, snapshot: &CheckpointId) -> Result<bool, Error> {
        self.call("has").await?;
        Ok(self.noted.lock().unwrap().files.contains(snapshot))
    }

    async fn delete(&self, snapshot: &CheckpointId) -> Result<(), Error> {
        self.call("delete").await?;
        self.noted.lock().unwrap().files.remove(snapshot);
        self.call("deleted").await
    }
}

/// Everything of one process.
pub(super) struct Bench {
    pub(super) fake: Arc<Fake>,
    pub(super) store: Arc<dyn Store>,
    pub(super) executor: Executor,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Capacity::default())
    }

    pub(super) fn with(capacity: Capacity) -> Self {
        Self::of(
            Fake::new(),
            Arc::new(Sqlite::memory().unwrap()),
            "p1",
            capacity,
        )
    }

    pub(super) fn of(
        fake: Arc<Fake>,
        store: Arc<dyn Store>,
        process: &str,
        capacity: Capacity,
    ) -> Self {
        let owner = Owner {
            scope: None,
            node: NodeId::from("here"),
            process: process.to_owned(),
        };
        let backend: Arc<dyn Backend> = Arc::clone(&fake) as _;
        let shared = Shared::new(backend, Arc::clone(&store), owner, capacity);
        Self {
            fake,
            store,
            executor: Executor::new(shared),
        }
    }

    /// The next process of the node, which begins with what is written down and what is there.
    pub(super) async fn next_process(self, process: &str, capacity: Capacity) -> Self {
        let Self {
            fake,
            store,
            executor,
        } = self;
        drop(executor);
        fake.heal();
        // As every start does: files without a row are nobody's.
        let files = fake.noted.lock().unwrap().files.clone();
        for id in files {
            if !store.referenced(&id).await.unwrap() {
                fake.noted.lock().unwrap().files.remove(&id);
            }
        }
        let next = Self::of(fake, store, process, capacity);
        next.executor.registry().recover().await.unwrap();
        next
    }

    /// Everything that is there belongs to something: rows to files, entries to rows, and the other way round.
    pub(super) async fn assert_whole(&self) {
        let rows: BTreeSet<CheckpointId> = self
            .store
            .snapshots(None, 1000)
            .await
            .unwrap()
            .into_iter()
            .map(|row| row.id)
            .collect();
        let files = self.fake.noted.lock().unwrap().files.clone();
        assert_eq!(rows, files, "rows and files");
        for entry in self.store.cache_entries(None, 1000).await.unwrap() {
            assert!(rows.contains(&entry.snapshot), "{entry:?} leads nowhere");
        }
    }

    pub(super) async fn keys(&self) -> Vec<String> {
        let entries = self.executor.registry().entries().await.unwrap();
        entries.into_iter().map(|entry| entry.key).collect()
    }

    /// What could go on by itself has begun to.
    pub(super) async fn settled(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }
}

pub(super) fn action() -> Action {
    Action {
        cmd: vec!["make".into()],
        ..Action::default()
    }
}

pub(super) fn after(snapshot: &CheckpointId) -> Action {
    Action {
        source: Source::Snapshot(snapshot.clone()),
        ..action()
    }
}

pub(super) fn key(key: &str) -> Policy {
    Policy::Cache { key: key.into() }
}
