//! How much of a session's output may be under way, so that a slow reader never blocks the channel.

use dauer_wire::guest::WINDOW_BYTES;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes sent and not yet consumed.
pub(super) struct Window {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    bounded: bool,
    under_way: usize,
    closed: bool,
}

impl Window {
    /// The job's own output has no window: the shim writes all of it to the log, at the log's pace.
    pub(super) fn new(bounded: bool) -> Self {
        Self {
            state: Mutex::new(State {
                bounded,
                under_way: 0,
                closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Waits until something may be sent, and says how much. None: nothing ever again.
    pub(super) fn room(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if !state.bounded {
                return Some(usize::MAX);
            }
            if state.under_way < WINDOW_BYTES {
                return Some(WINDOW_BYTES - state.under_way);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn sent(&self, bytes: usize) {
        let mut state = self.lock();
        if state.bounded {
            state.under_way += bytes;
        }
    }

    pub(super) fn consumed(&self, bytes: usize) {
        let mut state = self.lock();
        state.under_way = state.under_way.saturating_sub(bytes);
        self.changed.notify_all();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
