//! What a store in Redis does when its server, or the way there, fails in the middle of writing.

mod servers;
mod small;

use dauer_core::{Forget, JobId, State};
use dauer_store::moving::{Movable, Section};
use dauer_store::{
    Capabilities, Change, Durable, Error, Leases, NewEntry, Notice, Redis, Store, check_keeps,
};
use servers::breaking::{Proxy, Way};
use servers::redis::Server;
use small::{entry, id, job};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Says its version in the journal, so that each is found there once and in order.
fn numbered(version: u64) -> NewEntry {
    NewEntry {
        detail: Some(version.to_string()),
        ..entry("changed")
    }
}

/// How far the writers of a test are.
#[derive(Default)]
struct Count {
    acknowledged: AtomicU64,
    /// That the store had taken back when it was there again.
    lost: AtomicU64,
    grown: Notify,
}

impl Count {
    async fn reaches(&self, number: u64) {
        loop {
            let grown = self.grown.notified();
            if self.acknowledged.load(Ordering::SeqCst) >= number {
                return;
            }
            grown.await;
        }
    }
}

/// Takes a job from its first version to this one. What was lost is written again.
async fn write(store: Redis, number: u64, last: u64, count: Arc<Count>) {
    let mut version = 1;
    let mut record = job(number);
    store.create(record.clone(), numbered(1)).await.unwrap();
    while version < last {
        record.version = version + 1;
        record.state = State::Running;
        let change = Change {
            job: std::sync::Arc::new(record.clone()),
            entry: Some(numbered(version + 1)),
            checkpoint: None,
            token: None,
            forget_tokens: Forget::None,
            kept: Vec::new(),
        };
        match store.commit(change).await {
            Ok(()) => {
                version += 1;
                count.acknowledged.fetch_add(1, Ordering::SeqCst);
                count.grown.notify_one();
            }
            Err(Error::Conflict { found, .. }) if found < version => {
                count.lost.fetch_add(version - found, Ordering::SeqCst);
                version = found;
            }
            Err(error) => panic!("version {} of job {number}: {error}", version + 1),
        }
    }
}

/// Each version of each job is in the journal once, in order, and what is found by indexes agrees with the records.
async fn assert_whole(store: &Redis, jobs: u64, last: u64) {
    for number in 0..jobs {
        let job = id(number);
        assert_eq!(store.job(&job).await.unwrap().version, last);
        let entries = store.journal(Some(&job), 0, usize::MAX).await.unwrap();
        let versions: Vec<u64> = entries
            .iter()
            .map(|entry| entry.detail.as_deref().unwrap().parse().unwrap())
            .collect();
        assert_eq!(versions, (1..=last).collect::<Vec<u64>>());
    }
    let all = store.journal(None, 0, usize::MAX).await.unwrap();
    assert_eq!(u64::try_from(all.len()).unwrap(), jobs * last);
    assert!(all.is_sorted_by_key(|entry| entry.seq));
    assert_eq!(store.check().await.unwrap(), []);
}

const WRITERS: u64 = 8;

/// 1,000 transitions, and the server killed three times meanwhile. Returns how many of what was acknowledged were lost.
async fn killed_while_writing(server: &mut Server) -> u64 {
    const LAST: u64 = 126;
    let store = Redis::connect(&server.url("killed")).await.unwrap();
    let count = Arc::new(Count::default());
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| tokio::spawn(write(store.clone(), number, LAST, Arc::clone(&count))))
        .collect();
    for kill_at in [150, 450, 800] {
        count.reaches(kill_at).await;
        server.kill();
        server.start_again();
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_whole(&store, WRITERS, LAST).await;
    count.lost.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_that_syncs_always_loses_and_doubles_nothing() {
    let Some(mut server) = Server::durable("a killed redis that syncs always") else {
        return;
    };
    assert_eq!(killed_while_writing(&mut server).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_that_syncs_later_doubles_nothing_and_stays_whole() {
    for fsync in ["everysec", "no"] {
        let settings = ["--appendonly", "yes", "--appendfsync", fsync];
        let Some(mut server) = Server::start("a killed redis that syncs later", &settings) else {
            return;
        };
        let lost = killed_while_writing(&mut server).await;
        println!(
            "appendfsync {fsync}: {lost} of 1000 acknowledged transitions lost by kill -9 of the server, three times"
        );
    }
}

/// The answer of every k-th message, or the message, is lost with its connection.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_on_its_way_when_a_connection_broke_is_done_once() {
    let Some(server) = Server::start("a connection that breaks", &["--appendonly", "yes"]) else {
        return;
    };
    for way in [Way::There, Way::Back] {
        // Of two, a server that was never asked this needs both: the question by its digest, and the script. The third is lost then.
        for every in [3, 4, 5, 7, 11] {
            // The slower the machine, the more is written with one message: enough of it for some of them to be lost.
            let last = 7 * every;
            let proxy = Proxy::to(server.port());
            let name = format!("{way:?}-{every}");
            let url = format!("redis://127.0.0.1:{}?prefix={name}:", proxy.port());
            let store = Redis::connect(&url).await.unwrap();
            proxy.cut(way, every);
            let count = Arc::new(Count::default());
            let writers: Vec<_> = (0..4)
                .map(|number| tokio::spawn(write(store.clone(), number, last, Arc::clone(&count))))
                .collect();
            for writer in writers {
                writer.await.unwrap();
            }
            assert_eq!(count.lost.load(Ordering::SeqCst), 0, "{name}");
            proxy.cut(way, 0);
            assert!(proxy.cuts() > 3, "{name}: {} cuts", proxy.cuts());
            assert_whole(&store, 4, last).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_are_waited_for() {
    let Some(server) = Server::durable("slow answers") else {
        return;
    };
    let proxy = Proxy::to(server.port());
    let url = format!("redis://127.0.0.1:{}?prefix=slow:", proxy.port());
    let store = Redis::connect(&url).await.unwrap();
    proxy.delay(Duration::from_millis(100));
    let count = Arc::new(Count::default());
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| tokio::spawn(write(store.clone(), number, 11, Arc::clone(&count))))
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    proxy.delay(Duration::ZERO);
    assert_eq!((count.lost.load(Ordering::SeqCst), proxy.cuts()), (0, 0));
    assert_whole(&store, WRITERS, 11).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_room_refuses_whole_writes_until_there_is_some() {
    let settings = [
        "--appendonly",
        "yes",
        "--maxmemory",
        "6mb",
        "--maxmemory-policy",
        "noeviction",
    ];
    let Some(server) = Server::start("redis without room", &settings) else {
        return;
    };
    let store = Redis::connect(&server.url("full")).await.unwrap();
    let large = |number: u64| {
        let mut large = job(number);
        large.spec_mut().params = Some(serde_json::Value::String("x".repeat(50_000)));
        large
    };
    let mut written = 0;
    loop {
        match store.create(large(written), entry("created")).await {
            Ok(()) => written += 1,
            Err(Error::NoSpace(why)) => break assert!(why.contains("redis"), "{why}"),
            Err(error) => panic!("{error}"),
        }
        assert!(written < 10_000, "it never got full");
    }
    assert_eq!(
        store.export(Section::Jobs, None, 0).await.unwrap().total,
        Some(written)
    );
    assert_eq!(store.check().await.unwrap(), []);
    server.cli(&["config", "set", "maxmemory", "0"]);
    store
        .create(large(written), entry("created"))
        .await
        .unwrap();
    assert_eq!(store.job(&id(written)).await.unwrap(), large(written));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_nothing_is_used_only_where_that_is_said() {
    let Some(server) = Server::start("a redis that keeps nothing", &["--appendonly", "no"]) else {
        return;
    };
    let plain = Redis::connect(&server.url("plain")).await.unwrap();
    let why = check_keeps(&plain).unwrap_err().to_string();
    assert!(
        why.contains("appendonly yes") && why.contains("volatile=accept"),
        "{why}"
    );
    let url = format!("{}&volatile=accept", server.url("meant"));
    check_keeps(&Redis::connect(&url).await.unwrap()).unwrap();
}

async fn promised(settings: &[&str]) -> Option<Result<Capabilities, Error>> {
    let server = Server::start("what redis promises", settings)?;
    Some(
        Redis::connect(&server.url("p"))
            .await
            .map(|store| store.capabilities()),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_promised_is_what_the_server_is_set_to() {
    let appends = |fsync| ["--appendonly", "yes", "--appendfsync", fsync];
    for (settings, durable) in [
        (appends("always").to_vec(), Durable::Always),
        (appends("everysec").to_vec(), Durable::UpTo { ms: 2000 }),
        (appends("no").to_vec(), Durable::Process),
        (vec!["--appendonly", "no"], Durable::Nothing),
    ] {
        let Some(promised) = promised(&settings).await else {
            return;
        };
        let promised = promised.unwrap();
        assert_eq!(promised.durable, durable, "{settings:?}");
        assert!(!promised.failover_safe && !promised.volatile_accepted);
    }
    for policy in ["allkeys-lru", "volatile-ttl"] {
        match promised(&["--maxmemory-policy", policy]).await {
            None => return,
            Some(Err(error)) => {
                assert!(
                    error.to_string().contains("maxmemory-policy noeviction"),
                    "{error}"
                );
            }
            Some(Ok(_)) => panic!("a server that evicts keys was taken"),
        }
    }
}

/// The next notices, until this one came.
async fn hear(notices: &mut tokio::sync::broadcast::Receiver<Notice>, wanted: &Notice) {
    let mut before = Vec::new();
    let heard = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            match notices.recv().await.unwrap() {
                notice if notice == *wanted => return,
                other => before.push(other),
            }
        }
    });
    assert!(heard.await.is_ok(), "{wanted:?} never came, but {before:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_told_of_what_changed_also_after_their_connection_broke() {
    let Some(server) = Server::start("redis tells others", &["--appendonly", "yes"]) else {
        return;
    };
    let (one, other) = (
        Redis::connect(&server.url("told")).await.unwrap(),
        Redis::connect(&server.url("told")).await.unwrap(),
    );
    let (mut of_one, mut of_other) = (one.notices().unwrap(), other.notices().unwrap());
    // Both hear by now.
    hear(&mut of_one, &Notice::Work).await;
    hear(&mut of_other, &Notice::Work).await;
    one.create(job(1), entry("created")).await.unwrap();
    hear(&mut of_other, &Notice::Job(id(1))).await;
    hear(&mut of_other, &Notice::Work).await;
    server.cli(&["client", "kill", "type", "pubsub"]);
    // Words may have been lost: look at everything again.
    hear(&mut of_other, &Notice::Work).await;
    one.create(job(2), entry("created")).await.unwrap();
    hear(&mut of_other, &Notice::Job(id(2))).await;
    other.create(job(3), entry("created")).await.unwrap();
    let mut heard: Vec<JobId> = Vec::new();
    while heard.last() != Some(&id(3)) {
        if let Notice::Job(job) = of_one.recv().await.unwrap() {
            heard.push(job);
        }
    }
    assert_eq!(heard, [id(3)], "nobody hears its own");
}
