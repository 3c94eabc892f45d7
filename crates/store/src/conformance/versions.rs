//! Claims about versions and the journal: who wins, and what is written of it.

use super::sample::{audit, change, checkpoint, create, edit, entry, id, job, listed, named};
use crate::{Change, Error, NewEntry, Store};
use dauer_core::{
    Forget, Intent, Operation, Outcome, Reason, SandboxId, State, Timestamp, Token, TokenStatus,
};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) async fn what_was_created_is_read_back_whole(store: Arc<dyn Store>) {
    let mut job = named(1, Some("a-name"));
    store.create(job.clone(), entry("created")).await.unwrap();
    assert_eq!(store.job(&job.id).await.unwrap(), job);
    edit(&*store, &mut job, |job| {
        job.state = State::Failed;
        job.operation = Some(Operation::Exiting);
        job.intent = Some(Intent::Wake { asked: true });
        job.attempt = 3;
        job.generation = u32::MAX;
        job.sandbox = Some(SandboxId::from("00112233445566ff"));
        job.boot_id = Some("boot".into());
        job.started_at = Some(Timestamp(-1));
        job.finished_at = Some(Timestamp(i64::MAX));
        job.timeout_left_ms = Some(u64::MAX);
        job.outcome = Some(Outcome {
            exit_code: None,
            signal: Some(9),
            reason: Some(Reason::Killed),
            message: Some("it's \"so\"".into()),
        });
        job.last_error = Some("line\nline \u{0} \u{1F43B}".into());
    })
    .await;
    assert_eq!(store.job(&job.id).await.unwrap(), job);
    assert_eq!(store.unsettled().await.unwrap(), [listed(&job)]);
}

pub(super) async fn an_id_is_taken_once(store: Arc<dyn Store>) {
    let mut first = create(&*store, 1).await;
    edit(&*store, &mut first, |_| {}).await;
    match store
        .create(named(1, Some("other")), entry("created"))
        .await
    {
        Err(Error::Conflict {
            job,
            expected: 0,
            found: 2,
        }) => assert_eq!(job, first.id),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.job(&first.id).await.unwrap(), first);
    assert_eq!(store.journal(None, 0, 10).await.unwrap().len(), 2);
}

pub(super) async fn of_two_writers_one_wins(store: Arc<dyn Store>) {
    let job = create(&*store, 1).await;
    for round in 0..20 {
        let stored = store.job(&job.id).await.unwrap();
        let writer = |name: &'static str| {
            let (store, mut stored) = (Arc::clone(&store), stored.clone());
            tokio::spawn(async move {
                store
                    .commit(change(&mut stored, |job| {
                        job.last_error = Some(name.into())
                    }))
                    .await
            })
        };
        let (one, two) = (writer("one"), writer("two"));
        let (one, two) = (one.await.unwrap(), two.await.unwrap());
        let (winner, loser) = if one.is_ok() {
            ("one", two)
        } else {
            ("two", one)
        };
        match loser {
            Err(Error::Conflict {
                expected, found, ..
            }) => assert_eq!((expected, found), (round + 1, round + 2)),
            other => panic!("the loser got {other:?}"),
        }
        assert_eq!(
            store.job(&job.id).await.unwrap().last_error.as_deref(),
            Some(winner)
        );
    }
}

pub(super) async fn a_conflict_writes_nothing(store: Arc<dyn Store>) {
    let mut job = create(&*store, 1).await;
    let mut first = change(&mut job, |job| job.state = State::Running);
    first.token = Some(Token {
        job: job.id.clone(),
        token: "t".into(),
        generation: 1,
        status: TokenStatus::Requested,
    });
    store.commit(first).await.unwrap();
    let (journal, record) = (store.journal(None, 0, 10).await.unwrap(), job.clone());
    for version in [1, 2, 4, u64::from(u32::MAX)] {
        let mut change = change(&mut job.clone(), |job| job.state = State::Failed);
        let image = checkpoint(&job, version);
        Arc::make_mut(&mut change.job).version = version;
        Arc::make_mut(&mut change.job).checkpoint = Some(image.id.clone());
        change.token = Some(Token {
            job: job.id.clone(),
            token: "t".into(),
            generation: 2,
            status: TokenStatus::Failed {
                message: "m".into(),
            },
        });
        change.forget_tokens = Forget::Requested;
        change.checkpoint = Some(image.clone());
        match store.commit(change).await {
            Err(Error::Conflict {
                expected, found: 2, ..
            }) => assert_eq!(expected, version - 1),
            other => panic!("version {version}: {other:?}"),
        }
        assert_eq!(store.job(&job.id).await.unwrap(), record);
        assert_eq!(store.journal(None, 0, 10).await.unwrap(), journal);
        assert!(!store.referenced(&image.id).await.unwrap());
        let token = store.token(&job.id, "t").await.unwrap().unwrap();
        assert_eq!(
            (token.generation, token.status),
            (1, TokenStatus::Requested)
        );
    }
}

pub(super) async fn an_unknown_job_is_not_found(store: Arc<dyn Store>) {
    for version in [1, 2, 9] {
        let mut change = change(&mut job(5), |_| {});
        Arc::make_mut(&mut change.job).version = version;
        let result = store.commit(change).await;
        assert!(matches!(result, Err(Error::NotFound(_))), "{result:?}");
    }
    let result = store.job(&id(5)).await;
    assert!(matches!(result, Err(Error::NotFound(_))), "{result:?}");
    let result = store.remove(&id(5), 1, audit("job_removed")).await;
    assert!(matches!(result, Err(Error::NotFound(_))), "{result:?}");
    assert!(store.checkpoints(&id(5)).await.unwrap().is_empty());
    assert_eq!(store.token(&id(5), "t").await.unwrap(), None);
    assert!(store.journal(Some(&id(5)), 0, 9).await.unwrap().is_empty());
}

/// Eight tasks load, decide and commit the same job, and go again when they lose.
pub(super) async fn concurrent_commits_are_unique_and_dense(store: Arc<dyn Store>) {
    const TASKS: u64 = 8;
    const COMMITS_EACH: u64 = 25;
    let job = create(&*store, 1).await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (store, id) = (Arc::clone(&store), job.id.clone());
            tokio::spawn(async move {
                let mut won = Vec::new();
                while (won.len() as u64) < COMMITS_EACH {
                    let mut job = store.job(&id).await.unwrap();
                    match store
                        .commit(change(&mut job, |job| {
                            job.last_error = Some(format!("task {task}"))
                        }))
                        .await
                    {
                        Ok(()) => {
                            // What was acknowledged is seen by whoever reads next.
                            assert!(store.job(&id).await.unwrap().version >= job.version);
                            won.push(job.version);
                        }
                        Err(Error::Conflict { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                won
            })
        })
        .collect();
    let mut versions = BTreeSet::new();
    for task in tasks {
        for version in task.await.unwrap() {
            assert!(
                versions.insert(version),
                "version {version} was acknowledged twice"
            );
        }
    }
    let dense: BTreeSet<u64> = (2..=TASKS * COMMITS_EACH + 1).collect();
    assert_eq!(versions, dense);
    assert_eq!(
        store
            .journal(Some(&job.id), 0, usize::MAX)
            .await
            .unwrap()
            .len(),
        dense.len() + 1
    );
}

/// Good and bad writes side by side, so that a back end which commits several at once shows whether it keeps them apart.
pub(super) async fn a_failed_write_leaves_its_neighbours_alone(store: Arc<dyn Store>) {
    let mut stale = create(&*store, 0).await;
    edit(&*store, &mut stale, |_| {}).await;
    let tasks: Vec<_> = (1..=90)
        .map(|n| {
            let (store, mut stale) = (Arc::clone(&store), stale.clone());
            tokio::spawn(async move {
                let result = match n % 3 {
                    0 => store.create(job(n), entry("created")).await,
                    1 => store.create(job(0), entry("created")).await,
                    _ => {
                        stale.version = 0;
                        store
                            .commit(change(&mut stale, |job| job.state = State::Failed))
                            .await
                    }
                };
                assert_eq!(result.is_ok(), n % 3 == 0, "write {n}: {result:?}");
                n
            })
        })
        .collect();
    for task in tasks {
        let n = task.await.unwrap();
        assert_eq!(store.job(&id(n)).await.is_ok(), n % 3 == 0, "job {n}");
    }
    assert_eq!(store.job(&id(0)).await.unwrap(), stale);
    assert_eq!(
        store.journal(None, 0, usize::MAX).await.unwrap().len(),
        2 + 30
    );
}

pub(super) async fn the_journal_has_the_order_of_commits_and_the_state_after(
    store: Arc<dyn Store>,
) {
    let (mut one, mut two) = (create(&*store, 1).await, create(&*store, 2).await);
    for (job, state) in [(&mut one, State::Running), (&mut two, State::Failed)] {
        let mut change = change(job, |job| {
            job.state = state;
            job.operation = Some(Operation::Starting);
            job.generation = 7;
        });
        change.entry = Some(NewEntry {
            at: Timestamp(5),
            event: "admitted".into(),
            from: Some(State::Pending),
            detail: None,
            by: None,
            why: None,
        });
        store.commit(change).await.unwrap();
    }
    let journal = store.journal(None, 0, 10).await.unwrap();
    assert!(journal.is_sorted_by(|a, b| a.seq < b.seq));
    let told: Vec<_> = journal
        .iter()
        .map(|e| {
            (
                e.job.clone(),
                e.event.as_str(),
                e.from,
                e.to,
                e.operation.as_deref(),
                e.generation,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (id(1), "created", None, State::Pending, None, 0),
            (id(2), "created", None, State::Pending, None, 0),
            (
                id(1),
                "admitted",
                Some(State::Pending),
                State::Running,
                Some("starting"),
                7
            ),
            (
                id(2),
                "admitted",
                Some(State::Pending),
                State::Failed,
                Some("starting"),
                7
            ),
        ]
    );
    assert_eq!(journal[0].detail.as_deref(), Some("about created"));
    assert_eq!(
        (journal[3].at, journal[3].detail.as_deref()),
        (Timestamp(5), None)
    );
    let of_two: Vec<_> = journal
        .iter()
        .filter(|entry| entry.job == id(2))
        .cloned()
        .collect();
    assert_eq!(store.journal(Some(&id(2)), 0, 10).await.unwrap(), of_two);
}

pub(super) async fn the_journal_comes_in_pages(store: Arc<dyn Store>) {
    let mut jobs = [create(&*store, 1).await, create(&*store, 2).await];
    for n in 0..20 {
        let change: Change = change(&mut jobs[n % 2], |job| job.last_error = Some(n.to_string()));
        store.commit(change).await.unwrap();
    }
    for job in [None, Some(&jobs[1].id)] {
        let whole = store.journal(job, 0, usize::MAX).await.unwrap();
        let (mut pages, mut after) = (Vec::new(), 0);
        loop {
            let page = store.journal(job, after, 3).await.unwrap();
            assert!(page.len() <= 3);
            let Some(last) = page.last() else { break };
            assert!(last.seq > after, "a page goes on after the one before");
            after = last.seq;
            pages.extend(page);
        }
        assert_eq!(pages, whole);
        assert_eq!(whole.len(), if job.is_some() { 11 } else { 22 });
    }
    assert!(store.journal(None, 0, 0).await.unwrap().is_empty());
    // A number is not given again after the entry that had it is gone.
    let last = store
        .journal(None, 0, usize::MAX)
        .await
        .unwrap()
        .last()
        .unwrap()
        .seq;
    let [mut one, mut two] = jobs;
    edit(&*store, &mut two, |job| job.state = State::Cancelled).await;
    store
        .remove(&two.id, two.version, audit("job_removed"))
        .await
        .unwrap();
    edit(&*store, &mut one, |_| {}).await;
    let entries = store.journal(None, last, 10).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert!(
        entries[0].seq > last + 1,
        "the number of a removed entry was given again"
    );
}
