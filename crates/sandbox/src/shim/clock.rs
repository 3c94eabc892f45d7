//! The wall clock, in the one unit of time.

use dauer_core::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// This moment.
pub(super) fn now() -> Timestamp {
    // Before 1970 is a clock that was never set: zero is as good as any time then.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
