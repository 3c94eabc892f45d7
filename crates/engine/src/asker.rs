//! Who asks, on the way from a request to the journal: set once where a request comes in, read where something is committed for it.

use crate::clock;
use dauer_store::NewAudit;
use std::future::Future;
use std::sync::Arc;
use tokio::task::futures::TaskLocalFuture;

/// Who asks where nobody does: the daemon itself, by its clock or by what it saw.
pub(crate) const NODE: &str = "node";

tokio::task_local! {
    static CURRENT: Option<Arc<Asker>>;
}

/// Somebody who asks for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    by: String,
    why: Option<String>,
}

impl Asker {
    /// Written as `kind:who`: `uid:0`, `token:ci`, `job:<id>`, `schedule:<name>`.
    #[must_use]
    pub fn new(kind: &str, who: impl std::fmt::Display) -> Self {
        Self {
            by: format!("{kind}:{who}"),
            why: None,
        }
    }

    /// What for, in their words.
    #[must_use]
    pub fn because(mut self, why: Option<String>) -> Self {
        self.why = why;
        self
    }

    /// Runs `work` as what this one asks for.
    pub fn asks<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(Some(Arc::new(self)), work)
    }

    /// Who, and what for, as the journal has it.
    pub(crate) fn words<B: From<&'static str> + From<String>>(
        asker: Option<&Self>,
    ) -> (Option<B>, Option<String>) {
        match asker {
            Some(asker) => (Some(asker.by.clone().into()), asker.why.clone()),
            None => (Some(NODE.into()), None),
        }
    }
}

/// What the history says of something that is done now to what is not a job.
pub(crate) fn audit(event: &str, subject: impl ToString, detail: Option<String>) -> NewAudit {
    let (by, why) = Asker::words(current().as_deref());
    NewAudit {
        at: clock::now(),
        event: event.to_owned(),
        subject: subject.to_string(),
        detail,
        by,
        why,
    }
}

/// Who asks here; `None` where it is the daemon itself.
pub(crate) fn current() -> Option<Arc<Asker>> {
    CURRENT.try_with(Clone::clone).ok().flatten()
}

/// Takes along who asks here to `work` that begins later, such as a connection that outlives its request.
pub fn still_asked<T, F: Future>(
    work: impl FnOnce(T) -> F,
) -> impl FnOnce(T) -> TaskLocalFuture<Option<Arc<Asker>>, F> {
    let asker = current();
    move |given| CURRENT.scope(asker, work(given))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_is_known_inside_and_taken_along_and_forgotten_outside() {
        assert_eq!(current(), None);
        let asker = Asker::new("uid", 7).because(Some("a test".into()));
        let (inside, later) = asker
            .clone()
            .asks(async {
                let later = still_asked(|()| async { current() });
                (current(), later)
            })
            .await;
        assert_eq!(inside.as_deref(), Some(&asker));
        assert_eq!(
            tokio::spawn(later(())).await.unwrap().as_deref(),
            Some(&asker)
        );
        assert_eq!(current(), None);
        assert_eq!(
            Asker::words::<String>(Some(&asker)),
            (Some("uid:7".into()), Some("a test".into()))
        );
        assert_eq!(Asker::words::<String>(None), (Some("node".into()), None));
    }
}
