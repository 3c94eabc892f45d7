//! What is taken of a node and of its queues, and who may pass. A limit holds exactly, whoever asks at the same moment: a place
//! is promised before its job is told, and counted from then on.
//!
//! The first in turn that finds no room on the node is passed by those behind it, but only in the first minute after it was due:
//! then everybody waits until it fits. So a job that asks for much begins as soon as those that live have made room.

use super::admission::{Limits, Place, Wants, place};
use super::rates::Rates;
use super::turn::{Ask, Due, Gate, Gates};
use crate::{Job, JobId, Queue, State, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// So long a job that finds no room is passed by others.
pub const PASSED_MS: u64 = 60_000;

/// How a job holds what it holds, from the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hold {
    /// It sleeps, and keeps its place in its queue.
    Asleep,
    /// Its sandbox is up.
    Up,
    /// It is on its way up, or told so.
    Rising,
}

#[derive(Clone, Debug)]
struct Holder {
    /// By its record.
    held: Option<Hold>,
    /// By a promise, until its record says so.
    promised: bool,
    queue: String,
    key: Option<String>,
    wants: Wants,
}

impl Holder {
    fn hold(&self) -> Option<Hold> {
        match self.held {
            Some(Hold::Up | Hold::Rising) => self.held,
            Some(Hold::Asleep) | None if self.promised => Some(Hold::Rising),
            Some(Hold::Asleep) | None => self.held,
        }
    }
}

/// What is taken of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Sandboxes that live, or are about to.
    pub live: usize,
    /// Of those, on their way up.
    pub rising: usize,
    /// What they ask for, in thousandths of a processor.
    pub cpu_millis: u64,
    /// What they ask for, in bytes.
    pub memory_bytes: u64,
}

/// What is taken of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Busy {
    running: usize,
    by_key: HashMap<String, usize>,
}

/// Those whose turn it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// In their order. Their places are promised.
    pub turns: Vec<Due>,
    /// Others would pass their queues but find no room on the node.
    pub some_wait: bool,
}

/// What is taken of a node and of its queues.
#[derive(Clone, Debug)]
pub struct Places {
    limits: Limits,
    queues: BTreeMap<String, Queue>,
    nothing_begins: bool,
    some_wait: bool,
    holders: HashMap<JobId, Holder>,
    taken: Taken,
    busy: HashMap<String, Busy>,
    rates: Rates,
}

impl Places {
    /// Of a node of which nothing is taken.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            queues: BTreeMap::new(),
            nothing_begins: false,
            some_wait: false,
            holders: HashMap::new(),
            taken: Taken::default(),
            busy: HashMap::new(),
            rates: Rates::default(),
        }
    }

    /// What a queue holds back from now on. Who sleeps in it keeps no place until it is said again: see [`Places::keep`].
    pub fn set_queue(&mut self, queue: Queue) {
        self.wake_holders(&queue.name);
        self.queues.insert(queue.name.clone(), queue);
    }

    /// The settings of a queue are gone.
    pub fn remove_queue(&mut self, name: &str) {
        self.wake_holders(name);
        self.queues.remove(name);
        self.rates.forget(name);
    }

    fn wake_holders(&mut self, queue: &str) {
        let asleep = self
            .holders
            .iter()
            .filter(|(_, holder)| holder.queue == queue && holder.held == Some(Hold::Asleep));
        let asleep: Vec<JobId> = asleep.map(|(job, _)| job.clone()).collect();
        for job in asleep {
            self.change(&job, |holder| holder.held = None);
        }
    }

    /// The settings of a queue, where it has some.
    #[must_use]
    pub fn queue(&self, name: &str) -> Option<&Queue> {
        self.queues.get(name)
    }

    /// Every queue with settings, by name.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.values()
    }

    /// Nothing begins from now on, in no queue; or again.
    pub fn set_nothing_begins(&mut self, nothing: bool) {
        self.nothing_begins = nothing;
    }

    /// Whether nothing begins, in no queue.
    #[must_use]
    pub fn nothing_begins(&self) -> bool {
        self.nothing_begins
    }

    /// A job of this queue that sleeps keeps its place in it.
    pub fn keep(&mut self, job: &JobId, queue: &str, key: Option<&str>) {
        let holder = Holder {
            held: None,
            promised: false,
            queue: queue.to_owned(),
            key: key.map(str::to_owned),
            wants: Wants::default(),
        };
        self.change_or(
            job,
            || holder,
            |holder| holder.held = holder.held.or(Some(Hold::Asleep)),
        );
    }

    /// A job that was said to keep its place while it sleeps does not sleep.
    pub fn keep_no_longer(&mut self, job: &JobId) {
        self.change(job, |holder| {
            holder.held = holder.held.filter(|held| *held != Hold::Asleep);
        });
    }

    /// What this record, which was just committed, takes now. True where it takes less than before.
    pub fn note(&mut self, job: &Job) -> bool {
        let keeps = || {
            let queue = self.queues.get(job.spec.queue());
            job.state == State::Suspended && queue.is_some_and(|queue| queue.hold_while_suspended)
        };
        let held = match place(job) {
            Some(Place::Rising) => Some(Hold::Rising),
            Some(Place::Up) => Some(Hold::Up),
            None if keeps() => Some(Hold::Asleep),
            None => None,
        };
        if held.is_none() && !self.holders.contains_key(&job.id) {
            return false;
        }
        let holder = || Holder {
            held: None,
            promised: false,
            queue: job.spec.queue().to_owned(),
            key: job.spec.concurrency_key.clone(),
            wants: Wants::of(&job.spec),
        };
        self.change_or(&job.id, holder, |holder| {
            holder.held = held;
            holder.wants = Wants::of(&job.spec);
        })
    }

    /// A job takes nothing any more, whatever its record says. True where it took something.
    pub fn forget(&mut self, job: &JobId) -> bool {
        self.change(job, |holder| holder.held = None)
    }

    fn change(&mut self, job: &JobId, change: impl FnOnce(&mut Holder)) -> bool {
        match self.holders.get(job).cloned() {
            Some(holder) => self.change_or(job, || holder, change),
            None => false,
        }
    }

    fn change_or(
        &mut self,
        job: &JobId,
        new: impl FnOnce() -> Holder,
        change: impl FnOnce(&mut Holder),
    ) -> bool {
        let mut holder = self.holders.remove(job).unwrap_or_else(new);
        let before = holder.hold();
        self.count(&holder, false);
        change(&mut holder);
        let after = holder.hold();
        self.count(&holder, true);
        if after.is_some() {
            self.holders.insert(job.clone(), holder);
        }
        after < before
    }

    /// Adds what it holds to what is taken, or takes it off.
    fn count(&mut self, holder: &Holder, more: bool) {
        let Some(hold) = holder.hold() else { return };
        let by = |count: &mut usize| *count = if more { *count + 1 } else { *count - 1 };
        let busy = self.busy.entry(holder.queue.clone()).or_default();
        by(&mut busy.running);
        if let Some(key) = &holder.key {
            let of_key = busy.by_key.entry(key.clone()).or_default();
            by(of_key);
            if *of_key == 0 {
                busy.by_key.remove(key);
            }
        }
        if busy.running == 0 {
            self.busy.remove(&holder.queue);
        }
        if hold == Hold::Asleep {
            return;
        }
        by(&mut self.taken.live);
        if hold == Hold::Rising {
            by(&mut self.taken.rising);
        }
        let by =
            |sum: &mut u64, wanted: u64| *sum = if more { *sum + wanted } else { *sum - wanted };
        by(
            &mut self.taken.cpu_millis,
            holder.wants.cpu_millis.unwrap_or(0).into(),
        );
        by(
            &mut self.taken.memory_bytes,
            holder.wants.memory_bytes.unwrap_or(0),
        );
    }

    /// What is taken of the node.
    #[must_use]
    pub fn taken(&self) -> Taken {
        self.taken
    }

    /// How many places of a queue are taken.
    #[must_use]
    pub fn running(&self, queue: &str) -> usize {
        self.busy.get(queue).map_or(0, |busy| busy.running)
    }

    /// The queues of which places are taken.
    pub fn busy_queues(&self) -> impl Iterator<Item = &str> {
        self.busy.keys().map(String::as_str)
    }

    fn running_of_key(&self, queue: &str, key: &str) -> usize {
        let busy = self.busy.get(queue);
        busy.and_then(|busy| busy.by_key.get(key))
            .copied()
            .unwrap_or(0)
    }

    /// Whether a sandbox more may begin to rise.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.taken.live < self.limits.live_max && self.taken.rising < self.limits.rising_max
    }

    /// No sandbox more may begin to rise. Who comes from now on waits behind those that may be waiting.
    pub fn are_taken(&mut self) -> bool {
        let taken = !self.has_room();
        self.some_wait |= taken;
        taken
    }

    fn fits(&self, wants: Wants) -> bool {
        let cpu_millis = u64::from(wants.cpu_millis.unwrap_or(0));
        let memory_bytes = wants.memory_bytes.unwrap_or(0);
        self.has_room()
            && self.taken.cpu_millis + cpu_millis <= self.limits.cpu_millis_max
            && self.taken.memory_bytes.saturating_add(memory_bytes) <= self.limits.memory_bytes_max
    }

    /// What to ask the store for, a window of those that are first in turn.
    pub fn ask(&mut self, now: Timestamp, window: usize) -> Ask {
        let mut gates = BTreeMap::new();
        let queues = std::mem::take(&mut self.queues);
        for (name, queue) in &queues {
            self.rates.forget_before(queue, now);
            let of_queue = self.gates(queue, now);
            if of_queue != Gates::default() {
                gates.insert(name.clone(), of_queue);
            }
        }
        self.queues = queues;
        Ask {
            limit: window,
            nothing_begins: self.nothing_begins,
            gates,
            at_most: self.limits.at_most(),
        }
    }

    fn gates(&self, queue: &Queue, now: Timestamp) -> Gates {
        let at = |most: Option<u32>, count: usize| most.is_some_and(|most| count >= size(most));
        let full = at(queue.max_running, self.running(&queue.name));
        let busy = self.busy.get(&queue.name);
        let of_keys = busy.into_iter().flat_map(|busy| &busy.by_key);
        let full_keys: BTreeSet<String> = of_keys
            .filter(|(_, count)| at(queue.key_max_running, **count))
            .map(|(key, _)| key.clone())
            .collect();
        let wakes = match () {
            // They have their places.
            () if queue.hold_while_suspended => Gate::Open,
            () if full => Gate::Shut,
            () if full_keys.is_empty() => Gate::Open,
            () => Gate::But(full_keys.clone()),
        };
        let tired = queue
            .rate
            .is_some_and(|rate| self.rates.opens_at(&queue.name, rate, now).is_some());
        let mut held_back = full_keys;
        if let Some(rate) = queue.key_rate {
            held_back.extend(self.rates.tired_keys(&queue.name, rate, now));
        }
        let begins = match () {
            () if queue.paused || full || tired => Gate::Shut,
            () if held_back.is_empty() => Gate::Open,
            () => Gate::But(held_back),
        };
        Gates { begins, wakes }
    }

    /// When the next of the rates that hold something back lets it pass.
    #[must_use]
    pub fn opens_at(&self, now: Timestamp) -> Option<Timestamp> {
        let each = self.queues.values().flat_map(|queue| {
            let whole = queue
                .rate
                .and_then(|rate| self.rates.opens_at(&queue.name, rate, now));
            let of_key = queue
                .key_rate
                .and_then(|rate| self.rates.key_opens_at(&queue.name, rate, now));
            [whole, of_key]
        });
        each.flatten().min()
    }

    /// Whether nothing of its queue holds this job back.
    fn passes(&self, due: &Due, now: Timestamp) -> bool {
        if !due.suspended && self.nothing_begins {
            return false;
        }
        let Some(queue) = self.queues.get(&due.queue) else {
            return true;
        };
        let holder = self.holders.get(&due.job);
        let keeps = holder.is_some_and(|holder| holder.held == Some(Hold::Asleep));
        let under =
            |most: Option<u32>, count: usize| most.is_none_or(|most| keeps || count < size(most));
        let key = due.key.as_deref();
        let has_place = under(queue.max_running, self.running(&due.queue))
            && key.is_none_or(|key| {
                under(queue.key_max_running, self.running_of_key(&due.queue, key))
            });
        let in_time = || {
            let whole = queue
                .rate
                .and_then(|rate| self.rates.opens_at(&due.queue, rate, now));
            let of_key = queue.key_rate.zip(key);
            let of_key = of_key
                .and_then(|(rate, key)| self.rates.opens_for_key_at(&due.queue, key, rate, now));
            whole.is_none() && of_key.is_none()
        };
        has_place && (due.suspended || !queue.paused && in_time())
    }

    /// Of those that are due, in the order of their turns: the ones whose turn it is now. Each is to be followed by
    /// [`Places::begun`] or [`Places::take_back`].
    pub fn choose(&mut self, waiting: Vec<Due>, now: Timestamp) -> Chosen {
        let mut chosen = Chosen::default();
        for due in waiting {
            if !self.passes(&due, now) || self.holders.get(&due.job).is_some_and(|one| one.promised)
            {
                continue;
            }
            if self.fits(due.wants) {
                self.promise(&due, now);
                chosen.turns.push(due);
                continue;
            }
            chosen.some_wait = true;
            if !self.has_room() || due.wake_at.plus_ms(PASSED_MS) <= now {
                break;
            }
        }
        self.some_wait = chosen.some_wait;
        chosen
    }

    /// Promises a place to a job that just came and is due, where nobody waits before it and its queue limits nothing.
    pub fn welcome(&mut self, due: &Due, now: Timestamp) -> bool {
        let limits = self
            .queues
            .get(&due.queue)
            .is_some_and(|queue| !queue.is_free());
        let welcome = !self.some_wait && !limits && !self.nothing_begins && self.fits(due.wants);
        if welcome {
            self.promise(due, now);
        }
        welcome
    }

    fn promise(&mut self, due: &Due, now: Timestamp) {
        let holder = || Holder {
            held: None,
            promised: false,
            queue: due.queue.clone(),
            key: due.key.clone(),
            wants: due.wants,
        };
        self.change_or(&due.job, holder, |holder| {
            holder.promised = true;
            holder.wants = due.wants;
        });
        if self.counted_ms(due).is_some() {
            self.rates.give(&due.queue, due.key.as_deref(), now);
        }
    }

    /// How far back the turns of this job's queue are counted, where they are and its own is one.
    #[must_use]
    pub fn counted_ms(&self, due: &Due) -> Option<u64> {
        let queue = self.queues.get(&due.queue).filter(|_| !due.suspended)?;
        queue.looks_back_ms()
    }

    /// A job that was promised a place then has begun: its record, committed by now, says so.
    pub fn begun(&mut self, due: &Due, promised_at: Timestamp, now: Timestamp) {
        // From the commit on: so two turns are never closer to each other on disk than they are here.
        if self
            .rates
            .take_back(&due.queue, due.key.as_deref(), promised_at)
        {
            self.rates.give(&due.queue, due.key.as_deref(), now);
        }
        self.change(&due.job, |holder| holder.promised = false);
    }

    /// A job that was promised a place then has not begun. True where that makes room.
    pub fn take_back(&mut self, due: &Due, promised_at: Timestamp) -> bool {
        self.rates
            .take_back(&due.queue, due.key.as_deref(), promised_at);
        self.change(&due.job, |holder| holder.promised = false)
    }

    /// A turn that a queue gave before this daemon began.
    pub fn remember(&mut self, turn: &crate::Turn) {
        self.rates.give(&turn.queue, turn.key.as_deref(), turn.at);
    }
}

fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
