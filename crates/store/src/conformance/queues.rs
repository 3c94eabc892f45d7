//! Claims about queues, jobs that stand for others, jobs that follow others, and batches.

use super::sample::{become_state, change, create, due, edit, entry, id, job};
use crate::{Error, Filter, NewAudit, NewJob, Store};
use dauer_core::plan::turn::{self, Ask, Due, Gate, Gates};
use dauer_core::{
    Job, JobId, Kept, OnConflict, Priority, Queue, Rate, State, Timestamp, Turn, Unique,
};
use std::collections::BTreeMap;
use std::sync::Arc;

fn audit(event: &str) -> NewAudit {
    super::sample::audit(event)
}

async fn queued(store: &dyn Store, n: u64, edit: impl FnOnce(&mut Job)) -> Job {
    let mut job = job(n);
    edit(&mut job);
    store.create(job.clone(), entry("created")).await.unwrap();
    job
}

/// The jobs that are asked for, found by looking at each.
fn expected(jobs: &[Job], now: Timestamp, ask: &Ask) -> Vec<Due> {
    let waiting = jobs
        .iter()
        .filter(|job| job.wake_at.is_some_and(|at| at <= now) && job.blocked_by.is_empty());
    let mut found: Vec<Due> = waiting.map(due).filter(|due| ask.accepts(due)).collect();
    turn::sort(&mut found);
    found.truncate(ask.limit);
    found
}

pub(super) async fn what_a_queue_holds_back_is_not_due(store: Arc<dyn Store>) {
    let mut jobs = Vec::new();
    for n in 1..=60 {
        let mut job = queued(&*store, n, |job| {
            let number = usize::try_from(n).unwrap_or(0);
            job.spec_mut().queue =
                [None, Some("mail"), Some("night")][number % 3].map(str::to_owned);
            job.spec_mut().concurrency_key = (n % 4 > 0).then(|| format!("key-{}", n % 4));
            job.spec_mut().priority = Priority::ALL[number % 4];
            job.spec_mut().memory_bytes = (n % 5 > 0).then_some(n % 5);
        })
        .await;
        if n % 7 == 0 {
            edit(&*store, &mut job, |job| job.state = State::Suspended).await;
        }
        jobs.push(job);
    }
    let keys = |keys: &[&str]| Gate::But(keys.iter().map(|key| (*key).to_owned()).collect());
    let gates = |begins, wakes| Gates { begins, wakes };
    let gate_sets: [Vec<(&str, Gates)>; 5] = [
        vec![],
        vec![("mail", gates(Gate::Shut, Gate::Shut))],
        vec![
            ("mail", gates(Gate::Shut, Gate::Open)),
            ("default", gates(keys(&["key-1", "key-2"]), Gate::Open)),
        ],
        vec![
            ("night", gates(Gate::Open, keys(&["key-3"]))),
            ("nobody", gates(Gate::Shut, Gate::Shut)),
        ],
        vec![
            ("default", gates(Gate::Shut, Gate::Shut)),
            ("mail", gates(Gate::Shut, Gate::Shut)),
            ("night", gates(Gate::Shut, Gate::Shut)),
        ],
    ];
    let middle = jobs[30].wake_at.unwrap();
    for now in [Timestamp(0), middle, Timestamp(i64::MAX)] {
        for set in &gate_sets {
            for (limit, nothing_begins, most) in [
                (0, false, None),
                (3, false, None),
                (1000, false, Some(2)),
                (1000, true, None),
            ] {
                let gates = set
                    .iter()
                    .map(|(name, gates)| ((*name).to_owned(), gates.clone()));
                let mut ask = Ask {
                    nothing_begins,
                    gates: gates.collect(),
                    ..Ask::anything(limit)
                };
                ask.at_most.memory_bytes = most;
                let found = store.due(now, &ask).await.unwrap();
                assert_eq!(found, expected(&jobs, now, &ask), "{ask:?}");
            }
        }
    }
}

pub(super) async fn who_waits_and_who_sleeps_is_counted_by_queue(store: Arc<dyn Store>) {
    let mail = |job: &mut Job| job.spec_mut().queue = Some("mail".into());
    let first = queued(&*store, 1, mail).await;
    let mut second = queued(&*store, 2, mail).await;
    let mut running = queued(&*store, 3, mail).await;
    queued(&*store, 4, |job| {
        job.spec_mut().queue = Some("night".into())
    })
    .await;
    become_state(&*store, &mut running, State::Running).await;
    let counted = async |now: Timestamp| -> Vec<(String, u64, u64)> {
        let waiting = store.waiting(now).await.unwrap();
        waiting
            .into_iter()
            .map(|one| (one.queue, one.due, one.later))
            .collect()
    };
    let at = first.wake_at.unwrap();
    assert_eq!(
        counted(at).await,
        [("mail".into(), 1, 1), ("night".into(), 0, 1)]
    );
    assert!(store.sleepers("mail").await.unwrap().is_empty());
    edit(&*store, &mut second, |job| {
        job.state = State::Suspended;
        job.wake_at = None;
    })
    .await;
    assert_eq!(
        counted(at).await,
        [("mail".into(), 1, 0), ("night".into(), 0, 1)]
    );
    let sleepers = store.sleepers("mail").await.unwrap();
    assert_eq!((sleepers.len(), &sleepers[0].job), (1, &second.id));
    assert_eq!(sleepers[0].key, second.spec.concurrency_key);
    assert!(store.sleepers("night").await.unwrap().is_empty());
}

pub(super) async fn the_settings_of_a_queue_stay_until_they_are_removed(store: Arc<dyn Store>) {
    assert_eq!(store.queues().await.unwrap(), []);
    let mut mail = Queue {
        max_running: Some(3),
        rate: Some(Rate {
            count: 5,
            per_ms: 1000,
        }),
        key_rate: Some(Rate {
            count: 1,
            per_ms: 60_000,
        }),
        hold_while_suspended: true,
        ..Queue::new("mail")
    };
    store
        .set_queue(mail.clone(), audit("queue_set"))
        .await
        .unwrap();
    store
        .set_queue(Queue::new("default"), audit("queue_set"))
        .await
        .unwrap();
    assert_eq!(
        store.queues().await.unwrap(),
        [Queue::new("default"), mail.clone()]
    );
    mail.paused = true;
    store
        .set_queue(mail.clone(), audit("queue_set"))
        .await
        .unwrap();
    assert_eq!(store.queues().await.unwrap(), [Queue::new("default"), mail]);
    store
        .remove_queue("default", audit("queue_removed"))
        .await
        .unwrap();
    assert_eq!(store.queues().await.unwrap().len(), 1);
    let again = store.remove_queue("default", audit("queue_removed")).await;
    assert!(matches!(again, Err(Error::NotFound(name)) if name == "default"));
}

pub(super) async fn turns_are_kept_with_the_commit_and_as_long_as_it_says(store: Arc<dyn Store>) {
    let mut first = create(&*store, 1).await;
    let turn = |queue: &str, at: i64| Turn {
        queue: queue.into(),
        key: (at % 2 == 0).then(|| "k".into()),
        at: Timestamp(at),
    };
    let mut give = async |turn: Turn, forget_before: i64, version_off: u64| {
        let mut change = change(&mut first, |_| ());
        Arc::make_mut(&mut change.job).version += version_off;
        change.kept.push(Kept::Turn {
            turn,
            forget_before: Timestamp(forget_before),
        });
        let result = store.commit(change).await;
        if result.is_err() {
            first.version -= 1;
        }
        result
    };
    give(turn("mail", 10), 0, 0).await.unwrap();
    give(turn("mail", 11), 0, 0).await.unwrap();
    give(turn("night", 5), 0, 0).await.unwrap();
    // Of a commit that was not made there is no turn.
    assert!(matches!(
        give(turn("mail", 12), 0, 1).await,
        Err(Error::Conflict { .. })
    ));
    assert_eq!(
        store.turns().await.unwrap(),
        [turn("mail", 10), turn("mail", 11), turn("night", 5)]
    );
    give(turn("mail", 20), 11, 0).await.unwrap();
    assert_eq!(
        store.turns().await.unwrap(),
        [turn("mail", 11), turn("mail", 20), turn("night", 5)]
    );
}

fn unique(key: &str) -> Unique {
    Unique {
        key: key.into(),
        states: Unique::not_ended(),
        on_conflict: OnConflict::Existing,
    }
}

fn new(job: Job) -> NewJob {
    NewJob {
        job,
        entry: entry("submitted"),
        key: None,
        shares: None,
    }
}

pub(super) async fn of_many_equal_unique_jobs_one_is_made(store: Arc<dyn Store>) {
    let tasks: Vec<_> = (1..=20)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut job = job(n);
                job.spec_mut().unique = Some(unique("order 7/ü"));
                store.create_all(vec![new(job)]).await.map(|()| id(n))
            })
        })
        .collect();
    let (mut winners, mut told) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            Ok(id) => winners.push(id),
            Err(Error::NotUnique { key, job }) => {
                assert_eq!(key, "order 7/ü");
                told.push(job);
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(told, vec![winners[0].clone(); 19]);
}

pub(super) async fn a_job_stands_for_another_in_the_states_that_count(store: Arc<dyn Store>) {
    let mut first = job(1);
    first.spec_mut().unique = Some(unique("k"));
    store.create_all(vec![new(first.clone())]).await.unwrap();
    let holder = async |states: &[State]| -> Option<JobId> {
        let mut unique = unique("k");
        unique.states = states.to_vec();
        let other = Unique {
            key: "other".into(),
            ..unique.clone()
        };
        let found = store.holders(vec![other, unique]).await.unwrap();
        assert!(!found.contains_key(&0));
        found.get(&1).cloned()
    };
    assert_eq!(holder(&[State::Pending]).await, Some(id(1)));
    assert_eq!(holder(&[State::Running, State::Completed]).await, None);
    become_state(&*store, &mut first, State::Completed).await;
    assert_eq!(holder(&Unique::not_ended()).await, None);
    assert_eq!(
        holder(&[State::Running, State::Completed]).await,
        Some(id(1))
    );
    // A batch of which one is not unique is not made at all.
    let mut second = job(2);
    second.spec_mut().unique = Some(Unique {
        states: vec![State::Completed],
        ..unique("k")
    });
    let batch = vec![new(job(3)), new(second.clone())];
    assert!(matches!(
        store.create_all(batch).await,
        Err(Error::NotUnique { .. })
    ));
    assert!(matches!(store.job(&id(3)).await, Err(Error::NotFound(_))));
    // What is gone stands for nothing.
    store
        .remove(&first.id, first.version, audit("removed"))
        .await
        .unwrap();
    store.create_all(vec![new(second)]).await.unwrap();
}

pub(super) async fn who_follows_is_known_until_it_follows_no_longer(store: Arc<dyn Store>) {
    let mut first = create(&*store, 1).await;
    let mut second = create(&*store, 2).await;
    assert!(!store.has_followers().await.unwrap());
    let follower = |n: u64, after: &[&JobId]| {
        let after = after.iter().map(|id| (*id).clone()).collect();
        new(job(n).blocked_by(after))
    };
    let batch = vec![
        follower(3, &[&first.id, &second.id]),
        follower(4, &[&first.id]),
    ];
    let [mut third, mut fourth] = [batch[0].job.clone(), batch[1].job.clone()];
    store.create_all(batch).await.unwrap();
    assert!(store.has_followers().await.unwrap());
    assert_eq!(store.job(&id(3)).await.unwrap(), third);
    assert_eq!(store.followers(&first.id).await.unwrap(), [id(3), id(4)]);
    assert_eq!(store.followers(&second.id).await.unwrap(), [id(3)]);
    assert_eq!(store.ended_before_followers().await.unwrap(), []);
    // It has no turn.
    let ask = Ask::anything(9);
    let due = store.due(Timestamp(i64::MAX), &ask).await.unwrap();
    assert_eq!(
        due.iter().map(|due| &due.job).collect::<Vec<_>>(),
        [&id(1), &id(2)]
    );
    become_state(&*store, &mut first, State::Failed).await;
    become_state(&*store, &mut second, State::Running).await;
    assert_eq!(store.ended_before_followers().await.unwrap(), [id(1)]);
    let freed = |job: &mut Job, by: &JobId| {
        let by = by.clone();
        let mut change = change(job, |job| job.blocked_by.retain(|other| *other != by));
        change.kept.push(Kept::Unblocked { by });
        change
    };
    store.commit(freed(&mut third, &first.id)).await.unwrap();
    assert_eq!(store.followers(&first.id).await.unwrap(), [id(4)]);
    // It may be gone before all heard of it.
    store
        .remove(&first.id, first.version, audit("removed"))
        .await
        .unwrap();
    assert_eq!(store.ended_before_followers().await.unwrap(), [id(1)]);
    store.commit(freed(&mut fourth, &first.id)).await.unwrap();
    assert_eq!(store.ended_before_followers().await.unwrap(), []);
    // A follower that is removed follows nobody.
    become_state(&*store, &mut third, State::Cancelled).await;
    store
        .remove(&third.id, third.version, audit("removed"))
        .await
        .unwrap();
    assert!(!store.has_followers().await.unwrap());
}

pub(super) async fn a_batch_is_counted_by_state_and_open_until_all_have_ended(
    store: Arc<dyn Store>,
) {
    assert_eq!(store.batch("b1").await.unwrap(), BTreeMap::new());
    assert!(!store.batch_is_open("b1").await.unwrap());
    let mut jobs = Vec::new();
    for n in 1..=6 {
        let job = queued(&*store, n, |job| {
            job.spec_mut().batch = Some(if n < 6 { "b1" } else { "b2" }.into());
        });
        jobs.push(job.await);
    }
    become_state(&*store, &mut jobs[0], State::Completed).await;
    become_state(&*store, &mut jobs[1], State::Failed).await;
    become_state(&*store, &mut jobs[2], State::Running).await;
    let counted: Vec<(String, u64)> = store.batch("b1").await.unwrap().into_iter().collect();
    let expected = [
        ("completed", 1),
        ("failed", 1),
        ("pending", 2),
        ("running", 1),
    ];
    assert_eq!(
        counted,
        expected.map(|(state, count)| (state.to_owned(), count))
    );
    let listed = async |states: &[State], before: Option<JobId>, limit: usize| -> Vec<JobId> {
        let filter = Filter {
            states: states.to_vec(),
            batch: Some("b1".into()),
            before,
            limit,
            ..Filter::default()
        };
        let found = store.list(filter).await.unwrap();
        found.into_iter().map(|job| job.id).collect()
    };
    assert_eq!(
        listed(&[], None, 9).await,
        [id(5), id(4), id(3), id(2), id(1)]
    );
    assert_eq!(listed(&[], Some(id(4)), 2).await, [id(3), id(2)]);
    assert_eq!(
        listed(&[State::Pending, State::Failed], None, 2).await,
        [id(5), id(4)]
    );
    for job in &mut jobs[2..5] {
        assert!(store.batch_is_open("b1").await.unwrap());
        become_state(&*store, job, State::Cancelled).await;
    }
    assert!(!store.batch_is_open("b1").await.unwrap());
    assert!(store.batch_is_open("b2").await.unwrap());
}

pub(super) async fn daemons_are_remembered_with_how_they_ended(store: Arc<dyn Store>) {
    let ends = async |at: i64, limit: usize| -> Vec<(i64, bool, bool)> {
        let before = store.daemon_started(Timestamp(at), limit).await.unwrap();
        before
            .into_iter()
            .map(|run| (run.started_at.0, run.completed, run.ended_well))
            .collect()
    };
    // Before the first of them nobody is there to say anything of.
    store.daemon_ended_well().await.unwrap();
    assert_eq!(ends(1, 9).await, []);
    assert_eq!(ends(2, 9).await, [(1, false, false)]);
    store.daemon_completed_a_job().await.unwrap();
    assert_eq!(ends(3, 9).await, [(2, true, false), (1, false, false)]);
    store.daemon_ended_well().await.unwrap();
    assert_eq!(ends(4, 2).await, [(3, false, true), (2, true, false)]);
    assert_eq!(ends(5, 0).await, []);
}
