//! Claims about waiting that has an end, and about the jobs below a job.

use super::sample::{audit, create, edit, entry, id, job};
use crate::{Error, Store};
use dauer_core::{EndsChildren, Job, Operation, State, Timestamp};
use std::sync::Arc;

const ENDING: EndsChildren = EndsChildren {
    grace_ms: Some(5),
    done: false,
};

fn child(n: u64, parent: u64) -> Job {
    let mut child = job(n);
    child.spec_mut().parent = Some(id(parent));
    child
}

pub(super) async fn what_waits_too_long_is_found_the_earliest_first(store: Arc<dyn Store>) {
    for (n, expires_at, state, operation) in [
        (1, Some(30), State::Pending, None),
        (2, Some(10), State::PendingRetry, None),
        (3, Some(20), State::Suspended, None),
        (4, None, State::Pending, None),
        (5, Some(5), State::Suspended, Some(Operation::Waking)),
        (6, Some(5), State::Running, None),
        (7, Some(5), State::Failed, None),
    ] {
        let mut new = create(&*store, n).await;
        edit(&*store, &mut new, |job| {
            (job.state, job.operation) = (state, operation);
            job.expires_at = expires_at.map(Timestamp);
        })
        .await;
    }
    let all = [(2, 10), (3, 20), (1, 30)].map(|(n, at)| (id(n), Timestamp(at)));
    assert_eq!(store.expiring(9).await.unwrap(), all);
    assert_eq!(store.expiring(2).await.unwrap(), all[..2]);
    assert_eq!(store.expiring(0).await.unwrap(), []);
    // What waits no longer, or has no end any more, is not found.
    let mut first = store.job(&id(2)).await.unwrap();
    edit(&*store, &mut first, |job| job.state = State::Running).await;
    let mut second = store.job(&id(3)).await.unwrap();
    edit(&*store, &mut second, |job| job.expires_at = None).await;
    assert_eq!(store.expiring(9).await.unwrap(), all[2..]);
}

pub(super) async fn a_new_job_expires_as_its_record_says(store: Arc<dyn Store>) {
    let mut spec = Arc::unwrap_or_clone(job(1).spec);
    spec.queue_timeout_ms = Some(500);
    let new = Job::new(id(1), spec, Timestamp(1000));
    store.create(new, entry("created")).await.unwrap();
    let expiring = store.expiring(9).await.unwrap();
    assert_eq!(expiring, [(id(1), Timestamp(1500))]);
}

pub(super) async fn children_come_in_pages_and_stay_when_their_parent_goes(store: Arc<dyn Store>) {
    let mut parent = create(&*store, 1).await;
    create(&*store, 2).await;
    for n in 3..=7 {
        let child = child(n, 1);
        store.create(child.clone(), entry("created")).await.unwrap();
        assert_eq!(store.job(&id(n)).await.unwrap(), child);
    }
    store.create(child(8, 3), entry("created")).await.unwrap();
    let page = async |after: Option<u64>, limit: usize| {
        let after = after.map(id);
        store.children(&id(1), after.as_ref(), limit).await.unwrap()
    };
    assert_eq!(page(None, 9).await, (3..=7).map(id).collect::<Vec<_>>());
    assert_eq!(page(Some(4), 2).await, [id(5), id(6)]);
    assert_eq!(page(Some(7), 2).await, []);
    edit(&*store, &mut parent, |job| job.state = State::Failed).await;
    store
        .remove(&id(1), parent.version, audit("job_removed"))
        .await
        .unwrap();
    assert_eq!(page(None, 9).await.len(), 5);
    // One that is not there has no children.
    let result = store.create(child(9, 1), entry("created")).await;
    assert!(matches!(result, Err(Error::NotFound(_))), "{result:?}");
}

pub(super) async fn a_job_that_is_cancelled_with_its_children_gets_no_further_ones(
    store: Arc<dyn Store>,
) {
    let mut parent = create(&*store, 1).await;
    store.create(child(2, 1), entry("created")).await.unwrap();
    edit(&*store, &mut parent, |job| {
        job.state = State::Cancelled;
        job.ends_children = Some(ENDING);
    })
    .await;
    // Somebody has to see to that, also after the next start.
    let unsettled = store.unsettled().await.unwrap();
    assert_eq!(unsettled.len(), 1);
    assert_eq!(unsettled[0].ends_children, Some(ENDING));
    let refused = async |n: u64| match store.create(child(n, 1), entry("created")).await {
        Err(Error::ParentEnding(parent)) => assert_eq!(parent, id(1)),
        other => panic!("{other:?}"),
    };
    refused(3).await;
    let done = EndsChildren {
        done: true,
        ..ENDING
    };
    edit(&*store, &mut parent, |job| job.ends_children = Some(done)).await;
    refused(4).await;
    assert_eq!(store.unsettled().await.unwrap(), []);
    assert_eq!(store.children(&id(1), None, 9).await.unwrap(), [id(2)]);
    // Tried again it may have some again.
    edit(&*store, &mut parent, |job| job.ends_children = None).await;
    store.create(child(5, 1), entry("created")).await.unwrap();
}
