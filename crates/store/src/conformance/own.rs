//! Claims about what a job asks for itself: its output, signals and waits.

use super::beside::{keep, signal};
use super::sample::{audit, become_state, change, create};
use crate::{Error, SignalFor, Store};
use dauer_core::{Job, Json, Kept, State, Timestamp, Wait};
use std::sync::Arc;

async fn send(store: &dyn Store, job: &mut Job, id: &str, name: &str) {
    let sent = signal(&job.id, id, name);
    keep(store, job, vec![Kept::Signal(sent)]).await;
}

fn taken(signal: &str, token: &str) -> Vec<Kept> {
    vec![Kept::SignalTaken {
        signal: signal.into(),
        token: token.into(),
    }]
}

/// The id of what this wait gets, with `=` before it where it has it already.
async fn gets(store: &dyn Store, job: &Job, name: &str, token: &str) -> Option<String> {
    let found = store.signal_for(&job.id, name, token).await.unwrap();
    found.map(|found| match found {
        SignalFor::Taken(signal) => format!("={}", signal.id),
        SignalFor::Waiting(signal) => signal.id,
    })
}

pub(super) async fn an_output_is_kept_as_it_was_written_and_the_last_counts(store: Arc<dyn Store>) {
    let (mut job, other) = (create(&*store, 1).await, create(&*store, 2).await);
    assert_eq!(store.output(&job.id).await.unwrap(), None);
    for text in [
        "null",
        "{\"b\": 0.10, \"a\": 12345678901234567890123}",
        "\"ü \\u0000\"",
    ] {
        let output = Json(text.into());
        keep(&*store, &mut job, vec![Kept::Output(output.clone())]).await;
        assert_eq!(store.output(&job.id).await.unwrap(), Some(output));
    }
    assert_eq!(store.output(&other.id).await.unwrap(), None);
}

pub(super) async fn signals_are_taken_once_and_in_order_by_name(store: Arc<dyn Store>) {
    let (mut job, mut other) = (create(&*store, 1).await, create(&*store, 2).await);
    for (id, name) in [("9", "go"), ("5", "stop"), ("1", "go"), ("9", "stop")] {
        send(&*store, &mut job, id, name).await;
    }
    send(&*store, &mut other, "0", "go").await;
    assert_eq!(store.signals_waiting(&job.id).await.unwrap(), 3);
    assert!(store.has_signal(&job.id, "9").await.unwrap());
    assert!(!store.has_signal(&job.id, "0").await.unwrap());
    assert_eq!(gets(&*store, &job, "go", "a").await.as_deref(), Some("9"));
    keep(&*store, &mut job, taken("9", "a")).await;
    assert_eq!(gets(&*store, &job, "go", "a").await.as_deref(), Some("=9"));
    assert_eq!(
        gets(&*store, &job, "stop", "a").await.as_deref(),
        Some("=9")
    );
    assert_eq!(gets(&*store, &job, "go", "b").await.as_deref(), Some("1"));
    assert_eq!(gets(&*store, &job, "stop", "b").await.as_deref(), Some("5"));
    // A second taking of the same, and of what is not there, is refused whole.
    for wrong in ["9", "zzz"] {
        let mut again = change(&mut job.clone(), |job| job.state = State::Running);
        again.kept = taken(wrong, "b");
        let result = store.commit(again).await;
        assert!(matches!(result, Err(Error::Backend(_))), "{result:?}");
        assert_eq!(store.job(&job.id).await.unwrap(), job);
    }
    assert_eq!(gets(&*store, &other, "go", "a").await.as_deref(), Some("0"));
}

pub(super) async fn what_was_taken_waits_again_after_a_rollback_but_not_behind_a_checkpoint(
    store: Arc<dyn Store>,
) {
    let (mut job, mut other) = (create(&*store, 1).await, create(&*store, 2).await);
    for id in ["1", "2", "3"] {
        send(&*store, &mut job, id, "go").await;
        send(&*store, &mut other, id, "go").await;
    }
    keep(&*store, &mut job, taken("1", "a")).await;
    keep(&*store, &mut job, vec![Kept::SignalsSealed]).await;
    keep(&*store, &mut job, taken("2", "b")).await;
    keep(&*store, &mut job, taken("3", "c")).await;
    keep(&*store, &mut other, taken("1", "a")).await;
    keep(&*store, &mut job, vec![Kept::SignalsFreed]).await;
    assert_eq!(gets(&*store, &job, "go", "a").await.as_deref(), Some("=1"));
    // The same token gets the same signal, a new one the oldest.
    assert_eq!(gets(&*store, &job, "go", "c").await.as_deref(), Some("3"));
    assert_eq!(gets(&*store, &job, "go", "d").await.as_deref(), Some("2"));
    assert_eq!(
        gets(&*store, &other, "go", "a").await.as_deref(),
        Some("=1")
    );
    keep(&*store, &mut job, taken("2", "d")).await;
    assert_eq!(gets(&*store, &job, "go", "b").await.as_deref(), Some("3"));
}

pub(super) async fn a_program_that_begins_anew_finds_every_signal_and_nothing_it_left(
    store: Arc<dyn Store>,
) {
    let mut job = create(&*store, 1).await;
    for id in ["1", "2"] {
        send(&*store, &mut job, id, "go").await;
    }
    keep(&*store, &mut job, taken("1", "a")).await;
    keep(&*store, &mut job, vec![Kept::SignalsSealed]).await;
    keep(&*store, &mut job, taken("2", "b")).await;
    let wait = Wait {
        job: job.id.clone(),
        token: "t".into(),
        give_up_at: Timestamp(1),
        timed_out: true,
    };
    let left = vec![Kept::Output(Json("1".into())), Kept::Wait(wait)];
    keep(&*store, &mut job, left).await;
    keep(&*store, &mut job, vec![Kept::BegunAnew]).await;
    assert_eq!(gets(&*store, &job, "go", "b").await.as_deref(), Some("1"));
    assert_eq!(store.signals_waiting(&job.id).await.unwrap(), 2);
    assert_eq!(store.output(&job.id).await.unwrap(), None);
    assert_eq!(store.wait(&job.id, "t").await.unwrap(), None);
}

pub(super) async fn a_wait_keeps_its_end(store: Arc<dyn Store>) {
    let mut job = create(&*store, 1).await;
    let wait = |timed_out| Wait {
        job: job.id.clone(),
        token: "t".into(),
        give_up_at: Timestamp(1_700_000_000_000),
        timed_out,
    };
    let waits = [wait(false), wait(true)];
    for wait in waits {
        keep(&*store, &mut job, vec![Kept::Wait(wait.clone())]).await;
        assert_eq!(store.wait(&job.id, "t").await.unwrap(), Some(wait));
    }
    assert_eq!(store.wait(&job.id, "u").await.unwrap(), None);
}

pub(super) async fn what_a_removed_job_kept_goes_with_it(store: Arc<dyn Store>) {
    let mut job = create(&*store, 1).await;
    let wait = Wait {
        job: job.id.clone(),
        token: "t".into(),
        give_up_at: Timestamp(1),
        timed_out: false,
    };
    let output = Kept::Output(Json("1".into()));
    keep(&*store, &mut job, vec![output, Kept::Wait(wait)]).await;
    send(&*store, &mut job, "1", "go").await;
    become_state(&*store, &mut job, State::Failed).await;
    store
        .remove(&job.id, job.version, audit("job_removed"))
        .await
        .unwrap();
    let again = create(&*store, 1).await;
    assert_eq!(store.output(&again.id).await.unwrap(), None);
    assert_eq!(gets(&*store, &again, "go", "a").await, None);
    assert_eq!(store.wait(&again.id, "t").await.unwrap(), None);
}

pub(super) async fn a_change_without_an_entry_is_not_in_the_journal(store: Arc<dyn Store>) {
    let mut job = create(&*store, 1).await;
    let mut quiet = change(&mut job, |job| job.generation = 7);
    quiet.entry = None;
    store.commit(quiet).await.unwrap();
    assert_eq!(store.job(&job.id).await.unwrap(), job);
    assert_eq!(store.journal(None, 0, 9).await.unwrap().len(), 1);
}
