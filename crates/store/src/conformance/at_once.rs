//! What several handles write at once comes out as if one after the other had.

use super::model::numbers;
use super::sample::{change, entry, id, named};
use crate::{Error, Store};
use dauer_core::{Job, State};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The jobs all of them write to.
const JOBS: u64 = 3;

/// A change that was acknowledged: of which job, which version it made, and whose it was.
type Done = (u64, u64, String);

/// Each handle changes jobs that all the others change too, so often that everyone loses races.
pub(super) async fn every_version_is_written_once(stores: Vec<Arc<dyn Store>>, changes: usize) {
    for n in 0..JOBS {
        let created = stores[0].create(named(n, None), entry("created"));
        created.await.unwrap();
    }
    let mut handles = tokio::task::JoinSet::new();
    for (number, store) in stores.iter().enumerate() {
        handles.spawn(write(Arc::clone(store), number, changes));
    }
    let mut done: BTreeMap<(u64, u64), String> = BTreeMap::new();
    let (mut count, mut lost) = (0, 0);
    for (written, races) in handles.join_all().await {
        lost += races;
        for (job, version, who) in written {
            count += 1;
            let other = done.insert((job, version), who.clone());
            assert_eq!(other, None, "version {version} of job {job} is {who}'s too");
        }
    }
    assert_eq!(count, stores.len() * changes);
    assert!(lost > 0, "nobody was in anybody's way");
    println!(
        "{count} changes from {} handles, {lost} races lost",
        stores.len()
    );
    let mut entries = 0;
    for n in 0..JOBS {
        let job = stores[1].job(&id(n)).await.unwrap();
        let journal = stores[2]
            .journal(Some(&id(n)), 0, usize::MAX)
            .await
            .unwrap();
        let told: Vec<Option<String>> = journal.iter().map(|one| one.by.clone()).skip(1).collect();
        let wrote: Vec<Option<String>> = (2..=job.version)
            .map(|version| done.get(&(n, version)).cloned())
            .collect();
        // As many as there are versions, in their order, each by the one who was told that it is theirs.
        assert_eq!(told, wrote, "job {n}");
        assert!(journal.is_sorted_by_key(|one| one.seq));
        entries += journal.len();
    }
    assert_eq!(entries, count + usize::try_from(JOBS).unwrap_or(0));
    assert_eq!(stores[0].check().await.unwrap(), []);
}

async fn write(store: Arc<dyn Store>, number: usize, changes: usize) -> (Vec<Done>, usize) {
    let (mut done, mut lost) = (Vec::new(), 0);
    let mut drawn = numbers(u64::try_from(number).unwrap_or(0));
    while done.len() < changes {
        let n = drawn.next().unwrap_or(0) % JOBS;
        let mut job: Job = store.job(&id(n)).await.unwrap();
        let who = format!("handle:{number}:{}", done.len());
        let mut change = change(&mut job, |job| {
            job.state = if job.state == State::Running {
                State::Suspended
            } else {
                State::Running
            };
        });
        if let Some(entry) = &mut change.entry {
            entry.by = Some(who.clone().into());
        }
        match store.commit(change).await {
            Ok(()) => done.push((n, job.version, who)),
            Err(Error::Conflict {
                expected, found, ..
            }) => {
                assert!(found > expected, "{found} is not newer than {expected}");
                lost += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (done, lost)
}

/// Of many who want one name at once one gets it, and all are told whose it is.
pub(super) async fn one_of_all_gets_the_name(stores: Vec<Arc<dyn Store>>) {
    let mut tries = tokio::task::JoinSet::new();
    for (number, store) in stores.iter().enumerate() {
        let n = 100 + u64::try_from(number).unwrap_or(0);
        let store = Arc::clone(store);
        tries.spawn(async move {
            let created = store.create(named(n, Some("wanted")), entry("created"));
            (n, created.await)
        });
    }
    let results = tries.join_all().await;
    let winners: Vec<u64> = results
        .iter()
        .filter(|(_, result)| result.is_ok())
        .map(|(n, _)| *n)
        .collect();
    let [winner] = winners[..] else {
        panic!("{results:?}");
    };
    for (n, result) in results {
        match result {
            Err(Error::NameInUse { job, .. }) => assert_eq!(job, id(winner)),
            other => assert_eq!((n, other.is_ok()), (winner, true)),
        }
    }
}
