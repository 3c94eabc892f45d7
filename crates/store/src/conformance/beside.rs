//! The part of the model for what is kept beside records.

use super::ledger::Ledger;
use super::model::TOKENS;
use super::sample;
use crate::{SignalFor, Store};
use dauer_core::{JobId, Json, Kept, Signal, Timestamp, Wait};
use std::collections::BTreeMap;

pub(super) const NAMES: [&str; 2] = ["go", "stop"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Waiting,
    Taken,
    Sealed,
}

#[derive(Debug)]
struct Known {
    signal: Signal,
    standing: Standing,
    token: Option<String>,
}

/// Outputs, signals in the order of arrival, and waits.
#[derive(Debug, Default)]
pub(super) struct Beside {
    outputs: BTreeMap<JobId, Json>,
    signals: Vec<Known>,
    waits: BTreeMap<(JobId, String), Wait>,
    ledger: Ledger,
}

/// A signal of this number.
pub(super) fn signal(job: &JobId, id: &str, name: &str) -> Signal {
    Signal {
        job: job.clone(),
        id: id.into(),
        name: name.into(),
        payload: Json(format!("{{\"b\": 1e400, \"a\": \"{id}ü\"}}")),
        sent_at: Timestamp(7),
    }
}

impl Beside {
    /// What a change of this job may keep, as the number has it.
    pub(super) fn drawn(&self, job: &JobId, number: u64) -> Vec<Kept> {
        let mut drawn = self.drawn_of_signals(job, number);
        drawn.extend(Ledger::drawn(job, number / 1024));
        drawn
    }

    fn drawn_of_signals(&self, job: &JobId, number: u64) -> Vec<Kept> {
        let pick = usize::try_from(number / 8 % 2).unwrap_or(0);
        let (name, token) = (
            NAMES[pick],
            TOKENS[usize::from((number / 16).is_multiple_of(2))],
        );
        match number % 8 {
            0 => vec![Kept::Output(Json(format!("[{number}]")))],
            1 | 2 => vec![Kept::Signal(signal(
                job,
                &format!("s{}", number / 32 % 16),
                name,
            ))],
            3 | 4 => match self.signal_for(job, name, token) {
                Some(SignalFor::Waiting(signal)) => vec![Kept::SignalTaken {
                    signal: signal.id,
                    token: token.into(),
                }],
                Some(SignalFor::Taken(_)) | None => Vec::new(),
            },
            5 => vec![Kept::SignalsSealed],
            6 if (number / 32).is_multiple_of(4) => vec![Kept::BegunAnew],
            6 => vec![Kept::SignalsFreed],
            _ => vec![Kept::Wait(Wait {
                job: job.clone(),
                token: token.into(),
                give_up_at: Timestamp(9),
                timed_out: pick == 0,
            })],
        }
    }

    pub(super) fn put(&mut self, job: &JobId, kept: &Kept) {
        self.ledger.put(kept);
        let of_job = self
            .signals
            .iter_mut()
            .filter(|known| known.signal.job == *job);
        match kept {
            Kept::Output(output) => drop(self.outputs.insert(job.clone(), output.clone())),
            Kept::Signal(signal) => {
                if !of_job.into_iter().any(|known| known.signal.id == signal.id) {
                    self.signals.push(Known {
                        signal: signal.clone(),
                        standing: Standing::Waiting,
                        token: None,
                    });
                }
            }
            Kept::SignalTaken { signal, token } => {
                for known in of_job.filter(|known| known.signal.id == *signal) {
                    known.standing = Standing::Taken;
                    known.token = Some(token.clone());
                }
            }
            Kept::SignalsSealed => of_job
                .filter(|known| known.standing == Standing::Taken)
                .for_each(|known| known.standing = Standing::Sealed),
            Kept::SignalsFreed => of_job
                .filter(|known| known.standing == Standing::Taken)
                .for_each(|known| known.standing = Standing::Waiting),
            Kept::BegunAnew => {
                for known in of_job {
                    known.standing = Standing::Waiting;
                    known.token = None;
                }
                self.outputs.remove(job);
                self.waits.retain(|(of, _), _| of != job);
            }
            Kept::Wait(wait) => {
                self.waits
                    .insert((job.clone(), wait.token.clone()), wait.clone());
            }
            Kept::Described { .. } | Kept::Opened(_) | Kept::Closed(_) | Kept::Relabelled(_) => {}
            // Never drawn: what becomes of them are claims of their own.
            Kept::Unblocked { .. } | Kept::Turn { .. } => {}
        }
    }

    fn signal_for(&self, job: &JobId, name: &str, token: &str) -> Option<SignalFor> {
        let mut of_job: Vec<_> = self
            .signals
            .iter()
            .filter(|known| known.signal.job == *job)
            .collect();
        let had = |known: &&Known| known.token.as_deref() == Some(token);
        if let Some(known) = of_job
            .iter()
            .find(|known| had(known) && known.standing != Standing::Waiting)
        {
            return Some(SignalFor::Taken(known.signal.clone()));
        }
        of_job.retain(|known| known.standing == Standing::Waiting && known.signal.name == name);
        let next = of_job
            .iter()
            .find(|known| had(known))
            .or_else(|| of_job.first());
        next.map(|known| SignalFor::Waiting(known.signal.clone()))
    }

    pub(super) fn remove(&mut self, job: &JobId) {
        self.outputs.remove(job);
        self.signals.retain(|known| known.signal.job != *job);
        self.waits.retain(|(of, _), _| of != job);
    }

    pub(super) async fn compare(&self, store: &dyn Store, job: &JobId) {
        assert_eq!(
            store.output(job).await.unwrap(),
            self.outputs.get(job).cloned()
        );
        for token in TOKENS {
            let wait = self.waits.get(&(job.clone(), token.to_owned())).cloned();
            assert_eq!(store.wait(job, token).await.unwrap(), wait);
            for name in NAMES {
                let expected = self.signal_for(job, name, token);
                assert_eq!(store.signal_for(job, name, token).await.unwrap(), expected);
            }
        }
        self.ledger.compare(store, job).await;
        let of_job = || self.signals.iter().filter(|known| known.signal.job == *job);
        for id in (0..16).map(|n| format!("s{n}")) {
            let known = of_job().any(|known| known.signal.id == id);
            assert_eq!(store.has_signal(job, &id).await.unwrap(), known);
        }
        let waiting = of_job().filter(|known| known.standing == Standing::Waiting);
        let waiting = u64::try_from(waiting.count()).unwrap_or(u64::MAX);
        assert_eq!(store.signals_waiting(job).await.unwrap(), waiting);
    }
}

/// Commits these for a job.
pub(super) async fn keep(store: &dyn Store, job: &mut dauer_core::Job, kept: Vec<Kept>) {
    let mut change = sample::change(job, |_| {});
    change.kept = kept;
    store.commit(change).await.unwrap();
}
