//! Every back end passes the suite, and random histories shrink when they do not.

mod servers;

use dauer_store::conformance::model::{Model, Op};
use dauer_store::{Durability, Postgres, Sqlite, conformance};
use proptest::prelude::*;
use servers::postgres::Server;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    conformance::run(async || Sqlite::memory().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file() {
    let folder = tempfile::tempdir().unwrap();
    let count = AtomicU32::new(0);
    let fresh = || {
        folder
            .path()
            .join(format!("{}.db", count.fetch_add(1, Ordering::Relaxed)))
    };
    // 10,000 writes one after the other would be 10,000 syncs; the writing is the same.
    conformance::run(async || Sqlite::open_with(fresh(), Durability::Normal).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    conformance::run_reopening(async || Sqlite::open(folder.path().join("dauer.db")).unwrap())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_of_several() {
    let folder = tempfile::tempdir().unwrap();
    let count = AtomicU32::new(0);
    conformance::run_sharing(async || {
        let name = format!("{}.db", count.fetch_add(1, Ordering::Relaxed));
        let path = folder.path().join(name);
        [(); 3].map(|()| Sqlite::open_shared(&path, Durability::Normal).unwrap())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    // The writing is the same with and without syncs.
    let Some(server) = Server::start(&["fsync=off"]) else {
        return;
    };
    conformance::run(async || Postgres::connect(&server.fresh()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_opened_again() {
    let Some(server) = Server::start(&["fsync=off"]) else {
        return;
    };
    let url = server.fresh();
    conformance::run_reopening(async || Postgres::connect(&url).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_of_several() {
    let Some(server) = Server::start(&["fsync=off"]) else {
        return;
    };
    conformance::run_sharing(async || {
        let url = server.fresh();
        let open = async || Postgres::connect(&url).await.unwrap();
        [open().await, open().await, open().await]
    })
    .await;
}

/// So many random writes, where there is time for them: a server takes one after the other.
const MANY: usize = 100_000;
const MANY_IN: Duration = Duration::from_secs(8);
const SEED: u64 = 0x00da_0e13;

/// Handles that write at once, and how many changes each of them makes.
const HANDLES: usize = 8;
const CHANGES: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn file_with_very_many_writes_and_many_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.db");
    let store = Sqlite::open_with(&path, Durability::Normal).unwrap();
    let done = conformance::run_random(store, SEED, MANY, MANY_IN).await;
    println!("{done} random writes to a file");
    let path = folder.path().join("shared.db");
    let open = |_| Sqlite::open_shared(&path, Durability::Normal).unwrap();
    conformance::run_at_once((0..HANDLES).map(open).collect(), CHANGES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_with_very_many_writes_and_many_at_once() {
    let Some(server) = Server::start(&["fsync=off"]) else {
        return;
    };
    let store = Postgres::connect(&server.fresh()).await.unwrap();
    let done = conformance::run_random(store, SEED, MANY, MANY_IN).await;
    println!("{done} random writes to PostgreSQL");
    let (url, mut handles) = (server.fresh(), Vec::new());
    for _ in 0..HANDLES {
        handles.push(Postgres::connect(&url).await.unwrap());
    }
    conformance::run_at_once(handles, CHANGES).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_leave_what_the_model_says(numbers in proptest::collection::vec(any::<u64>(), 1..160)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (store, mut model) = (Sqlite::memory().unwrap(), Model::default());
            for number in numbers {
                model.write(&store, &Op::of(number)).await;
            }
            model.compare(&store).await;
        });
    }
}

mod redis {
    use super::servers::redis::Server;
    use super::*;
    use dauer_store::Redis;

    #[tokio::test(flavor = "multi_thread")]
    async fn passes_the_suite() {
        let Some(server) = Server::start("redis passes the suite", &["--appendonly", "yes"]) else {
            return;
        };
        let count = AtomicU32::new(0);
        let fresh = || server.url(count.fetch_add(1, Ordering::Relaxed));
        conformance::run(async || Redis::connect(&fresh()).await.unwrap()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn with_very_many_writes_and_many_at_once() {
        let Some(server) = Server::start("redis with very many", &["--appendonly", "yes"]) else {
            return;
        };
        let store = Redis::connect(&server.url("many")).await.unwrap();
        let done = conformance::run_random(store, SEED, MANY, MANY_IN).await;
        println!("{done} random writes to Redis");
        let (url, mut handles) = (server.url("shared"), Vec::new());
        for _ in 0..HANDLES {
            handles.push(Redis::connect(&url).await.unwrap());
        }
        conformance::run_at_once(handles, CHANGES).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn opened_again() {
        let Some(server) = Server::durable("redis opened again") else {
            return;
        };
        conformance::run_reopening(async || Redis::connect(&server.url("one")).await.unwrap())
            .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_several() {
        let Some(server) = Server::start("redis of several", &["--appendonly", "yes"]) else {
            return;
        };
        let count = AtomicU32::new(0);
        conformance::run_sharing(async || {
            let url = server.url(format!("shared-{}", count.fetch_add(1, Ordering::Relaxed)));
            [
                Redis::connect(&url).await.unwrap(),
                Redis::connect(&url).await.unwrap(),
                Redis::connect(&url).await.unwrap(),
            ]
        })
        .await;
    }
}
