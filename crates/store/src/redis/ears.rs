//! Word of what other handles wrote: one connection that is told of it, made when somebody first wants to know.

use super::link::Link;
use super::writer::Handle;
use crate::Notice;
use futures_util::StreamExt;
use redis::RedisError;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::broadcast;
use tracing::warn;

/// Whoever is so far behind looks at everything again.
const NOTICES_MAX: usize = 1024;

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Cheap to clone. Its task ends when nobody has one.
#[derive(Clone, Debug)]
pub(super) struct Ears(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    notices: broadcast::Sender<Notice>,
    link: Arc<Link>,
    handle: Arc<Handle>,
}

impl Ears {
    pub(super) fn of(link: Arc<Link>, handle: Arc<Handle>) -> Self {
        let (notices, _) = broadcast::channel(NOTICES_MAX);
        Self(Arc::new(Shared {
            notices,
            link,
            handle,
        }))
    }

    /// What others do, from about now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<Notice> {
        let receiver = self.0.notices.subscribe();
        if !self.0.handle.wants_to_listen.swap(true, Ordering::SeqCst) {
            tokio::spawn(stay(Arc::downgrade(&self.0)));
        }
        receiver
    }
}

async fn stay(ears: Weak<Shared>) {
    let mut pause = PAUSE_MIN;
    while let Some(present) = ears.upgrade() {
        let (link, handle) = (Arc::clone(&present.link), Arc::clone(&present.handle));
        drop(present);
        let heard = hear(&link, &handle, &ears, &mut pause).await;
        handle.listens.store(false, Ordering::SeqCst);
        if let Err(error) = heard {
            warn!(at = link.address.shown, %error, "redis: no word of what others do; asking again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Until the connection breaks, or nobody wants to hear any more.
async fn hear(
    link: &Link,
    handle: &Handle,
    ears: &Weak<Shared>,
    pause: &mut Duration,
) -> Result<(), RedisError> {
    let mut heard = link.address.client.get_async_pubsub().await?;
    heard
        .subscribe(format!("{}notices", link.address.prefix))
        .await?;
    handle.listens.store(true, Ordering::SeqCst);
    *pause = PAUSE_MIN;
    let mut messages = heard.on_message();
    // What was said before, nobody heard.
    tell(ears, "anything", "");
    loop {
        let Some(message) = messages.next().await else {
            return Ok(());
        };
        let text: String = message.get_payload()?;
        let mut parts = text.splitn(3, '\n');
        let (from, work, jobs) = (parts.next(), parts.next(), parts.next());
        if from != Some(handle.name.as_str())
            && !tell(ears, work.unwrap_or_default(), jobs.unwrap_or_default())
        {
            return Ok(());
        }
    }
}

/// False where the store is gone.
fn tell(ears: &Weak<Shared>, work: &str, jobs: &str) -> bool {
    let Some(present) = ears.upgrade() else {
        return false;
    };
    let said: &[Notice] = match work {
        "" => &[],
        "settings" => &[Notice::Settings],
        "anything" => &[Notice::Work, Notice::Settings],
        _ => &[Notice::Work],
    };
    let jobs = jobs.lines().map(|job| Notice::Job(job.into()));
    for notice in jobs.chain(said.iter().cloned()) {
        // Nobody listens at the moment.
        let _ = present.notices.send(notice);
    }
    true
}
