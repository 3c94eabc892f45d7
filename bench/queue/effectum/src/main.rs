//! No-op jobs through effectum: `bench-effectum jobs JOBS` prints jobs per second. It has synchronous = normal and nothing else.

use effectum::{Error, Job, JobRunner, Queue, RunningJob, Worker};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::Notify;

const BATCH: usize = 1000;

#[derive(Debug)]
struct Count {
    calls: AtomicUsize,
    jobs: usize,
    all: Notify,
}

async fn nothing(_: RunningJob, count: Arc<Count>) -> Result<(), Error> {
    if count.calls.fetch_add(1, Ordering::Relaxed) + 1 == count.jobs {
        count.all.notify_one();
    }
    Ok(())
}

#[tokio::main]
async fn main() {
    let jobs: usize = std::env::args().nth(2).and_then(|word| word.parse().ok()).expect("bench-effectum jobs JOBS");
    let folder = std::env::temp_dir().join(format!("bench-effectum-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let queue = Queue::new(&folder.join("jobs.db")).await.expect("a queue");
    let count = Arc::new(Count { calls: AtomicUsize::new(0), jobs, all: Notify::new() });
    let concurrency = std::env::var("CONCURRENCY").ok().and_then(|word| word.parse().ok()).unwrap_or(2000);
    let begin = Instant::now();
    let worker = Worker::builder(&queue, Arc::clone(&count))
        .max_concurrency(concurrency)
        .min_concurrency(concurrency / 2)
        .jobs([JobRunner::builder("nothing", nothing).build()])
        .build()
        .await
        .expect("a worker");
    for _ in (0..jobs).step_by(BATCH) {
        let batch = (0..BATCH).map(|_| Job::builder("nothing").build()).collect();
        queue.add_jobs(batch).await.expect("accepted");
    }
    count.all.notified().await;
    // Until the last of them is written down too.
    while worker.counts().finished < jobs as u64 {
        tokio::task::yield_now().await;
    }
    println!("{:.0}", jobs as f64 / begin.elapsed().as_secs_f64());
    drop(worker);
    std::fs::remove_dir_all(&folder).expect("its folder goes");
}
