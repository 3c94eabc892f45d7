//! Claims about what one handle is told of the writes of another.

use super::access::token;
use super::sample::{audit, create, id};
use crate::{Notice, Store};
use dauer_core::{Queue, Scope};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;

/// Who hears nothing for so long was not told.
const TOLD_MAX: Duration = Duration::from_secs(20);

/// Jobs that are made until one is heard of.
const TRIES: u64 = 20;

async fn hears(heard: &mut Receiver<Notice>, wanted: &Notice, max: Duration) -> bool {
    let told = async { while heard.recv().await.expect("the store goes on") != *wanted {} };
    timeout(max, told).await.is_ok()
}

/// Returns when it hears what is written from then on: a store may begin to listen only when somebody wants to hear.
async fn listens(heard: &mut Receiver<Notice>, writes: &dyn Store) {
    for n in 0..TRIES {
        create(writes, n).await;
        if hears(heard, &Notice::Job(id(n)), TOLD_MAX / 20).await {
            // What is said to who begins to listen came before that.
            while heard.try_recv().is_ok() {}
            return;
        }
    }
    panic!("nothing was ever heard");
}

pub(super) async fn what_one_sets_for_all_the_others_are_told(stores: [Arc<dyn Store>; 3]) {
    let [one, other, third] = stores;
    drop(third);
    let Some(mut heard) = other.notices() else {
        return;
    };
    let mail = Queue {
        name: "mail".into(),
        ..Queue::default()
    };
    listens(&mut heard, &*one).await;
    for what in ["set", "removed", "made", "revoked"] {
        let done = match what {
            "set" => one.set_queue(mail.clone(), audit("queue_set")).await,
            "removed" => one.remove_queue("mail", audit("queue_removed")).await,
            "made" => {
                let token = token("a", Scope::Read);
                one.add_access_token(token, audit("token_added")).await
            }
            _ => one.remove_access_token("a", audit("token_removed")).await,
        };
        done.unwrap();
        let told = hears(&mut heard, &Notice::Settings, TOLD_MAX).await;
        assert!(told, "nobody said that it was {what}");
    }
}
