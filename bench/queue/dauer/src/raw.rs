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
    connection.pragma_update(None, "journal_mode", "WAL").expect("a pragma");
    connection.pragma_update(None, "synchronous", synchronous).expect("a pragma");
    connection.pragma_update(None, "foreign_keys", true).expect("a pragma");
    connection.set_prepared_statement_cache_capacity(32);
    let raw = Raw { connection };
    let begin = Instant::now();
    for first in (0..jobs).step_by(BATCH) {
        let ids: Vec<String> = (first..first + BATCH).map(id).collect();
        raw.transaction(|| raw.create(&ids));
        raw.transaction(|| raw.change(&ids, 2, "running", "pending", "started"));
        raw.transaction(|| raw.change(&ids, 3, "completed", "running", "completed"));
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
const SPEC: &str = r#"{"argv":["nothing"],"driver":"inline","image":{"kind":"host"},"network":"none","tty":false,"stdin":false,"remove_on_exit":false,"stop_grace_ms":10000,"priority":"normal","retry":{"max_retries":0,"retry_delay_ms":1000,"factor":2.0,"max_delay_ms":3600000,"jitter":"none","retry_on":{"reasons":[],"exit_codes":[]},"from":"checkpoint"},"timeouts_while_suspended":false}"#;

struct Raw {
    connection: Connection,
}

impl Raw {
    fn transaction(&self, work: impl FnOnce()) {
        let run = |sql| self.connection.prepare_cached(sql).and_then(|mut one| one.execute([])).expect("it runs");
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
                statement.raw_bind_parameter(index + 1, value).expect("a value");
            }
            assert_eq!(statement.raw_execute().expect("it runs"), rows.len());
        }
    }

    fn create(&self, ids: &[String]) {
        let rows: Vec<Vec<Box<dyn ToSql>>> = ids
            .iter()
            .map(|id| -> Vec<Box<dyn ToSql>> {
                let record = format!(
                    r#"{{"id":"{id}","state":"pending","version":1,"attempt":0,"generation":0,"created_at":{AT},"wake_at":{AT},"restores":0,"restores_in_a_row":0,"retries":0,"crashes_in_a_row":0}}"#
                );
                vec![Box::new(id), Box::new(1), Box::new("pending"), Box::new(AT), Box::new(1), Box::new(AT), Box::new(record), Box::new(SPEC), Box::new(1), Box::new("default"), Box::new(1)]
            })
            .collect();
        self.run(
            |rows| format!("INSERT INTO jobs (id, version, state, wake_at, stage, created_at, record, spec, priority, queue, lane) VALUES {rows}"),
            &rows,
        );
        self.journal(ids, None, "pending", "submitted", 0);
    }

    fn change(&self, ids: &[String], version: i64, state: &str, from: &str, event: &str) {
        let rows: Vec<Vec<Box<dyn ToSql>>> = ids
            .iter()
            .map(|id| -> Vec<Box<dyn ToSql>> {
                let record = format!(
                    r#"{{"id":"{id}","state":"{state}","version":{version},"attempt":1,"generation":1,"boot_id":"0123456789abcdef","created_at":{AT},"started_at":{AT},"restores":0,"restores_in_a_row":0,"retries":0,"up_since":{AT},"crashes_in_a_row":0}}"#
                );
                let (stage, lane): (i64, i64) = if version == 2 { (2, 1) } else { (0, 1) };
                vec![Box::new(id), Box::new(version), Box::new(state), Box::new(stage), Box::new(record), Box::new(lane)]
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
        self.journal(ids, Some(from), state, event, 1);
    }

    fn journal(&self, ids: &[String], from: Option<&str>, state: &str, event: &str, generation: i64) {
        let rows: Vec<Vec<Box<dyn ToSql>>> = ids
            .iter()
            .map(|id| -> Vec<Box<dyn ToSql>> {
                vec![Box::new(id), Box::new(AT), Box::new(event), Box::new(from), Box::new(state), Box::new(generation), Box::new("node")]
            })
            .collect();
        self.run(
            |rows| format!("INSERT INTO journal (job, at, event, from_state, to_state, generation, by) VALUES {rows}"),
            &rows,
        );
    }
}
