//! Steps of one key have their turn one after the other, so that the second finds what the first left.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use tokio::sync::OwnedMutexGuard;

/// By key; those that nobody has or waits for are forgotten.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    keys: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

/// The turn of a key, until it is dropped.
pub(crate) type Turn = OwnedMutexGuard<()>;

impl Turns {
    /// Waits for those that came before.
    pub(crate) async fn of(&self, key: &str) -> Turn {
        let turn = {
            let mut keys = self.keys.lock().expect("no panic while held");
            match keys.get(key).and_then(Weak::upgrade) {
                Some(turn) => turn,
                None => {
                    keys.retain(|_, turn| turn.strong_count() > 0);
                    let turn = Arc::default();
                    keys.insert(key.to_owned(), Arc::downgrade(&turn));
                    turn
                }
            }
        };
        turn.lock_owned().await
    }
}
