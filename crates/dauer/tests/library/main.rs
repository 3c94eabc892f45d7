//! Dauer as a library: functions as jobs, through the public face only.

mod process;

use dauer::{
    CancellationToken, Durability, Engine, Error, HandlerError, Item, Job, Reason, RetryPolicy,
    Spec, Sqlite, State, Timestamp, WhenAbandoned,
};
use futures_util::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, Semaphore, mpsc};

const SOON: Duration = Duration::from_secs(30);

async fn ended(engine: &Engine, job: &Job) -> Job {
    tokio::time::timeout(SOON, engine.wait(&job.id))
        .await
        .expect("it ends")
        .unwrap()
}

/// A record says that its job has ended a moment before the engine has let go of it.
async fn none_runs(engine: &Engine) {
    let mut changes = engine.changes();
    let none = async {
        while engine.running() > 0 {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(SOON, none)
        .await
        .expect("it lets go of all");
}

fn reason(job: &Job) -> Option<Reason> {
    job.outcome.as_ref().and_then(|outcome| outcome.reason)
}

fn at_once(retries: u32) -> RetryPolicy {
    RetryPolicy {
        max_retries: retries,
        retry_delay_ms: 0,
        ..Spec::new("x").policy().clone()
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    Timestamp(i64::try_from(since.as_millis()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_calls_its_function_and_keeps_what_it_returns_and_its_history() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let engine = Engine::builder()
        .store(Sqlite::open(&path).unwrap())
        .handler("add", |ctx, (a, b): (u32, u32)| async move {
            assert_eq!(ctx.attempt(), 1);
            assert_eq!(ctx.tags()["team"], "web");
            Ok(a + b)
        })
        .start()
        .await
        .unwrap();
    let spec = Spec::new("add").params(&(1, 2)).unwrap().tag("team", "web");
    let job = engine.submit(spec).await.unwrap();
    let done = ended(&engine, &job).await;
    assert_eq!(
        (done.state, done.attempt, done.operation),
        (State::Completed, 1, None)
    );
    assert_eq!(engine.output::<u32>(&job.id).await.unwrap(), Some(3));
    let words: Vec<String> = engine
        .history(&job.id, 0, 9)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.event)
        .collect();
    assert_eq!(words, ["submitted", "started", "completed"]);
    engine.shutdown(SOON).await;
    // All of it is there for the next one.
    let again = Engine::builder()
        .store(Sqlite::open(&path).unwrap())
        .start()
        .await
        .unwrap();
    assert_eq!(again.job(&job.id).await.unwrap(), done);
    let refused = again.submit(Spec::new("add")).await.unwrap_err();
    assert!(matches!(refused, Error::InvalidField { .. }), "{refused}");
    again.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_and_panics_are_tried_again_and_a_fatal_one_is_not() {
    let calls = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&calls);
    let engine = Engine::builder()
        .handler("third", move |ctx, (): ()| {
            let seen = Arc::clone(&seen);
            async move {
                seen.fetch_add(1, Ordering::Relaxed);
                match ctx.attempt() {
                    1 => Err(HandlerError::retryable("not yet")),
                    2 => panic!("at the second"),
                    _ => Ok(()),
                }
            }
        })
        .handler("never", |_, (): ()| async move {
            Err::<(), _>(dauer::fatal("useless"))
        })
        .handler("number", |_, _: u32| async move { Ok(()) })
        .start()
        .await
        .unwrap();
    let job = engine
        .submit(Spec::new("third").retry(at_once(5)))
        .await
        .unwrap();
    let done = ended(&engine, &job).await;
    assert_eq!((done.state, done.attempt), (State::Completed, 3));
    assert!(done.last_error.unwrap().contains("panic: at the second"));
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    let job = engine
        .submit(Spec::new("third").retry(at_once(1)))
        .await
        .unwrap();
    let done = ended(&engine, &job).await;
    assert_eq!(
        (done.state, reason(&done)),
        (State::Failed, Some(Reason::Panic))
    );
    for handler in ["never", "number"] {
        let spec = Spec::new(handler).params(&()).unwrap();
        let job = engine.submit(spec.retry(at_once(5))).await.unwrap();
        let done = ended(&engine, &job).await;
        assert_eq!((done.state, done.attempt), (State::Failed, 1), "{handler}");
        assert_eq!(reason(&done), Some(Reason::Error));
    }
    engine.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_function_hears_of_it_and_one_that_does_not_listen_is_dropped() {
    let (heard, mut hears) = mpsc::unbounded_channel::<Instant>();
    let begun = Arc::new(Notify::new());
    let begins = Arc::clone(&begun);
    let engine = Engine::builder()
        .handler("listens", move |ctx, (): ()| {
            let (heard, begins) = (heard.clone(), Arc::clone(&begins));
            async move {
                begins.notify_one();
                let cancelled: &CancellationToken = ctx.cancelled();
                cancelled.cancelled().await;
                heard.send(Instant::now()).unwrap();
                Ok(())
            }
        })
        .handler("deaf", |_, (): ()| {
            std::future::pending::<Result<(), HandlerError>>()
        })
        .start()
        .await
        .unwrap();
    let job = engine.submit(Spec::new("listens")).await.unwrap();
    begun.notified().await;
    let asked = Instant::now();
    let done = engine.cancel(&job.id).await.unwrap();
    assert_eq!(done.state, State::Cancelled);
    let latency = hears.recv().await.unwrap() - asked;
    println!("cancel reached the function after {latency:?}");
    // Again is fine.
    assert_eq!(
        engine.cancel(&job.id).await.unwrap().state,
        State::Cancelled
    );

    let grace = Duration::from_millis(50);
    let job = engine
        .submit(Spec::new("deaf").stop_grace(grace))
        .await
        .unwrap();
    assert_eq!(
        engine.cancel(&job.id).await.unwrap().state,
        State::Cancelled
    );
    let timeout = Duration::from_millis(50);
    let spec = Spec::new("deaf").stop_grace(grace).timeout(timeout);
    let job = engine.submit(spec.clone()).await.unwrap();
    let done = ended(&engine, &job).await;
    assert_eq!(
        (done.state, reason(&done)),
        (State::Failed, Some(Reason::Timeout))
    );
    let job = engine.submit(spec.retry(at_once(1))).await.unwrap();
    assert_eq!(ended(&engine, &job).await.attempt, 2);
    none_runs(&engine).await;
    let refused = engine.cancel(&job.id).await.unwrap_err();
    assert!(matches!(refused, Error::Conflict(_)), "{refused}");
    engine.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_run_as_there_is_room_and_the_urgent_begin_first() {
    let (most, now_running) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (seen, running, begun) = (
        Arc::clone(&most),
        Arc::clone(&now_running),
        Arc::clone(&order),
    );
    let engine = Engine::builder()
        .concurrency(3)
        .handler("n", move |_, n: u32| {
            let (seen, running, begun) =
                (Arc::clone(&seen), Arc::clone(&running), Arc::clone(&begun));
            async move {
                begun.lock().unwrap().push(n);
                seen.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(n)
            }
        })
        .start()
        .await
        .unwrap();
    let spec = |n: u32| Spec::new("n").params(&n).unwrap();
    let ids = engine.submit_all((0..500).map(spec)).await.unwrap();
    for (n, id) in (0..).zip(&ids) {
        engine.wait(id).await.unwrap();
        assert_eq!(engine.output::<u32>(id).await.unwrap(), Some(n));
    }
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    assert_eq!(order.lock().unwrap().len(), 500);
    // All of them due at one moment that is not yet.
    order.lock().unwrap().clear();
    let at = now().plus_ms(200);
    let later = |n: u32| {
        let priority = if n < 30 {
            dauer::Priority::Low
        } else {
            dauer::Priority::Critical
        };
        spec(n).run_at(at).priority(priority)
    };
    let ids = engine.submit_all((0..60).map(later)).await.unwrap();
    // By the journal: functions of one claim are polled by several threads, in whatever order.
    let mut begun = Vec::new();
    for (n, id) in (0..).zip(&ids) {
        let job = engine.wait(id).await.unwrap();
        assert!(job.started_at.unwrap() >= at);
        let history = engine.history(id, 0, 10).await.unwrap();
        let started = history.iter().find(|entry| entry.event == "started");
        begun.push((started.unwrap().seq, n));
    }
    begun.sort_unstable();
    assert!(begun[..30].iter().all(|(_, n)| *n >= 30), "{begun:?}");
    engine.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_the_same_job_and_a_retry_is_another_attempt() {
    let engine = Engine::builder()
        .handler("x", |ctx, (): ()| async move {
            match ctx.attempt() {
                1 => Err(HandlerError::retryable("no")),
                _ => Ok(()),
            }
        })
        .start()
        .await
        .unwrap();
    let job = engine.submit(Spec::new("x").key("k")).await.unwrap();
    let same = engine.submit(Spec::new("x").key("k")).await.unwrap();
    assert_eq!(job.id, same.id);
    assert_eq!(ended(&engine, &job).await.state, State::Failed);
    engine.retry(&job.id).await.unwrap();
    assert_eq!(ended(&engine, &job).await.state, State::Completed);
    engine.remove(&job.id).await.unwrap();
    assert!(matches!(engine.job(&job.id).await, Err(Error::NotFound(_))));
    engine.shutdown(SOON).await;
}

async fn texts(engine: &Engine, spec: Spec) -> Vec<String> {
    let job = engine.submit(spec).await.unwrap();
    let stream = engine
        .execute_and_stream(&job.id, WhenAbandoned::GoOn)
        .await
        .unwrap();
    let twice = engine
        .execute_and_stream(&job.id, WhenAbandoned::GoOn)
        .await;
    // While it goes on there is one stream of it.
    if let Ok(stream) = twice {
        assert_eq!(stream.count().await, 1);
    }
    stream.map(|item| item.to_string()).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_every_token_and_one_end() {
    let engine = Engine::builder()
        .handler("count", |ctx, n: u32| async move {
            for n in 0..n {
                ctx.emit(n).await;
            }
            Ok(())
        })
        .handler("fails", |ctx, (): ()| async move {
            ctx.emit("a").await;
            Err::<(), _>(dauer::fatal("out of words"))
        })
        .handler("waits", |ctx, (): ()| async move {
            ctx.emit("ready").await;
            ctx.cancelled().cancelled().await;
            Ok(())
        })
        .start()
        .await
        .unwrap();
    // More than the channel holds.
    let got = texts(&engine, Spec::new("count").params(&1000).unwrap().held()).await;
    let expected: Vec<String> = (0..1000)
        .map(|n| n.to_string())
        .chain(["[DONE]".into()])
        .collect();
    assert_eq!(got, expected);
    assert_eq!(
        texts(&engine, Spec::new("fails").held()).await,
        ["a", "[ERROR] out of words"]
    );

    // Held: nobody begins it but a stream.
    let job = engine.submit(Spec::new("waits").held()).await.unwrap();
    assert_eq!(engine.job(&job.id).await.unwrap().state, State::Pending);
    let mut stream = engine
        .execute_and_stream(&job.id, WhenAbandoned::GoOn)
        .await
        .unwrap();
    assert_eq!(stream.next().await, Some(Item::Token("ready".into())));
    engine.cancel(&job.id).await.unwrap();
    assert_eq!(stream.next().await, Some(Item::Cancelled));
    assert_eq!(stream.next().await, None);
    // One that has ended says how, again and again.
    let stream = engine
        .execute_and_stream(&job.id, WhenAbandoned::GoOn)
        .await
        .unwrap();
    assert_eq!(stream.collect::<Vec<_>>().await, [Item::Cancelled]);
    assert_eq!(engine.streams(), 0);
    engine.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_leaves_nothing_and_the_job_goes_on_or_is_cancelled() {
    let go = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&go);
    let engine = Engine::builder()
        .handler("talks", move |ctx, (): ()| {
            let gate = Arc::clone(&gate);
            async move {
                ctx.emit("first").await;
                tokio::select! {
                    permit = gate.acquire() => permit.unwrap().forget(),
                    () = ctx.cancelled().cancelled() => {}
                }
                // Far more than fits, to nobody.
                for n in 0..10_000 {
                    ctx.emit(n).await;
                }
                Ok("talked")
            }
        })
        .start()
        .await
        .unwrap();
    for (when_abandoned, state) in [
        (WhenAbandoned::GoOn, State::Completed),
        (WhenAbandoned::Cancel, State::Cancelled),
    ] {
        let mut jobs = Vec::new();
        for _ in 0..50 {
            let job = engine.submit(Spec::new("talks").held()).await.unwrap();
            let mut stream = engine
                .execute_and_stream(&job.id, when_abandoned)
                .await
                .unwrap();
            assert_eq!(stream.next().await, Some(Item::Token("first".into())));
            drop(stream);
            jobs.push(job);
        }
        assert_eq!(engine.streams(), 0);
        if state == State::Completed {
            go.add_permits(jobs.len());
        }
        for job in &jobs {
            assert_eq!(ended(&engine, job).await.state, state);
        }
        none_runs(&engine).await;
    }
    engine.shutdown(SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_in_time_is_given_back_and_goes_on_in_the_next_engine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let begun = Arc::new(Notify::new());
    let told = Arc::clone(&begun);
    let engine = Engine::builder()
        .store(Sqlite::open_with(&path, Durability::Normal).unwrap())
        .handler("slow", move |ctx, (): ()| {
            let told = Arc::clone(&told);
            async move {
                ctx.save(&"half").await?;
                told.notify_one();
                std::future::pending::<Result<(), HandlerError>>().await
            }
        })
        .start()
        .await
        .unwrap();
    let job = engine.submit(Spec::new("slow")).await.unwrap();
    begun.notified().await;
    engine.shutdown(Duration::from_millis(20)).await;
    none_runs(&engine).await;
    let left = engine.job(&job.id).await.unwrap();
    assert_eq!((left.state, left.retries), (State::PendingRetry, 0));
    drop(engine);
    let engine = Engine::builder()
        .store(Sqlite::open_with(&path, Durability::Normal).unwrap())
        .handler(
            "slow",
            |ctx, (): ()| async move { Ok(ctx.saved::<String>()?) },
        )
        .start()
        .await
        .unwrap();
    let done = ended(&engine, &job).await;
    assert_eq!((done.state, done.attempt), (State::Completed, 2));
    assert_eq!(
        engine.output::<String>(&job.id).await.unwrap().as_deref(),
        Some("half")
    );
    engine.shutdown(SOON).await;
}
