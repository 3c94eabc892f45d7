//! A backup that is taken while others write is a store of one moment, and takes the place of a store without losing that one.

mod small;

use dauer_core::{Forget, Job, State};
use dauer_store::backup::{Use, back_up, fold_where_free, replace};
use dauer_store::check::check;
use dauer_store::{Change, Durability, NewEntry, Sqlite, Store};
use small::{entry, id, job};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Adds a job and has it end.
async fn write(store: &Sqlite, n: u64) {
    store.create(job(n), entry("created")).await.unwrap();
    let cancelled = Job {
        state: State::Cancelled,
        version: 2,
        ..job(n)
    };
    let change = Change {
        job: std::sync::Arc::new(cancelled),
        entry: Some(NewEntry {
            from: Some(State::Pending),
            ..entry("cancelled")
        }),
        checkpoint: None,
        token: None,
        forget_tokens: Forget::None,
        kept: Vec::new(),
    };
    store.commit(change).await.unwrap();
}

async fn jobs_in(path: &Path) -> u64 {
    let store = Sqlite::open_existing(path).unwrap();
    assert_eq!(check(&store, |_| {}).await.unwrap(), []);
    let ended = store.ended(None, usize::MAX).await.unwrap();
    u64::try_from(ended.len()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_is_of_one_moment_and_has_all_that_was_acknowledged_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dauer.db");
    let store = Sqlite::open_with(&path, Durability::Normal).unwrap();
    let done = Arc::new(AtomicU64::new(0));
    let (writing, acknowledged) = (store.clone(), Arc::clone(&done));
    let writer = tokio::spawn(async move {
        for n in 0.. {
            write(&writing, n).await;
            acknowledged.store(n + 1, Ordering::SeqCst);
        }
    });
    for round in 0..5 {
        let before = done.load(Ordering::SeqCst);
        let (from, to) = (path.clone(), folder.path().join(format!("{round}.db")));
        let copy = to.clone();
        let mut said = Vec::new();
        let copied = tokio::task::spawn_blocking(move || {
            let bytes = back_up(&from, &copy, |done, total| said.push((done, total))).unwrap();
            (bytes, said)
        });
        let (bytes, said) = copied.await.unwrap();
        let after = done.load(Ordering::SeqCst);
        assert_eq!(said.last(), Some(&(bytes, bytes)));
        assert!(!folder.path().join(format!("{round}.db-wal")).exists());
        let has = jobs_in(&to).await;
        assert!(
            (before..=after + 1).contains(&has),
            "{has} of {before} to {after}"
        );
    }
    writer.abort();
    let leftover = fs::read_dir(folder.path()).unwrap().any(|file| {
        let name = file.unwrap().file_name();
        name.to_string_lossy().contains("partial")
    });
    assert!(!leftover);
    assert!(done.load(Ordering::SeqCst) > 10, "nobody wrote meanwhile");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_store_is_not_backed_up_and_no_file_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let says = |from: &Path, to: &Path| back_up(from, to, |_, _| {}).unwrap_err().to_string();
    assert!(says(&path("none"), &path("to")).contains("no store at"));
    assert!(!path("none").exists() && !path("to").exists());
    fs::write(
        path("text"),
        "not a database, but long enough to be looked at",
    )
    .unwrap();
    assert!(says(&path("text"), &path("to")).contains("not an SQLite database"));
    fs::write(path("empty"), "").unwrap();
    assert!(says(&path("empty"), &path("to")).contains("no store of dauer"));
    let store = Sqlite::open(path("dauer.db")).unwrap();
    write(&store, 1).await;
    assert!(says(&path("dauer.db"), &path("text")).contains("exists"));
    assert!(fs::read_to_string(path("text")).unwrap().starts_with("not"));
    // A page in the middle of the file is gone.
    for n in 2..200 {
        write(&store, n).await;
    }
    back_up(&path("dauer.db"), &path("whole"), |_, _| {}).unwrap();
    let mut bytes = fs::read(path("whole")).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xab);
    fs::write(path("broken"), bytes).unwrap();
    let said = says(&path("broken"), &path("to"));
    assert!(said.contains("damaged"), "{said}");
    assert!(!path("to").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_takes_the_place_of_a_store_that_nobody_uses_and_that_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let store = Sqlite::open(path("dauer.db")).unwrap();
    write(&store, 1).await;
    back_up(&path("dauer.db"), &path("backup"), |_, _| {}).unwrap();
    write(&store, 2).await;
    assert_eq!(fold_where_free(&path("dauer.db")), Use::InUse);
    store.close().await.unwrap();
    let staged = Sqlite::open(path("backup")).unwrap();
    assert_eq!(check(&staged, |_| {}).await.unwrap(), []);
    staged.close().await.unwrap();
    assert_eq!(fold_where_free(&path("dauer.db")), Use::Free);
    replace(&path("dauer.db"), &path("backup"), &path("kept")).unwrap();
    assert!(!path("backup").exists());
    assert_eq!(jobs_in(&path("dauer.db")).await, 1);
    assert_eq!(jobs_in(&path("kept")).await, 2);
    let kept = Sqlite::open(path("kept")).unwrap();
    assert!(kept.job(&id(2)).await.is_ok());
    // Where there was none nothing is kept.
    back_up(&path("kept"), &path("again"), |_, _| {}).unwrap();
    replace(&path("new.db"), &path("again"), &path("kept2")).unwrap();
    assert_eq!(jobs_in(&path("new.db")).await, 2);
    assert!(!path("kept2").exists());
}
