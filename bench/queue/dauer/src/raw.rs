//! The same rows in the same batches, by rusqlite alone: what the store's tables cost without anything around them.

use crate::engine::BATCH;
use rusqlite::{Connection, ToSql};
use std::time::Instant;

/// So many rows in a statement, as the store has them.
const MANY: usize = 16;

/// Jobs per second.
pub(crate) fn jobs(jobs: usize, full: bool) -> f64 {
    let file = crate::fresh();
    // The store makes its tables itself.
    drop(dauer::Sqlite::open_with(&file, crate::engine::durability(full)).expect("a store"));
    let connection = Connection::open(&file).expect("the file");
    let synchronous = if full { "FULL" } else { "NORMAL" };
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .expect("a pragma");
    connection
        .pragma_update(None, "synchronous", synchronous)
        .expect("a pragma");
    connection
        .pragma_update(None, "foreign_keys", true)
        .expect("a pragma");
    connection.set_prepared_statement_cache_capacity(32);
    let raw = Raw { connection };
    let begin = Instant::now();
    for first in (0..jobs).step_by(BATCH) {
        let ids: Vec<String> = (first..first + BATCH).map(id).collect();
        // There is room: a job begins in the transaction that adds it.
        raw.transaction(|| raw.create(&ids));
        raw.transaction(|| raw.complete(&ids));
    }
    let took = begin.elapsed();
    drop(raw);
    crate::clean(&file);
    jobs as f64 / took.as_secs_f64()
}

fn id(n: usize) -> String {
    format!("019a8f3c-{:04x}-7{:03x}-8000-{n:012x}", n >> 12, n & 0xfff)
}

const AT: i64 = 1_763_000_000_000;
const SPEC: &str = r#"{"argv":["nothing"],"driver":"inline","stop_grace_ms":10000,"retry":{"from":"checkpoint"}}"#;

struct Raw {
    connection: Connection,
}

impl Raw {
    fn transaction(&self, work: impl FnOnce()) {
        let run = |sql| {
            self.connection
                .prepare_cached(sql)
                .and_then(|mut one| one.execute([]))
                .expect("it runs")
        };
        run("BEGIN IMMEDIATE");
        work();
        run("COMMIT");
    }

    /// One statement for many rows, as long as there are so many.
    fn run(&self, text: impl Fn(&str) -> String, rows: &[Vec<Box<dyn ToSql + '_>>]) {
        for rows in rows.chunks(MANY) {
            let row = format!("({})", vec!["?"; rows[0].len()].join(","));
            let sql = text(&vec![row; rows.len()].join(","));
            let mut statement = self.connection.prepare_cached(&sql).expect("a statement");
            for (index, value) in rows.iter().flatten().enumerate() {
                statement
                    .raw_bind_parameter(index + 1, value)
                    .expect("a value");
            }
            assert_eq!(statement.raw_execute().expect("it runs"), rows.len());
        }
    }

    fn create(&self, ids: &[String]) {
        let rows: Vec<Vec<Box<dyn ToSql>>> = ids
            .iter()
            .map(|id| -> Vec<Box<dyn ToSql>> {
                let record = format!(
                    r#"{{"state":"running","version":2,"attempt":1,"generation":1,"boot_id":"0123456789abcdef","created_at":{AT},"started_at":{AT},"called_at":{AT}}}"#
                );
                vec![Box::new(id), Box::new(2), Box::new("running"), Box::new(2), Box::new(AT), Box::new(record), Box::new(SPEC), Box::new(1), Box::new("default"), Box::new(1)]
            })
            .collect();
        self.run(
            |rows| format!("INSERT INTO jobs (id, version, state, stage, created_at, record, spec, priority, queue, lane) VALUES {rows}"),
            &rows,
        );
        let entries = ids.iter().flat_map(|id| [entry(id, None, "pending", "submitted", 0), entry(id, Some("pending"), "running", "started", 1)]);
        self.journal(&entries.collect::<Vec<_>>());
    }

    fn complete(&self, ids: &[String]) {
        let rows: Vec<Vec<Box<dyn ToSql>>> = ids
            .iter()
            .map(|id| -> Vec<Box<dyn ToSql>> {
                let record = format!(
                    r#"{{"state":"completed","version":3,"attempt":1,"generation":1,"boot_id":"0123456789abcdef","created_at":{AT},"started_at":{AT},"finished_at":{AT},"outcome":{{"exit_code":0,"signal":null,"reason":null,"message":null}},"called_at":{AT}}}"#
                );
                vec![Box::new(id), Box::new(3), Box::new("completed"), Box::new(0), Box::new(record), Box::new(1)]
            })
            .collect();
        self.run(
            |rows| {
                format!(
                    "UPDATE jobs SET version = column2, state = column3, operation = NULL, wake_at = NULL, stage = column4, record = column5, lane = column6
                     FROM (VALUES {rows}) WHERE id = column1 AND version = column2 - 1 AND sandbox IS NULL AND checkpoint IS NULL"
                )
            },
            &rows,
        );
        let entries = ids.iter().map(|id| entry(id, Some("running"), "completed", "completed", 1));
        self.journal(&entries.collect::<Vec<_>>());
    }

    fn journal(&self, entries: &[Vec<Box<dyn ToSql + '_>>]) {
        self.run(
            |rows| format!("INSERT INTO journal (job, at, event, from_state, to_state, generation, by) VALUES {rows}"),
            entries,
        );
    }
}

fn entry<'a>(id: &'a String, from: Option<&'static str>, state: &'static str, event: &'static str, generation: i64) -> Vec<Box<dyn ToSql + 'a>> {
    vec![Box::new(id), Box::new(AT), Box::new(event), Box::new(from), Box::new(state), Box::new(generation), Box::new("node")]
}
