//! Claims about the history: everything that was done, in its order, found again and forgotten in pieces.

use super::sample::{audit, become_state, change, create, entry, id, job, listed};
use crate::{HistoryFilter, HistoryPlace, NewAudit, NewEntry, Recorded, Store};
use dauer_core::{State, Timestamp};
use std::sync::Arc;

/// All pages of it, of this size.
async fn all(store: &dyn Store, filter: HistoryFilter) -> Vec<Recorded> {
    let (mut records, mut after) = (Vec::new(), HistoryPlace::default());
    loop {
        let filter = HistoryFilter {
            after,
            ..filter.clone()
        };
        let limit = filter.limit;
        let page = store.history(filter).await.unwrap();
        assert!(page.records.len() <= limit);
        records.extend(page.records);
        match page.next {
            Some(next) => {
                assert!(next > after, "a page that does not get on");
                after = next;
            }
            None => return records,
        }
    }
}

fn whole(limit: usize) -> HistoryFilter {
    HistoryFilter {
        limit,
        ..HistoryFilter::default()
    }
}

/// As `job1 submitted` or `subject of word`.
fn words(records: &[Recorded]) -> Vec<String> {
    let word = |record: &Recorded| match record {
        Recorded::Job(entry) => entry.event.clone(),
        Recorded::Other(audit) => audit.event.clone(),
    };
    records.iter().map(word).collect()
}

fn at(time: i64, event: &str) -> NewEntry {
    NewEntry {
        at: Timestamp(time),
        ..entry(event)
    }
}

fn noted(time: i64, event: &str) -> NewAudit {
    NewAudit {
        at: Timestamp(time),
        ..audit(event)
    }
}

pub(super) async fn the_history_has_everything_in_the_order_of_commits(store: Arc<dyn Store>) {
    let token = |n: u64| dauer_core::AccessToken {
        id: format!("t{n}"),
        name: None,
        scope: dauer_core::Scope::Read,
        digest: String::new(),
        created_at: Timestamp(0),
        expires_at: None,
        last_used_at: None,
    };
    let add = async |n, word| {
        store.add_access_token(token(n), audit(word)).await.unwrap();
    };
    add(1, "first").await;
    let mut one = job(1);
    store.create(one.clone(), entry("second")).await.unwrap();
    add(2, "third").await;
    add(3, "fourth").await;
    let mut made = change(&mut one, |job| job.state = State::Completed);
    made.entry = Some(entry("fifth"));
    store.commit(made).await.unwrap();
    for limit in 1..7 {
        let records = all(&*store, whole(limit)).await;
        assert_eq!(
            words(&records),
            ["first", "second", "third", "fourth", "fifth"],
            "in pages of {limit}"
        );
    }
    // What went with a job left its place: what comes after still comes behind it.
    store
        .remove(&one.id, one.version, audit("sixth"))
        .await
        .unwrap();
    add(4, "seventh").await;
    store.create(job(2), entry("eighth")).await.unwrap();
    for limit in 1..7 {
        let records = all(&*store, whole(limit)).await;
        assert_eq!(
            words(&records),
            ["first", "third", "fourth", "sixth", "seventh", "eighth"],
            "in pages of {limit}"
        );
    }
    let records = all(&*store, whole(1)).await;
    assert_eq!(records[0], Recorded::Other(audit("first")));
    let Some(Recorded::Job(last)) = records.last() else {
        panic!("{records:?}");
    };
    assert_eq!(
        (last.by.as_deref(), last.why.as_deref()),
        (Some("uid:7"), Some("to see"))
    );
}

pub(super) async fn the_history_is_searched_by_time_asker_word_and_job(store: Arc<dyn Store>) {
    let hour = 3_600_000;
    for n in 0..40_u64 {
        let time = hour * i64::try_from(n).unwrap();
        let asker = ["uid:1", "token:ci", "uid:10", "node"][usize::try_from(n % 4).unwrap()];
        let mut entry = at(time, if n % 2 == 0 { "even" } else { "odd" });
        entry.by = Some(asker.into());
        store.create(job(n), entry).await.unwrap();
    }
    let count = async |filter: HistoryFilter| all(&*store, filter).await.len();
    let between = |since: Option<i64>, until: Option<i64>| HistoryFilter {
        since: since.map(|n| Timestamp(n * hour)),
        until: until.map(|n| Timestamp(n * hour)),
        ..whole(7)
    };
    for since in [0, 1, 2, 19, 20, 38, 39] {
        let left = usize::try_from(40 - since).unwrap();
        assert_eq!(count(between(Some(since), None)).await, left);
        let before = usize::try_from(since).unwrap();
        assert_eq!(count(between(None, Some(since))).await, before);
    }
    assert_eq!(count(between(Some(10), Some(13))).await, 3);
    assert_eq!(count(between(Some(40), None)).await, 0);
    let by = |by: &str| HistoryFilter {
        by: Some(by.into()),
        ..whole(3)
    };
    assert_eq!(count(by("uid:1")).await, 10);
    assert_eq!(count(by("uid")).await, 20);
    assert_eq!(count(by("token:ci")).await, 10);
    assert_eq!(count(by("tok")).await, 0);
    let odd = HistoryFilter {
        event: Some("odd".into()),
        job: Some(id(3)),
        ..whole(3)
    };
    assert_eq!(count(odd.clone()).await, 1);
    let of_another = HistoryFilter {
        job: Some(id(4)),
        ..odd
    };
    assert_eq!(count(of_another).await, 0);
}

pub(super) async fn what_is_old_is_forgotten_in_pieces_the_oldest_first(store: Arc<dyn Store>) {
    assert_eq!(store.oldest_record().await.unwrap(), None);
    for n in 0..10_u64 {
        let time = 10 * i64::try_from(n).unwrap();
        store.create(job(n), at(time + 1, "made")).await.unwrap();
        let define = store.add_access_token(
            dauer_core::AccessToken {
                id: format!("t{n}"),
                name: None,
                scope: dauer_core::Scope::Read,
                digest: String::new(),
                created_at: Timestamp(0),
                expires_at: None,
                last_used_at: None,
            },
            noted(time, "token_added"),
        );
        define.await.unwrap();
    }
    assert_eq!(store.oldest_record().await.unwrap(), Some(Timestamp(0)));
    store.forget_records(Timestamp(0), 99).await.unwrap();
    assert_eq!(all(&*store, whole(99)).await.len(), 20);
    // Three of each table, then what is old enough of the rest.
    store.forget_records(Timestamp(50), 3).await.unwrap();
    assert_eq!(all(&*store, whole(99)).await.len(), 14);
    assert_eq!(store.oldest_record().await.unwrap(), Some(Timestamp(30)));
    for _ in 0..3 {
        store.forget_records(Timestamp(50), 3).await.unwrap();
    }
    assert_eq!(all(&*store, whole(99)).await.len(), 10);
    assert_eq!(store.oldest_record().await.unwrap(), Some(Timestamp(50)));
    // The jobs are as they were.
    let mut still = store.job(&id(0)).await.unwrap();
    become_state(&*store, &mut still, State::Running).await;
    assert_eq!(create(&*store, 11).await.id, id(11));
}

pub(super) async fn ended_jobs_come_oldest_first_in_pages(store: Arc<dyn Store>) {
    let mut expected = Vec::new();
    for (n, state) in [
        (1, State::Failed),
        (2, State::Running),
        (3, State::Completed),
        (4, State::Cancelled),
        (5, State::Suspended),
        (6, State::Failed),
        (7, State::Completed),
    ] {
        let mut job = create(&*store, n).await;
        become_state(&*store, &mut job, state).await;
        if state.is_terminal() {
            expected.push(listed(&job));
        }
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.ended(after.as_ref(), 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        found.extend(page);
    }
    assert_eq!(found, expected);
}
