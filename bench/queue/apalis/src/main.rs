//! No-op jobs through apalis and apalis-sqlite: `bench-apalis jobs JOBS` prints jobs per second, with synchronous = NORMAL (its own
//! set-up would switch syncing off).

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteStorage};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const BATCH: usize = 1000;

async fn nothing(_: u32, calls: Data<Arc<AtomicUsize>>) -> Result<(), BoxDynError> {
    calls.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

#[tokio::main]
async fn main() {
    let jobs: usize = std::env::args().nth(2).and_then(|word| word.parse().ok()).expect("bench-apalis jobs JOBS");
    let folder = std::env::temp_dir().join(format!("bench-apalis-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let options = SqliteConnectOptions::new()
        .filename(folder.join("jobs.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(Duration::from_secs(30));
    // Its set-up switches syncing off for the connection it runs on; this one is closed after it.
    let first = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await.expect("a pool");
    SqliteStorage::setup(&first).await.expect("its tables");
    first.close().await;
    let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await.expect("a pool");
    let config = Config::default().queue("nothing").batch_size(BATCH);
    let mut backend = SqliteStorage::<u32>::new(&pool).with_config(config);
    let calls = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let worker = WorkerBuilder::new("worker").backend(backend.clone()).data(Arc::clone(&calls)).concurrency(BATCH).build(nothing);
    let worker = tokio::spawn(worker.run());
    for first in (0..jobs).step_by(BATCH) {
        let batch = (first..first + BATCH).map(|n| n as u32).collect();
        backend.push_bulk(batch).await.expect("accepted");
    }
    loop {
        let done: i64 = sqlx::query_scalar("SELECT count(*) FROM Jobs WHERE status = 'Done'").fetch_one(&pool).await.expect("a count");
        if done as usize >= jobs {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{:.0}", jobs as f64 / begin.elapsed().as_secs_f64());
    worker.abort();
    std::fs::remove_dir_all(&folder).expect("its folder goes");
}
