//! How much of a stream may be under way to the agent.

use dauer_wire::guest::WINDOW_BYTES;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes that were sent and not reported as consumed.
#[derive(Default)]
pub(super) struct Window {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    under_way: usize,
    closed: bool,
}

impl Window {
    fn state(&self) -> MutexGuard<'_, State> {
        // A counter is always whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room for so many bytes and takes it; false where the stream is over. More than a whole window waits for an empty one.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let mut state = self.state();
        while !state.closed && state.under_way > 0 && state.under_way + bytes > WINDOW_BYTES {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.under_way += bytes;
        !state.closed
    }

    /// So many bytes were consumed. In a restored sandbox these may be more than this shim has sent.
    pub(super) fn give(&self, bytes: usize) {
        let mut state = self.state();
        state.under_way = state.under_way.saturating_sub(bytes);
        self.changed.notify_all();
    }

    /// Nobody waits any more.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }
}
