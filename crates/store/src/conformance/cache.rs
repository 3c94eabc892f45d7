//! Claims about what cached steps left.

use super::sample::audit;
use super::snapshots::{cached, with_snapshots};
use crate::{Error, Store};
use dauer_core::{CacheEntry, CacheState, CacheTotals, CheckpointId, Timestamp};
use std::sync::Arc;

async fn put(store: &dyn Store, entry: CacheEntry, evict: &[&str]) -> Result<(), Error> {
    let evict = evict.iter().map(|key| (*key).to_owned()).collect();
    store.put_cache(entry, evict).await
}

async fn keys(store: &dyn Store, state: CacheState) -> Vec<String> {
    let all = store.cache_entries(None, 100).await.unwrap();
    all.into_iter()
        .filter(|entry| entry.state == state)
        .map(|entry| entry.key)
        .collect()
}

async fn totals(store: &dyn Store) -> (u64, u64) {
    let CacheTotals { count, bytes } = store.cache_totals().await.unwrap();
    (count, bytes)
}

pub(super) async fn an_entry_makes_room_in_the_transaction_that_brings_it(store: Arc<dyn Store>) {
    with_snapshots(&*store, 1..=4).await;
    for (key, n) in [("a", 1), ("b", 2), ("c", 3)] {
        put(&*store, cached(key, n), &[]).await.unwrap();
    }
    store.pin_cache("c", true).await.unwrap();
    assert_eq!(totals(&*store).await, (3, 300));
    let all = store.cache_entries(None, 100).await.unwrap();
    // One that cannot go, one that never was, one that is pinned: nothing is written of any.
    for (evict, named) in [(["a", "x"], "x"), (["a", "c"], "c")] {
        match put(&*store, cached("new", 4), &evict).await {
            Err(Error::CacheChanged(key)) => assert_eq!(key, named),
            other => panic!("{other:?}"),
        }
    }
    // No snapshot, or another entry of the key.
    match put(&*store, cached("new", 9), &["a"]).await {
        Err(Error::NoSnapshot(id)) => assert_eq!(id, format!("{:016x}", 9)),
        other => panic!("{other:?}"),
    }
    match put(&*store, cached("b", 4), &["a"]).await {
        Err(Error::CacheKeyInUse(key)) => assert_eq!(key, "b"),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.cache_entries(None, 100).await.unwrap(), all);
    assert_eq!(totals(&*store).await, (3, 300));
    put(&*store, cached("new", 4), &["b", "a", "a"])
        .await
        .unwrap();
    assert_eq!(keys(&*store, CacheState::Evicting).await, ["a", "b"]);
    assert_eq!(keys(&*store, CacheState::Ready).await, ["c", "new"]);
    assert_eq!(totals(&*store).await, (2, 200));
    // What is on its way out makes no more room.
    match put(&*store, cached("more", 4), &["a"]).await {
        Err(Error::CacheChanged(key)) => assert_eq!(key, "a"),
        other => panic!("{other:?}"),
    }
    // A page ends where it was asked to.
    let page = store.cache_entries(Some("a"), 2).await.unwrap();
    let found: Vec<&str> = page.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(found, ["b", "c"]);
    assert_eq!(
        store.cache_entry("new").await.unwrap(),
        Some(cached("new", 4))
    );
    assert_eq!(store.cache_entry("ne").await.unwrap(), None);
}

pub(super) async fn an_entry_is_used_until_it_is_on_its_way_out(store: Arc<dyn Store>) {
    with_snapshots(&*store, [1]).await;
    put(&*store, cached("a", 1), &[]).await.unwrap();
    for at in [20, 15, 30] {
        store.cache_hit("a", Timestamp(at)).await.unwrap();
    }
    let used = store.cache_entry("a").await.unwrap().unwrap();
    assert_eq!((used.hits, used.last_used_at), (3, Timestamp(30)));
    assert_eq!(
        CacheEntry {
            hits: 0,
            last_used_at: Timestamp(10),
            ..used.clone()
        },
        cached("a", 1)
    );
    store
        .mark_evicting(vec!["a".into(), "never".into()])
        .await
        .unwrap();
    for key in ["a", "never"] {
        let hit = store.cache_hit(key, Timestamp(40)).await;
        assert!(matches!(hit, Err(Error::NotCached(_))), "{hit:?}");
        let pinned = store.pin_cache(key, true).await;
        assert!(matches!(pinned, Err(Error::NotCached(_))), "{pinned:?}");
    }
    let going = store.cache_entry("a").await.unwrap().unwrap();
    assert_eq!(
        going,
        CacheEntry {
            state: CacheState::Evicting,
            ..used
        }
    );
}

pub(super) async fn the_least_recently_used_come_first_and_what_is_pinned_never(
    store: Arc<dyn Store>,
) {
    with_snapshots(&*store, 1..=5).await;
    for (key, n) in [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)] {
        put(&*store, cached(key, n), &[]).await.unwrap();
    }
    let least = async |limit| -> Vec<String> {
        let found = store.cache_least_used(limit).await.unwrap();
        found.into_iter().map(|entry| entry.key).collect()
    };
    assert_eq!(least(9).await, ["a", "b", "c", "d", "e"]);
    store.cache_hit("b", Timestamp(50)).await.unwrap();
    store.cache_hit("a", Timestamp(60)).await.unwrap();
    store.pin_cache("d", true).await.unwrap();
    assert_eq!(least(9).await, ["c", "e", "b", "a"]);
    assert_eq!(least(2).await, ["c", "e"]);
    // A hit of what is pinned does not bring it back among them.
    store.cache_hit("d", Timestamp(55)).await.unwrap();
    store.mark_evicting(vec!["c".into()]).await.unwrap();
    assert_eq!(least(9).await, ["e", "b", "a"]);
    store.pin_cache("d", false).await.unwrap();
    assert_eq!(least(9).await, ["e", "b", "d", "a"]);
}

pub(super) async fn an_eviction_goes_in_steps_that_can_be_repeated(store: Arc<dyn Store>) {
    with_snapshots(&*store, [1, 2]).await;
    let id = CheckpointId(format!("{:016x}", 1));
    put(&*store, cached("a", 1), &[]).await.unwrap();
    // As long as it may be used its snapshot stays, and itself.
    match store.remove_snapshot(&id, audit("snapshot_removed")).await {
        Err(Error::SnapshotCached { snapshot, key }) => {
            assert_eq!((&snapshot, key.as_str()), (&id, "a"));
        }
        other => panic!("{other:?}"),
    }
    store.remove_cache("a").await.unwrap();
    assert!(store.cache_entry("a").await.unwrap().is_some());
    for _ in 0..2 {
        store.mark_evicting(vec!["a".into()]).await.unwrap();
    }
    assert_eq!(totals(&*store).await, (0, 0));
    // Its key is taken until the last step.
    let early = put(&*store, cached("a", 2), &[]).await;
    assert!(matches!(early, Err(Error::CacheKeyInUse(_))), "{early:?}");
    let removed = store.remove_snapshot(&id, audit("snapshot_removed"));
    removed.await.unwrap();
    assert!(!store.referenced(&id).await.unwrap());
    for _ in 0..2 {
        store.remove_cache("a").await.unwrap();
        assert_eq!(store.cache_entry("a").await.unwrap(), None);
    }
    put(&*store, cached("a", 2), &[]).await.unwrap();
    // Whoever is late with that step takes nothing away.
    store.remove_cache("a").await.unwrap();
    assert_eq!(store.cache_entry("a").await.unwrap(), Some(cached("a", 2)));
    assert_eq!(totals(&*store).await, (1, 100));
}

pub(super) async fn of_many_who_put_one_key_one_does(store: Arc<dyn Store>) {
    with_snapshots(&*store, 1..=8).await;
    let mut tries = tokio::task::JoinSet::new();
    for n in 1..=8 {
        let store = Arc::clone(&store);
        tries.spawn(async move { (n, put(&*store, cached("one", n), &[]).await) });
    }
    let mut winner = None;
    for (n, result) in tries.join_all().await {
        match result {
            Ok(()) => assert_eq!(winner.replace(n), None, "two put one key"),
            Err(Error::CacheKeyInUse(key)) => assert_eq!(key, "one"),
            Err(other) => panic!("{other}"),
        }
    }
    let entry = store.cache_entry("one").await.unwrap();
    assert_eq!(entry, winner.map(|n| cached("one", n)));
    assert_eq!(totals(&*store).await, (1, 100));
}
