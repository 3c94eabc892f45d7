//! How fast the store commits and answers: `cargo bench -p dauer-store [-- JOBS]`.
//!
//! Commits are compared, in the same run and on the same file system, with raw rusqlite that writes the same rows, one
//! transaction and one sync each. Rounds alternate; figures are medians. Then JOBS jobs (100,000) with ten journal entries
//! each, 10,000 of them suspended, are asked what the daemon asks. The file lies in $TMPDIR.

use dauer_core::plan::turn::Ask;
use dauer_core::{
    Forget, Image, Job, JobId, JobSpec, Network, Operation, Priority, RetryPolicy, SandboxId,
    State, Timestamp,
};
use dauer_store::{Change, Filter, NewEntry, Sqlite, Store};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 11;
const ROUND: Duration = Duration::from_millis(300);
const CALLERS: [usize; 3] = [1, 16, 64];
const JOBS: u64 = 100_000;
const SUSPENDED: u64 = 10_000;
const ENTRIES_PER_JOB: u64 = 10;

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
        commits(folder.path()).await;
        questions(folder.path(), jobs).await;
    });
}

fn job(n: u64) -> Job {
    let spec = JobSpec {
        name: Some(format!("job-{n}")),
        argv: [
            "python3",
            "-u",
            "/srv/work/parse.py",
            "--input",
            "/srv/work/in.json",
        ]
        .map(str::to_owned)
        .into(),
        env: (0..8)
            .map(|i| (format!("VARIABLE_{i}"), format!("value number {i}")))
            .collect::<BTreeMap<_, _>>(),
        workdir: Some("/srv/work".into()),
        driver: "gvisor".into(),
        image: Image::Host,
        mounts: Vec::new(),
        inject: None,
        cpu_millis: Some(1000),
        memory_bytes: Some(512 << 20),
        timeout_ms: Some(3_600_000),
        network: Network::None,
        publish: Vec::new(),
        user: None,
        tty: false,
        stdin: false,
        remove_on_exit: false,
        stop_grace_ms: 10_000,
        definition: None,
        params: None,
        metadata: BTreeMap::new(),
        tags: BTreeMap::new(),
        priority: Priority::Normal,
        retry: RetryPolicy::default(),
        run_at: None,

        schedule: None,
        scheduled_at: None,
        job_timeout_ms: None,
        queue_timeout_ms: None,
        timeouts_while_suspended: false,
        parent: None,
        queue: None,
        concurrency_key: None,
        unique: None,
        after: Vec::new(),
        batch: None,
        keep_disk: None,
        from: None,
        from_disk: false,
        fork: None,
        keep_checkpoints: None,
        warm: None,
    };
    let mut job = Job::new(
        JobId(format!(
            "{:08x}-{:04x}-7000-8000-{n:012x}",
            n >> 16,
            n & 0xffff
        )),
        spec,
        Timestamp(0),
    );
    job.sandbox = Some(SandboxId(format!("{n:016x}")));
    job
}

fn entry() -> NewEntry {
    NewEntry {
        at: Timestamp(1_700_000_000_000),
        event: "checkpointed".into(),
        from: Some(State::Running),
        detail: Some("checkpoint 0011223344556677".into()),
        by: Some("uid:0".into()),
        why: None,
    }
}

/// Makes the next version of the job, as the engine does all day.
fn change(job: &mut Job) -> Change {
    job.version += 1;
    job.state = State::Running;
    job.operation = if job.version.is_multiple_of(2) {
        None
    } else {
        Some(Operation::Checkpointing)
    };
    Change {
        job: std::sync::Arc::new(job.clone()),
        entry: Some(entry()),
        checkpoint: None,
        token: None,
        forget_tokens: Forget::None,
        kept: Vec::new(),
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

async fn commits(folder: &Path) {
    let store = Sqlite::open(folder.join("store.db")).expect("a store");
    let mut jobs: Vec<Job> = (0..CALLERS[CALLERS.len() - 1] as u64).map(job).collect();
    for job in &jobs {
        store.create(job.clone(), entry()).await.expect("created");
    }
    let raw = Raw::open(&folder.join("raw.db"));
    let (mut raw_rates, mut rates, mut slowest) = (
        Vec::new(),
        vec![Vec::new(); CALLERS.len()],
        vec![Vec::new(); CALLERS.len()],
    );
    for _ in 0..ROUNDS {
        raw_rates.push(raw.round());
        for (index, callers) in CALLERS.into_iter().enumerate() {
            let (rate, p99) = round(&store, &mut jobs[..callers]).await;
            rates[index].push(rate);
            slowest[index].push(p99);
        }
    }
    let raw_rate = median(raw_rates);
    println!("commits, each synced to the disk (medians of {ROUNDS} rounds)");
    println!("  raw rusqlite, one transaction each    {raw_rate:>8.0} /s");
    for (index, callers) in CALLERS.into_iter().enumerate() {
        let (rate, p99) = (median(rates[index].clone()), median(slowest[index].clone()));
        println!(
            "  store, {callers:>2} callers                     {rate:>8.0} /s   {:>5.2} x raw   p99 {p99:.1} ms",
            rate / raw_rate
        );
    }
}

/// Commits per second, and what the slowest hundredth waited, in ms.
async fn round(store: &Sqlite, jobs: &mut [Job]) -> (f64, f64) {
    let begin = Instant::now();
    let tasks: Vec<_> = jobs
        .iter()
        .cloned()
        .map(|mut job| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while begin.elapsed() < ROUND {
                    let asked = Instant::now();
                    store.commit(change(&mut job)).await.expect("committed");
                    waits.push(asked.elapsed().as_secs_f64() * 1000.0);
                }
                (job, waits)
            })
        })
        .collect();
    let mut waits = Vec::new();
    for (slot, task) in jobs.iter_mut().zip(tasks) {
        let (job, waited) = task.await.expect("a caller");
        *slot = job;
        waits.extend(waited);
    }
    let rate = waits.len() as f64 / begin.elapsed().as_secs_f64();
    waits.sort_by(f64::total_cmp);
    (rate, waits[waits.len() * 99 / 100])
}

/// The same rows with nothing around them.
struct Raw {
    connection: Connection,
}

impl Raw {
    fn open(path: &Path) -> Self {
        let connection = Connection::open(path).expect("a database");
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 CREATE TABLE jobs (id TEXT PRIMARY KEY, version INTEGER, state TEXT, operation TEXT, record TEXT, spec TEXT);
                 CREATE INDEX jobs_state ON jobs (state, id);
                 CREATE TABLE journal (seq INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT, at INTEGER, event TEXT, from_state TEXT,
                     to_state TEXT, operation TEXT, generation INTEGER, detail TEXT);
                 CREATE INDEX journal_job ON journal (job, seq);",
            )
            .expect("tables");
        let job = job(0);
        let spec = serde_json::to_string(&job.spec).expect("JSON");
        connection
            .execute(
                "INSERT INTO jobs VALUES (?1, 1, 'running', NULL, '', ?2)",
                params![job.id.0, spec],
            )
            .expect("a row");
        Self { connection }
    }

    fn round(&self) -> f64 {
        let (mut job, mut count, begin) = (job(0), 0_u32, Instant::now());
        while begin.elapsed() < ROUND {
            let Change { job, .. } = change(&mut job);
            let entry = entry();
            let record = serde_json::to_string(&Job {
                spec: Arc::new(JobSpec {
                    argv: Vec::new(),
                    env: BTreeMap::new(),
                    ..JobSpec::clone(&job.spec)
                }),
                ..Job::clone(&job)
            });
            let run = |sql: &str, params: &[&dyn rusqlite::ToSql]| {
                self.connection
                    .prepare_cached(sql)
                    .and_then(|mut statement| statement.execute(params))
                    .expect("a statement")
            };
            run("BEGIN IMMEDIATE", &[]);
            run(
                "UPDATE jobs SET version = ?2, state = ?3, operation = ?4, record = ?5 WHERE id = ?1",
                params![
                    job.id.0,
                    job.version as i64,
                    job.state.name(),
                    job.operation.map(Operation::name),
                    record.expect("JSON")
                ],
            );
            run(
                "INSERT INTO journal (job, at, event, from_state, to_state, operation, generation, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    job.id.0,
                    entry.at.0,
                    entry.event,
                    entry.from.map(State::name),
                    job.state.name(),
                    job.operation.map(Operation::name),
                    job.generation,
                    entry.detail
                ],
            );
            run("COMMIT", &[]);
            count += 1;
        }
        f64::from(count) / begin.elapsed().as_secs_f64()
    }
}

async fn questions(folder: &Path, jobs: u64) {
    let path = folder.join("large.db");
    let store = Sqlite::open(&path).expect("a store");
    let begin = Instant::now();
    fill(&store, jobs).await;
    let (writes, spent) = (jobs * ENTRIES_PER_JOB, begin.elapsed().as_secs_f64());
    println!(
        "\n{jobs} jobs, {SUSPENDED} of them suspended, {writes} journal entries: {:.0} writes/s from 256 callers",
        writes as f64 / spent
    );
    let begin = Instant::now();
    let again = Sqlite::open(&path).expect("a store");
    println!(
        "  {:<44}{:>9.3} ms",
        "open",
        begin.elapsed().as_secs_f64() * 1000.0
    );
    let store = again;
    let (middle, last) = (job(jobs / 2), Timestamp(i64::MAX));
    let failed = Filter {
        states: vec![State::Failed],
        before: Some(middle.id.clone()),
        limit: 100,
        ..Filter::default()
    };
    let all = Filter {
        states: vec![],
        before: Some(middle.id.clone()),
        limit: 100,
        ..Filter::default()
    };
    ask("job", async || {
        drop(store.job(&middle.id).await.expect("a job"))
    })
    .await;
    ask("find by name", async || {
        drop(
            store
                .find(&format!("job-{}", jobs / 2))
                .await
                .expect("a job"),
        )
    })
    .await;
    ask("owner of a sandbox", async || {
        drop(
            store
                .owner(&SandboxId(format!("{:016x}", jobs / 2)))
                .await
                .expect("an answer"),
        )
    })
    .await;
    ask("next_wake", async || {
        assert!(
            store
                .next_wake(Timestamp(0))
                .await
                .expect("an answer")
                .is_some()
        )
    })
    .await;
    ask("due, 100", async || {
        let due = store.due(last, &Ask::anything(100)).await;
        assert_eq!(due.expect("an answer").len(), 100)
    })
    .await;
    ask("unsettled, none of them", async || {
        assert!(store.unsettled().await.expect("an answer").is_empty())
    })
    .await;
    ask("list, 100 of the middle", async || {
        assert_eq!(store.list(all.clone()).await.expect("jobs").len(), 100)
    })
    .await;
    ask("list, 100 failed of the middle", async || {
        assert_eq!(store.list(failed.clone()).await.expect("jobs").len(), 100)
    })
    .await;
    ask("journal of a job", async || {
        drop(
            store
                .journal(Some(&middle.id), 0, 100)
                .await
                .expect("entries"),
        )
    })
    .await;
    ask("journal, 100 of the middle", async || {
        drop(store.journal(None, writes / 2, 100).await.expect("entries"))
    })
    .await;
}

/// Prints the median time of an answer.
async fn ask(what: &str, question: impl AsyncFn()) {
    let mut waits = Vec::new();
    for _ in 0..101 {
        let asked = Instant::now();
        question().await;
        waits.push(asked.elapsed().as_secs_f64() * 1000.0);
    }
    println!("  {what:<44}{:>9.3} ms", median(waits));
}

/// Jobs with a history each, written by 256 callers at once.
async fn fill(store: &Sqlite, jobs: u64) {
    const CALLERS: u64 = 256;
    let tasks: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in (caller..jobs).step_by(usize::try_from(CALLERS).expect("it fits")) {
                    let mut job = job(n);
                    store.create(job.clone(), entry()).await.expect("created");
                    for step in 2..=ENTRIES_PER_JOB {
                        let mut change = change(&mut job);
                        if step == ENTRIES_PER_JOB {
                            let is_suspended = n.is_multiple_of((jobs / SUSPENDED).max(1));
                            std::sync::Arc::make_mut(&mut change.job).state = if is_suspended {
                                State::Suspended
                            } else {
                                State::Failed
                            };
                            std::sync::Arc::make_mut(&mut change.job).operation = None;
                            std::sync::Arc::make_mut(&mut change.job).wake_at = is_suspended
                                .then_some(Timestamp(i64::try_from(n).expect("it fits")));
                        }
                        store.commit(change).await.expect("committed");
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a caller");
    }
}
