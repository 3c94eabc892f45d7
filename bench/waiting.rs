//! How fast the next in turn is found and claimed: `cargo bench -p dauer-store --bench waiting [-- JOBS]`.
//!
//! A claim is the question for whom is due and the commit that gives the first its turn. Beside the same 64 jobs that wait in a queue of
//! their own stand a short history and one of JOBS (1,000,000) jobs; then also 100,000 that wait in a paused queue, and 100,000 in front
//! of them that wait for a concurrency key that is full. Medians of 201; commits are not synced, to see the question. $TMPDIR.

use dauer_core::plan::turn::{Ask, Gate, Gates};
use dauer_core::{Forget, Job, JobId, JobSpec, Operation, State, Timestamp};
use dauer_store::{Change, Durability, NewEntry, NewJob, Sqlite, Store};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const JOBS: u64 = 1_000_000;
const SHORT: u64 = 1_000;
const CROWD: u64 = 100_000;
const WAITING: u64 = 64;
const CLAIMS: usize = 201;
const AT_ONCE: u64 = 5_000;

/// Behind all others.
static NEXT: AtomicU64 = AtomicU64::new(1 << 40);

fn main() {
    // `cargo bench` passes `--bench`.
    let jobs = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(JOBS);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let short = open(&folder.path().join("short.db"));
        fill(&short, 0..SHORT, ended).await;
        let first = claims(&short, &free(), "a history of 1,000 jobs", None).await;
        let long = open(&folder.path().join("long.db"));
        fill(&long, 0..jobs, ended).await;
        claims(
            &long,
            &free(),
            &format!("a history of {jobs} jobs"),
            Some(first),
        )
        .await;
        fill(&long, jobs..jobs + CROWD, |job| waits(job, "paused", None)).await;
        let mut paused = free();
        let shut = Gates {
            begins: Gate::Shut,
            wakes: Gate::Open,
        };
        paused.gates.insert("paused".into(), shut);
        claims(&long, &paused, "and 100,000 in a paused queue", Some(first)).await;
        let crowd = jobs + CROWD..jobs + 2 * CROWD;
        fill(&long, crowd, |job| waits(job, "own", Some("full"))).await;
        let full = Gates {
            begins: Gate::But(["full".to_owned()].into()),
            wakes: Gate::Open,
        };
        paused.gates.insert("own".into(), full);
        claims(
            &long,
            &paused,
            "and 100,000 in front of a full key",
            Some(first),
        )
        .await;
    });
}

fn open(path: &Path) -> Sqlite {
    Sqlite::open_with(path, Durability::Normal).expect("a store")
}

fn free() -> Ask {
    Ask::anything(usize::try_from(WAITING).expect("it fits"))
}

fn ended(job: &mut Job) {
    job.state = State::Completed;
    job.wake_at = None;
}

fn waits(job: &mut Job, queue: &str, key: Option<&str>) {
    job.spec_mut().queue = Some(queue.into());
    job.spec_mut().concurrency_key = key.map(str::to_owned);
    job.wake_at = Some(Timestamp(1));
}

/// Prints the median time of a claim among the same jobs that wait, and returns it.
async fn claims(store: &Sqlite, ask: &Ask, what: &str, first: Option<f64>) -> f64 {
    let (mut asked, mut both) = (Vec::new(), Vec::new());
    let mut waiting = Vec::new();
    for _ in 0..CLAIMS {
        while waiting.len() < usize::try_from(WAITING).expect("it fits") {
            let mut job = job(NEXT.fetch_add(1, Ordering::Relaxed));
            waits(&mut job, "own", None);
            job.wake_at = Some(Timestamp(2));
            store.create(job.clone(), entry()).await.expect("created");
            waiting.push(job);
        }
        let begin = Instant::now();
        let due = store
            .due(Timestamp(i64::MAX), ask)
            .await
            .expect("an answer");
        asked.push(begin.elapsed().as_secs_f64() * 1e6);
        let place = waiting.iter().position(|job| job.id == due[0].job);
        let mut job = waiting.remove(place.expect("one of those that wait"));
        store.commit(begun(&mut job)).await.expect("committed");
        both.push(begin.elapsed().as_secs_f64() * 1e6);
        job.state = State::Completed;
        job.operation = None;
        job.version += 1;
        store.commit(change(&job)).await.expect("committed");
    }
    for mut job in waiting {
        ended(&mut job);
        job.version += 1;
        store.commit(change(&job)).await.expect("committed");
    }
    let (asked, both) = (median(asked), median(both));
    let times = first.map_or_else(String::new, |first| {
        format!(", {:.2} times the first", both / first)
    });
    println!("{what:<38} question {asked:>8.0} µs, claim {both:>8.0} µs{times}");
    both
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn begun(job: &mut Job) -> Change {
    job.state = State::Running;
    job.operation = Some(Operation::Starting);
    job.wake_at = None;
    job.version += 1;
    change(job)
}

fn change(job: &Job) -> Change {
    Change {
        job: std::sync::Arc::new(job.clone()),
        entry: Some(entry()),
        checkpoint: None,
        token: None,
        forget_tokens: Forget::None,
        kept: Vec::new(),
    }
}

async fn fill(store: &Sqlite, numbers: std::ops::Range<u64>, edit: impl Fn(&mut Job)) {
    let mut first = numbers.start;
    while first < numbers.end {
        let last = (first + AT_ONCE).min(numbers.end);
        let new = (first..last).map(|n| {
            let mut job = job(n);
            edit(&mut job);
            NewJob {
                job,
                entry: entry(),
                key: None,
                shares: None,
            }
        });
        store.create_all(new.collect()).await.expect("created");
        first = last;
    }
}

fn entry() -> NewEntry {
    NewEntry {
        at: Timestamp(1_700_000_000_000),
        event: "submitted".into(),
        from: None,
        detail: None,
        by: Some("uid:0".into()),
        why: None,
    }
}

fn job(n: u64) -> Job {
    let environment: BTreeMap<String, String> = (0..8)
        .map(|i| (format!("VARIABLE_{i}"), format!("value number {i}")))
        .collect();
    let spec: JobSpec = serde_json::from_value(serde_json::json!({
        "name": null, "argv": ["python3", "-u", "/srv/work/parse.py"], "env": environment, "workdir": "/srv/work",
        "driver": "gvisor", "image": {"kind": "host"}, "mounts": [], "inject": null, "cpu_millis": 1000,
        "memory_bytes": 536_870_912, "timeout_ms": null, "network": "none", "publish": [], "user": null, "tty": false,
        "stdin": false, "remove_on_exit": false, "stop_grace_ms": 10_000
    }))
    .expect("a spec");
    let id = JobId(format!(
        "{:08x}-{:04x}-7000-8000-{n:012x}",
        n >> 16,
        n & 0xffff
    ));
    Job::new(id, spec, Timestamp(0))
}
