//! Claims about what is due and what is unfinished.

use super::sample::{create, edit, id};
use crate::Store;
use dauer_core::{JobId, Operation, State, Timestamp};
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

pub(super) async fn due_jobs_come_earliest_first(store: Arc<dyn Store>) {
    assert_eq!(store.next_wake().await.unwrap(), None);
    for (n, wake_at) in [
        (1, Some(30)),
        (2, Some(10)),
        (3, None),
        (4, Some(20)),
        (5, Some(40)),
    ] {
        let mut job = create(&*store, n).await;
        edit(&*store, &mut job, |job| {
            job.state = State::Suspended;
            job.wake_at = wake_at.map(Timestamp);
        })
        .await;
    }
    let due = async |now: i64, limit: usize| store.due(Timestamp(now), limit).await.unwrap();
    assert_eq!(store.next_wake().await.unwrap(), Some(Timestamp(10)));
    assert_eq!(due(9, 9).await, []);
    assert_eq!(due(10, 9).await, [id(2)]);
    assert_eq!(due(30, 9).await, [id(2), id(4), id(1)]);
    assert_eq!(due(i64::MAX, 2).await, [id(2), id(4)]);
    assert_eq!(due(i64::MAX, 0).await, []);
    // One that woke is not due any more.
    let mut woken = store.job(&id(2)).await.unwrap();
    edit(&*store, &mut woken, |job| {
        job.operation = Some(Operation::Waking)
    })
    .await;
    assert_eq!(store.next_wake().await.unwrap(), Some(Timestamp(20)));
    assert_eq!(due(i64::MAX, 9).await, [id(4), id(1), id(5)]);
}

pub(super) async fn only_suspended_jobs_without_an_operation_wake(store: Arc<dyn Store>) {
    let mut n = 0;
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
        }
    }
    let due = store.due(Timestamp(i64::MAX), usize::MAX).await.unwrap();
    assert_eq!(due.len(), 1);
    let job = store.job(&due[0]).await.unwrap();
    assert_eq!((job.state, job.operation), (State::Suspended, None));
    assert_eq!(store.next_wake().await.unwrap(), job.wake_at);
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
                State::Pending | State::Running | State::Stopped | State::Error => false,
                State::Suspended
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
        assert_eq!(store.job(&job.id).await.unwrap(), job);
    }
}
