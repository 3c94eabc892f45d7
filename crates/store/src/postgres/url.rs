//! What the URL of a store says: PostgreSQL's own settings as everywhere, and a few of ours.

use super::tls::Tls;
use crate::Error;
use crate::error::failed;
use percent_encoding::percent_decode_str;
use std::fmt::Write as _;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// Longer names would not leave room in the name of the channel for notices.
const SCHEMA_CHARS_MAX: usize = 50;

/// A server that does not answer for so long is looked for elsewhere.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What was sent and is not acknowledged for so long is lost with its connection.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// How to reach the tables.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) tls: Tls,
    /// Where the tables are.
    pub(super) schema: String,
    /// A pooler gives each transaction another connection.
    pub(super) pooled: bool,
    /// For messages: without user and password.
    pub(super) place: String,
}

/// Reads a URL. Ours are `schema`, `pgbouncer=true`, `sslmode=verify-ca|verify-full` and `sslrootcert`.
pub(super) fn parse(url: &str) -> Result<Settings, Error> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut schema, mut pooled) = ("dauer".to_owned(), false);
    let (mut mode, mut roots) = (None, None);
    let mut theirs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
        match name {
            "schema" => schema = value,
            "pgbouncer" => pooled = value == "true",
            "sslmode" => mode = Some(value),
            "sslrootcert" => roots = Some(value),
            _ => theirs.push(pair),
        }
    }
    check_schema(&schema)?;
    let mut plain = base.to_owned();
    if !theirs.is_empty() {
        plain.push('?');
        plain.push_str(&theirs.join("&"));
    }
    let mut config: Config = plain.parse().map_err(|error: tokio_postgres::Error| {
        failed(
            format!(
                "the URL of the store cannot be read: {}",
                super::fault::said(&error)
            ),
            None,
        )
    })?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    config.keepalives_idle(UNACKNOWLEDGED_MAX);
    config.tcp_user_timeout(UNACKNOWLEDGED_MAX);
    if config.get_application_name().is_none() {
        config.application_name("dauer");
    }
    let tls = Tls::of(mode.as_deref(), roots.as_deref())?;
    config.ssl_mode(match tls {
        Tls::Off => SslMode::Disable,
        Tls::Prefer(_) => SslMode::Prefer,
        Tls::Require(_) => SslMode::Require,
    });
    let place = place(&config, &schema);
    Ok(Settings {
        config,
        tls,
        schema,
        pooled,
        place,
    })
}

/// It becomes part of statements.
fn check_schema(schema: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let begins = schema.starts_with(|c: char| c.is_ascii_lowercase());
    if begins && schema.len() <= SCHEMA_CHARS_MAX && schema.chars().all(plain) {
        return Ok(());
    }
    Err(failed(
        format!(
            "the schema {schema:?} in the URL of the store: use a-z, 0-9 and _, at most {SCHEMA_CHARS_MAX}, a letter first"
        ),
        None,
    ))
}

fn place(config: &Config, schema: &str) -> String {
    let mut place = "postgres://".to_owned();
    for (index, host) in config.get_hosts().iter().enumerate() {
        if index > 0 {
            place.push(',');
        }
        match host {
            Host::Tcp(name) => place.push_str(name),
            #[cfg(unix)]
            Host::Unix(path) => place.push_str(&path.to_string_lossy()),
        }
        let port = config.get_ports().get(index).or(config.get_ports().first());
        if let Some(port) = port {
            // Writing into a String cannot fail.
            let _ = write!(place, ":{port}");
        }
    }
    let database = config.get_dbname().or(config.get_user()).unwrap_or("");
    // As above.
    let _ = write!(place, "/{database}");
    if schema != "dauer" {
        // As above.
        let _ = write!(place, "?schema={schema}");
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_taken_out_and_theirs_stay() {
        let url = "postgres://me:secret@db.example:6543/app?schema=jobs_1&pgbouncer=true&sslmode=disable&application_name=x";
        let settings = parse(url).unwrap();
        assert_eq!(settings.schema, "jobs_1");
        assert!(settings.pooled);
        assert_eq!(settings.config.get_application_name(), Some("x"));
        assert_eq!(settings.config.get_ssl_mode(), SslMode::Disable);
        assert_eq!(
            settings.place,
            "postgres://db.example:6543/app?schema=jobs_1"
        );
    }

    #[test]
    fn what_would_become_part_of_statements_is_refused() {
        for schema in ["", "a\"b", "Jobs", "1a", "a%22;drop"] {
            let url = format!("postgres:///app?schema={schema}");
            assert!(parse(&url).is_err(), "{schema:?}");
        }
    }

    #[test]
    fn what_nobody_knows_is_refused_without_the_password() {
        let said = parse("postgres://me:secret@h/app?colour=red")
            .unwrap_err()
            .to_string();
        assert!(said.contains("colour"), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
}
