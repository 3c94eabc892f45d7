//! Hits, misses, runs, and what goes to make room.

use super::fake::{Bench, Fault, action, after, key};
use crate::Error;
use crate::executor::{Exit, Policy, Sink};
use async_trait::async_trait;
use bytes::Bytes;
use dauer_core::plan::eviction::Capacity;
use dauer_wire::guest::Stream;

struct Heard(String);

#[async_trait]
impl Sink for Heard {
    async fn output(&mut self, _: Stream, bytes: Bytes) {
        self.0.push_str(std::str::from_utf8(&bytes).unwrap());
    }
}

#[tokio::test]
async fn a_hit_is_answered_at_once_and_nothing_is_made() {
    let bench = Bench::new();
    let mut heard = Heard(String::new());
    let first = bench
        .executor
        .execute(action(), key("k"), &mut heard)
        .await
        .unwrap();
    assert_eq!(
        (first.exit_code, first.cached, first.kept),
        (0, false, true)
    );
    assert_eq!(heard.0, "make");
    let mut heard = Heard(String::new());
    let second = bench
        .executor
        .execute(action(), key("k"), &mut heard)
        .await
        .unwrap();
    assert_eq!(
        (second.exit_code, second.cached, &second.snapshot),
        (0, true, &first.snapshot)
    );
    assert_eq!(heard.0, "");
    assert_eq!(bench.fake.count("create"), 1);
    bench.fake.assert_cleared();
    bench.assert_whole().await;
}

#[tokio::test]
async fn a_chain_begins_where_the_step_before_ended() {
    let bench = Bench::new();
    let first = bench
        .executor
        .execute(action(), key("1"), &mut ())
        .await
        .unwrap();
    let from = first.snapshot.unwrap();
    let second = bench
        .executor
        .execute(after(&from), key("2"), &mut ())
        .await
        .unwrap();
    assert!(!second.cached);
    assert_eq!(
        (bench.fake.count("create"), bench.fake.count("restore")),
        (1, 1)
    );
    let row = bench
        .store
        .snapshot(&second.snapshot.unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.parent, Some(from));
    assert_eq!(row.ephemeral_of, None);
    bench.assert_whole().await;
}

#[tokio::test]
async fn what_ends_badly_is_never_kept() {
    let bench = Bench::new();
    bench.fake.exits(Exit::Code(3));
    for _ in 0..2 {
        let executed = bench
            .executor
            .execute(action(), key("k"), &mut ())
            .await
            .unwrap();
        assert_eq!(
            (executed.exit_code, executed.snapshot, executed.cached),
            (3, None, false)
        );
    }
    bench.fake.exits(Exit::TimedOut);
    let error = bench
        .executor
        .execute(action(), key("k"), &mut ())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::StepTimedOut { .. }), "{error}");
    assert_eq!(bench.fake.count("create"), 3);
    assert_eq!(bench.keys().await, Vec::<String>::new());
    bench.fake.assert_cleared();
    bench.assert_whole().await;
}

#[tokio::test]
async fn an_entry_whose_snapshot_is_gone_is_run_anew() {
    let bench = Bench::new();
    let first = bench
        .executor
        .execute(action(), key("k"), &mut ())
        .await
        .unwrap();
    bench.fake.noted.lock().unwrap().files.clear();
    let second = bench
        .executor
        .execute(action(), key("k"), &mut ())
        .await
        .unwrap();
    assert!(!second.cached && second.snapshot != first.snapshot);
    assert_eq!(bench.keys().await, ["k"]);
    bench.assert_whole().await;
}

#[tokio::test]
async fn what_no_key_has_is_there_as_long_as_the_run() {
    let bench = Bench::new();
    let run = bench.executor.another();
    let first = run.execute(action(), Policy::None, &mut ()).await.unwrap();
    let again = run.execute(action(), Policy::None, &mut ()).await.unwrap();
    assert!(!again.cached && again.snapshot != first.snapshot);
    let from = first.snapshot.unwrap();
    run.execute(after(&from), key("k"), &mut ()).await.unwrap();
    assert_eq!(bench.fake.files(), 3);
    let other = run.clone();
    drop(run);
    bench.settled().await;
    assert_eq!(bench.fake.files(), 3);
    drop(other);
    bench.fake.has_files(1).await;
    assert_eq!(bench.fake.files(), 1);
    assert_eq!(bench.keys().await, ["k"]);
    bench.assert_whole().await;
    let run = bench.executor.another();
    run.execute(action(), Policy::None, &mut ()).await.unwrap();
    run.end().await;
    assert_eq!(bench.fake.files(), 1);
    bench.assert_whole().await;
}

#[tokio::test]
async fn of_two_at_once_one_runs_and_the_other_gets_what_it_leaves() {
    let bench = Bench::new();
    bench.fake.hold_programs();
    let (one, two) = (bench.executor.another(), bench.executor.another());
    let one = tokio::spawn(async move { one.execute(action(), key("k"), &mut ()).await });
    bench.fake.seen("exec", 1).await;
    let two = tokio::spawn(async move { two.execute(action(), key("k"), &mut ()).await });
    bench.settled().await;
    bench.fake.ends.add_permits(1);
    let (one, two) = (one.await.unwrap().unwrap(), two.await.unwrap().unwrap());
    assert_eq!((one.cached, two.cached), (false, true));
    assert_eq!(one.snapshot, two.snapshot);
    assert_eq!(bench.fake.count("exec"), 1);
    bench.fake.assert_cleared();
}

#[tokio::test]
async fn where_the_first_leaves_nothing_the_next_one_runs() {
    for how in ["exits", "fails", "panics", "goes"] {
        let bench = Bench::new();
        bench.fake.hold_programs();
        let (one, two) = (bench.executor.another(), bench.executor.another());
        match how {
            "exits" => bench.fake.exits(Exit::Code(1)),
            "fails" => bench.fake.fault("snapshot", Fault::Fails),
            "panics" => bench.fake.fault("snapshot", Fault::Panics),
            _ => {}
        }
        let one = tokio::spawn(async move { one.execute(action(), key("k"), &mut ()).await });
        bench.fake.seen("exec", 1).await;
        let two = tokio::spawn(async move { two.execute(action(), key("k"), &mut ()).await });
        bench.settled().await;
        if how == "goes" {
            one.abort();
        } else {
            bench.fake.ends.add_permits(1);
        }
        bench.fake.seen("exec", 2).await;
        bench.fake.heal();
        bench.fake.exits(Exit::Code(0));
        bench.fake.ends.add_permits(1);
        let second = two.await.unwrap().unwrap();
        assert_eq!((second.cached, second.kept), (false, true), "{how}");
        // However the first ended.
        let _ = one.await;
        bench.fake.has_files(1).await;
        bench.fake.assert_cleared();
        bench.assert_whole().await;
    }
}

#[tokio::test]
async fn different_keys_do_not_wait_for_each_other() {
    let bench = Bench::new();
    bench.fake.hold_programs();
    let steps = ["a", "b", "c"].map(|name| {
        let executor = bench.executor.another();
        tokio::spawn(async move { executor.execute(action(), key(name), &mut ()).await })
    });
    bench.fake.seen("exec", 3).await;
    bench.fake.ends.add_permits(3);
    for step in steps {
        assert!(step.await.unwrap().unwrap().kept);
    }
}

#[tokio::test]
async fn the_least_recently_used_goes_for_a_new_one_with_its_files() {
    let bench = Bench::with(Capacity {
        entries_max: Some(2),
        bytes_max: None,
    });
    let run = async |name: &str| {
        let run = bench.executor.another();
        let executed = run.execute(action(), key(name), &mut ()).await.unwrap();
        run.end().await;
        // The clock has milliseconds.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        executed.cached
    };
    assert!(!run("a").await && !run("b").await);
    assert!(run("a").await);
    // That it was used is written down beside the answer.
    while bench.executor.registry().show("a").await.unwrap().hits == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!run("c").await);
    assert_eq!(bench.keys().await, ["a", "c"]);
    assert_eq!(bench.fake.files(), 2);
    bench.assert_whole().await;
}

#[tokio::test]
async fn what_is_pinned_or_worked_with_stays_and_what_has_no_room_is_the_runs() {
    let bench = Bench::with(Capacity {
        entries_max: Some(1),
        bytes_max: Some(50),
    });
    let first = bench
        .executor
        .execute(action(), key("a"), &mut ())
        .await
        .unwrap();
    // This run may go on from it.
    let second = bench
        .executor
        .execute(after(&first.snapshot.clone().unwrap()), key("b"), &mut ())
        .await
        .unwrap();
    assert_eq!((second.kept, second.snapshot.is_some()), (false, true));
    assert_eq!(bench.keys().await, ["a"]);
    let bench = bench
        .next_process(
            "p2",
            Capacity {
                entries_max: Some(1),
                bytes_max: Some(50),
            },
        )
        .await;
    assert_eq!(bench.fake.files(), 1);
    bench.executor.registry().pin("a", true).await.unwrap();
    let other = bench.executor.another();
    assert!(
        !other
            .execute(action(), key("b"), &mut ())
            .await
            .unwrap()
            .kept
    );
    bench.executor.registry().pin("a", false).await.unwrap();
    assert!(
        other
            .execute(action(), key("b"), &mut ())
            .await
            .unwrap()
            .kept
    );
    assert_eq!(bench.keys().await, ["b"]);
    other.end().await;
    // Larger than all there may be.
    *bench.fake.bytes.lock().unwrap() = 51;
    let other = bench.executor.another();
    assert!(
        !other
            .execute(action(), key("c"), &mut ())
            .await
            .unwrap()
            .kept
    );
    other.end().await;
    assert_eq!(bench.keys().await, ["b"]);
    bench.assert_whole().await;
}

#[tokio::test]
async fn entries_are_removed_by_hand_but_not_under_a_step() {
    let bench = Bench::new();
    let registry = || bench.executor.registry();
    let run = bench.executor.another();
    for name in ["a", "b", "c"] {
        run.execute(action(), key(name), &mut ()).await.unwrap();
    }
    assert!(matches!(
        registry().remove("a").await,
        Err(Error::Conflict(_))
    ));
    assert_eq!(registry().clean().await.unwrap(), []);
    run.end().await;
    registry().pin("b", true).await.unwrap();
    assert_eq!(registry().remove("a").await.unwrap().key, "a");
    assert!(matches!(
        registry().remove("a").await,
        Err(Error::NotCached(_))
    ));
    let cleaned = registry().clean().await.unwrap();
    assert_eq!(
        cleaned
            .iter()
            .map(|entry| entry.key.as_str())
            .collect::<Vec<_>>(),
        ["c"]
    );
    assert_eq!(bench.keys().await, ["b"]);
    assert_eq!(registry().totals().await.unwrap().count, 1);
    registry().remove("b").await.unwrap();
    assert_eq!(bench.fake.files(), 0);
    bench.assert_whole().await;
}

#[tokio::test]
async fn what_a_person_named_outlives_its_entry() {
    let bench = Bench::new();
    let run = bench.executor.another();
    let executed = run.execute(action(), key("k"), &mut ()).await.unwrap();
    run.end().await;
    let id = executed.snapshot.unwrap();
    let mut row = bench.store.snapshot(&id).await.unwrap().unwrap();
    row.version += 1;
    row.name = Some("base".into());
    let audit = crate::asker::audit("snapshot_changed", &id, None);
    bench.store.change_snapshot(row, audit).await.unwrap();
    bench.executor.registry().remove("k").await.unwrap();
    assert_eq!(bench.keys().await, Vec::<String>::new());
    assert_eq!(bench.fake.files(), 1);
    bench.assert_whole().await;
}

#[tokio::test]
async fn a_key_is_a_line() {
    let bench = Bench::new();
    for bad in [String::new(), "a\nb".into(), "x".repeat(513)] {
        let refused = bench.executor.execute(action(), key(&bad), &mut ()).await;
        assert!(matches!(refused, Err(Error::InvalidField { .. })));
    }
    assert_eq!(bench.fake.count("create"), 0);
}
