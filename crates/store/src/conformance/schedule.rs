//! Claims about what is due and what is unfinished.

use super::sample::{create, due, edit, entry, id, job, listed};
use crate::Store;
use dauer_core::plan::turn::{self, Ask};
use dauer_core::{Job, JobId, Operation, Priority, State, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;

const OPERATIONS: [Option<Operation>; 8] = [
    None,
    Some(Operation::Starting),
    Some(Operation::Checkpointing),
    Some(Operation::Suspending),
    Some(Operation::Waking),
    Some(Operation::Terminating),
    Some(Operation::Exiting),
    Some(Operation::Restarting),
];

pub(super) async fn due_jobs_come_by_priority_then_the_earliest_first(store: Arc<dyn Store>) {
    assert_eq!(store.next_wake(Timestamp(0)).await.unwrap(), None);
    for (n, wake_at, priority) in [
        (1, Some(30), Priority::Normal),
        (2, Some(10), Priority::Normal),
        (3, None, Priority::Critical),
        (4, Some(20), Priority::High),
        (5, Some(40), Priority::Critical),
        (6, Some(5), Priority::Low),
    ] {
        let mut new = job(n);
        new.spec_mut().priority = priority;
        store.create(new.clone(), entry("created")).await.unwrap();
        edit(&*store, &mut new, |job| {
            job.state = State::Suspended;
            job.wake_at = wake_at.map(Timestamp);
        })
        .await;
    }
    let due = async |now: i64, limit: usize| -> Vec<JobId> {
        let due = store
            .due(Timestamp(now), &Ask::anything(limit))
            .await
            .unwrap();
        due.into_iter().map(|due| due.job).collect()
    };
    let next = async |now: i64| store.next_wake(Timestamp(now)).await.unwrap();
    assert_eq!(next(0).await, Some(Timestamp(5)));
    assert_eq!(next(20).await, Some(Timestamp(30)));
    assert_eq!(next(40).await, None);
    assert_eq!(due(4, 9).await, []);
    assert_eq!(due(5, 9).await, [id(6)]);
    assert_eq!(due(30, 9).await, [id(4), id(2), id(1), id(6)]);
    assert_eq!(due(i64::MAX, 2).await, [id(5), id(4)]);
    assert_eq!(due(i64::MAX, 0).await, []);
    // One that woke is not due any more.
    let mut woken = store.job(&id(2)).await.unwrap();
    edit(&*store, &mut woken, |job| {
        job.operation = Some(Operation::Waking)
    })
    .await;
    assert_eq!(next(5).await, Some(Timestamp(20)));
    assert_eq!(due(i64::MAX, 9).await, [id(5), id(4), id(1), id(6)]);
}

pub(super) async fn only_what_waits_without_an_operation_is_due(store: Arc<dyn Store>) {
    let (mut n, mut expected) = (0, Vec::new());
    for state in State::ALL {
        for operation in OPERATIONS {
            n += 1;
            let mut job = create(&*store, n).await;
            edit(&*store, &mut job, |job| {
                job.state = state;
                job.operation = operation;
                job.wake_at = Some(Timestamp(i64::try_from(n).unwrap()));
            })
            .await;
            let waits = match state {
                State::Pending | State::Suspended | State::PendingRetry => operation.is_none(),
                State::Running
                | State::Completed
                | State::Failed
                | State::Cancelled
                | State::Stopped
                | State::Error => false,
            };
            if waits {
                expected.push(due(&job));
            }
        }
    }
    let found = store
        .due(Timestamp(i64::MAX), &Ask::anything(usize::MAX))
        .await
        .unwrap();
    turn::sort(&mut expected);
    assert_eq!(found, expected);
    let first = store.next_wake(Timestamp(0)).await.unwrap();
    assert_eq!(first, Some(expected[0].wake_at));
}

pub(super) async fn a_new_job_is_due_at_once_or_at_its_time(store: Arc<dyn Store>) {
    let now = create(&*store, 1).await;
    let mut later = Arc::unwrap_or_clone(job(2).spec);
    later.run_at = Some(now.created_at.plus_ms(500));
    let later = Job::new(id(2), later, now.created_at);
    store.create(later.clone(), entry("created")).await.unwrap();
    let at_once = store.due(now.created_at, &Ask::anything(9)).await.unwrap();
    assert_eq!(at_once, [due(&now)]);
    let next = store.next_wake(now.created_at).await.unwrap();
    assert_eq!(next, later.spec.run_at);
    let both = store
        .due(now.created_at.plus_ms(500), &Ask::anything(9))
        .await
        .unwrap();
    assert_eq!(both, [due(&now), due(&later)]);
}

pub(super) async fn unsettled_is_what_recovery_has_to_look_at(store: Arc<dyn Store>) {
    let (mut n, mut expected) = (0, BTreeSet::<JobId>::new());
    for state in State::ALL {
        for operation in OPERATIONS {
            n += 1;
            let mut job = create(&*store, n).await;
            edit(&*store, &mut job, |job| {
                job.state = state;
                job.operation = operation;
            })
            .await;
            let rests = match state {
                State::Running | State::Stopped | State::Error => false,
                State::Pending
                | State::Suspended
                | State::PendingRetry
                | State::Completed
                | State::Failed
                | State::Cancelled => operation.is_none(),
            };
            if !rests {
                expected.insert(job.id);
            }
        }
    }
    let unsettled = store.unsettled().await.unwrap();
    assert_eq!(unsettled.len(), expected.len());
    assert_eq!(
        unsettled
            .iter()
            .map(|job| job.id.clone())
            .collect::<BTreeSet<_>>(),
        expected
    );
    for job in unsettled {
        assert_eq!(listed(&store.job(&job.id).await.unwrap()), job);
    }
}
