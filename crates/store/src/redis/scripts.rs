//! The scripts, each put together from its parts.

use redis::Script;
use std::sync::LazyLock;

/// Does a group of writes.
pub(super) static WRITE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/keys.lua"),
        include_str!("lua/fence.lua"),
        include_str!("lua/indexes.lua"),
        include_str!("lua/journal.lua"),
        include_str!("lua/ledger.lua"),
        include_str!("lua/signals.lua"),
        include_str!("lua/jobs.lua"),
        include_str!("lua/others.lua"),
        include_str!("lua/leases.lua"),
        include_str!("lua/snapshots.lua"),
        include_str!("lua/moving.lua"),
        include_str!("lua/write.lua"),
    ))
});

/// Answers a question.
pub(super) static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("lua/keys.lua"),
        include_str!("lua/journal.lua"),
        include_str!("lua/read.lua"),
        include_str!("lua/kept.lua"),
        include_str!("lua/export.lua"),
        include_str!("lua/check.lua"),
        include_str!("lua/answer.lua"),
    ))
});
