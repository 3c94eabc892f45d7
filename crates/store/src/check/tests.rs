//! A file of SQLite that was broken behind the store's back is found to be, each rule by itself.

use super::{Rule, check};
use crate::conformance::checking::write_by_the_rules;
use crate::conformance::sample::id;
use crate::{Durability, Sqlite};
use rusqlite::Connection;

/// What breaks it, which rule that is, and where it is found.
fn breaks() -> Vec<(String, Rule, String)> {
    let job = |n: u64| format!("job {}", id(n));
    let update = |n: u64, what: &str| format!("UPDATE jobs SET {what} WHERE id = '{}'", id(n));
    let columns = [
        "version = 99",
        "name = 'other'",
        "state = 'failed'",
        "operation = 'exiting'",
        "wake_at = 5",
        "sandbox = 'ffff'",
        "checkpoint = NULL",
        "created_at = 1",
        "priority = 3",
        "expires_at = 3",
        "parent = 'nobody'",
        "ends_children = 'done'",
        "stage = 2",
        "queue = 'mail'",
        "concurrency_key = 'k'",
        "unique_key = 'u'",
        "batch = 'b'",
        "lane = 3",
        "cpu_millis = 1",
        "memory_bytes = 1",
    ];
    let mut all: Vec<(String, Rule, String)> = columns
        .iter()
        .map(|what| (update(2, what), Rule::ColumnDiffers, job(2)))
        .collect();
    let more: [(String, Rule, String); 19] = [
        (
            format!("DELETE FROM job_tags WHERE job = '{}'", id(3)),
            Rule::ColumnDiffers,
            job(3),
        ),
        ("DELETE FROM job_after".into(), Rule::ColumnDiffers, job(5)),
        (
            "DELETE FROM checkpoints".into(),
            Rule::CheckpointMissing,
            job(2),
        ),
        (
            "DELETE FROM checkpoints".into(),
            Rule::Orphan,
            "table jobs".into(),
        ),
        (
            format!(
                "UPDATE checkpoints SET record = replace(record, '{}', '{}')",
                id(2),
                id(1)
            ),
            Rule::CheckpointMissing,
            job(2),
        ),
        (
            format!("DELETE FROM jobs WHERE id = '{}'", id(1)),
            Rule::Orphan,
            job(1),
        ),
        (
            "INSERT INTO tokens VALUES ('gone', 't', 1, 'requested', NULL, NULL)".into(),
            Rule::Orphan,
            "table tokens".into(),
        ),
        (
            "INSERT INTO waits VALUES ('gone', 't', 1, 0)".into(),
            Rule::Orphan,
            "table waits".into(),
        ),
        (
            update(3, "record = '{\"state\": 3}'"),
            Rule::Unreadable,
            job(3),
        ),
        (
            update(3, "record = json_remove(record, '$.wake_at'), wake_at = NULL"),
            Rule::NeverDue,
            job(3),
        ),
        (
            update(1, "record = json_set(record, '$.state', 'failed'), state = 'failed'"),
            Rule::JournalEnd,
            job(1),
        ),
        (
            "UPDATE journal SET to_state = 'stopped' WHERE to_state = 'suspended'".into(),
            Rule::JournalEnd,
            job(2),
        ),
        (
            "UPDATE journal SET from_state = 'pending' WHERE to_state = 'completed'".into(),
            Rule::JournalMove,
            job(1),
        ),
        (
            format!(
                "DROP INDEX ledger_open; INSERT INTO ledger (owner_kind, owner, generation, kind, amount, from_at, cause, labels)
                 SELECT owner_kind, owner, generation, kind, amount, from_at, cause, labels FROM ledger WHERE owner = '{}'",
                id(4)
            ),
            Rule::TwoOpenIntervals,
            job(4),
        ),
        (
            format!(
                "PRAGMA ignore_check_constraints = 1; DROP TRIGGER ledger_closed_stays;
                 UPDATE ledger SET to_at = 1 WHERE owner = '{}'",
                id(1)
            ),
            Rule::IntervalBackwards,
            job(1),
        ),
        (
            format!("DELETE FROM ledger WHERE owner = '{}'", id(4)),
            Rule::IntervalMissing,
            job(4),
        ),
        (
            "DROP TRIGGER ledger_closed_stays; UPDATE ledger SET to_at = NULL WHERE kind = 'compute'".into(),
            Rule::IntervalOpen,
            job(1),
        ),
        (
            "UPDATE schedules SET due_at = NULL".into(),
            Rule::ColumnDiffers,
            "schedule daily".into(),
        ),
        (
            "UPDATE sqlite_sequence SET seq = 1 WHERE name = 'journal'".into(),
            Rule::NumberUsed,
            "table journal".into(),
        ),
    ];
    all.extend(more);
    let last = [
        (
            "UPDATE queues SET name = 'post'".into(),
            Rule::ColumnDiffers,
            "queue post".into(),
        ),
        (
            update(4, "node = (SELECT max(num) FROM leases)")
                + "; INSERT INTO leases (node, epoch) VALUES ('lost', 1);"
                + &update(4, "node = (SELECT max(num) FROM leases)"),
            Rule::HeldByNobody,
            job(4),
        ),
        (
            "DROP INDEX jobs_name; UPDATE jobs SET name = 'three',
                 spec = json_set(spec, '$.name', 'three')"
                .into(),
            Rule::TwoHolders,
            job(2),
        ),
    ];
    all.extend(last);
    all
}

#[tokio::test]
async fn whatever_is_broken_in_a_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.db");
    let store = Sqlite::open_with(&whole, Durability::Normal).unwrap();
    write_by_the_rules(&store).await;
    assert_eq!(check(&store, |_| {}).await.unwrap(), []);
    for (index, (breaks, rule, subject)) in breaks().into_iter().enumerate() {
        let path = folder.path().join(format!("{index}.db"));
        Connection::open(&whole)
            .unwrap()
            .execute("VACUUM INTO ?1", [path.to_str().unwrap()])
            .unwrap();
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(&format!("PRAGMA foreign_keys = OFF; {breaks}"))
            .unwrap_or_else(|error| panic!("{breaks}: {error}"));
        drop(connection);
        let store = Sqlite::open_with(&path, Durability::Normal).unwrap();
        let found = check(&store, |_| {}).await.unwrap();
        let named = found
            .iter()
            .any(|one| one.rule == rule && one.subject == subject);
        assert!(
            named,
            "{breaks}: {rule:?} of {subject} is not in {found:#?}"
        );
    }
}
