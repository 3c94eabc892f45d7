//! How a runner without a record goes: nobody who wrote to it waits for ever.

use crate::engine::Live;
use crate::runner::{Letter, Message};
use crate::{Engine, Error};
use dauer_core::JobId;
use std::sync::Arc;
use tokio::sync::mpsc;

impl Engine {
    /// A runner that has no record tells everybody who wrote to it, and leaves.
    pub(crate) fn leave_with(
        &self,
        id: &JobId,
        entry: &Arc<Live>,
        messages: &mut mpsc::UnboundedReceiver<Letter>,
        error: &Error,
    ) {
        loop {
            while let Ok(letter) = messages.try_recv() {
                match letter.message {
                    Message::Event {
                        answer: Some(answer),
                        ..
                    }
                    | Message::Reconcile {
                        answer: Some(answer),
                    } => {
                        let _gone = answer.send(Err(error.clone()));
                    }
                    Message::Wait { answer, .. } => {
                        let _gone = answer.send(Err(error.clone()));
                    }
                    Message::Progress { answer, .. } => {
                        let _gone = answer.send(Err(error.clone()));
                    }
                    Message::Remove {
                        answer: Some(answer),
                    } => {
                        let _gone = answer.send(Err(error.clone()));
                    }
                    Message::Ask(ask) => ask.refuse(error),
                    Message::Event { answer: None, .. }
                    | Message::Reconcile { answer: None }
                    | Message::Remove { answer: None }
                    | Message::CheckpointTaken { .. } => {}
                }
            }
            if self.leave(id, entry, messages) {
                return;
            }
        }
    }
}
