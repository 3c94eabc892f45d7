//! How fast a store is moved, checked and backed up: `cargo bench -p dauer-store --bench moving [-- JOBS]`.
//!
//! JOBS (1,000,000) jobs of SQLite, each with a journal of three entries and two intervals, are moved into another file, or into the
//! store of DAUER_BENCH_TO, and compared; then both are checked and the first is backed up. Commits are synced. $TMPDIR.

use dauer_core::ledger::{Closing, Interval, Kind, Labels, Owner};
use dauer_core::{Forget, Job, JobId, JobSpec, Kept, State, Timestamp};
use dauer_store::check::check;
use dauer_store::moving::{BATCH, Migration};
use dauer_store::{Change, Durability, NewEntry, NewJob, Sqlite, Store, backup};
use std::sync::Arc;
use std::time::Instant;

const JOBS: u64 = 1_000_000;
const AT_ONCE: u64 = 5_000;

fn main() {
    // `cargo bench` passes `--bench`.
    let jobs = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(JOBS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(measure(jobs));
}

async fn measure(jobs: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("from.db");
    let from = Sqlite::open_with(&path, Durability::Normal).expect("a store");
    fill(&from, jobs).await;
    let to: Arc<dyn Store> = match std::env::var("DAUER_BENCH_TO") {
        Ok(url) => dauer_store::open(&url).await.expect("a store"),
        Err(_) => Arc::new(Sqlite::open(folder.path().join("to.db")).expect("a store")),
    };
    let rows = jobs * 6;
    let began = Instant::now();
    let migration = Migration {
        from: &from,
        to: &*to,
        name: "here",
        now: Timestamp(1),
        batch: BATCH,
    };
    let mut compared_from = None;
    let moved = migration
        .run(|progress| {
            if progress.comparing {
                compared_from.get_or_insert_with(Instant::now);
            }
        })
        .await
        .expect("it moves");
    let all = began.elapsed().as_secs_f64();
    let copied = compared_from.expect("it is compared") - began;
    assert_eq!(moved.parts.0["jobs"].count, jobs);
    let rate = |seconds: f64| rows as f64 / seconds;
    println!(
        "{jobs} jobs, {rows} rows: copied in {:.1} s ({:.0} rows/s), with comparing {all:.1} s ({:.0} rows/s); {} MB resident",
        copied.as_secs_f64(),
        rate(copied.as_secs_f64()),
        rate(all),
        resident_mb()
    );
    for (name, store) in [("from", &from as &dyn Store), ("to", &*to)] {
        let began = Instant::now();
        let findings = check(store, |_| {}).await.expect("it is looked through");
        assert_eq!(findings, []);
        let took = began.elapsed().as_secs_f64();
        println!(
            "checked {name}: {took:.1} s ({:.0} rows/s); {} MB resident",
            rate(took),
            resident_mb()
        );
    }
    let began = Instant::now();
    let bytes =
        backup::back_up(&path, &folder.path().join("backup.db"), |_, _| {}).expect("a backup");
    let (mb, took) = (bytes as f64 / 1e6, began.elapsed().as_secs_f64());
    println!("backed up {mb:.0} MB: {took:.1} s ({:.0} MB/s)", mb / took);
}

fn resident_mb() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb: u64 = line
        .and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0);
    kb / 1024
}

fn entry(event: &str, from: Option<State>) -> NewEntry {
    NewEntry {
        at: Timestamp(0),
        event: event.to_owned().into(),
        from,
        detail: None,
        by: Some("uid:0".into()),
        why: None,
    }
}

async fn fill(store: &Sqlite, jobs: u64) {
    let spec: Arc<JobSpec> = serde_json::from_value(serde_json::json!({
        "name": null, "argv": ["sh", "-c", "echo hello"], "env": {"PATH": "/usr/bin:/bin"}, "workdir": "/tmp",
        "driver": "runc", "image": {"kind": "host"}, "inject": null, "cpu_millis": 1000, "memory_bytes": 268_435_456,
        "timeout_ms": 60_000, "network": "none", "user": null, "tags": {"team": "build"}
    }))
    .expect("a spec");
    for first in (0..jobs).step_by(usize::try_from(AT_ONCE).expect("small")) {
        let ids = (first..jobs.min(first + AT_ONCE))
            .map(|n| JobId(format!("01900000-0000-7000-8000-{n:012x}")));
        let made: Vec<Job> = ids
            .map(|id| Job::new(id, Arc::clone(&spec), Timestamp(0)))
            .collect();
        let new = made.iter().map(|job| NewJob {
            job: job.clone(),
            entry: entry("submitted", None),
            key: None,
            shares: None,
        });
        store.create_all(new.collect()).await.expect("they are new");
        for state in [State::Running, State::Completed] {
            let changes = made.iter().map(|job| change(job, state)).collect();
            for result in store.commit_all(changes).await {
                result.expect("it is the next version");
            }
        }
    }
}

fn change(job: &Job, state: State) -> Change {
    let mut next = job.clone();
    next.state = state;
    let runs = state == State::Running;
    next.version = if runs { 2 } else { 3 };
    next.runs_since = runs.then_some(Timestamp(1));
    let kept = [Kind::Compute, Kind::Memory].map(|kind| match runs {
        true => Kept::Opened(Box::new(Interval {
            owner: Owner::job(&job.id),
            generation: 1,
            kind,
            amount: 1000,
            from: Timestamp(1),
            to: None,
            used: None,
            cause: "started".into(),
            closed_by: None,
            labels: Labels::of(job),
        })),
        false => Kept::Closed(Closing {
            owner: Owner::job(&job.id),
            kind,
            to: Timestamp(2),
            used: Some(1),
            closed_by: "exited".into(),
        }),
    });
    let from = if runs { State::Pending } else { State::Running };
    Change {
        job: std::sync::Arc::new(next),
        entry: Some(entry(if runs { "started" } else { "exited" }, Some(from))),
        checkpoint: None,
        token: None,
        forget_tokens: Forget::None,
        kept: kept.into(),
    }
}
