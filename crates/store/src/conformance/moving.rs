//! Claims about moving: what another store gave is the same here, and this store gives it again.

use super::access::token;
use super::definitions::definition;
use super::model::{self, Model, Op};
use super::requests::new;
use super::sample::{audit, become_state, change, checkpoint, create, id, job};
use super::schedules::schedule;
use super::snapshots::{cached, share, snapshot, with_snapshots};
use crate::moving::{self, BATCH, Migration, Portable, Refusal, Section};
use crate::{Error, Sqlite, Store};
use dauer_core::ledger::{Closing, Interval, Kind, Labels, Owner};
use dauer_core::{
    CheckpointId, EndsChildren, Job, JobId, Json, Kept, Queue, Scope, State, Timestamp, Token,
    TokenStatus, Turn, Unique, Wait,
};
use std::sync::Arc;
use tokio::sync::Notify;

/// Another store.
fn other() -> Sqlite {
    Sqlite::memory().expect("a store in memory can be made")
}

fn migration<'a>(from: &'a dyn Store, to: &'a dyn Store) -> Migration<'a> {
    Migration {
        from,
        to,
        name: "sqlite:old.db",
        now: Timestamp(9),
        batch: BATCH,
    }
}

/// Everything a store gives, in pages of this length.
async fn everything(store: &dyn Store, length: usize) -> Vec<Portable> {
    let mut all = Vec::new();
    for section in Section::ALL {
        let before = all.len();
        let mut after = None;
        loop {
            let page = store
                .export(section, after.as_deref(), length)
                .await
                .unwrap();
            assert!(page.values.len() <= length);
            assert!(page.values.iter().all(|value| value.section() == section));
            all.extend(page.values);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let counted = store.export(section, None, 0).await.unwrap();
        assert_eq!(counted.total, u64::try_from(all.len() - before).ok());
        assert!(counted.values.is_empty() && counted.next.is_none());
    }
    all
}

async fn keep(store: &dyn Store, job: &mut Job, kept: Vec<Kept>) {
    let mut change = change(job, |_| {});
    change.kept = kept;
    store.commit(change).await.unwrap();
}

/// Puts something of everything into a store.
async fn furnish(store: &dyn Store) {
    store.daemon_started(Timestamp(1), 9).await.unwrap();
    store.daemon_completed_a_job().await.unwrap();
    store.daemon_ended_well().await.unwrap();
    store.daemon_started(Timestamp(2), 9).await.unwrap();
    store.heartbeat(Timestamp(3)).await.unwrap();
    for version in ["1.0.0", "1.10.0", "1.9.0"] {
        let one = definition("resize", version);
        store.define(one, audit("definition_added")).await.unwrap();
    }
    for name in ["daily", "hourly"] {
        let one = schedule(name, Some(5));
        store
            .add_schedule(one, audit("schedule_added"))
            .await
            .unwrap();
    }
    let queue = Queue {
        name: "mail".into(),
        ..Queue::default()
    };
    store.set_queue(queue, audit("queue_set")).await.unwrap();
    for (name, scope) in [("a", Scope::Read), ("b", Scope::Admin)] {
        let one = token(name, scope);
        store
            .add_access_token(one, audit("token_added"))
            .await
            .unwrap();
    }
    of_jobs(store).await;
}

fn unique(n: u64) -> Unique {
    Unique {
        key: format!("unique-{n}"),
        states: vec![State::Pending],
        on_conflict: dauer_core::OnConflict::default(),
    }
}

async fn of_jobs(store: &dyn Store) {
    let mut parent = create(store, 1).await;
    let child = |n: u64| {
        let mut one = job(n);
        one.spec_mut().parent = Some(id(1));
        one.spec_mut().queue = Some("mail".into());
        one.spec_mut().unique = Some(unique(n));
        new(
            one.blocked_by(vec![id(1)]),
            Some((&format!("key-{n}"), "digest")),
        )
    };
    store
        .create_all((2..=40).map(child).collect())
        .await
        .unwrap();
    let mut slept = create(store, 50).await;
    for n in 1..=3 {
        let image = checkpoint(&slept, n);
        let mut taken = change(&mut slept, |job| {
            job.state = State::Suspended;
            job.checkpoint = Some(image.id.clone());
            job.wake_at = Some(Timestamp(77));
        });
        taken.token = Some(Token {
            job: id(50),
            token: format!("t{n}"),
            generation: 1,
            status: TokenStatus::Done {
                checkpoint: image.id.clone(),
            },
        });
        taken.checkpoint = Some(image);
        store.commit(taken).await.unwrap();
    }
    let signal = |n: u64| Kept::Signal(super::beside::signal(&id(50), &format!("s{n}"), "go"));
    let taken = |n: u64| Kept::SignalTaken {
        signal: format!("s{n}"),
        token: format!("w{n}"),
    };
    keep(store, &mut slept, (1..=4).map(signal).collect()).await;
    keep(
        store,
        &mut slept,
        vec![taken(1), Kept::SignalsSealed, taken(2)],
    )
    .await;
    let wait = Wait {
        job: id(50),
        token: "w3".into(),
        give_up_at: Timestamp(5),
        timed_out: true,
    };
    keep(
        store,
        &mut slept,
        vec![Kept::Wait(wait), Kept::Output(Json("{\"b\": 1.10}".into()))],
    )
    .await;
    of_the_ledger(store, &mut slept).await;
    with_snapshots(store, 900..903).await;
    store.put_cache(cached("a", 900), Vec::new()).await.unwrap();
    store
        .put_cache(cached("b", 901), vec!["a".into()])
        .await
        .unwrap();
    store.cache_hit("b", Timestamp(70)).await.unwrap();
    let fork = share(66, &CheckpointId(format!("{:016x}", 902)));
    store.create_all(vec![fork]).await.unwrap();
    become_state(store, &mut parent, State::Completed).await;
    let mut gone = create(store, 60).await;
    become_state(store, &mut gone, State::Failed).await;
    store
        .remove(&gone.id, gone.version, audit("job_removed"))
        .await
        .unwrap();
    let mut ending = create(store, 61).await;
    super::sample::edit(store, &mut ending, |job| {
        job.state = State::Cancelled;
        job.ends_children = Some(EndsChildren {
            grace_ms: Some(5),
            done: true,
        });
    })
    .await;
}

async fn of_the_ledger(store: &dyn Store, job: &mut Job) {
    let open = |kind, from| {
        Kept::Opened(Box::new(Interval {
            owner: Owner::job(&id(50)),
            generation: 1,
            kind,
            amount: 1 << 40,
            from: Timestamp(from),
            to: None,
            used: None,
            cause: "started".into(),
            closed_by: None,
            labels: Labels::of(&super::sample::job(50)),
        }))
    };
    let close = Kept::Closed(Closing {
        owner: Owner::job(&id(50)),
        kind: Kind::Compute,
        to: Timestamp(20),
        used: Some(7),
        closed_by: "exited".into(),
    });
    let turn = |at, key: Option<&str>| Kept::Turn {
        turn: Turn {
            queue: "mail".into(),
            key: key.map(str::to_owned),
            at: Timestamp(at),
        },
        forget_before: Timestamp(0),
    };
    keep(
        store,
        job,
        vec![open(Kind::Compute, 10), open(Kind::Storage, 10), close],
    )
    .await;
    keep(store, job, vec![open(Kind::Compute, 30), turn(30, None)]).await;
    keep(store, job, vec![turn(30, Some("k")), turn(20, None)]).await;
}

pub(super) async fn what_is_moved_here_is_the_same_and_moves_on(store: Arc<dyn Store>) {
    let (source, back) = (other(), other());
    furnish(&source).await;
    let all = everything(&source, BATCH).await;
    for section in Section::ALL {
        let has = all.iter().any(|value| value.section() == section);
        assert!(has, "nothing to be moved of {section}");
    }
    let moved = migration(&source, &*store).run(|_| {}).await.unwrap();
    assert_eq!(everything(&*store, BATCH).await, all);
    assert_eq!(moved.parts.0["jobs"].count, 43);
    assert_eq!(moved.parts.0["checkpoints"].count, 4);
    assert_eq!(moved.parts.0["signals"].count, 4);
    assert!(!moved.resumed);
    moving::check_is_whole(&*store).await.unwrap();
    // Once more it is only looked at.
    let again = migration(&source, &*store).run(|_| {}).await.unwrap();
    assert!(again.resumed && again.parts == moved.parts);
    migration(&*store, &back).run(|_| {}).await.unwrap();
    assert_eq!(everything(&back, BATCH).await, all);
    // What stands beside the records came along.
    assert_eq!(store.followers(&id(1)).await.unwrap().len(), 39);
    assert_eq!(store.children(&id(1), None, 99).await.unwrap().len(), 39);
    let unique = unique(2);
    assert_eq!(
        store.holders(vec![unique]).await.unwrap().get(&0),
        Some(&id(2))
    );
    assert_eq!(
        store.next_wake(Timestamp(0)).await.unwrap(),
        Some(Timestamp(77))
    );
    // Its fork keeps a folder whose snapshot goes; an entry that is used keeps its snapshot, and is counted.
    let (cached, shared) = (snapshot(901, None).id, snapshot(902, None).id);
    let refused = store.remove_snapshot(&cached, audit("snapshot_removed"));
    assert!(matches!(refused.await, Err(Error::SnapshotCached { .. })));
    let removed = store.remove_snapshot(&shared, audit("snapshot_removed"));
    removed.await.unwrap();
    assert!(store.referenced(&shared).await.unwrap());
    assert_eq!(store.cache_totals().await.unwrap().count, 1);
    assert_eq!(store.cache_least_used(9).await.unwrap().len(), 1);
    assert_eq!(store.keyed(vec!["key-3".into()]).await.unwrap().len(), 1);
    let child = new(child_of(id(61)), None);
    let refused = store.create_all(vec![child]).await;
    assert!(
        matches!(refused, Err(Error::ParentEnding(_))),
        "{refused:?}"
    );
    // Numbers go on above those that came.
    let newest = |entries: Vec<crate::Entry>| entries.last().map(|entry| entry.seq);
    let before = newest(store.journal(None, 0, 9999).await.unwrap());
    create(&*store, 70).await;
    assert!(newest(store.journal(None, 0, 9999).await.unwrap()) > before);
}

fn child_of(parent: JobId) -> Job {
    let mut child = job(71);
    child.spec_mut().parent = Some(parent);
    child
}

pub(super) async fn what_came_from_another_store_goes_on_as_it_was(store: Arc<dyn Store>) {
    let source = other();
    let mut model = Model::default();
    let mut numbers = model::numbers(0x0005_704e);
    for number in numbers.by_ref().take(1500) {
        model.write(&source, &Op::of(number)).await;
    }
    let all = everything(&source, 7).await;
    let moved = migration(&source, &*store);
    moved.run_whatever_is_under_way(|_| {}).await.unwrap();
    assert_eq!(everything(&*store, BATCH).await, all);
    model.compare(&*store).await;
    for number in numbers.take(500) {
        model.write(&*store, &Op::of(number)).await;
    }
    model.compare(&*store).await;
}

pub(super) async fn the_same_taken_in_again_changes_nothing(store: Arc<dyn Store>) {
    let source = other();
    furnish(&source).await;
    let all = everything(&source, BATCH).await;
    for _ in 0..2 {
        store.import(all.clone()).await.unwrap();
        assert_eq!(everything(&*store, BATCH).await, all);
    }
    // What is there stays, but for what replaces.
    let mut later = super::sample::job(1);
    later.version = 99;
    let portable = all.iter().find_map(|value| match value {
        Portable::Job(job) if job.job.id == id(1) => Some(job.clone()),
        _ => None,
    });
    let mut portable = portable.expect("the job is among them");
    portable.job = later;
    store.import(vec![Portable::Job(portable)]).await.unwrap();
    assert_eq!(everything(&*store, BATCH).await, all);
}

pub(super) async fn pages_of_whatever_length_hold_the_same(store: Arc<dyn Store>) {
    furnish(&*store).await;
    let all = everything(&*store, BATCH).await;
    for length in [1, 2, 3, 7, 43] {
        assert_eq!(everything(&*store, length).await, all, "{length}");
    }
}

pub(super) async fn a_move_that_was_cut_off_anywhere_goes_on_and_a_part_is_no_store(
    store: Arc<dyn Store>,
) {
    let source = other();
    furnish(&source).await;
    let all = everything(&source, BATCH).await;
    let small = Migration {
        batch: 8,
        ..migration(&source, &*store)
    };
    let mut cut_off = 0;
    // Some batches more than the time before, and then it is dropped wherever it waits.
    while moving::mark(&*store)
        .await
        .unwrap()
        .is_none_or(|mark| mark.section != Section::Move)
    {
        let (told, enough) = (std::cell::Cell::new(0), Notify::new());
        let run = small.run(|_| {
            told.set(told.get() + 1);
            if told.get() == 2 {
                enough.notify_one();
            }
        });
        // A store that answers at once can come to the end before it waits.
        tokio::select! {
            ended = run => {
                ended.unwrap();
                break;
            }
            () = enough.notified() => {}
        }
        cut_off += 1;
        match moving::check_is_whole(&*store).await {
            Err(Error::Moving(Refusal::HalfMoved(from))) => assert_eq!(from, "sqlite:old.db"),
            other => panic!("{other:?}"),
        }
        let elsewhere = Migration {
            name: "sqlite:other.db",
            ..small
        };
        let refused = elsewhere.run(|_| {}).await;
        assert!(matches!(refused, Err(Error::Moving(Refusal::OtherMove(_)))));
    }
    small.run(|_| {}).await.unwrap();
    assert!(cut_off > 3, "it was hardly cut off");
    assert_eq!(everything(&*store, BATCH).await, all);
    moving::check_is_whole(&*store).await.unwrap();
}

pub(super) async fn only_an_empty_store_is_moved_into_and_only_from_one_at_rest(
    store: Arc<dyn Store>,
) {
    let source = other();
    furnish(&source).await;
    create(&*store, 3).await;
    let refused = migration(&source, &*store).run(|_| {}).await;
    let not_empty = Refusal::NotEmpty(Section::Jobs);
    assert!(matches!(refused, Err(Error::Moving(why)) if why == not_empty));
    let mut runs = source.job(&id(2)).await.unwrap();
    become_state(&source, &mut runs, State::Running).await;
    match migration(&source, &*store).run(|_| {}).await {
        Err(Error::Moving(Refusal::UnderWay { count: 1, first })) => assert_eq!(first, [id(2)]),
        other => panic!("{other:?}"),
    }
    if store.is_shared() {
        store
            .take_lease(&"a".into(), None, Timestamp(10))
            .await
            .unwrap();
        let refused = migration(&*store, &other()).run(|_| {}).await;
        assert!(matches!(refused, Err(Error::Moving(Refusal::InUse { node })) if node == "a"));
    }
    // What began is gone on with only from the same source.
    let target = other();
    become_state(&source, &mut runs, State::Completed).await;
    let enough = Notify::new();
    tokio::select! {
        ended = Migration { batch: 1, ..migration(&source, &target) }.run(|_| enough.notify_one()) => panic!("{ended:?}"),
        () = enough.notified() => {}
    }
    source.daemon_started(Timestamp(8), 1).await.unwrap();
    let refused = migration(&source, &target).run(|_| {}).await;
    assert!(
        matches!(refused, Err(Error::Moving(Refusal::Changed))),
        "{refused:?}"
    );
}
