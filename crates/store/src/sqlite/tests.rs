//! What is SQLite's own: plans, files, versions, failing commits.

use super::{Durability, Sqlite, open, rows, sql};
use crate::conformance::sample::{entry, job};
use crate::{Error, Store};
use rusqlite::Connection;
use std::path::Path;

/// Partial indexes that hold only what is asked for: going through one of them is the answer, not a search for it.
const WHOLE_ANSWER: &[&str] = &["jobs_due", "jobs_unsettled", "jobs_expiring"];

async fn create(store: &Sqlite, n: u64) -> Result<(), Error> {
    store.create(job(n), entry("created")).await
}

fn text_of(error: &Error, path: &Path) -> String {
    let text = error.to_string();
    assert!(matches!(error, Error::Backend(_)), "{error:?}");
    assert!(
        text.contains(path.to_str().unwrap()),
        "the file is not named: {text}"
    );
    text
}

#[test]
fn no_statement_goes_through_a_table() {
    let connection = open::memory().unwrap();
    let rows = [
        ("INSERT_JOBS", &rows::INSERT_JOBS),
        ("UPDATE_JOBS", &rows::UPDATE_JOBS),
        ("INSERT_ENTRIES", &rows::INSERT_ENTRIES),
    ];
    let rows = rows
        .iter()
        .flat_map(|(name, text)| [(*name, &*text.one), (*name, &*text.many)]);
    for (name, text) in sql::ALL.iter().copied().chain(rows) {
        let mut statement = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {text}"))
            .unwrap();
        let nulls = vec![rusqlite::types::Null; statement.parameter_count()];
        let plan: Vec<String> = statement
            .query_map(rusqlite::params_from_iter(nulls), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        for step in &plan {
            let whole = WHOLE_ANSWER
                .iter()
                .any(|index| step.ends_with(&format!("INDEX {index}")));
            // The rows that come with the statement.
            let given = [
                "16-ROW VALUES CLAUSE",
                "CONSTANT ROW",
                "subquery-1",
                // How steps go together.
                "COMPOUND QUERY",
                "LEFT-MOST SUBQUERY",
                "UNION ALL",
                // SQLite's own: a row for each table that counts.
                "SCAN sqlite_sequence",
            ];
            let given = given.iter().any(|given| step.contains(given));
            assert!(
                step.starts_with("SEARCH ") || whole || given,
                "{name}: {step}"
            );
        }
    }
}

#[tokio::test]
async fn opening_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dauer.db");
    let schema = || {
        let connection = Connection::open(&path).unwrap();
        let mut statement = connection
            .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
            .unwrap();
        let texts: Vec<String> = statement
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let version: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        (texts, version)
    };
    create(&Sqlite::open(&path).unwrap(), 1).await.unwrap();
    let first = schema();
    let again = Sqlite::open(&path).unwrap();
    // Also beside the first one.
    let beside = Sqlite::open(&path).unwrap();
    assert_eq!(schema(), first);
    create(&beside, 2).await.unwrap();
    for n in [1, 2] {
        assert_eq!(again.job(&job(n).id).await.unwrap(), job(n));
    }
}

#[test]
fn full_durability_syncs_every_commit() {
    let folder = tempfile::tempdir().unwrap();
    for (durability, expected) in [(Durability::Full, 2), (Durability::Normal, 1)] {
        let connection = open::writer(&folder.path().join("dauer.db"), durability).unwrap();
        let synchronous: i64 = connection
            .pragma_query_value(None, "synchronous", |row| row.get(0))
            .unwrap();
        let mode: String = connection
            .pragma_query_value(None, "journal_mode", |row| row.get(0))
            .unwrap();
        assert_eq!((synchronous, mode.as_str()), (expected, "wal"));
    }
    assert_eq!(Durability::default(), Durability::Full);
}

#[test]
fn a_file_of_a_newer_dauer_is_refused_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dauer.db");
    drop(open::writer(&path, Durability::Full).unwrap());
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE future (x); PRAGMA user_version = 99; PRAGMA journal_mode = DELETE",
        )
        .unwrap();
    drop(connection);
    let before = std::fs::read(&path).unwrap();
    let text = text_of(&Sqlite::open(&path).unwrap_err(), &path);
    assert!(
        text.contains("version 99") && text.contains(&format!("up to {}", open::MIGRATIONS.len())),
        "{text}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "files were left beside it"
    );
}

#[test]
fn another_programs_database_is_refused_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    for script in ["CREATE TABLE theirs (x)", "PRAGMA application_id = 5"] {
        Connection::open(&path)
            .unwrap()
            .execute_batch(script)
            .unwrap();
        let before = std::fs::read(&path).unwrap();
        let text = text_of(&Sqlite::open(&path).unwrap_err(), &path);
        assert!(text.contains("another program"), "{text}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_file_that_is_no_database_or_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dauer.db");
    std::fs::write(
        &path,
        "this is no database, whatever it is called\n".repeat(100),
    )
    .unwrap();
    let text = text_of(&Sqlite::open(&path).unwrap_err(), &path);
    assert!(text.contains("not an SQLite database"), "{text}");
    let path = folder.path().join("missing/dauer.db");
    text_of(&Sqlite::open(&path).unwrap_err(), &path);
}

#[tokio::test]
async fn a_damaged_page_is_reported_with_the_name_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dauer.db");
    let store = Sqlite::open(&path).unwrap();
    for n in 0..200 {
        create(&store, n).await.unwrap();
    }
    drop(store);
    // Through a connection of our own, so that everything is in the file and nothing in the log beside it.
    let connection = Connection::open(&path).unwrap();
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(connection);
    let mut bytes = std::fs::read(&path).unwrap();
    let pages = bytes.len() / 4096;
    assert!(pages > 60);
    bytes[4096 * (pages / 2)..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    // The schema is in the first half and good.
    let store = Sqlite::open(&path).unwrap();
    let mut damaged = 0;
    for n in 0..200 {
        if let Err(error) = store.job(&job(n).id).await {
            let text = text_of(&error, &path);
            assert!(text.contains("is damaged"), "{text}");
            damaged += 1;
        }
    }
    assert!(damaged > 0);
}

/// SQLite rolls the whole transaction back: everybody in it is told, and nothing of it is there.
#[tokio::test]
async fn a_full_file_fails_the_batch_and_nothing_of_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dauer.db");
    let connection = open::writer(&path, Durability::Full).unwrap();
    let pages: i64 = connection
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    connection
        .pragma_update(None, "max_page_count", pages + 60)
        .unwrap();
    let store = Sqlite::on(connection, &path, Durability::Full).unwrap();
    let (mut written, mut refused) = (Vec::new(), Vec::new());
    for round in 0.. {
        assert!(round < 1000, "it never got full");
        let batch: Vec<_> = (round * 32..(round + 1) * 32)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { (n, create(&store, n).await) })
            })
            .collect();
        for write in batch {
            match write.await.unwrap() {
                (n, Ok(())) => written.push(n),
                (n, Err(Error::NoSpace(text))) if text.contains("dauer.db") => refused.push(n),
                (_, Err(other)) => panic!("{other:?}"),
            }
        }
        if !refused.is_empty() {
            break;
        }
    }
    for &n in &written {
        assert_eq!(store.job(&job(n).id).await.unwrap(), job(n));
    }
    for &n in &refused {
        assert!(matches!(
            store.job(&job(n).id).await,
            Err(Error::NotFound(_))
        ));
    }
    assert_eq!(
        store.journal(None, 0, usize::MAX).await.unwrap().len(),
        written.len()
    );
    // The limit is the connection's own: with another one there is room.
    create(&Sqlite::open(&path).unwrap(), refused[0])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_job_that_was_pending_before_the_schedule_was_kept_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dauer.db");
    let mut old = job(1);
    old.wake_at = None;
    let record = |job: &dauer_core::Job| {
        let mut fields = serde_json::to_value(job).unwrap();
        let fields = fields.as_object_mut().unwrap();
        let spec = fields.remove("spec").unwrap().to_string();
        (serde_json::to_string(fields).unwrap(), spec)
    };
    let (record, spec) = record(&old);
    {
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(open::MIGRATIONS[0]).unwrap();
        connection
            .execute(
                "INSERT INTO jobs (id, version, state, created_at, record, spec) VALUES (?1, 1, 'pending', ?2, ?3, ?4)",
                rusqlite::params![old.id.0, old.created_at.0, record, spec],
            )
            .unwrap();
        connection
            .execute_batch("PRAGMA application_id = 1145132357; PRAGMA user_version = 1")
            .unwrap();
    }
    let store = Sqlite::open(&path).unwrap();
    let ask = dauer_core::plan::turn::Ask::anything(9);
    let due = store.due(old.created_at, &ask).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].job, old.id);
    let read = store.job(&old.id).await.unwrap();
    assert_eq!(read.wake_at, Some(old.created_at));
}
