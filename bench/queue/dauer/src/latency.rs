//! How long things take when nothing else goes on, and how much longer beside a long history.

use crate::engine::{BATCH, durability};
use dauer::{Engine, Spec, Sqlite, Timestamp};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;

const ROUNDS: usize = 500;

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("a clock");
    i64::try_from(since.as_millis()).expect("a date")
}

fn print(what: &str, mut values: Vec<Duration>) {
    values.sort_unstable();
    let at = |percent: usize| values[(values.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    println!(
        "{what}: p50 {:.3} ms, p99 {:.3} ms, most {:.3} ms ({} times)",
        at(50),
        at(99),
        at(100),
        values.len()
    );
}

/// An engine whose handlers say when they begin and when they are cancelled.
async fn engine(file: &std::path::Path, full: bool) -> (Engine, mpsc::UnboundedReceiver<Instant>) {
    let (tell, hear) = mpsc::unbounded_channel();
    let (began, cancelled) = (tell.clone(), tell);
    let engine = Engine::builder()
        .store(Sqlite::open_with(file, durability(full)).expect("a store"))
        .handler("begins", move |_, (): ()| {
            let _ = began.send(Instant::now());
            async { Ok(()) }
        })
        .handler("listens", move |ctx, (): ()| {
            let tell = cancelled.clone();
            async move {
                let _ = tell.send(Instant::now());
                ctx.cancelled().cancelled().await;
                let _ = tell.send(Instant::now());
                Ok(())
            }
        })
        .start()
        .await
        .expect("an engine");
    (engine, hear)
}

/// Enqueue to start, cancel to hearing of it, and how late a timer is.
pub(crate) async fn idle(full: bool) {
    let file = crate::fresh();
    let (engine, mut hear) = engine(&file, full).await;
    let (mut starts, mut cancels, mut timers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let asked = Instant::now();
        let job = engine.submit(Spec::new("begins")).await.expect("accepted");
        starts.push(
            hear.recv()
                .await
                .expect("it begins")
                .saturating_duration_since(asked),
        );
        engine.wait(&job.id).await.expect("it ends");
    }
    for _ in 0..ROUNDS / 5 {
        let job = engine.submit(Spec::new("listens")).await.expect("accepted");
        hear.recv().await.expect("it begins");
        let asked = Instant::now();
        engine.cancel(&job.id).await.expect("cancelled");
        cancels.push(
            hear.recv()
                .await
                .expect("it hears")
                .saturating_duration_since(asked),
        );
    }
    for _ in 0..ROUNDS / 10 {
        let due = now_ms() + 30;
        engine
            .submit(Spec::new("begins").run_at(Timestamp(due)))
            .await
            .expect("accepted");
        hear.recv().await.expect("it begins");
        let late = now_ms() - due;
        timers.push(Duration::from_millis(
            u64::try_from(late).expect("never early"),
        ));
    }
    println!("synchronous = {}", if full { "FULL" } else { "NORMAL" });
    print("enqueue to start", starts);
    print("cancel to the function hearing of it", cancels);
    print("a due timer is late by", timers);
    engine.shutdown(Duration::from_secs(5)).await;
    crate::clean(&file);
}

/// Claims beside a short and a long history.
pub(crate) async fn history() {
    let file = crate::fresh();
    let (engine, mut hear) = engine(&file, false).await;
    let mut ended = 0;
    let mut medians = Vec::new();
    for history in [1_000, 1_000_000] {
        while ended < history {
            let specs = (0..BATCH).map(|_| Spec::new("begins"));
            let ids = engine.submit_all(specs).await.expect("accepted");
            for _ in 0..BATCH {
                hear.recv().await.expect("it begins");
            }
            engine
                .wait(ids.last().expect("one"))
                .await
                .expect("it ends");
            ended += BATCH;
        }
        let mut claims = Vec::new();
        for _ in 0..ROUNDS {
            // One that waits and is found by the scheduler, not one that begins with its own acceptance.
            let due = now_ms() + 3;
            engine
                .submit(Spec::new("begins").run_at(Timestamp(due)))
                .await
                .expect("accepted");
            while now_ms() < due {
                tokio::task::yield_now().await;
            }
            let asked = Instant::now();
            claims.push(
                hear.recv()
                    .await
                    .expect("it begins")
                    .saturating_duration_since(asked),
            );
        }
        claims.sort_unstable();
        medians.push(claims[claims.len() / 2]);
        print(&format!("due to start beside {history} ended jobs"), claims);
    }
    println!(
        "ratio of the medians: {:.2}",
        medians[1].as_secs_f64() / medians[0].as_secs_f64()
    );
    engine.shutdown(Duration::from_secs(5)).await;
    crate::clean(&file);
}
