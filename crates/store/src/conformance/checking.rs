//! Claims about looking whether a store is as it should be: what was written by the rules is found whole, what was not is named.

use super::sample::{audit, change, checkpoint, create, edit, entry, id, job, named};
use super::schedules::schedule;
use super::snapshots::{cached, share, snapshot};
use crate::check::{Finding, Rule, check};
use crate::moving::{BATCH, Migration};
use crate::{Change, Folder, NewJob, Sqlite, Store};
use dauer_core::ledger::{Closing, Interval, Kind, Labels, Owner};
use dauer_core::{Job, Kept, Queue, State, Timestamp};
use std::sync::Arc;

async fn findings(store: &dyn Store) -> Vec<Finding> {
    check(store, |_| {}).await.unwrap()
}

fn opened(job: &Job, kind: Kind) -> Kept {
    Kept::Opened(Box::new(Interval {
        owner: Owner::job(&job.id),
        generation: job.generation,
        kind,
        amount: 1000,
        from: Timestamp(10),
        to: None,
        used: None,
        cause: "started".into(),
        closed_by: None,
        labels: Labels::of(job),
    }))
}

fn closed(job: &Job, kind: Kind) -> Kept {
    Kept::Closed(Closing {
        owner: Owner::job(&job.id),
        kind,
        to: Timestamp(20),
        used: None,
        closed_by: "exited".into(),
    })
}

const RUN: [Kind; 2] = [Kind::Compute, Kind::Memory];

/// It runs, and is counted.
fn run(job: &mut Job) -> Change {
    let mut change = change(job, |job| {
        job.state = State::Running;
        job.runs_since = Some(Timestamp(10));
    });
    change.kept = RUN.map(|kind| opened(job, kind)).into();
    change
}

/// It runs no longer.
fn end(job: &mut Job, state: State) -> Change {
    let mut change = change(job, |job| {
        job.state = state;
        job.runs_since = None;
    });
    change.kept = RUN.map(|kind| closed(job, kind)).into();
    change
}

/// Writes jobs in every state, and all else, as the rules want it: 1 has completed, 2 sleeps, 3 waits, 4 runs, 5 waits for it.
pub(crate) async fn write_by_the_rules(store: &dyn Store) {
    let mut one = create(store, 1).await;
    store.commit(run(&mut one)).await.unwrap();
    store.commit(end(&mut one, State::Completed)).await.unwrap();
    let mut two = create(store, 2).await;
    store.commit(run(&mut two)).await.unwrap();
    let mut slept = end(&mut two, State::Suspended);
    let image = checkpoint(&two, 7);
    two.checkpoint = Some(image.id.clone());
    slept.job = Arc::new(two.clone());
    slept.checkpoint = Some(image);
    slept.kept.push(opened(&two, Kind::Storage));
    store.commit(slept).await.unwrap();
    let three = named(3, Some("three"));
    store.create(three, entry("created")).await.unwrap();
    let mut four = create(store, 4).await;
    store.commit(run(&mut four)).await.unwrap();
    let follower = NewJob {
        job: job(5).blocked_by(vec![id(4)]),
        entry: entry("created"),
        key: Some(("key".into(), "digest".into())),
        shares: None,
    };
    store.create_all(vec![follower]).await.unwrap();
    let daily = schedule("daily", Some(5));
    store
        .add_schedule(daily, audit("schedule_added"))
        .await
        .unwrap();
    let mail = Queue {
        name: "mail".into(),
        ..Queue::default()
    };
    store.set_queue(mail, audit("queue_set")).await.unwrap();
    let kept = snapshot(7, Some("kept"));
    store
        .add_snapshot(kept, Folder::Shared, audit("snapshot_added"))
        .await
        .unwrap();
    for key in ["used", "going"] {
        store.put_cache(cached(key, 7), Vec::new()).await.unwrap();
    }
    store.mark_evicting(vec!["going".into()]).await.unwrap();
    let fork = share(8, &two.checkpoint.clone().unwrap());
    store.create_all(vec![fork]).await.unwrap();
}

pub(super) async fn what_was_written_by_the_rules_is_found_whole_also_when_it_was_moved(
    store: Arc<dyn Store>,
) {
    write_by_the_rules(&*store).await;
    assert_eq!(findings(&*store).await, []);
    let other = Sqlite::memory().unwrap();
    let moved = Migration {
        from: &*store,
        to: &other,
        name: "one",
        now: Timestamp(1),
        batch: BATCH,
    };
    moved.run_whatever_is_under_way(|_| {}).await.unwrap();
    assert_eq!(findings(&other).await, []);
}

pub(super) async fn what_breaks_a_rule_is_named(store: Arc<dyn Store>) {
    write_by_the_rules(&*store).await;
    let expect = async |rule: Rule, n: u64, part: &str| {
        let found = findings(&*store).await;
        let subject = format!("job {}", id(n));
        let named = found
            .iter()
            .any(|one| one.rule == rule && one.subject == subject && one.what.contains(part));
        assert!(named, "{rule:?} of {subject}: {found:?}");
    };
    // The state moves without an entry, as nobody may.
    let mut ten = create(&*store, 10).await;
    let mut silent = change(&mut ten, |job| job.state = State::Cancelled);
    silent.entry = None;
    store.commit(silent).await.unwrap();
    expect(Rule::JournalEnd, 10, "the record is cancelled").await;
    // Back from the dead.
    let mut eleven = create(&*store, 11).await;
    edit(&*store, &mut eleven, |job| job.state = State::Completed).await;
    expect(Rule::JournalMove, 11, "from pending to completed").await;
    let mut liar = change(&mut eleven, |_| {});
    if let Some(entry) = &mut liar.entry {
        entry.from = Some(State::Running);
    }
    store.commit(liar).await.unwrap();
    expect(Rule::JournalMove, 11, "the one before ends at completed").await;
    // Nobody counts that it ended, or that it runs.
    let mut twelve = create(&*store, 12).await;
    store.commit(run(&mut twelve)).await.unwrap();
    let mut ended = end(&mut twelve, State::Failed);
    ended.kept.clear();
    store.commit(ended).await.unwrap();
    expect(Rule::IntervalOpen, 12, "does not run").await;
    let mut thirteen = create(&*store, 13).await;
    let mut begun = run(&mut thirteen);
    begun.kept.pop();
    store.commit(begun).await.unwrap();
    expect(Rule::IntervalMissing, 13, "not counted").await;
    let mut fourteen = create(&*store, 14).await;
    let mut stored = change(&mut fourteen, |_| {});
    stored.kept.push(opened(&fourteen, Kind::Storage));
    store.commit(stored).await.unwrap();
    expect(Rule::IntervalOpen, 14, "it has none").await;
    let mut fifteen = create(&*store, 15).await;
    edit(&*store, &mut fifteen, |job| job.wake_at = None).await;
    expect(Rule::NeverDue, 15, "never due").await;
    // Its run has ended and it is still there.
    let mut left = snapshot(30, None);
    left.ephemeral_of = Some(id(1).0);
    store
        .add_snapshot(left.clone(), Folder::New, audit("snapshot_added"))
        .await
        .unwrap();
    let outlived = findings(&*store).await;
    let subject = format!("snapshot {}", left.id);
    let is_named = |one: &Finding| one.rule == Rule::SnapshotOutlived && one.subject == subject;
    assert!(outlived.iter().any(is_named), "{outlived:?}");
    // What belongs to a job that is gone and nothing ended.
    let removed = store.remove(&twelve.id, twelve.version, audit("job_removed"));
    removed.await.unwrap();
    expect(Rule::IntervalOpen, 12, "no record").await;
    assert!(
        findings(&*store)
            .await
            .iter()
            .all(|one| !one.fix.is_empty() && one.subject != format!("job {}", id(3)))
    );
}
