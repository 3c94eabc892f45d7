//! No-op jobs from being submitted to being written down as completed.

use dauer::{Durability, Engine, Filter, Spec, Sqlite, State};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// So many share a transaction when they are submitted.
pub(crate) const BATCH: usize = 1000;

/// So many run at once, where the environment does not say otherwise.
const CONCURRENCY: usize = 4000;

pub(crate) fn durability(full: bool) -> Durability {
    match full {
        true => Durability::Full,
        false => Durability::Normal,
    }
}

/// Jobs per second.
pub(crate) async fn jobs(jobs: usize, full: bool) -> f64 {
    let file = crate::fresh();
    let calls = Arc::new(AtomicUsize::new(0));
    let called = Arc::clone(&calls);
    let said = std::env::var("CONCURRENCY").ok();
    let concurrency = said
        .and_then(|word| word.parse().ok())
        .unwrap_or(CONCURRENCY);
    let engine = Engine::builder()
        .store(Sqlite::open_with(&file, durability(full)).expect("a store"))
        .concurrency(concurrency)
        .handler("nothing", move |_, (): ()| {
            called.fetch_add(1, Ordering::Relaxed);
            async { Ok(()) }
        })
        .start()
        .await
        .expect("an engine");
    let begin = Instant::now();
    for _ in (0..jobs).step_by(BATCH) {
        let specs = (0..BATCH).map(|_| Spec::new("nothing"));
        engine.submit_all(specs).await.expect("accepted");
    }
    let mut changes = engine.changes();
    loop {
        changes.mark_unchanged();
        if calls.load(Ordering::Relaxed) == jobs && engine.running() == 0 {
            break;
        }
        changes.changed().await.expect("the engine runs");
    }
    let took = begin.elapsed();
    let open = Filter {
        states: vec![State::Pending, State::Running, State::Failed],
        limit: 1,
        ..Filter::default()
    };
    assert!(
        engine.jobs(open).await.expect("a list").is_empty(),
        "all of them completed"
    );
    engine.shutdown(std::time::Duration::from_secs(5)).await;
    crate::clean(&file);
    jobs as f64 / took.as_secs_f64()
}
