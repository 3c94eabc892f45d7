//! Claims about the ledger, and the part of the model for it.

use super::beside::keep;
use super::sample::{audit, become_state, change, create, id};
use crate::{Filter, Store, UsageQuery};
use dauer_core::ledger::{
    Account, By, Closing, Interval, Kind, Labels, Owner, OwnerKind, Range, Relabelling,
};
use dauer_core::{Job, JobId, Kept, State, Timestamp};
use std::sync::Arc;

/// What the ledger should hold, in the order of writing.
#[derive(Debug, Default)]
pub(super) struct Ledger(Vec<Interval>);

impl Ledger {
    /// What a change of this job may write, as the number has it.
    pub(super) fn drawn(job: &JobId, number: u64) -> Option<Kept> {
        let kind = Kind::ALL[usize::try_from(number / 8 % 3).unwrap_or(0)];
        let at = i64::try_from(number / 24 % 1000).unwrap_or(0);
        match number % 8 {
            0 | 1 => Some(opened(job, kind, at)),
            2 | 3 => Some(closed(job, kind, at)),
            4 => Some(relabelled(job, at, &format!("v{}", number / 24 % 3))),
            _ => None,
        }
    }

    fn open(&mut self, owner: &Owner) -> impl Iterator<Item = &mut Interval> {
        self.0
            .iter_mut()
            .filter(move |known| known.owner == *owner && known.to.is_none())
    }

    pub(super) fn put(&mut self, kept: &Kept) {
        match kept {
            Kept::Opened(new) => {
                if !self.open(&new.owner).any(|known| known.kind == new.kind) {
                    self.0.push(Interval::clone(new));
                }
            }
            Kept::Closed(closing) => {
                for known in self
                    .open(&closing.owner)
                    .filter(|known| known.kind == closing.kind)
                {
                    known.to = Some(closing.to.max(known.from));
                    known.used = closing.used;
                    known.closed_by = Some(closing.closed_by.clone());
                }
            }
            Kept::Relabelled(Relabelling { owner, at, labels }) => {
                let mut before = Vec::new();
                for known in self.open(owner) {
                    let at = (*at).max(known.from);
                    before.push(Interval {
                        to: Some(at),
                        closed_by: Some("relabelled".into()),
                        ..known.clone()
                    });
                    known.from = at;
                    known.cause = "relabelled".into();
                    known.labels = labels.clone();
                }
                self.0.extend(before);
            }
            Kept::Output(_)
            | Kept::Signal(_)
            | Kept::SignalTaken { .. }
            | Kept::SignalsSealed
            | Kept::SignalsFreed
            | Kept::Wait(_)
            | Kept::BegunAnew
            | Kept::Unblocked { .. }
            | Kept::Turn { .. }
            | Kept::Described { .. } => {}
        }
    }

    pub(super) async fn compare(&self, store: &dyn Store, job: &JobId) {
        let owner = Owner::job(job);
        let of_job = self.0.iter().filter(|known| known.owner == owner).cloned();
        let stored = store.intervals(&owner).await.unwrap();
        assert!(stored.is_sorted_by_key(|interval| interval.from));
        assert_eq!(sorted(stored), sorted(of_job.collect()));
        let (since, until) = (Some(Timestamp(100)), Some(Timestamp(900)));
        let of_a = vec![("team".to_owned(), "a".to_owned())];
        for (by, owner, since, until, tags) in [
            (By::Total, None, since, until, Vec::new()),
            (By::Owner, None, since, until, Vec::new()),
            (By::Tag("team".into()), Some(owner), since, until, vec![]),
            // Everything there is: what is open, too, and no index leads to it.
            (By::Tag("team".into()), None, None, None, Vec::new()),
            (By::Day, None, None, until, of_a.clone()),
            (By::Definition, None, since, None, of_a),
        ] {
            let query = UsageQuery {
                by,
                owner,
                range: Range { since, until },
                now: Timestamp(2000),
                tags,
            };
            assert_eq!(store.usage(query.clone()).await.unwrap(), self.sum(&query));
        }
    }

    fn sum(&self, query: &UsageQuery) -> Account {
        let mut account = Account::new(query.by.clone(), query.range, query.now);
        for known in self.0.iter().filter(|known| query.asks_for(known)) {
            account.add(known).unwrap();
        }
        account
    }
}

/// Those that began together have no order.
fn sorted(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.sort_by_key(|interval| format!("{interval:?}"));
    intervals
}

fn labels(team: &str) -> Labels {
    Labels {
        definition: Some("resize@1.0.0".into()),
        queue: Some("q".into()),
        tags: [("team".into(), team.into())].into(),
    }
}

pub(super) fn opened(job: &JobId, kind: Kind, at: i64) -> Kept {
    Kept::Opened(Box::new(Interval {
        owner: Owner::job(job),
        generation: 1,
        kind,
        amount: u64::MAX >> 1,
        from: Timestamp(at),
        to: None,
        used: None,
        cause: "started".into(),
        closed_by: None,
        labels: labels("a"),
    }))
}

pub(super) fn closed(job: &JobId, kind: Kind, at: i64) -> Kept {
    Kept::Closed(Closing {
        owner: Owner::job(job),
        kind,
        to: Timestamp(at),
        used: (at % 2 == 0).then_some(7),
        closed_by: "completed".into(),
    })
}

fn relabelled(job: &JobId, at: i64, team: &str) -> Kept {
    Kept::Relabelled(Relabelling {
        owner: Owner::job(job),
        at: Timestamp(at),
        labels: labels(team),
    })
}

async fn spans(store: &dyn Store, job: &Job) -> Vec<(Kind, i64, Option<i64>)> {
    let intervals = store.intervals(&Owner::job(&job.id)).await.unwrap();
    let span = |interval: Interval| (interval.kind, interval.from.0, interval.to.map(|to| to.0));
    intervals.into_iter().map(span).collect()
}

pub(super) async fn nobody_has_two_open_intervals_of_a_kind(store: Arc<dyn Store>) {
    let mut job = create(&*store, 1).await;
    let compute = |at| opened(&job.id, Kind::Compute, at);
    let kept = vec![compute(10), compute(20), opened(&job.id, Kind::Memory, 15)];
    keep(&*store, &mut job, kept).await;
    let again = vec![opened(&job.id, Kind::Compute, 30)];
    keep(&*store, &mut job, again).await;
    let both = [(Kind::Compute, 10, None), (Kind::Memory, 15, None)];
    assert_eq!(spans(&*store, &job).await, both);
    let end = vec![closed(&job.id, Kind::Compute, 40)];
    keep(&*store, &mut job, end.clone()).await;
    // Closed again, nothing changes; opened again, it is another one.
    keep(&*store, &mut job, end).await;
    let again = vec![opened(&job.id, Kind::Compute, 50)];
    keep(&*store, &mut job, again).await;
    let three = [
        (Kind::Compute, 10, Some(40)),
        (Kind::Memory, 15, None),
        (Kind::Compute, 50, None),
    ];
    assert_eq!(spans(&*store, &job).await, three);
}

pub(super) async fn an_interval_never_ends_before_it_began(store: Arc<dyn Store>) {
    let mut job = create(&*store, 1).await;
    let kept = vec![
        opened(&job.id, Kind::Storage, 50),
        relabelled(&job.id, 40, "b"),
        closed(&job.id, Kind::Storage, 30),
    ];
    keep(&*store, &mut job, kept).await;
    let none = [(Kind::Storage, 50, Some(50)), (Kind::Storage, 50, Some(50))];
    assert_eq!(spans(&*store, &job).await, none);
}

pub(super) async fn what_a_job_used_outlives_it_until_it_is_pruned(store: Arc<dyn Store>) {
    let mut job = create(&*store, 1).await;
    for at in [10, 30, 50] {
        let kept = vec![
            opened(&job.id, Kind::Compute, at),
            closed(&job.id, Kind::Compute, at + 10),
        ];
        keep(&*store, &mut job, kept).await;
    }
    become_state(&*store, &mut job, State::Completed).await;
    let removed = audit("job_removed");
    store.remove(&job.id, job.version, removed).await.unwrap();
    let mut other = create(&*store, 2).await;
    let open = vec![opened(&other.id, Kind::Compute, 0)];
    keep(&*store, &mut other, open).await;
    let oldest = async || store.ledger_oldest().await.unwrap();
    let kept = |count: usize| {
        let all = [(10, 20), (30, 40), (50, 60)];
        let left = all.into_iter().skip(3 - count);
        left.map(|(from, to)| (Kind::Compute, from, Some(to)))
            .collect::<Vec<_>>()
    };
    for (before, about, left) in [(20, 9, 3), (60, 1, 2), (60, 9, 1), (61, 9, 0)] {
        store.prune_ledger(Timestamp(before), about).await.unwrap();
        assert_eq!(spans(&*store, &job).await, kept(left), "before {before}");
        let first = kept(left).first().and_then(|first| first.2);
        assert_eq!(oldest().await, first.map(Timestamp));
    }
    // What is open is never pruned.
    assert_eq!(spans(&*store, &other).await, [(Kind::Compute, 0, None)]);
}

pub(super) async fn a_job_is_found_by_the_tags_it_has_now(store: Arc<dyn Store>) {
    let (mut job, other) = (create(&*store, 1).await, create(&*store, 2).await);
    become_state(&*store, &mut job, State::Completed).await;
    let mut change = change(&mut job, |job| {
        job.spec_mut().tags = [("env".into(), "ü\"".into())].into();
        job.spec_mut().metadata = [("n".into(), serde_json::json!({"deep": [1.5, null]}))].into();
    });
    change.kept = vec![Kept::Described {
        tags: job.spec.tags.clone(),
        metadata: job.spec.metadata.clone(),
    }];
    store.commit(change).await.unwrap();
    assert_eq!(store.job(&job.id).await.unwrap(), job);
    let tagged = async |key: &str, value: &str| {
        let filter = Filter {
            tags: vec![(key.into(), value.into())],
            limit: 9,
            ..Filter::default()
        };
        let found = store.list(filter).await.unwrap();
        found.into_iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!(tagged("env", "ü\"").await, [id(1)]);
    assert_eq!(tagged("team", "t1").await, [] as [JobId; 0]);
    assert_eq!(tagged("team", "t2").await, [other.id]);
}

pub(super) async fn the_last_heartbeat_counts(store: Arc<dyn Store>) {
    assert_eq!(store.last_heartbeat().await.unwrap(), None);
    for at in [5, 7, 6] {
        store.heartbeat(Timestamp(at)).await.unwrap();
        assert_eq!(store.last_heartbeat().await.unwrap(), Some(Timestamp(at)));
    }
}

pub(super) async fn a_machine_of_the_same_id_as_a_job_is_another_owner(store: Arc<dyn Store>) {
    let mut job = create(&*store, 1).await;
    let machine = Owner {
        kind: OwnerKind::Machine,
        id: job.id.0.clone(),
    };
    let Kept::Opened(mut of_machine) = opened(&job.id, Kind::Compute, 10) else {
        unreachable!("it opens one");
    };
    of_machine.owner = machine.clone();
    let kept = vec![
        opened(&job.id, Kind::Compute, 5),
        Kept::Opened(of_machine.clone()),
    ];
    keep(&*store, &mut job, kept).await;
    assert_eq!(store.intervals(&machine).await.unwrap(), [*of_machine]);
    assert_eq!(spans(&*store, &job).await, [(Kind::Compute, 5, None)]);
}
