//! Every statement that runs on the tables, with the types of its parameters: where a pooler stands between, nothing is prepared by name
//! and the types go along each time.
//!
//! The tables are in the schema `dauer`; where another one is asked for, its name takes that place (`connection`).

pub(super) mod moving;
pub(super) mod read;
pub(super) mod snapshots;
pub(super) mod write;

use tokio_postgres::types::Type;

/// A statement.
#[derive(Debug)]
pub(in crate::postgres) struct Statement {
    pub(in crate::postgres) sql: &'static str,
    pub(in crate::postgres) types: &'static [Type],
    /// Whether it may do several rows of one job at once. What writes over rows may not: of two for one row none would be the last.
    pub(in crate::postgres) repeats: bool,
}

macro_rules! statements {
    ($($(#[doc = $doc:literal])* $name:ident($($type:ident),*) $repeats:literal = $sql:literal;)*) => {
        $($(#[doc = $doc])* pub(in crate::postgres) static $name: super::Statement = super::Statement {
            sql: $sql,
            types: &[$(tokio_postgres::types::Type::$type),*],
            repeats: $repeats,
        };)*
    };
}
use statements;
