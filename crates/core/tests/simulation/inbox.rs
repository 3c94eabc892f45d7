//! The program's side of signals, and the store's: what was sent, who took it, what the program knows.

use dauer_core::{Job, Json, Kept, Signal, State, Timestamp};

/// What a program remembers. An image holds a copy of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Memory {
    pub(super) count: u64,
    /// Signals it was given, in its order.
    pub(super) took: Vec<u32>,
    /// The key of a wait without an answer yet. Its agent asks again whenever it can.
    pub(super) waits_with: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Standing {
    Waiting,
    Taken,
    Sealed,
}

/// What the store holds beside the record.
#[derive(Default)]
pub(super) struct Inbox {
    signals: Vec<(u32, Standing, Option<String>)>,
    pub(super) output: Option<Json>,
}

impl Inbox {
    pub(super) fn put(&mut self, kept: &Kept) {
        match kept {
            Kept::Output(output) => self.output = Some(output.clone()),
            Kept::Signal(signal) => {
                let id = signal.id.parse().unwrap();
                self.signals.push((id, Standing::Waiting, None));
            }
            Kept::SignalTaken { signal, token } => {
                let id: u32 = signal.parse().unwrap();
                let found = self.signals.iter_mut().find(|known| known.0 == id).unwrap();
                assert_eq!(found.1, Standing::Waiting, "{id} is taken twice");
                (found.1, found.2) = (Standing::Taken, Some(token.clone()));
            }
            Kept::SignalsSealed => self.each_taken(Standing::Sealed),
            Kept::SignalsFreed => self.each_taken(Standing::Waiting),
            Kept::Wait(_)
            | Kept::Described { .. }
            | Kept::Opened(_)
            | Kept::Closed(_)
            | Kept::Relabelled(_)
            | Kept::Unblocked { .. }
            | Kept::Turn { .. } => {}
            Kept::BegunAnew => {
                for known in &mut self.signals {
                    (known.1, known.2) = (Standing::Waiting, None);
                }
                self.output = None;
            }
        }
    }

    fn each_taken(&mut self, become_this: Standing) {
        for known in self
            .signals
            .iter_mut()
            .filter(|known| known.1 == Standing::Taken)
        {
            known.1 = become_this;
        }
    }

    /// What a wait with this key took before.
    pub(super) fn taken_by(&self, token: &str) -> Option<u32> {
        let mut taken = self
            .signals
            .iter()
            .filter(|known| known.1 != Standing::Waiting && known.2.as_deref() == Some(token));
        taken.next().map(|known| known.0)
    }

    /// What it takes now: the one that it had before a rollback, else the oldest.
    pub(super) fn next_for(&self, token: &str) -> Option<u32> {
        let mut waiting: Vec<_> = self
            .signals
            .iter()
            .filter(|known| known.1 == Standing::Waiting)
            .collect();
        waiting.sort_by_key(|known| known.2.as_deref() != Some(token));
        waiting.first().map(|known| known.0)
    }

    pub(super) fn anything_waits(&self) -> bool {
        self.signals
            .iter()
            .any(|known| known.1 == Standing::Waiting)
    }

    /// Every signal is either still waiting, or the program that lives (or would be restored) has it or gets it with the key it
    /// asks with; never both, never twice, and in the order in which they were sent.
    pub(super) fn check(&self, memory: &Memory, job: &Job) {
        let promised = memory
            .waits_with
            .as_deref()
            .and_then(|token| self.taken_by(token));
        let has: Vec<u32> = memory.took.iter().copied().chain(promised).collect();
        assert!(
            has.is_sorted_by(|one, other| one < other),
            "doubled or out of order: {has:?}"
        );
        for (id, standing, token) in &self.signals {
            let waits = *standing == Standing::Waiting;
            assert!(
                waits != has.contains(id),
                "signal {id} ({standing:?} by {token:?}) and a program with {memory:?} in {job:?}"
            );
        }
        if job.state == State::Suspended && job.waits_for.is_some() {
            assert!(
                !self.anything_waits() || job.wake_at.is_some(),
                "it sleeps on though what it sleeps for came: {job:?}"
            );
        }
    }
}

pub(super) fn signal(job: &Job, id: u32) -> Signal {
    Signal {
        job: job.id.clone(),
        id: id.to_string(),
        name: "go".into(),
        payload: Json("null".into()),
        sent_at: Timestamp(0),
    }
}
