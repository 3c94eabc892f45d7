//! What was acknowledged is there after `kill -9`, again and again on the same file.

mod small;

use dauer_core::{Forget, State};
use dauer_store::{Change, Error, Sqlite, Store};
use small::{entry, id, job};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const ROUNDS: usize = 30;
const WRITERS: u64 = 8;

/// Names the file for the child; absent in the parent.
const FILE: &str = "DAUER_STORE_CRASH_TEST_FILE";

/// The child: commits for ever and prints each job and version once it is acknowledged. A test of its own name, so that the
/// parent can start this very binary; on its own it does nothing.
#[test]
fn child_that_is_killed() {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Sqlite::open(file).unwrap();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(commit_for_ever(store.clone(), writer)))
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

async fn commit_for_ever(store: Sqlite, writer: u64) {
    match store.create(job(writer), entry("created")).await {
        // It is there from the round before.
        Ok(()) | Err(Error::Conflict { .. }) => {}
        Err(other) => panic!("{other}"),
    }
    let mut job = store.job(&id(writer)).await.unwrap();
    loop {
        job.version += 1;
        job.state = State::Running;
        let change = Change {
            job: std::sync::Arc::new(job.clone()),
            entry: Some(entry("changed")),
            checkpoint: None,
            token: None,
            forget_tokens: Forget::None,
            kept: Vec::new(),
        };
        store.commit(change).await.unwrap();
        let line = format!("acknowledged {writer} {}\n", job.version);
        if std::io::stdout().write_all(line.as_bytes()).is_err() {
            return; // The parent is gone.
        }
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dauer.db");
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        // Enough to reach the moments in which the write-ahead log is copied back into the file.
        let lines_before_kill = 1 + round * 97 % 1500;
        run_and_kill(&file, lines_before_kill, &mut acknowledged);
        check(&file, &acknowledged);
    }
    assert_eq!(acknowledged.len() as u64, WRITERS);
}

fn run_and_kill(file: &Path, lines_before_kill: usize, acknowledged: &mut BTreeMap<u64, u64>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_killed", "--nocapture", "--quiet"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut seen = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let mut words = line.split(' ');
        let (Some("acknowledged"), Some(writer), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue; // The test harness says something too; and the last line may be cut.
        };
        acknowledged.insert(writer.parse().unwrap(), version.parse().unwrap());
        seen += 1;
        if seen == lines_before_kill {
            // What is still in the pipe was acknowledged too: go on reading to its end.
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(
        seen >= lines_before_kill && status.code().is_none(),
        "the child ended by itself after {seen} lines: {status}"
    );
}

fn check(file: &Path, acknowledged: &BTreeMap<u64, u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Sqlite::open(file).unwrap();
        for (&writer, &version) in acknowledged {
            let job = store.job(&id(writer)).await.unwrap();
            // One commit may have been on its way.
            assert!(
                (version..=version + 1).contains(&job.version),
                "job {writer}: {version} acknowledged, {} there",
                job.version
            );
            let journal = store.journal(Some(&job.id), 0, usize::MAX).await.unwrap();
            assert_eq!(
                journal.len() as u64,
                job.version,
                "job {writer}: journal and record differ"
            );
        }
    });
}
