//! Whatever goes wrong, what was made is destroyed once and nothing of it stays.

use super::fake::{Bench, Fault, action, key};
use crate::executor::{Action, Policy};

fn injected() -> Action {
    Action {
        inject: Some("/srv".into()),
        ..action()
    }
}

/// The calls of a step, in their order.
const CALLS: [&str; 5] = ["create", "inject", "exec", "snapshot", "destroy"];

#[tokio::test]
async fn every_call_may_fail_or_panic() {
    for call in CALLS {
        for fault in [Fault::Fails, Fault::Panics] {
            for policy in [Policy::None, key("k")] {
                let bench = Bench::new();
                bench.fake.fault(call, fault.clone());
                let run = bench.executor.another();
                let executed = run.execute(injected(), policy.clone(), &mut ()).await;
                let what = format!("{call} {fault:?} {policy:?}");
                if call == "destroy" {
                    // What the step left is whole; only its sandbox may be there still.
                    assert!(executed.is_ok(), "{what}");
                } else {
                    let error = executed.expect_err(&what).to_string();
                    assert!(
                        error.contains("made to fail") || error.contains("panic"),
                        "{what}: {error}"
                    );
                    assert_eq!(bench.keys().await, Vec::<String>::new(), "{what}");
                }
                run.end().await;
                bench.fake.assert_cleared();
                bench.assert_whole().await;
                // The key is free.
                bench.fake.heal();
                assert!(
                    bench
                        .executor
                        .execute(injected(), key("k"), &mut ())
                        .await
                        .is_ok(),
                    "{what}"
                );
            }
        }
    }
}

#[tokio::test]
async fn whoever_goes_away_leaves_nothing() {
    for call in ["create", "inject", "exec"] {
        let bench = Bench::new();
        bench.fake.fault(call, Fault::Hangs);
        let run = bench.executor.another();
        let step = tokio::spawn(async move { run.execute(injected(), key("k"), &mut ()).await });
        bench.fake.seen(call, 1).await;
        step.abort();
        assert!(step.await.unwrap_err().is_cancelled());
        bench.fake.seen("deleted", 1).await;
        bench.fake.assert_cleared();
        assert_eq!(bench.fake.count("destroy"), 1, "{call}");
        bench.assert_whole().await;
        assert_eq!(bench.fake.files(), 0, "{call}");
    }
}

#[tokio::test]
async fn whoever_goes_away_after_the_end_leaves_an_entry() {
    let bench = Bench::new();
    // Gone while its files are put away: that work is done already, so it is kept.
    bench.fake.fault("destroy", Fault::Hangs);
    let run = bench.executor.another();
    let step = tokio::spawn(async move { run.execute(action(), key("k"), &mut ()).await });
    bench.fake.seen("destroy", 1).await;
    step.abort();
    let _ = step.await;
    assert_eq!(bench.keys().await, ["k"]);
    assert_eq!(bench.fake.count("destroy"), 1);
    bench.assert_whole().await;
}

#[tokio::test]
async fn an_eviction_that_fails_is_finished_later_and_is_nobodys_answer() {
    use dauer_core::plan::eviction::Capacity;
    let one = Capacity {
        entries_max: Some(1),
        bytes_max: None,
    };
    let bench = Bench::with(one);
    let run = bench.executor.another();
    run.execute(action(), key("a"), &mut ()).await.unwrap();
    run.end().await;
    bench.fake.fault("delete", Fault::Fails);
    let run = bench.executor.another();
    assert!(run.execute(action(), key("b"), &mut ()).await.unwrap().kept);
    run.end().await;
    assert_eq!(bench.keys().await, ["b"]);
    bench.fake.heal();
    // The key of the one on its way out is asked for again.
    let run = bench.executor.another();
    assert!(
        !run.execute(action(), key("a"), &mut ())
            .await
            .unwrap()
            .cached
    );
    run.end().await;
    assert_eq!(bench.keys().await, ["a"]);
    bench.assert_whole().await;
}
