//! A process that ends between any two things leaves nothing that nobody has, and no key that leads nowhere.

use super::fake::{Bench, Fake, action, key};
use crate::executor::Policy;
use dauer_core::plan::eviction::Capacity;
use dauer_store::{Sqlite, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

const ONE: Capacity = Capacity {
    entries_max: Some(1),
    bytes_max: None,
};

/// When a process ends.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// With so many calls of the backend, whether or not they are done.
    Calls(usize),
    /// After so long, wherever it is then.
    After(Duration),
}

/// Puts one entry into a cache that has room for one, begins to put another, and ends in the middle: with its runtime all its tasks are
/// gone, as those of a process that is killed. Returns whether it had come to its end by then.
fn process(fake: &Arc<Fake>, store: &Arc<dyn Store>, policy: Policy, stop: Stop) -> bool {
    let runtime = runtime();
    let finished = runtime.block_on(async {
        let bench = Bench::of(Arc::clone(fake), Arc::clone(store), "p1", ONE);
        let run = bench.executor.another();
        run.execute(action(), key("old"), &mut ()).await.unwrap();
        run.end().await;
        let before = calls(fake);
        let run = bench.executor.another();
        let going = tokio::spawn(async move {
            run.execute(action(), policy, &mut ()).await.unwrap();
            run.end().await;
        });
        match stop {
            Stop::Calls(number) => {
                while calls(fake) < before + number && !going.is_finished() {
                    tokio::task::yield_now().await;
                }
            }
            // The moment is the test: there is nothing to wait for.
            Stop::After(time) => tokio::time::sleep(time).await,
        }
        going.is_finished()
    });
    drop(runtime);
    finished
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

fn calls(fake: &Fake) -> usize {
    fake.noted.lock().unwrap().calls.len()
}

/// What the next process makes of it.
fn check(fake: Arc<Fake>, store: Arc<dyn Store>, what: &str) {
    runtime().block_on(async {
        let bench = Bench::of(fake, store, "p1", ONE)
            .next_process("p2", ONE)
            .await;
        bench.assert_whole().await;
        let keys = bench.keys().await;
        assert_eq!(keys.len(), 1, "{what}: {keys:?}");
        assert_eq!(bench.fake.files(), 1, "{what}");
        // Another start changes nothing, and the cache works.
        let bench = bench.next_process("p3", ONE).await;
        bench.assert_whole().await;
        let hit = bench
            .executor
            .execute(action(), key(&keys[0]), &mut ())
            .await;
        assert!(hit.unwrap().cached, "{what}");
    });
}

fn once(policy: &Policy, stop: Stop) -> bool {
    let (fake, store): (_, Arc<dyn Store>) = (Fake::new(), Arc::new(Sqlite::memory().unwrap()));
    let finished = process(&fake, &store, policy.clone(), stop);
    let calls = fake.noted.lock().unwrap().calls.join(" ");
    check(fake, store, &format!("{policy:?}, {stop:?}: {calls}"));
    finished
}

#[test]
fn a_process_may_end_with_any_call() {
    for policy in [key("new"), Policy::None] {
        let mut stops = 0;
        while !once(&policy, Stop::Calls(stops)) {
            stops += 1;
            assert!(stops < 50);
        }
        assert!(stops >= 4, "only {stops} stops");
    }
}

#[test]
fn a_process_may_end_at_any_moment() {
    for policy in [key("new"), Policy::None] {
        for moment in 0..40 {
            once(&policy, Stop::After(Duration::from_micros(moment * 150)));
        }
    }
}
