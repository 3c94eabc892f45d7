//! Claims about schedules: a change of one and the jobs it fires are written whole or not at all.

use super::sample::{audit, create, entry, id, job, named};
use crate::{Error, HistoryFilter, NewJob, Recorded, ScheduleChange, Store};
use dauer_core::{CatchUp, JobId, Overlap, Schedule, Timestamp, Timing};
use std::sync::Arc;

pub(super) fn schedule(name: &str, next_at: Option<i64>) -> Schedule {
    Schedule {
        name: name.into(),
        version: 1,
        timing: Timing::Cron {
            expression: "0 9 * * mon-fri".into(),
            zone: "Europe/Berlin".into(),
        },
        spec: Arc::unwrap_or_clone(job(1).spec),
        overlap: Overlap::Queue,
        catch_up: CatchUp::All { max: 7 },
        start_at: Some(Timestamp(1)),
        end_at: None,
        paused: false,
        next_at: next_at.map(Timestamp),
        last_at: None,
        last_job: Some(id(9)),
        ending: Vec::new(),
        fired: 3,
        skipped: u64::from(u32::MAX),
        last_error: Some("\"ü\"".into()),
        created_at: Timestamp(1_700_000_000_000),
    }
}

async fn add(store: &dyn Store, name: &str, next_at: Option<i64>) -> Schedule {
    let schedule = schedule(name, next_at);
    let added = store.add_schedule(schedule.clone(), audit("schedule_added"));
    added.await.unwrap();
    schedule
}

fn fire(schedule: &Schedule, jobs: &[u64]) -> ScheduleChange {
    let mut schedule = schedule.clone();
    schedule.version += 1;
    schedule.next_at = schedule.next_at.map(|at| at.plus_ms(100));
    let jobs = jobs.iter().map(|n| NewJob {
        job: job(*n),
        entry: entry("submitted"),
        key: None,
        shares: None,
    });
    ScheduleChange {
        schedule,
        jobs: jobs.collect(),
        audit: None,
    }
}

async fn exists(store: &dyn Store, id: &JobId) -> bool {
    match store.job(id).await {
        Ok(_) => true,
        Err(Error::NotFound(_)) => false,
        Err(error) => panic!("{error}"),
    }
}

pub(super) async fn a_schedule_is_read_as_it_was_added_and_its_name_is_taken_once(
    store: Arc<dyn Store>,
) {
    assert_eq!(store.schedule("nightly").await.unwrap(), None);
    let first = add(&*store, "nightly", Some(5)).await;
    let again = store.add_schedule(schedule("nightly", None), audit("schedule_added"));
    match again.await {
        Err(Error::ScheduleExists(name)) => assert_eq!(name, "nightly"),
        result => panic!("{result:?}"),
    }
    assert_eq!(store.schedule("nightly").await.unwrap(), Some(first));
    for name in ["b", "a", "c"] {
        add(&*store, name, None).await;
    }
    let page = async |after, limit| -> Vec<String> {
        let page = store.schedules(after, limit).await.unwrap();
        page.into_iter().map(|schedule| schedule.name).collect()
    };
    assert_eq!(page(None, 2).await, ["a", "b"]);
    assert_eq!(page(Some("b"), 9).await, ["c", "nightly"]);
    let removed = store.remove_schedule("b", audit("schedule_removed"));
    removed.await.unwrap();
    assert_eq!(page(None, 9).await, ["a", "c", "nightly"]);
    let again = store.remove_schedule("b", audit("schedule_removed"));
    assert!(matches!(again.await, Err(Error::NotFound(_))));
}

pub(super) async fn schedules_are_due_by_their_moment_and_while_something_is_left_to_do(
    store: Arc<dyn Store>,
) {
    assert_eq!(store.next_schedule().await.unwrap(), None);
    add(&*store, "never", None).await;
    assert_eq!(store.next_schedule().await.unwrap(), None);
    add(&*store, "later", Some(20)).await;
    let sooner = add(&*store, "sooner", Some(10)).await;
    let due = async |now, limit| -> Vec<String> {
        let due = store.due_schedules(Timestamp(now), limit).await.unwrap();
        due.into_iter().map(|schedule| schedule.name).collect()
    };
    assert_eq!(store.next_schedule().await.unwrap(), Some(Timestamp(10)));
    assert_eq!(due(9, 9).await, <[&str; 0]>::default());
    assert_eq!(due(10, 9).await, ["sooner"]);
    assert_eq!(due(99, 9).await, ["sooner", "later"]);
    assert_eq!(due(99, 1).await, ["sooner"]);
    let mut change = fire(&sooner, &[]);
    change.schedule.ending = vec![id(7)];
    store.change_schedule(change.clone()).await.unwrap();
    assert_eq!(due(0, 9).await, ["sooner"]);
    change.schedule.version += 1;
    change.schedule.ending.clear();
    store.change_schedule(change).await.unwrap();
    assert_eq!(due(0, 9).await, <[&str; 0]>::default());
    assert_eq!(store.next_schedule().await.unwrap(), Some(Timestamp(20)));
}

pub(super) async fn of_two_who_fire_a_schedule_one_makes_its_jobs(store: Arc<dyn Store>) {
    let nightly = add(&*store, "nightly", Some(5)).await;
    let both = (
        store.change_schedule(fire(&nightly, &[1, 2])),
        store.change_schedule(fire(&nightly, &[3, 4])),
    );
    let (one, other) = tokio::join!(both.0, both.1);
    let (made, not_made) = match (&one, &other) {
        (Ok(()), Err(Error::ScheduleChanged(name))) if name == "nightly" => ([1, 2], [3, 4]),
        (Err(Error::ScheduleChanged(name)), Ok(())) if name == "nightly" => ([3, 4], [1, 2]),
        results => panic!("{results:?}"),
    };
    for n in made {
        assert!(exists(&*store, &id(n)).await);
    }
    for n in not_made {
        assert!(!exists(&*store, &id(n)).await);
    }
    let stored = store.schedule("nightly").await.unwrap().unwrap();
    assert_eq!((stored.version, stored.next_at), (2, Some(Timestamp(105))));
    let removed = store.remove_schedule("nightly", audit("schedule_removed"));
    removed.await.unwrap();
    let gone = store.change_schedule(fire(&stored, &[])).await;
    assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
    assert!(exists(&*store, &id(made[0])).await);
}

pub(super) async fn a_schedule_whose_job_cannot_be_added_stays_as_it_was(store: Arc<dyn Store>) {
    let nightly = add(&*store, "nightly", Some(5)).await;
    let holder = named(8, Some("taken"));
    store.create(holder, entry("created")).await.unwrap();
    let mut change = fire(&nightly, &[1]);
    change.jobs.push(NewJob {
        job: named(2, Some("taken")),
        entry: entry("submitted"),
        key: None,
        shares: None,
    });
    change.audit = Some(audit("schedule_fired"));
    let result = store.change_schedule(change).await;
    assert!(matches!(result, Err(Error::NameInUse { .. })), "{result:?}");
    assert_eq!(store.schedule("nightly").await.unwrap(), Some(nightly));
    assert!(!exists(&*store, &id(1)).await);
    create(&*store, 1).await;
    let page = store.history(HistoryFilter {
        event: Some("schedule_fired".into()),
        limit: 9,
        ..HistoryFilter::default()
    });
    assert_eq!(page.await.unwrap().records, Vec::<Recorded>::new());
}
