//! Whatever happens to the server or to the way to it: what was acknowledged is there, once, and what was not acknowledged is not there
//! twice.

mod servers;
mod small;

use dauer_core::{Job, State, Timestamp};
use dauer_store::{Change, Entry, Error, NewEntry, Postgres, Store};
use servers::postgres::{Server, at};
use servers::proxy::Proxy;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const TASKS: u64 = 8;

/// The next version of a job.
fn next(job: &mut Job) -> Change {
    let from = job.state;
    job.version += 1;
    job.attempt += 1;
    job.state = State::Running;
    Change {
        job: std::sync::Arc::new(job.clone()),
        entry: Some(NewEntry {
            from: Some(from),
            ..small::entry("moved")
        }),
        checkpoint: None,
        token: None,
        forget_tokens: dauer_core::Forget::None,
        kept: Vec::new(),
    }
}

/// Creates a job and moves it on so often; what was acknowledged is counted.
async fn moves(
    store: Postgres,
    n: u64,
    transitions: u64,
    acknowledged: Arc<watch::Sender<u64>>,
) -> Job {
    let mut job = small::job(n);
    let created = store.create(job.clone(), small::entry("created")).await;
    created.unwrap();
    acknowledged.send_modify(|count| *count += 1);
    for _ in 1..transitions {
        let change = next(&mut job);
        store.commit(change).await.unwrap();
        acknowledged.send_modify(|count| *count += 1);
    }
    job
}

/// Several at once; back when all are through.
async fn all_move(store: &Postgres, each: u64, acknowledged: &Arc<watch::Sender<u64>>) -> Vec<Job> {
    let tasks: Vec<_> = (1..=TASKS)
        .map(|n| {
            let moves = moves(store.clone(), n, each, Arc::clone(acknowledged));
            tokio::spawn(moves)
        })
        .collect();
    let mut jobs = Vec::new();
    for task in tasks {
        jobs.push(task.await.unwrap());
    }
    jobs
}

/// The records and the journal are what was acknowledged, no more and no less.
async fn check(store: &dyn Store, jobs: &[Job]) {
    for job in jobs {
        assert_eq!(store.job(&job.id).await.unwrap(), *job);
        let journal = store.journal(Some(&job.id), 0, 10_000).await.unwrap();
        assert_eq!(
            u64::try_from(journal.len()).unwrap(),
            job.version,
            "an entry for each transition of {}: {}",
            job.id,
            words(&journal)
        );
    }
    let all = store.journal(None, 0, 100_000).await.unwrap();
    let transitions: u64 = jobs.iter().map(|job| job.version).sum();
    assert_eq!(u64::try_from(all.len()).unwrap(), transitions);
    assert!(all.is_sorted_by(|one, other| one.seq < other.seq));
    assert_eq!(store.check().await.unwrap(), []);
}

fn words(journal: &[Entry]) -> String {
    let words: Vec<&str> = journal.iter().map(|entry| entry.event.as_str()).collect();
    words.join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_amid_transitions_loses_and_doubles_none() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let store = Postgres::connect(&server.fresh()).await.unwrap();
    let acknowledged = Arc::new(watch::Sender::new(0));
    const EACH: u64 = 150;
    let moving = tokio::spawn({
        let (store, acknowledged) = (store.clone(), Arc::clone(&acknowledged));
        async move { all_move(&store, EACH, &acknowledged).await }
    });
    let mut count = acknowledged.subscribe();
    for kill in 1..=6 {
        let is_time = |count: &u64| *count >= kill * 180;
        count.wait_for(is_time).await.unwrap();
        server = tokio::task::spawn_blocking(move || {
            server.kill();
            server.run();
            server
        })
        .await
        .unwrap();
    }
    let jobs = moving.await.unwrap();
    assert_eq!(*acknowledged.borrow(), TASKS * EACH);
    check(&store, &jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_at_any_message_of_a_commit_loses_and_doubles_nothing() {
    let Some(server) = Server::start(&["fsync=off"]) else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let store = Postgres::connect(&at(proxy.port(), "schema=cut"))
        .await
        .unwrap();
    let mut job = small::job(1);
    store
        .create(job.clone(), small::entry("created"))
        .await
        .unwrap();
    // What is prepared once is.
    store.commit(next(&mut job)).await.unwrap();
    let before = proxy.passed();
    store.commit(next(&mut job)).await.unwrap();
    let messages = i64::try_from(proxy.passed() - before).unwrap();
    assert!(messages > 20, "a commit is {messages} messages");
    for message in 0..messages {
        let cuts = proxy.cuts();
        proxy.cut_after(message);
        store.commit(next(&mut job)).await.unwrap();
        assert_eq!(proxy.cuts(), cuts + 1, "cut at message {message}");
        // On the same connection as the ones before, as far as it can be known.
        store.commit(next(&mut job)).await.unwrap();
        store.commit(next(&mut job)).await.unwrap();
    }
    check(&store, &[job]).await;
    println!("cut at each of {messages} messages");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_cut_again_and_again_lose_and_double_nothing() {
    let Some(server) = Server::start(&["fsync=off"]) else {
        return;
    };
    for every in [401, 307, 211] {
        let proxy = Proxy::to(server.port()).await;
        let url = at(proxy.port(), &format!("schema=every_{every}"));
        let store = Postgres::connect(&url).await.unwrap();
        proxy.cut_every(every);
        let acknowledged = Arc::new(watch::Sender::new(0));
        let jobs = all_move(&store, 60, &acknowledged).await;
        let cuts = proxy.cuts();
        proxy.cut_after(-1);
        assert!(cuts > 2, "every {every} messages: {cuts} cuts");
        check(&store, &jobs).await;
        println!("every {every} messages: {cuts} cuts");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_lose_and_double_nothing() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let store = Postgres::connect(&at(proxy.port(), "schema=slow"))
        .await
        .unwrap();
    proxy.delay(Duration::from_millis(15));
    let acknowledged = Arc::new(watch::Sender::new(0));
    let jobs = all_move(&store, 20, &acknowledged).await;
    proxy.delay(Duration::ZERO);
    check(&store, &jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_does_not_come_later() {
    let Some(server) = Server::start(&["fsync=off"]) else {
        return;
    };
    let url = server.fresh();
    let (one, other) = (
        Postgres::connect(&url).await.unwrap(),
        Postgres::connect(&url).await.unwrap(),
    );
    let mut job = small::job(1);
    one.create(job.clone(), small::entry("created"))
        .await
        .unwrap();
    // Two who decide on the same version: one is told that it came second, and nothing of it is there.
    let (mut first, mut second) = (job.clone(), job.clone());
    second.wake_at = Some(Timestamp(7));
    let (won, lost) = tokio::join!(
        one.commit(next(&mut first)),
        other.commit(next(&mut second))
    );
    let (winner, refused) = match (won, lost) {
        (Ok(()), Err(error)) => (first, error),
        (Err(error), Ok(())) => (second, error),
        both => panic!("{both:?}"),
    };
    assert!(
        matches!(
            refused,
            Error::Conflict {
                expected: 1,
                found: 2,
                ..
            }
        ),
        "{refused:?}"
    );
    job = winner;
    check(&other, &[job]).await;
}
