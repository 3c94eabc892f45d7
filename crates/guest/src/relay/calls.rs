//! Requests without an answer.

use crate::agent::{Outbox, Turn};
use dauer_wire::guest::{ApiRequest, ApiResponse, FromGuest};
use std::collections::BTreeMap;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All of them.
#[derive(Default)]
pub(crate) struct Calls {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    open: BTreeMap<u64, Call>,
}

struct Call {
    request: ApiRequest,
    /// It is only to be sent again if it was sent.
    sent: bool,
    answer: SyncSender<ApiResponse>,
}

impl Calls {
    /// Sends the request and waits for the answer, through any number of freezes.
    pub(super) fn ask(&self, outbox: &Outbox, request: ApiRequest) -> Option<ApiResponse> {
        let (answer, answered) = sync_channel(1);
        let id = {
            let mut state = self.lock();
            state.last_id += 1;
            let id = state.last_id;
            state.open.insert(
                id,
                Call {
                    request: request.clone(),
                    sent: false,
                    answer,
                },
            );
            id
        };
        let mut turn = outbox.turn();
        turn.send(FromGuest::Request { id, request });
        // Still within the turn: a Resume sees it either unsent or sent, never between.
        if let Some(call) = self.lock().open.get_mut(&id) {
            call.sent = true;
        }
        drop(turn);
        answered.recv().ok()
    }

    /// An answer to a number that is not open is a second one, to a request that was sent twice: the first counted.
    pub(crate) fn answer(&self, id: u64, response: ApiResponse) {
        if let Some(call) = self.lock().open.remove(&id) {
            // The receiver waits without a time-out, and the buffer holds the one answer.
            let _ = call.answer.try_send(response);
        }
    }

    /// In a new incarnation: the old one's answers will not come.
    pub(crate) fn send_again(&self, turn: &mut Turn<'_>) {
        for (id, call) in self.lock().open.iter().filter(|(_, call)| call.sent) {
            turn.send(FromGuest::Request {
                id: *id,
                request: call.request.clone(),
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
