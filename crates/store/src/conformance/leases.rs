//! Claims about leases: who holds what, who may take it over, and that it is one of them.

use super::sample::{audit, become_state, change, create, edit, entry, id, listed};
use crate::{Error, NewJob, Store};
use dauer_core::plan::turn::Ask;
use dauer_core::{JobId, Lease, NodeId, Operation, State, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

const UNTIL: Timestamp = Timestamp(100);

async fn take(store: &Arc<dyn Store>, node: &str) -> Lease {
    store
        .take_lease(&NodeId::from(node), Some("http://here"), UNTIL)
        .await
        .unwrap()
}

async fn running(store: &Arc<dyn Store>, n: u64) -> dauer_core::Job {
    let mut job = create(&**store, n).await;
    become_state(&**store, &mut job, State::Running).await;
    job
}

fn fenced<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::Fenced { .. })), "{result:?}");
}

fn changed<T: std::fmt::Debug>(result: Result<T, Error>) {
    assert!(matches!(result, Err(Error::LeaseChanged(_))), "{result:?}");
}

pub(super) async fn a_lease_is_taken_renewed_and_given_back([a, b, c]: [Arc<dyn Store>; 3]) {
    assert_eq!(c.leases().await.unwrap(), []);
    for nothing in [a.renew_lease(UNTIL).await, a.release_lease().await] {
        assert!(matches!(nothing, Err(Error::Backend(_))), "{nothing:?}");
    }
    let of_b = b.take_lease(&NodeId::from("b"), None, UNTIL).await.unwrap();
    let mut of_a = take(&a, "a").await;
    assert_eq!(
        of_a,
        Lease {
            node: NodeId::from("a"),
            epoch: 1,
            until: UNTIL,
            address: Some("http://here".into())
        }
    );
    assert_eq!((of_b.epoch, &of_b.address), (1, &None));
    assert_eq!(c.leases().await.unwrap(), [of_a.clone(), of_b.clone()]);
    a.renew_lease(Timestamp(200)).await.unwrap();
    of_a.until = Timestamp(200);
    assert_eq!(c.leases().await.unwrap(), [of_a.clone(), of_b]);
    // It held nothing: nobody has to look at it any more.
    b.release_lease().await.unwrap();
    assert_eq!(c.leases().await.unwrap(), [of_a.clone()]);
    // It holds something: whoever comes first may take it over.
    let held = running(&a, 1).await;
    a.release_lease().await.unwrap();
    let left = c.leases().await.unwrap();
    assert!(
        left.len() == 1 && left[0].has_run_out(Timestamp(1)),
        "{left:?}"
    );
    take(&b, "b").await;
    let taken = b.take_over(&of_a.node, left[0].epoch, Timestamp(1)).await;
    assert_eq!(taken.unwrap(), [held.id]);
}

pub(super) async fn a_node_that_takes_its_lease_again_fences_its_older_handle(
    [old, new, _]: [Arc<dyn Store>; 3],
) {
    let first = take(&old, "a").await;
    let mut held = running(&old, 1).await;
    let second = take(&new, "a").await;
    assert_eq!(second.epoch, first.epoch + 1);
    fenced(old.renew_lease(Timestamp(900)).await);
    assert_eq!(new.leases().await.unwrap(), [second]);
    // What its older daemon held is its own.
    assert_eq!(new.unsettled().await.unwrap(), [listed(&held)]);
    edit(&*new, &mut held, |job| job.attempt = 2).await;
    fenced(old.commit(change(&mut held, |job| job.attempt = 3)).await);
    // So it is again.
    take(&old, "a").await;
    fenced(new.renew_lease(Timestamp(900)).await);
    held.version = 3;
    edit(&*old, &mut held, |job| job.attempt = 4).await;
}

pub(super) async fn a_lease_that_has_not_run_out_is_not_taken_over([a, b, _]: [Arc<dyn Store>; 3]) {
    let of_a = take(&a, "a").await;
    let held = running(&a, 1).await;
    let own = b.take_over(&of_a.node, 1, UNTIL).await;
    assert!(
        matches!(own, Err(Error::Backend(_))),
        "without a lease: {own:?}"
    );
    let of_b = take(&b, "b").await;
    changed(b.take_over(&of_a.node, of_a.epoch, Timestamp(99)).await);
    changed(b.take_over(&of_a.node, of_a.epoch + 1, UNTIL).await);
    changed(b.take_over(&NodeId::from("nobody"), 1, UNTIL).await);
    let own = b.take_over(&of_b.node, of_b.epoch, UNTIL).await;
    assert!(matches!(own, Err(Error::Backend(_))), "its own: {own:?}");
    // It came late, but before anybody else.
    a.renew_lease(Timestamp(200)).await.unwrap();
    changed(b.take_over(&of_a.node, of_a.epoch, Timestamp(150)).await);
    assert_eq!(b.holder(&held.id).await.unwrap(), Some(of_a.node));
}

pub(super) async fn of_those_who_take_over_one_gets_the_jobs([a, b, c]: [Arc<dyn Store>; 3]) {
    for round in 0..20 {
        let node = format!("a{round}");
        let of_a = take(&a, &node).await;
        let mut held = Vec::new();
        for n in 1..=3 {
            held.push(running(&a, round * 10 + n).await.id);
        }
        take(&b, "b").await;
        take(&c, "c").await;
        let claim = |store: &Arc<dyn Store>| {
            let (store, of_a) = (Arc::clone(store), of_a.clone());
            tokio::spawn(async move { store.take_over(&of_a.node, of_a.epoch, UNTIL).await })
        };
        let (of_b, of_c) = (claim(&b), claim(&c));
        let (of_b, of_c) = (of_b.await.unwrap(), of_c.await.unwrap());
        let (winner, won, lost) = match of_b {
            Ok(won) => ("b", won, of_c),
            Err(_) => ("c", of_c.unwrap(), of_b),
        };
        assert_eq!(won, held);
        changed(lost);
        for job in &held {
            let holder = a.holder(job).await.unwrap();
            assert_eq!(holder, Some(NodeId::from(winner)));
        }
        fenced(a.heartbeat(Timestamp(1)).await);
    }
    let held = a.held().await.unwrap();
    assert_eq!(held.values().sum::<u64>(), 60, "{held:?}");
    let nodes: Vec<_> = a.leases().await.unwrap();
    let nodes: Vec<&str> = nodes.iter().map(|lease| lease.node.as_str()).collect();
    assert_eq!(nodes, ["b", "c"], "who was taken over has no lease");
}

pub(super) async fn a_node_that_was_taken_over_may_come_again([a, b, _]: [Arc<dyn Store>; 3]) {
    let of_a = take(&a, "a").await;
    let mut held = running(&a, 1).await;
    take(&b, "b").await;
    b.take_over(&of_a.node, of_a.epoch, UNTIL).await.unwrap();
    let again = take(&a, "a").await;
    assert!(again.epoch > of_a.epoch, "{again:?}");
    assert_eq!(a.unsettled().await.unwrap(), []);
    let late = a.commit(change(&mut held, |job| job.attempt = 2)).await;
    assert!(matches!(late, Err(Error::Held { .. })), "{late:?}");
    // And be taken over again, but not with what was known of it before.
    changed(b.take_over(&of_a.node, of_a.epoch, UNTIL).await);
    b.take_over(&of_a.node, again.epoch, UNTIL).await.unwrap();
}

pub(super) async fn who_holds_a_job_is_known_until_it_is_settled([a, b, _]: [Arc<dyn Store>; 3]) {
    let node = take(&a, "a").await.node;
    take(&b, "b").await;
    let mut job = create(&*a, 1).await;
    let holder = async || b.holder(&id(1)).await.unwrap();
    assert_eq!(holder().await, None, "it waits");
    type Edit = fn(&mut dauer_core::Job);
    let steps: [(&str, Edit, bool); 6] = [
        (
            "starting",
            |job| job.operation = Some(Operation::Starting),
            true,
        ),
        (
            "running",
            |job| {
                job.state = State::Running;
                job.operation = None;
            },
            true,
        ),
        ("suspended", |job| job.state = State::Suspended, false),
        (
            "waking",
            |job| job.operation = Some(Operation::Waking),
            true,
        ),
        (
            "exiting",
            |job| {
                job.state = State::Completed;
                job.operation = Some(Operation::Exiting);
            },
            true,
        ),
        ("completed", |job| job.operation = None, false),
    ];
    for (word, step, is_held) in steps {
        edit(&*a, &mut job, step).await;
        assert_eq!(holder().await, is_held.then(|| node.clone()), "{word}");
        let held = b.held().await.unwrap();
        let expected: BTreeMap<_, _> = is_held.then(|| (node.clone(), 1)).into_iter().collect();
        assert_eq!(held, expected, "{word}");
    }
    // One whose first change is written with it.
    let mut begun = super::sample::job(2);
    let new = NewJob {
        job: begun.clone(),
        entry: entry("created"),
        key: None,
        shares: None,
    };
    let begin = change(&mut begun, |job| job.state = State::Running);
    a.create_begun(vec![new], vec![begin]).await.unwrap();
    assert_eq!(b.holder(&begun.id).await.unwrap(), Some(node));
    assert_eq!(
        b.holder(&id(9)).await.unwrap(),
        None,
        "there is no such job"
    );
}

pub(super) async fn what_another_node_holds_is_not_written([a, b, c]: [Arc<dyn Store>; 3]) {
    let node = take(&a, "a").await.node;
    take(&b, "b").await;
    let mut held = running(&a, 1).await;
    let mut free = create(&*a, 2).await;
    let mut ending = create(&*a, 3).await;
    edit(&*a, &mut ending, |job| {
        job.state = State::Completed;
        job.operation = Some(Operation::Exiting);
    })
    .await;
    let journal = c.journal(None, 0, 100).await.unwrap();
    let is_held = |result: Result<(), Error>, of: &JobId| match result {
        Err(Error::Held { job, node: by }) => assert_eq!((&job, &by), (of, &node)),
        other => panic!("{other:?}"),
    };
    let next = |job: &dauer_core::Job| change(&mut job.clone(), |job| job.attempt = 7);
    is_held(b.commit(next(&held)).await, &held.id);
    is_held(
        b.remove(&ending.id, ending.version, audit("removed")).await,
        &ending.id,
    );
    assert_eq!(c.journal(None, 0, 100).await.unwrap(), journal);
    // Its neighbours are written.
    let mut results = b.commit_all(vec![next(&free), next(&held)]).await;
    is_held(results.pop().unwrap(), &held.id);
    results.pop().unwrap().unwrap();
    free.version += 1;
    assert_eq!(c.job(&held.id).await.unwrap(), held);
    // A handle without a lease is not asked, and what it writes is held by nobody.
    edit(&*c, &mut held, |job| job.attempt = 9).await;
    assert_eq!(c.holder(&held.id).await.unwrap(), None);
    edit(&*b, &mut held, |job| job.attempt = 10).await;
    assert_eq!(c.holder(&held.id).await.unwrap(), Some(NodeId::from("b")));
}

pub(super) async fn recovery_looks_at_what_its_node_or_nobody_holds(
    [a, b, nobody]: [Arc<dyn Store>; 3],
) {
    let free = running(&nobody, 1).await.id;
    take(&a, "a").await;
    take(&b, "b").await;
    let of_a = running(&a, 2).await.id;
    let of_b = running(&b, 3).await.id;
    let unsettled = async |store: &Arc<dyn Store>| {
        let jobs = store.unsettled().await.unwrap();
        jobs.into_iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!(unsettled(&a).await, [free.clone(), of_a]);
    assert_eq!(unsettled(&b).await, [free.clone(), of_b]);
    assert_eq!(unsettled(&nobody).await, [free]);
}

/// Both ask what is due and begin it, as schedulers do, until nothing is left.
pub(super) async fn two_claimers_never_get_one_job([a, b, c]: [Arc<dyn Store>; 3]) {
    const JOBS: u64 = 60;
    for n in 1..=JOBS {
        create(&*c, n).await;
    }
    take(&a, "a").await;
    take(&b, "b").await;
    let claim = |store: &Arc<dyn Store>| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let (mut begun, mut looks) = (Vec::new(), 0);
            while store.next_wake(Timestamp(-1)).await.unwrap().is_some() {
                looks += 1;
                assert!(looks < 100_000, "what waits is never due");
                let due = store.due(Timestamp(i64::MAX), &Ask::anything(5)).await;
                for due in due.unwrap() {
                    let mut job = store.job(&due.job).await.unwrap();
                    if job.state != State::Pending {
                        continue; // The other one was first.
                    }
                    match store
                        .commit(change(&mut job, |job| job.state = State::Running))
                        .await
                    {
                        Ok(()) => begun.push(job.id),
                        Err(Error::Conflict { .. } | Error::Held { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            begun
        })
    };
    let (of_a, of_b) = (claim(&a), claim(&b));
    let (of_a, of_b) = (of_a.await.unwrap(), of_b.await.unwrap());
    let mut begun = [of_a.clone(), of_b.clone()].concat();
    begun.sort();
    assert_eq!(begun, (1..=JOBS).map(id).collect::<Vec<_>>());
    for (jobs, node) in [(of_a, "a"), (of_b, "b")] {
        for job in jobs {
            let holder = c.holder(&job).await.unwrap();
            assert_eq!(holder, Some(NodeId::from(node)));
            assert_eq!(c.job(&job).await.unwrap().version, 2);
        }
    }
}

/// Somebody writes on and on while it is taken over.
pub(super) async fn nothing_is_written_after_a_take_over([a, b, _]: [Arc<dyn Store>; 3]) {
    let of_a = take(&a, "a").await;
    let mut held = running(&a, 1).await;
    let written = tokio::spawn(async move {
        loop {
            let result = a.commit(change(&mut held, |job| job.attempt += 1)).await;
            match result {
                Ok(()) => {}
                Err(Error::Fenced { .. }) => return held.version - 1,
                Err(error) => panic!("{error}"),
            }
        }
    });
    take(&b, "b").await;
    while b.job(&id(1)).await.unwrap().version < 20 {
        tokio::task::yield_now().await;
    }
    b.take_over(&of_a.node, of_a.epoch, UNTIL).await.unwrap();
    let seen = b.job(&id(1)).await.unwrap().version;
    assert_eq!(
        written.await.unwrap(),
        seen,
        "acknowledged, and there when it was taken over"
    );
    assert_eq!(b.job(&id(1)).await.unwrap().version, seen);
}
