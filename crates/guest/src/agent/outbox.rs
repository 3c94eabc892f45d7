//! The one way out: frames of all threads, whole, one after the other, and none while the sandbox holds still.

use super::die;
use dauer_wire::guest::FromGuest;
use std::fs::File;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The channel to the shim.
pub(crate) struct Outbox {
    state: Mutex<State>,
    released: Condvar,
}

struct State {
    channel: File,
    held: bool,
}

/// The right to send, until dropped.
pub(crate) struct Turn<'a>(MutexGuard<'a, State>);

impl Outbox {
    pub(super) fn new(channel: File) -> Self {
        Self {
            state: Mutex::new(State {
                channel,
                held: false,
            }),
            released: Condvar::new(),
        }
    }

    /// Sends one frame, when it may.
    pub(crate) fn send(&self, message: FromGuest) {
        self.turn().send(message);
    }

    /// Waits while the sandbox holds still. Whether a message still makes sense is to be judged after this.
    pub(crate) fn turn(&self) -> Turn<'_> {
        let mut state = self.lock();
        while state.held {
            state = self
                .released
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Turn(state)
    }

    /// For what is said about the hold itself.
    pub(super) fn turn_although_held(&self) -> Turn<'_> {
        Turn(self.lock())
    }

    /// From its return on no frame is under way and none is begun.
    pub(super) fn hold(&self) {
        self.lock().held = true;
    }

    pub(super) fn release(&self) {
        self.lock().held = false;
        self.released.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    pub(crate) fn send(&mut self, message: FromGuest) {
        if message.into_frame().write_to(&mut self.0.channel).is_err() {
            // Nobody reads any more: a sandbox must not outlive its shim.
            die(1);
        }
    }

    /// Sends the last frame of all and ends the sandbox. The turn is never given back, so nothing can follow.
    pub(super) fn send_last(mut self, message: FromGuest) -> ! {
        self.send(message);
        die(0)
    }
}
