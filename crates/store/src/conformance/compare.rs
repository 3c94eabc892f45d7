//! The model against the store: every question, asked of both.

use super::model::{JOBS, Model, NAMES, TOKENS};
use super::sample;
use crate::{Entry, Error, Filter, Store};
use dauer_core::plan::turn::{self, Ask};
use dauer_core::{Job, JobId, State, Timestamp};
use std::collections::BTreeSet;

impl Model {
    /// Asks the store everything. Panics where it knows something else.
    pub async fn compare(&self, store: &dyn Store) {
        for job in (0..JOBS).map(sample::id) {
            self.compare_job(store, &job).await;
        }
        for name in (0..NAMES).map(|name| format!("name-{name}")) {
            let holder = self
                .jobs
                .values()
                .find(|job| job.spec.name.as_ref() == Some(&name))
                .map(|job| job.id.clone());
            assert_eq!(store.find(&name).await.ok(), holder, "{name}");
        }
        self.compare_lists(store).await;
        self.compare_schedule(store).await;
        self.compare_journal(store, None).await;
    }

    async fn compare_job(&self, store: &dyn Store, id: &JobId) {
        match (store.job(id).await, self.jobs.get(id)) {
            (Ok(stored), Some(job)) => assert_eq!(&stored, job),
            (Err(Error::NotFound(_)), None) => {}
            (stored, job) => panic!("{id}: {stored:?} instead of {job:?}"),
        }
        assert_eq!(store.find(&id.0).await.is_ok(), self.jobs.contains_key(id));
        let checkpoints: Vec<_> = self
            .checkpoints
            .iter()
            .filter(|checkpoint| checkpoint.job == *id)
            .cloned()
            .collect();
        assert_eq!(store.checkpoints(id).await.unwrap(), checkpoints);
        for token in TOKENS {
            let expected = self.tokens.get(&(id.clone(), token.to_owned())).cloned();
            assert_eq!(store.token(id, token).await.unwrap(), expected);
        }
        if let Some(sandbox) = self.jobs.get(id).and_then(|job| job.sandbox.as_ref()) {
            assert_eq!(store.owner(sandbox).await.unwrap().as_ref(), Some(id));
        }
        self.beside.compare(store, id).await;
        self.compare_journal(store, Some(id)).await;
    }

    async fn compare_lists(&self, store: &dyn Store) {
        let middle = sample::id(JOBS / 2);
        let tag = ("team".to_owned(), "t1".to_owned());
        let unknown = ("team".to_owned(), "t9".to_owned());
        for (states, tags, name) in [
            (vec![], vec![], None),
            (vec![State::Running], vec![], None),
            (
                vec![State::Failed, State::Suspended, State::Pending],
                vec![],
                None,
            ),
            (vec![], vec![tag.clone()], None),
            (vec![State::Running, State::Failed], vec![tag.clone()], None),
            (vec![], vec![tag, unknown], None),
            (vec![], vec![], Some("name-1".to_owned())),
            (vec![State::Running], vec![], Some("name-2".to_owned())),
        ] {
            for before in [None, Some(middle.clone())] {
                for limit in [0, 1, 3, 1000] {
                    let newest_first = self.jobs.values().rev();
                    let wanted = newest_first.filter(|job| {
                        (states.is_empty() || states.contains(&job.state))
                            && tags
                                .iter()
                                .all(|(key, value)| job.spec.tags.get(key) == Some(value))
                            && (name.is_none() || job.spec.name == name)
                            && before.as_ref().is_none_or(|before| job.id < *before)
                    });
                    let expected: Vec<Job> = wanted.take(limit).map(sample::listed).collect();
                    let filter = Filter {
                        states: states.clone(),
                        tags: tags.clone(),
                        name: name.clone(),
                        batch: None,
                        before: before.clone(),
                        limit,
                    };
                    assert_eq!(
                        store.list(filter.clone()).await.unwrap(),
                        expected,
                        "{filter:?}"
                    );
                }
            }
        }
    }

    async fn compare_schedule(&self, store: &dyn Store) {
        let unfinished = self.jobs.values().filter(|job| match job.state {
            State::Running | State::Stopped | State::Error => true,
            State::Pending | State::Suspended | State::PendingRetry => job.operation.is_some(),
            State::Completed | State::Failed | State::Cancelled => job.operation.is_some(),
        });
        let ending = self.jobs.values();
        let ending = ending.filter(|job| job.ends_children.is_some_and(|children| !children.done));
        let unfinished: BTreeSet<_> = unfinished.chain(ending).map(|job| job.id.clone()).collect();
        let unsettled: BTreeSet<_> = store
            .unsettled()
            .await
            .unwrap()
            .into_iter()
            .map(|job| job.id)
            .collect();
        assert_eq!(unsettled, unfinished);

        let waits = |job: &&Job| {
            let waits = matches!(
                job.state,
                State::Pending | State::Suspended | State::PendingRetry
            );
            waits && job.operation.is_none()
        };
        let expiring = self.jobs.values().filter(waits);
        let expiring = expiring.filter_map(|job| Some((job.expires_at?, job.id.clone())));
        let expiring: BTreeSet<_> = expiring.collect();
        for limit in [0, 2, 1000] {
            let stored = store.expiring(limit).await.unwrap();
            let expected = expiring.iter().take(limit);
            let expected: Vec<_> = expected.map(|(at, id)| (id.clone(), *at)).collect();
            assert_eq!(stored, expected);
        }

        let waiting = self.jobs.values().filter(waits);
        let waiting = waiting.filter(|job| job.wake_at.is_some());
        let waiting: Vec<_> = waiting.map(sample::due).collect();
        for now in [0, 10, 25, 1_700_000_000_008].map(Timestamp) {
            let later = waiting.iter().map(|due| due.wake_at);
            assert_eq!(
                store.next_wake(now).await.unwrap(),
                later.filter(|at| *at > now).min()
            );
            for limit in [0, 2, 1000] {
                let due = waiting.iter().filter(|due| due.wake_at <= now);
                let mut expected: Vec<_> = due.cloned().collect();
                turn::sort(&mut expected);
                expected.truncate(limit);
                let found = store.due(now, &Ask::anything(limit)).await.unwrap();
                assert_eq!(found, expected);
            }
        }
    }

    async fn compare_journal(&self, store: &dyn Store, job: Option<&JobId>) {
        let stored = store.journal(job, 0, usize::MAX).await.unwrap();
        assert!(stored.is_sorted_by(|a, b| a.seq < b.seq));
        let mut expected = self
            .journal
            .iter()
            .filter(|entry| job.is_none_or(|job| entry.job == *job));
        for entry in &stored {
            assert_eq!(
                Some(&Entry {
                    seq: 0,
                    ..entry.clone()
                }),
                expected.next()
            );
        }
        assert_eq!(expected.next(), None);
    }
}
