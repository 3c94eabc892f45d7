//! Claims about accepting jobs: batches, keys of requests, parameters.

use super::sample::{audit, become_state, change, create, entry, id, job, listed, named};
use crate::{Change, Error, Filter, Keyed, NewJob, Store};
use dauer_core::{Job, State};
use std::sync::Arc;

pub(super) fn new(job: Job, key: Option<(&str, &str)>) -> NewJob {
    NewJob {
        job,
        entry: entry("submitted"),
        key: key.map(|(key, digest)| (key.to_owned(), digest.to_owned())),
        shares: None,
    }
}

pub(super) async fn all_jobs_of_a_batch_are_added_or_none(store: Arc<dyn Store>) {
    let batch = (1..=500).map(|n| new(job(n), None)).collect();
    store.create_all(batch).await.unwrap();
    assert_eq!(store.job(&id(500)).await.unwrap(), job(500));
    assert_eq!(store.journal(None, 0, 1000).await.unwrap().len(), 500);
    store
        .create(named(600, Some("taken")), entry("created"))
        .await
        .unwrap();
    // The last of them cannot be: nor can the others then.
    let mut batch: Vec<NewJob> = (601..=700)
        .map(|n| new(job(n), Some((&format!("k{n}"), "d"))))
        .collect();
    batch.push(new(named(701, Some("taken")), None));
    match store.create_all(batch).await {
        Err(Error::NameInUse { job, .. }) => assert_eq!(job, id(600)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(store.job(&id(601)).await, Err(Error::NotFound(_))));
    assert!(store.keyed(vec!["k601".into()]).await.unwrap().is_empty());
    let filter = Filter {
        limit: 1000,
        ..Filter::default()
    };
    assert_eq!(store.list(filter).await.unwrap().len(), 501);
    store.create_all(Vec::new()).await.unwrap();
}

pub(super) async fn a_job_is_added_with_its_first_change_or_not_at_all(store: Arc<dyn Store>) {
    let added = job(1);
    let mut begun = added.clone();
    let admitted = change(&mut begun, |job| job.state = State::Running);
    store
        .create_begun(vec![new(added, Some(("k", "d")))], vec![admitted])
        .await
        .unwrap();
    assert_eq!(store.job(&id(1)).await.unwrap(), begun);
    let journal = store.journal(Some(&id(1)), 0, 10).await.unwrap();
    let states: Vec<(Option<State>, State)> =
        journal.iter().map(|entry| (entry.from, entry.to)).collect();
    assert_eq!(
        states,
        [
            (None, State::Pending),
            (Some(State::Pending), State::Running)
        ]
    );
    // The key is taken: neither the job nor its change is there afterwards.
    let other = job(2);
    let mut begun = other.clone();
    let admitted = change(&mut begun, |job| job.state = State::Running);
    match store
        .create_begun(vec![new(other, Some(("k", "d")))], vec![admitted])
        .await
    {
        Err(Error::KeyInUse { used, .. }) => assert_eq!(used.job, id(1)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(store.job(&id(2)).await, Err(Error::NotFound(_))));
    assert_eq!(store.journal(None, 0, 10).await.unwrap().len(), 2);
    // A change that cannot be (it points to a checkpoint that is not there) takes the job with it.
    let third = job(3);
    let mut begun = third.clone();
    let admitted = change(&mut begun, |job| {
        job.checkpoint = Some("never taken".into());
    });
    store
        .create_begun(vec![new(third, None)], vec![admitted])
        .await
        .unwrap_err();
    assert!(matches!(store.job(&id(3)).await, Err(Error::NotFound(_))));
}

pub(super) async fn some_of_many_new_jobs_begin_with_them(store: Arc<dyn Store>) {
    let jobs: Vec<Job> = (1..=50).map(job).collect();
    let mut expected = Vec::new();
    let changes: Vec<Change> = jobs
        .iter()
        .enumerate()
        .filter(|(n, _)| n % 3 > 0)
        .map(|(_, job)| change(&mut job.clone(), |job| job.state = State::Running))
        .collect();
    for job in &jobs {
        let begun = changes.iter().find(|change| change.job.id == job.id);
        expected.push(begun.map_or(job, |begun| &begun.job).clone());
    }
    let taken = job(7);
    let of = |jobs: &[Job]| {
        jobs.iter()
            .map(|job| new(job.clone(), None))
            .collect::<Vec<_>>()
    };
    create(&*store, 7).await;
    let refused = store.create_begun(of(&jobs), changes.clone()).await;
    assert!(
        matches!(refused, Err(Error::Conflict { .. })),
        "{refused:?}"
    );
    assert_eq!(store.journal(None, 0, 1000).await.unwrap().len(), 1);
    let (jobs, changes) = (
        &jobs[7..],
        changes
            .into_iter()
            .filter(|change| change.job.id > taken.id),
    );
    store
        .create_begun(of(jobs), changes.collect())
        .await
        .unwrap();
    for (job, expected) in jobs.iter().zip(&expected[7..]) {
        assert_eq!(store.job(&job.id).await.unwrap(), *expected);
        let journal = store.journal(Some(&job.id), 0, 10).await.unwrap();
        let of: Vec<_> = journal.iter().map(|entry| (entry.from, entry.to)).collect();
        let begun = [
            (None, State::Pending),
            (Some(State::Pending), State::Running),
        ];
        assert_eq!(of, begun[..usize::try_from(expected.version).unwrap()]);
    }
    let unsettled: Vec<_> = store
        .unsettled()
        .await
        .unwrap()
        .into_iter()
        .map(|job| job.id)
        .collect();
    let running = expected[7..]
        .iter()
        .filter(|job| job.state == State::Running);
    assert_eq!(unsettled.len(), running.count());
}

pub(super) async fn of_many_equal_requests_with_a_key_one_makes_the_job(store: Arc<dyn Store>) {
    let tasks: Vec<_> = (1..=20)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let batch = vec![new(job(n), Some(("order 7/ü", "same")))];
                store.create_all(batch).await.map(|()| id(n))
            })
        })
        .collect();
    let (mut winners, mut told) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            Ok(id) => winners.push(id),
            Err(Error::KeyInUse { key, used }) => {
                assert_eq!((key.as_str(), used.digest.as_str()), ("order 7/ü", "same"));
                told.push(used.job);
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(told, vec![winners[0].clone(); 19]);
    let keys = vec!["other".to_owned(), "order 7/ü".to_owned()];
    let found = store.keyed(keys).await.unwrap();
    let used = Keyed {
        job: winners.remove(0),
        digest: "same".into(),
    };
    assert_eq!(found, [("order 7/ü".to_owned(), used)].into());
}

pub(super) async fn a_key_lives_as_long_as_its_job(store: Arc<dyn Store>) {
    let mut first = job(1);
    let batch = vec![new(first.clone(), Some(("k", "d1")))];
    store.create_all(batch).await.unwrap();
    become_state(&*store, &mut first, State::Completed).await;
    let again = || store.create_all(vec![new(job(2), Some(("k", "d2")))]);
    assert!(matches!(again().await, Err(Error::KeyInUse { .. })));
    store
        .remove(&first.id, first.version, audit("job_removed"))
        .await
        .unwrap();
    again().await.unwrap();
    assert_eq!(store.keyed(vec!["k".into()]).await.unwrap()["k"].job, id(2));
}

pub(super) async fn parameters_are_read_with_the_job_and_not_with_lists(store: Arc<dyn Store>) {
    let mut stored = create(&*store, 1).await;
    assert!(stored.spec.params.is_some());
    become_state(&*store, &mut stored, State::Running).await;
    assert_eq!(store.job(&id(1)).await.unwrap(), stored);
    let filter = Filter {
        limit: 9,
        ..Filter::default()
    };
    assert_eq!(store.list(filter).await.unwrap(), [listed(&stored)]);
    let mut without = job(2);
    without.spec_mut().params = None;
    store
        .create(without.clone(), entry("created"))
        .await
        .unwrap();
    assert_eq!(store.job(&id(2)).await.unwrap(), without);
}
