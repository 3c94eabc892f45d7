//! Claims about many jobs at once.

use super::sample::{change, create, edit, id, job, named};
use crate::{Error, NewJob, Store};
use dauer_core::{Job, JobId, Json, Kept, State};
use std::sync::Arc;

/// More than any statement takes at once.
const JOBS: u64 = 100;

async fn created(store: &dyn Store) -> Vec<Job> {
    let jobs: Vec<Job> = (0..JOBS).map(job).collect();
    let new = jobs.iter().map(|job| NewJob {
        job: job.clone(),
        entry: super::sample::entry("created"),
        key: None,
        shares: None,
    });
    store.create_all(new.collect()).await.unwrap();
    jobs
}

pub(super) async fn many_changes_are_written_in_their_order(store: Arc<dyn Store>) {
    let mut jobs = created(&*store).await;
    let mut changes = Vec::new();
    for state in [State::Running, State::Completed] {
        for job in &mut jobs {
            let mut change = change(job, |job| job.state = state);
            if state == State::Completed {
                change.kept = vec![Kept::Output(Json(format!("\"{}\"", job.id)))];
            }
            changes.push(change);
        }
    }
    for result in store.commit_all(changes).await {
        result.unwrap();
    }
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id.clone()).collect();
    assert_eq!(store.jobs(ids.clone()).await.unwrap(), jobs);
    let journal = store.journal(None, 0, usize::MAX).await.unwrap();
    let written: Vec<_> = journal
        .iter()
        .map(|entry| (entry.job.clone(), entry.to))
        .collect();
    let expected: Vec<_> = [State::Pending, State::Running, State::Completed]
        .into_iter()
        .flat_map(|state| ids.iter().map(move |id| (id.clone(), state)))
        .collect();
    assert_eq!(written, expected);
    for id in &ids {
        let output = store.output(id).await.unwrap();
        assert_eq!(output, Some(Json(format!("\"{id}\""))));
    }
    assert!(store.commit_all(Vec::new()).await.is_empty());
}

pub(super) async fn of_many_changes_those_that_are_refused_leave_the_others(store: Arc<dyn Store>) {
    let mut jobs = created(&*store).await;
    let mut changes: Vec<_> = jobs
        .iter_mut()
        .map(|job| change(job, |job| job.state = State::Running))
        .collect();
    // Somebody else was faster with one, another one is not there, and one comes twice.
    Arc::make_mut(&mut changes[7].job).version = 9;
    Arc::make_mut(&mut changes[20].job).id = id(JOBS + 7);
    changes[40] = changes[39].clone();
    let results = store.commit_all(changes).await;
    assert_eq!(results.len(), jobs.len());
    for (n, result) in results.into_iter().enumerate() {
        match (n, result) {
            (7, Err(Error::Conflict { found: 1, .. })) => {}
            (20, Err(Error::NotFound(_))) => {}
            (40, Err(Error::Conflict { found: 2, .. })) => {}
            (7 | 20 | 40, other) => panic!("{n}: {other:?}"),
            (_, result) => result.unwrap(),
        }
    }
    for (n, expected) in (0..JOBS).zip(&jobs) {
        let stored = store.job(&id(n)).await.unwrap();
        match n {
            7 | 20 | 40 => assert_eq!(stored, job(n)),
            _ => assert_eq!(stored, *expected),
        }
    }
    let journal = store.journal(None, 0, usize::MAX).await.unwrap();
    assert_eq!(journal.len(), 2 * jobs.len() - 3);
}

pub(super) async fn many_records_come_in_the_order_asked_for(store: Arc<dyn Store>) {
    let mut first = create(&*store, 1).await;
    let second = named(2, Some("second"));
    let entry = super::sample::entry("created");
    store.create(second.clone(), entry).await.unwrap();
    edit(&*store, &mut first, |job| job.state = State::Running).await;
    let asked = vec![id(2), id(3), id(1), id(2)];
    let found = store.jobs(asked).await.unwrap();
    assert_eq!(found, [second.clone(), first, second]);
    assert!(store.jobs(Vec::new()).await.unwrap().is_empty());
}
