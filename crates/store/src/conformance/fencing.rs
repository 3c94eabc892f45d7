//! The claim that a handle whose lease was taken writes nothing, with any method there is.

use super::sample::{audit, change, checkpoint, create, edit, entry, id, job};
use super::snapshots::{cached, snapshot};
use super::{access, definitions, ledger, schedules};
use crate::moving::Portable;
use crate::{Error, Filter, Folder, HistoryFilter, NewJob, ScheduleChange, Store, UsageQuery};
use dauer_core::ledger::{By, Range};
use dauer_core::plan::turn::Ask;
use dauer_core::{
    CheckpointId, Job, JobId, Lease, NodeId, Queue, SandboxId, Schedule, State, Timestamp,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Every method that writes. Each has its call in [`write()`].
const WRITES: &[&str] = &[
    "create",
    "create_all",
    "create_begun",
    "commit",
    "commit_all",
    "drop_checkpoint",
    "prune_ledger",
    "heartbeat",
    "add_access_token",
    "access_token_used",
    "remove_access_token",
    "remove",
    "define",
    "undefine",
    "add_schedule",
    "change_schedule",
    "remove_schedule",
    "forget_records",
    "set_queue",
    "remove_queue",
    "add_snapshot",
    "change_snapshot",
    "remove_snapshot",
    "put_cache",
    "cache_hit",
    "pin_cache",
    "mark_evicting",
    "remove_cache",
    "daemon_started",
    "daemon_completed_a_job",
    "daemon_ended_well",
    "import",
    "renew_lease",
    "take_over",
    // The last: what is given back is there no more.
    "release_lease",
];

/// Those that only read.
const READS: &[&str] = &[
    "keyed",
    "jobs",
    "job",
    "find",
    "list",
    "unsettled",
    "ended",
    "next_wake",
    "due",
    "expiring",
    "children",
    "owner",
    "checkpoints",
    "snapshot",
    "find_snapshot",
    "snapshots",
    "referenced",
    "cache_entry",
    "cache_entries",
    "cache_least_used",
    "cache_totals",
    "token",
    "output",
    "has_signal",
    "signal_for",
    "signals_waiting",
    "wait",
    "journal",
    "intervals",
    "usage",
    "ledger_oldest",
    "last_heartbeat",
    "access_tokens",
    "definition",
    "versions",
    "definitions",
    "schedule",
    "schedules",
    "due_schedules",
    "next_schedule",
    "history",
    "oldest_record",
    "holders",
    "followers",
    "has_followers",
    "ended_before_followers",
    "batch",
    "batch_is_open",
    "queues",
    "waiting",
    "sleepers",
    "turns",
    "leases",
    "holder",
    "held",
    "export",
    "check",
];

/// The one method that is allowed to a handle whose lease was taken: with it, it has a lease again.
const TAKES: &str = "take_lease";

pub(super) async fn every_method_is_known(_: [Arc<dyn Store>; 3]) {
    let traits = concat!(
        include_str!("../lib.rs"),
        include_str!("../lease.rs"),
        include_str!("../snapshots.rs"),
        include_str!("../moving/mod.rs")
    );
    let methods: BTreeSet<&str> = traits
        .lines()
        .filter_map(|line| line.strip_prefix("    async fn "))
        .filter_map(|rest| rest.split(['(', '<']).next())
        .collect();
    let known: BTreeSet<&str> = WRITES
        .iter()
        .chain(READS)
        .chain([&TAKES])
        .copied()
        .collect();
    assert_eq!(methods, known, "say of each method whether it writes");
}

/// What the writes are about.
struct There {
    held: Job,
    ended: Job,
    other: Job,
    schedule: Schedule,
    /// A node whose lease has run out.
    silent: Lease,
}

async fn fill(store: &dyn Store, silent: Lease) -> There {
    let mut held = create(store, 1).await;
    edit(store, &mut held, |job| {
        job.state = State::Running;
        job.sandbox = Some(SandboxId::from("00112233445566ff"));
    })
    .await;
    let mut other = create(store, 2).await;
    let mut first = change(&mut other, |_| {});
    first.checkpoint = Some(checkpoint(&other, 1));
    let interval = |at| {
        let kind = dauer_core::ledger::Kind::Compute;
        [
            ledger::opened(&other.id, kind, at),
            ledger::closed(&other.id, kind, at + 1),
        ]
    };
    first.kept = [interval(10), interval(20)].concat();
    store.commit(first).await.unwrap();
    let mut ended = create(store, 3).await;
    edit(store, &mut ended, |job| job.state = State::Completed).await;
    let schedule = schedules::schedule("nightly", Some(5));
    let added = store.add_schedule(schedule.clone(), audit("schedule_added"));
    added.await.unwrap();
    for version in ["1.0.0", "2.0.0"] {
        let definition = definitions::definition("resize", version);
        store
            .define(definition, audit("definition_added"))
            .await
            .unwrap();
    }
    let token = access::token("a", dauer_core::Scope::Admin);
    store
        .add_access_token(token, audit("token_added"))
        .await
        .unwrap();
    store
        .set_queue(queue("mail"), audit("queue_set"))
        .await
        .unwrap();
    for n in [1, 2] {
        let name = (n == 1).then_some("one");
        store
            .add_snapshot(snapshot(n, name), Folder::New, audit("snapshot_added"))
            .await
            .unwrap();
    }
    for key in ["old", "going"] {
        store.put_cache(cached(key, 1), Vec::new()).await.unwrap();
    }
    store.mark_evicting(vec!["going".into()]).await.unwrap();
    store.daemon_started(Timestamp(1), 1).await.unwrap();
    store.heartbeat(Timestamp(1)).await.unwrap();
    There {
        held,
        ended,
        other,
        schedule,
        silent,
    }
}

fn queue(name: &str) -> Queue {
    Queue {
        name: name.into(),
        max_running: Some(1),
        rate: None,
        key_max_running: None,
        key_rate: None,
        paused: false,
        hold_while_suspended: false,
    }
}

fn new(n: u64) -> NewJob {
    NewJob {
        job: job(n),
        entry: entry("created"),
        key: None,
        shares: None,
    }
}

/// Calls the method of this name so that it would write something.
async fn write(method: &str, store: &dyn Store, there: &There) -> Result<(), Error> {
    let next = |job: &Job| change(&mut job.clone(), |job| job.last_error = Some("x".into()));
    match method {
        "create" => store.create(job(10), entry("created")).await,
        "create_all" => store.create_all(vec![new(11), new(12)]).await,
        "create_begun" => {
            let mut begun = job(13);
            let begin = change(&mut begun, |job| job.state = State::Running);
            store.create_begun(vec![new(13)], vec![begin]).await
        }
        "commit" => store.commit(next(&there.held)).await,
        "commit_all" => {
            let results = store.commit_all(vec![next(&there.other)]).await;
            results.into_iter().collect()
        }
        "drop_checkpoint" => {
            let id = CheckpointId(format!("{:016x}", 1));
            store.drop_checkpoint(&there.other.id, &id).await
        }
        "prune_ledger" => store.prune_ledger(Timestamp(1000), 1).await,
        "heartbeat" => store.heartbeat(Timestamp(9)).await,
        "add_access_token" => {
            let token = access::token("b", dauer_core::Scope::Read);
            store.add_access_token(token, audit("token_added")).await
        }
        "access_token_used" => store.access_token_used("a", Timestamp(7)).await,
        "remove_access_token" => store.remove_access_token("a", audit("token_removed")).await,
        "remove" => {
            let removed = store.remove(&there.ended.id, there.ended.version, audit("removed"));
            removed.await
        }
        "define" => {
            let definition = definitions::definition("resize", "3.0.0");
            store.define(definition, audit("definition_added")).await
        }
        "undefine" => {
            let definition = definitions::reference("resize", "1.0.0");
            store.undefine(&definition, audit("removed")).await
        }
        "add_schedule" => {
            let schedule = schedules::schedule("weekly", None);
            store.add_schedule(schedule, audit("schedule_added")).await
        }
        "change_schedule" => {
            let mut schedule = there.schedule.clone();
            schedule.version += 1;
            let change = ScheduleChange {
                schedule,
                jobs: vec![new(14)],
                audit: None,
            };
            store.change_schedule(change).await
        }
        "remove_schedule" => store.remove_schedule("nightly", audit("removed")).await,
        "forget_records" => store.forget_records(Timestamp(i64::MAX), 1).await,
        "set_queue" => store.set_queue(queue("night"), audit("queue_set")).await,
        "remove_queue" => store.remove_queue("mail", audit("queue_removed")).await,
        "add_snapshot" => {
            let added = snapshot(10, None);
            let add = store.add_snapshot(added, Folder::New, audit("snapshot_added"));
            add.await
        }
        "change_snapshot" => {
            let mut changed = snapshot(1, Some("one"));
            changed.version = 2;
            changed.pinned = true;
            store.change_snapshot(changed, audit("changed")).await
        }
        "remove_snapshot" => {
            let id = snapshot(2, None).id;
            store.remove_snapshot(&id, audit("removed")).await
        }
        "put_cache" => store.put_cache(cached("new", 1), Vec::new()).await,
        "cache_hit" => store.cache_hit("old", Timestamp(99)).await,
        "pin_cache" => store.pin_cache("old", true).await,
        "mark_evicting" => store.mark_evicting(vec!["old".into()]).await,
        "remove_cache" => store.remove_cache("going").await,
        "daemon_started" => store.daemon_started(Timestamp(8), 1).await.map(|_| ()),
        "daemon_completed_a_job" => store.daemon_completed_a_job().await,
        "daemon_ended_well" => store.daemon_ended_well().await,
        "import" => {
            let queue = Queue {
                name: "elsewhere".into(),
                ..Queue::default()
            };
            store.import(vec![Portable::Queue(queue)]).await
        }
        "renew_lease" => store.renew_lease(Timestamp(i64::MAX)).await,
        "take_over" => {
            let Lease {
                node, epoch, until, ..
            } = &there.silent;
            store.take_over(node, *epoch, *until).await.map(|_| ())
        }
        "release_lease" => store.release_lease().await,
        other => panic!("no call of {other} here"),
    }
}

/// Everything there is to be read, as text.
async fn everything(store: &dyn Store) -> String {
    let everything = |limit| HistoryFilter {
        limit,
        ..HistoryFilter::default()
    };
    let jobs = store.list(Filter {
        limit: 100,
        ..Filter::default()
    });
    let jobs = jobs.await.unwrap();
    let mut text = format!("{jobs:?}");
    let mut add = |part: &dyn std::fmt::Debug| text.push_str(&format!("\n{part:?}"));
    for job in &jobs {
        add(&store.checkpoints(&job.id).await.unwrap());
        add(&store.holder(&job.id).await.unwrap());
    }
    add(&store.history(everything(1000)).await.unwrap().records);
    let filter = crate::DefinitionFilter {
        limit: 100,
        ..crate::DefinitionFilter::default()
    };
    add(&store.definitions(filter).await.unwrap());
    add(&store.schedules(None, 100).await.unwrap());
    add(&store.access_tokens().await.unwrap());
    add(&store.queues().await.unwrap());
    add(&store.snapshots(None, 100).await.unwrap());
    add(&store.cache_entries(None, 100).await.unwrap());
    add(&store.turns().await.unwrap());
    add(&store.last_heartbeat().await.unwrap());
    add(&store.leases().await.unwrap());
    add(&store.held().await.unwrap());
    let usage = store.usage(UsageQuery {
        by: By::Owner,
        range: Range {
            since: None,
            until: None,
        },
        now: Timestamp(1000),
        owner: None,
        tags: Vec::new(),
    });
    add(&usage.await.unwrap());
    add(&store
        .due(Timestamp(i64::MAX), &Ask::anything(100))
        .await
        .unwrap());
    text
}

pub(super) async fn a_handle_of_an_older_epoch_writes_nothing(stores: [Arc<dyn Store>; 3]) {
    let [old, new, third] = stores;
    let (node, silent) = (NodeId::from("a"), NodeId::from("silent"));
    let until = Timestamp(100);
    let silent = third
        .take_lease(&silent, None, Timestamp(50))
        .await
        .unwrap();
    let first = old.take_lease(&node, None, until).await.unwrap();
    let there = fill(&*old, silent).await;
    let second = new.take_lease(&node, None, until).await.unwrap();
    let before = everything(&*new).await;
    for method in WRITES {
        match write(method, &*old, &there).await {
            Err(Error::Fenced {
                node: of,
                epoch,
                found,
            }) => {
                assert_eq!(
                    (&of, epoch, found),
                    (&node, first.epoch, Some(second.epoch)),
                    "{method}"
                );
            }
            other => panic!("{method}: {other:?}"),
        }
        assert_eq!(everything(&*new).await, before, "{method}");
    }
    // The same calls of who has the lease do write, or this said nothing.
    for method in WRITES {
        let before = everything(&*new).await;
        write(method, &*new, &there)
            .await
            .unwrap_or_else(|error| panic!("{method}: {error}"));
        let is_told = !method.starts_with("daemon_");
        assert!(
            !is_told || everything(&*new).await != before,
            "{method} wrote nothing"
        );
    }
    let held: Vec<JobId> = vec![id(1), id(13)];
    let unsettled = new.unsettled().await.unwrap();
    let unsettled: Vec<JobId> = unsettled.into_iter().map(|job| job.id).collect();
    assert_eq!(unsettled, held);
}
