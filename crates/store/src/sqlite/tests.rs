//! What is SQLite's own: plans, files, versions.

use super::{open, sql};

/// Partial indexes that hold only what is asked for: going through all of one is the answer, not a search for it.
const WHOLE_ANSWER: &[&str] = &["jobs_due", "jobs_unsettled"];

#[test]
fn no_statement_goes_through_a_table() {
    let connection = open::memory().unwrap();
    for (name, text) in sql::ALL {
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
            assert!(step.starts_with("SEARCH ") || whole, "{name}: {step}");
        }
    }
}
