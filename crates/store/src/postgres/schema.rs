//! The tables: are they ones we know, and bringing them up to date.
//!
//! A script that was released is never edited, and none takes anything away that an older dauer uses: it may be running.

use super::connection::{Connection, Way};
use super::fault::Fault;
use super::sql::Statement;
use crate::error::failed;
use tokio_postgres::types::Type;

/// The schema, step by step: the n-th script makes version n.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_snapshots.sql"),
];

/// The oldest server whose SQL this is.
const SERVER_MIN: i64 = 130_000;

static SERVER: Statement = Statement {
    sql: "SELECT current_setting('server_version_num')::bigint, current_setting('server_encoding'), current_setting('server_version')",
    types: &[],
    repeats: true,
};

static HAS_VERSION: Statement = Statement {
    sql: "SELECT to_regclass($1 || '.migrations') IS NOT NULL",
    types: &[Type::TEXT],
    repeats: true,
};

static VERSION: Statement = Statement {
    sql: "SELECT coalesce(max(version), 0) FROM dauer.migrations",
    types: &[],
    repeats: true,
};

/// One dauer at a time; the key says "daue".
static LOCK: Statement = Statement {
    sql: "SELECT pg_advisory_xact_lock(1684108645, hashtext($1))",
    types: &[Type::TEXT],
    repeats: true,
};

/// Brings the tables up to date. Those of a newer dauer are refused and not touched.
pub(super) async fn bring_up_to_date(connection: &Connection, way: &Way) -> Result<(), Fault> {
    check_server(connection, way).await?;
    if version(connection, way).await? == MIGRATIONS.len() {
        return Ok(());
    }
    connection.begin().await?;
    let result = migrate(connection, way).await;
    let end = if result.is_ok() { "COMMIT" } else { "ROLLBACK" };
    connection.execute(end).await?;
    result
}

async fn check_server(connection: &Connection, way: &Way) -> Result<(), Fault> {
    let rows = connection.rows(&SERVER, &[]).await?;
    let Some(row) = rows.first() else {
        return Err(failed(format!("{} does not say what it is", way.place()), None).into());
    };
    let (number, encoding, version): (i64, String, String) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if number < SERVER_MIN {
        let text = format!(
            "{} is PostgreSQL {version}: dauer needs 13 or newer",
            way.place()
        );
        return Err(failed(text, None).into());
    }
    if encoding != "UTF8" {
        let text = format!(
            "{} is encoded as {encoding}: make the database with ENCODING 'UTF8'",
            way.place()
        );
        return Err(failed(text, None).into());
    }
    Ok(())
}

async fn version(connection: &Connection, way: &Way) -> Result<usize, Fault> {
    let schema = &way.settings.schema;
    let rows = connection.rows(&HAS_VERSION, &[schema]).await?;
    if !rows.first().is_some_and(|row| row.get(0)) {
        return Ok(0);
    }
    let rows = connection.rows(&VERSION, &[]).await?;
    let found: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    let known = MIGRATIONS.len();
    if found > known {
        let text = format!(
            "{} has schema version {found}, this dauer knows up to {known}: use the dauer that wrote it, or a newer one",
            way.place()
        );
        return Err(failed(text, None).into());
    }
    Ok(found)
}

/// Runs the scripts that are missing.
async fn migrate(connection: &Connection, way: &Way) -> Result<(), Fault> {
    let schema = &way.settings.schema;
    connection.rows(&LOCK, &[schema]).await?;
    // Behind the lock: another one may just have done it.
    let found = version(connection, way).await?;
    if found == 0 {
        connection
            .execute(&format!(
                "CREATE SCHEMA IF NOT EXISTS \"{schema}\";
                 CREATE TABLE IF NOT EXISTS \"{schema}\".migrations (
                     version bigint NOT NULL PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"
            ))
            .await?;
    }
    for (index, script) in MIGRATIONS.iter().enumerate().skip(found) {
        let version = index + 1;
        connection.execute(&way.text(script)).await?;
        connection
            .execute(&format!(
                "INSERT INTO \"{schema}\".migrations (version) VALUES ({version})"
            ))
            .await?;
        tracing::info!(version, store = way.place(), "store schema updated");
    }
    Ok(())
}
