//! Word of what others do: every handle listens, and says what it commits where others do too.
//!
//! Who is alone says nothing: a handle that begins to listen says hello, and those that hear it answer. Where nobody can listen, because
//! a pooler gives each transaction another connection, the journal is looked at now and then.

use super::connection::{Connection, Way};
use super::fault::Fault;
use super::patience::Patience;
use super::plan::{Batch, Plan, row};
use super::readers::Readers;
use super::sql::{read, write as sql};
use crate::Notice;
use dauer_core::JobId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use uuid::Uuid;

/// A message has room for so many bytes of ids.
const MESSAGE_BYTES_MAX: usize = 7_500;

/// Who is slower than this is told that they missed something.
const NOTICES_KEPT: usize = 1024;

/// Who does not hear their own word for so long does not hear anything.
const ECHO_MAX: Duration = Duration::from_secs(5);

/// How often the journal is looked at where nobody can listen.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// So many looks go by before settings are thought to have changed.
const LOOKS_BETWEEN_SETTINGS: u64 = 8;

/// So much of the journal at once.
const LOOK_LIMIT: i64 = 1000;

/// What this handle says.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    id: Uuid,
    channel: String,
    /// Somebody else may be listening.
    others: Arc<AtomicBool>,
}

impl Voice {
    pub(super) fn of(way: &Way) -> Self {
        Self {
            id: Uuid::new_v4(),
            channel: format!("dauer_{}", way.settings.schema),
            others: Arc::new(AtomicBool::new(true)),
        }
    }

    /// What is said of a group, with it.
    pub(super) fn word(&self, plan: &Plan<'_>) -> Option<Batch<'static>> {
        if !self.others.load(Ordering::Relaxed) {
            return None;
        }
        let work = if plan.makes_work { "work" } else { "jobs" };
        let begin = || format!("{} {work}", self.id);
        let mut messages = Vec::new();
        let mut message = begin();
        for id in plan.changed() {
            if message.len() + id.len() > MESSAGE_BYTES_MAX {
                messages.push(std::mem::replace(&mut message, begin()));
            }
            message.push(' ');
            message.push_str(id);
        }
        let says_something = plan.makes_work || message.contains("jobs ");
        if says_something {
            messages.push(message);
        }
        if plan.changes_settings {
            messages.push(format!("{} settings", self.id));
        }
        let mut word: Option<Batch<'static>> = None;
        for message in messages {
            let word = word.get_or_insert_with(|| Batch::of(&sql::NOTIFY));
            word.push(row![self.channel.clone(), message]);
        }
        word
    }

    async fn say(&self, connection: &Connection, what: &str) -> Result<(), Fault> {
        let (channels, words) = ([&self.channel], [format!("{} {what}", self.id)]);
        connection
            .rows(&sql::NOTIFY, &[&&channels[..], &&words[..]])
            .await?;
        Ok(())
    }
}

/// What this handle hears. It ends with the last clone.
#[derive(Clone, Debug)]
pub(super) struct Ears {
    notices: broadcast::Sender<Notice>,
    _task: Arc<Task>,
}

#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Ears {
    pub(super) fn open(way: Arc<Way>, voice: Voice, readers: Readers) -> Self {
        let (notices, _) = broadcast::channel(NOTICES_KEPT);
        let listener = Listener {
            way,
            voice,
            readers,
            notices: notices.clone(),
        };
        let task = tokio::spawn(listener.listen()).abort_handle();
        Self {
            notices,
            _task: Arc::new(Task(task)),
        }
    }

    pub(super) fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// After a while there may be something that was promised to somebody else and not begun.
    pub(super) fn look_again_in(&self, wait: Duration) {
        let notices = self.notices.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            // Nobody listens: nobody waits for it.
            let _ = notices.send(Notice::Work);
        });
    }
}

struct Listener {
    way: Arc<Way>,
    voice: Voice,
    readers: Readers,
    notices: broadcast::Sender<Notice>,
}

impl Listener {
    async fn listen(self) {
        let mut patience = Patience::new();
        loop {
            let heard = self.hear().await;
            // Whoever came meanwhile was not heard.
            self.voice.others.store(true, Ordering::Relaxed);
            match heard {
                Ok(Heard::Nothing) => {
                    tracing::info!(
                        store = self.way.place(),
                        "the store cannot say what others do there (a pooler?): it is asked every {} s",
                        LOOK_EVERY.as_secs()
                    );
                    return self.look().await;
                }
                Ok(Heard::Until) => patience = Patience::new(),
                Err(fault) => {
                    tracing::debug!(?fault, "the store does not say what others do there");
                }
            }
            patience.pause().await;
        }
    }

    /// Listens until the connection ends.
    async fn hear(&self) -> Result<Heard, Fault> {
        let (heard, mut words) = mpsc::unbounded_channel();
        let connection = self.way.connect_listening(Some(heard)).await?;
        if self.way.is_pooled() {
            return Ok(Heard::Nothing);
        }
        connection
            .execute(&format!("LISTEN {}", self.voice.channel))
            .await?;
        self.voice.say(&connection, "hello").await?;
        // From here on every word is heard; before it, some may not have been.
        self.tell_anything();
        let own = self.voice.id.to_string();
        let echo = async {
            while let Some(word) = words.recv().await {
                if word.starts_with(&own) {
                    return true;
                }
                self.hear_one(&connection, &word).await;
            }
            false
        };
        self.voice.others.store(false, Ordering::Relaxed);
        match timeout(ECHO_MAX, echo).await {
            Ok(true) => {}
            Ok(false) => return Ok(Heard::Until),
            Err(_) => return Ok(Heard::Nothing),
        }
        while let Some(word) = words.recv().await {
            if !word.starts_with(&own) {
                self.hear_one(&connection, &word).await;
            }
        }
        Ok(Heard::Until)
    }

    /// A word of somebody else.
    async fn hear_one(&self, connection: &Connection, word: &str) {
        self.voice.others.store(true, Ordering::Relaxed);
        let mut parts = word.split(' ').skip(1);
        match parts.next() {
            Some("hello") => {
                self.tell_anything();
                if let Err(fault) = self.voice.say(connection, "here").await {
                    tracing::debug!(?fault, "a hello was not answered");
                }
            }
            // It may have said something that was not heard yet, or nothing because it did not hear of this one.
            Some("here") => self.tell_anything(),
            Some("settings") => self.tell(Notice::Settings),
            Some(kind) => {
                for id in parts {
                    self.tell(Notice::Job(JobId(id.to_owned())));
                }
                if kind == "work" {
                    self.tell(Notice::Work);
                }
            }
            None => {}
        }
    }

    /// Looks at the journal now and then.
    async fn look(&self) {
        let newest = self.readers.rows(&read::JOURNAL_NEWEST, &[]).await;
        let mut seen: i64 = newest
            .ok()
            .and_then(|rows| rows.first()?.try_get(0).ok())
            .unwrap_or(0);
        for look in 0_u64.. {
            tokio::time::sleep(LOOK_EVERY).await;
            // Nothing in the journal says so.
            if look.is_multiple_of(LOOKS_BETWEEN_SETTINGS) {
                self.tell(Notice::Settings);
            }
            let rows = match self
                .readers
                .rows(&read::JOURNAL, &[&seen, &LOOK_LIMIT])
                .await
            {
                Ok(rows) => rows,
                Err(fault) => {
                    tracing::debug!(?fault, "the journal of the store could not be looked at");
                    continue;
                }
            };
            for row in &rows {
                if let (Ok(seq), Ok(job)) = (row.try_get(0), row.try_get(1)) {
                    seen = seq;
                    self.tell(Notice::Job(JobId(job)));
                }
            }
            if !rows.is_empty() {
                self.tell(Notice::Work);
            }
        }
    }

    /// Something may have been said that was not heard.
    fn tell_anything(&self) {
        self.tell(Notice::Work);
        self.tell(Notice::Settings);
    }

    fn tell(&self, notice: Notice) {
        // Nobody listens: nobody waits for it.
        let _ = self.notices.send(notice);
    }
}

/// How listening ended.
enum Heard {
    /// The connection ended.
    Until,
    /// Not even its own word.
    Nothing,
}
