//! What the store makes of a PostgreSQL server: `bench/postgres/run` starts one, and asks pgbench the same.
//!
//! `commits SECONDS`: 16 callers, each a job that is created and moved on twice, every step acknowledged. `claims URL`: how long it takes to
//! ask for the 10 first of 1,000 and, of the store at that URL, of 1,000,000 jobs that are due. `word`: from the commit of one handle to the
//! notice of another.

use dauer_core::plan::turn::Ask;
use dauer_core::{Forget, Job, JobId, JobSpec, State, Timestamp};
use dauer_store::{Change, Leases, NewEntry, NewJob, Notice, Postgres, Store};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CALLERS: usize = 16;
const QUESTIONS: usize = 300;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let [what, url, rest @ ..] = &arguments[..] else {
        println!("skipped: bench/postgres/run starts the server that this needs");
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = Postgres::connect(url).await.expect("the server");
        match what.as_str() {
            "commits" => {
                let seconds = rest.first().and_then(|text| text.parse().ok());
                commits(&store, Duration::from_secs(seconds.unwrap_or(10))).await;
            }
            "claims" => {
                let other = rest.first().expect("the URL of the large store");
                let other = Postgres::connect(other).await.expect("the server");
                claims(&store, &other).await;
            }
            "word" => word(&store, url).await,
            other => panic!("{other}: commits, claims or word"),
        }
    });
}

fn job(n: u64) -> Job {
    let spec = JobSpec {
        driver: "inline".into(),
        argv: vec!["no-op".into()],
        ..serde_json::from_str(r#"{"driver":""}"#).expect("a spec")
    };
    let id = JobId(format!("01900000-0000-7000-8000-{n:012x}"));
    Job::new(id, spec, Timestamp(1))
}

fn entry(event: &str, from: Option<State>) -> NewEntry {
    NewEntry {
        at: Timestamp(1),
        event: event.to_owned().into(),
        from,
        detail: None,
        by: Some("uid:0".into()),
        why: None,
    }
}

fn becomes(job: &mut Job, state: State) -> Change {
    let from = job.state;
    job.version += 1;
    job.state = state;
    Change {
        job: std::sync::Arc::new(job.clone()),
        entry: Some(entry("moved", Some(from))),
        checkpoint: None,
        token: None,
        forget_tokens: Forget::None,
        kept: Vec::new(),
    }
}

async fn commits(store: &Postgres, time: Duration) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let until = Instant::now() + time;
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = 0_u64;
                while Instant::now() < until {
                    let mut job = job(NEXT.fetch_add(1, Ordering::Relaxed));
                    let created = store.create(job.clone(), entry("created", None)).await;
                    created.expect("created");
                    for state in [State::Running, State::Completed] {
                        let moved = store.commit(becomes(&mut job, state)).await;
                        moved.expect("moved");
                    }
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for caller in callers {
        done += caller.await.expect("a caller");
    }
    println!("{:.0}", done as f64 / time.as_secs_f64());
}

/// The same question to a small and to a large store, by turns: what else the server and the machine do then, both meet.
async fn claims(few: &Postgres, many: &Postgres) {
    fill(few, 1_000).await;
    fill(many, 1_000_000).await;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..QUESTIONS {
        for (store, times) in [few, many].into_iter().zip(&mut times) {
            let begun = Instant::now();
            let due = store.due(Timestamp(i64::MAX), &Ask::anything(10)).await;
            assert_eq!(due.expect("due").len(), 10);
            times.push(begun.elapsed());
        }
    }
    let [few, many] = times;
    println!("1000 {:.3}", median_ms(few));
    println!("1000000 {:.3}", median_ms(many));
}

/// Jobs that are due.
async fn fill(store: &Postgres, rows: u64) {
    for first in (1..=rows).step_by(1_000) {
        let new = |n| NewJob {
            job: job(n),
            entry: entry("created", None),
            key: None,
            shares: None,
        };
        let some = (first..first + 1_000).map(new).collect();
        store.create_all(some).await.expect("created");
    }
}

async fn word(store: &Postgres, url: &str) {
    let other = Postgres::connect(url).await.expect("the server");
    let mut heard = other.notices().expect("notices");
    let mut times = Vec::new();
    for n in 1..=300 {
        let job = job(n);
        let id = job.id.clone();
        let begun = Instant::now();
        let created = store.create(job, entry("created", None)).await;
        created.expect("created");
        while heard.recv().await.expect("a notice") != Notice::Job(id.clone()) {}
        times.push(begun.elapsed());
    }
    println!("{:.3}", median_ms(times));
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}
