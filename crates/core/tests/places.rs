//! Places and turns against second, simpler models: a list that is counted anew each time, and a waiting room that is sorted anew.

use dauer_core::plan::admission::{Limits, Wants};
use dauer_core::plan::places::{PASSED_MS, Places};
use dauer_core::plan::turn::{self, Due, head_start_ms};
use dauer_core::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const QUEUES: [&str; 3] = ["free", "some", "keyed"];
const KEYS: [Option<&str>; 3] = [None, Some("a"), Some("b")];

fn spec(queue: &str, key: Option<&str>, wants: Wants) -> JobSpec {
    serde_json::from_value(serde_json::json!({
        "name": null, "argv": ["true"], "env": {}, "workdir": null, "driver": "runc", "image": {"kind": "host"},
        "mounts": [], "inject": null, "cpu_millis": wants.cpu_millis, "memory_bytes": wants.memory_bytes, "timeout_ms": null,
        "network": "none", "publish": [], "user": null, "tty": false, "stdin": false, "remove_on_exit": false, "stop_grace_ms": 10,
        "queue": queue, "concurrency_key": key
    }))
    .unwrap()
}

/// All that is known of the jobs, and all the turns that were ever given. Nothing is counted before it is asked for.
struct Model {
    limits: Limits,
    queues: BTreeMap<String, Queue>,
    jobs: Vec<Job>,
    turns: Vec<Turn>,
}

impl Model {
    /// Its sandbox lives, or is on its way up.
    fn lives(job: &Job) -> bool {
        job.state == State::Running || job.operation.is_some()
    }

    fn holds_place(&self, job: &Job) -> bool {
        let keeps = self.queues.get(job.spec.queue());
        let keeps = keeps.is_some_and(|queue| queue.hold_while_suspended);
        Self::lives(job) || job.state == State::Suspended && keeps
    }

    fn in_queue(&self, queue: &str) -> impl Iterator<Item = &Job> {
        let places = self.jobs.iter().filter(|job| self.holds_place(job));
        places.filter(move |job| job.spec.queue() == queue)
    }

    /// No limit is broken.
    fn check(&self) {
        let live: Vec<&Job> = self.jobs.iter().filter(|job| Self::lives(job)).collect();
        assert!(live.len() <= self.limits.live_max);
        let rising = live.iter().filter(|job| job.operation.is_some());
        assert!(rising.count() <= self.limits.rising_max);
        let cpus = live.iter().filter_map(|job| job.spec.cpu_millis);
        assert!(cpus.map(u64::from).sum::<u64>() <= self.limits.cpu_millis_max);
        let memory = live.iter().filter_map(|job| job.spec.memory_bytes);
        assert!(memory.sum::<u64>() <= self.limits.memory_bytes_max);
        for (name, queue) in &self.queues {
            let within = |most: Option<u32>, count: usize| {
                assert!(
                    most.is_none_or(|most| count <= most as usize),
                    "{count} in {queue:?}"
                );
            };
            within(queue.max_running, self.in_queue(name).count());
            for key in KEYS.into_iter().flatten() {
                let of_key = self
                    .in_queue(name)
                    .filter(|job| job.spec.concurrency_key.as_deref() == Some(key));
                within(queue.key_max_running, of_key.count());
                self.check_rate(queue.key_rate, |turn| {
                    turn.queue == *name && turn.key.as_deref() == Some(key)
                });
            }
            self.check_rate(queue.rate, |turn| turn.queue == *name);
        }
    }

    /// No span of its length holds more turns than the rate: it is enough to look at those that end with one.
    fn check_rate(&self, rate: Option<Rate>, counts: impl Fn(&Turn) -> bool) {
        let Some(Rate { count, per_ms }) = rate else {
            return;
        };
        let moments: Vec<Timestamp> = self
            .turns
            .iter()
            .filter(|t| counts(t))
            .map(|t| t.at)
            .collect();
        for end in &moments {
            let since = end.minus_ms(per_ms);
            let within = moments.iter().filter(|at| **at > since && *at <= end);
            assert!(within.count() <= count as usize, "{moments:?}");
        }
    }

    /// Whether a job could begin, by counting everything there is.
    fn could_begin(&self, job: &Job, now: Timestamp) -> bool {
        let live: Vec<&Job> = self.jobs.iter().filter(|job| Self::lives(job)).collect();
        let rising = live.iter().filter(|job| job.operation.is_some()).count();
        let cpus = live
            .iter()
            .chain([&job])
            .filter_map(|job| job.spec.cpu_millis);
        let memory = live
            .iter()
            .chain([&job])
            .filter_map(|job| job.spec.memory_bytes);
        let node = live.len() < self.limits.live_max
            && rising < self.limits.rising_max
            && cpus.map(u64::from).sum::<u64>() <= self.limits.cpu_millis_max
            && memory.sum::<u64>() <= self.limits.memory_bytes_max;
        let name = job.spec.queue();
        let Some(queue) = self.queues.get(name) else {
            return node;
        };
        let key = job.spec.concurrency_key.as_deref();
        let same_key = |other: &str| key == Some(other);
        let others = self.in_queue(name).filter(|other| other.id != job.id);
        let (mut running, mut of_key) = (0, 0);
        for other in others {
            running += 1;
            of_key += u32::from(other.spec.concurrency_key.as_deref().is_some_and(same_key));
        }
        let below = |rate: Option<Rate>, by_key: bool| {
            rate.is_none_or(|rate| {
                let since = now.minus_ms(rate.per_ms);
                let given = self.turns.iter().filter(|turn| {
                    let counts = !by_key || turn.key.as_deref() == key;
                    turn.queue == name && counts && turn.at > since
                });
                given.count() < rate.count as usize
            })
        };
        let in_time = below(queue.rate, false) && (key.is_none() || below(queue.key_rate, true));
        node && queue.max_running.is_none_or(|most| running < most)
            && queue.key_max_running.is_none_or(|most| of_key < most)
            && (job.state == State::Suspended || !queue.paused && in_time)
    }
}

fn queue(name: &str) -> impl Strategy<Value = Queue> + use<> {
    let name = name.to_owned();
    let most = || proptest::option::of(1..4_u32);
    let rate = || {
        proptest::option::of(
            (1..4_u32, 1..50_u64).prop_map(|(count, per_ms)| Rate { count, per_ms }),
        )
    };
    (
        most(),
        rate(),
        most(),
        rate(),
        proptest::bool::weighted(0.1),
        any::<bool>(),
    )
        .prop_map(
            move |(max_running, rate, key_max_running, key_rate, paused, hold_while_suspended)| {
                Queue {
                    name: name.clone(),
                    max_running,
                    rate,
                    key_max_running,
                    key_rate,
                    paused,
                    hold_while_suspended,
                }
            },
        )
}

#[derive(Clone, Debug)]
enum Happening {
    Submit {
        queue: usize,
        key: usize,
        cpu: Option<u32>,
        memory: Option<u64>,
    },
    /// The scheduler looks; of those chosen every n-th cannot begin after all.
    Look {
        fails: usize,
    },
    /// The n-th job goes one step further in its life.
    Live {
        job: usize,
        how: u8,
    },
    Time(u64),
    Set(Queue),
    /// The daemon dies and begins again.
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    let submit = (
        0..3_usize,
        0..3_usize,
        proptest::option::of(1..1500_u32),
        proptest::option::of(1..150_u64),
    );
    prop_oneof![
        4 => submit.prop_map(|(queue, key, cpu, memory)| Happening::Submit { queue, key, cpu, memory }),
        4 => (1..6_usize).prop_map(|fails| Happening::Look { fails }),
        6 => (any::<usize>(), any::<u8>()).prop_map(|(job, how)| Happening::Live { job, how }),
        2 => (1..40_u64).prop_map(Happening::Time),
        1 => prop_oneof![queue("some"), queue("keyed")].prop_map(Happening::Set),
        1 => Just(Happening::Restart),
    ]
}

struct World {
    places: Places,
    model: Model,
    now: Timestamp,
}

impl World {
    fn commit(&mut self, index: usize, edit: impl FnOnce(&mut Job)) {
        let job = &mut self.model.jobs[index];
        edit(job);
        self.places.note(job);
    }

    fn set(&mut self, queue: Queue) {
        let name = queue.name.clone();
        let keeps = queue.hold_while_suspended;
        self.places.set_queue(queue.clone());
        self.model.queues.insert(name.clone(), queue);
        for job in self
            .model
            .jobs
            .iter()
            .filter(|job| job.spec.queue() == name)
        {
            if keeps && job.state == State::Suspended && job.operation.is_none() {
                self.places
                    .keep(&job.id, &name, job.spec.concurrency_key.as_deref());
            }
        }
    }

    fn look(&mut self, fails: usize) {
        loop {
            let ask = self.places.ask(self.now, 4);
            let waiting = self.model.jobs.iter().filter(|job| {
                let waits = matches!(job.state, State::Pending | State::Suspended);
                waits && job.operation.is_none() && job.wake_at.is_some_and(|at| at <= self.now)
            });
            let mut waiting: Vec<Due> = waiting
                .map(Due::of)
                .filter(|due| ask.accepts(due))
                .collect();
            turn::sort(&mut waiting);
            waiting.truncate(ask.limit);
            let first = waiting.first().cloned();
            let chosen = self.places.choose(waiting, self.now);
            if chosen.turns.is_empty() {
                // Whoever is first in turn could really not begin.
                if let Some(first) = first {
                    let job = self.model.jobs.iter().find(|job| job.id == first.job);
                    assert!(!self.model.could_begin(job.unwrap(), self.now), "{first:?}");
                }
                return;
            }
            for (place, due) in chosen.turns.into_iter().enumerate() {
                let index = self
                    .model
                    .jobs
                    .iter()
                    .position(|job| job.id == due.job)
                    .unwrap();
                assert!(
                    self.model.could_begin(&self.model.jobs[index], self.now),
                    "{due:?}"
                );
                if place % 6 == fails {
                    // Ended by somebody in between.
                    self.commit(index, |job| job.state = State::Cancelled);
                    self.places.take_back(&due, self.now);
                    continue;
                }
                self.commit(index, |job| {
                    job.operation = Some(if due.suspended {
                        Operation::Waking
                    } else {
                        Operation::Starting
                    });
                    if !due.suspended {
                        job.state = State::Running;
                    }
                });
                if !due.suspended {
                    self.model.turns.push(Turn {
                        queue: due.queue.clone(),
                        key: due.key.clone(),
                        at: self.now,
                    });
                }
                self.places.begun(&due, self.now, self.now);
                self.model.check();
            }
        }
    }

    fn live(&mut self, index: usize, how: u8) {
        let job = &self.model.jobs[index];
        let now = self.now;
        match (job.state, job.operation) {
            (_, Some(_)) => self.commit(index, |job| {
                job.operation = None;
                job.state = State::Running;
            }),
            (State::Running, None) if how.is_multiple_of(2) => {
                self.commit(index, |job| job.state = State::Completed)
            }
            (State::Running, None) => self.commit(index, |job| {
                job.state = State::Suspended;
                job.wake_at = Some(now.plus_ms(how.into()));
            }),
            _ => {}
        }
    }

    fn restart(&mut self) {
        let mut places = Places::new(self.model.limits);
        std::mem::swap(&mut self.places, &mut places);
        for queue in self.model.queues.clone().into_values() {
            self.set(queue);
        }
        for turn in &self.model.turns {
            self.places.remember(turn);
        }
        for job in &self.model.jobs {
            self.places.note(job);
        }
        assert_eq!(self.places.taken(), places.taken());
        for name in QUEUES {
            assert_eq!(self.places.running(name), places.running(name), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn no_limit_is_ever_broken_and_nobody_is_held_back_by_none(
        live_max in 1..6_usize,
        rising_max in 1..4_usize,
        queues in (queue("some"), queue("keyed")),
        happenings in proptest::collection::vec(happening(), 1..120)
    ) {
        let limits = Limits { live_max, rising_max, cpu_millis_max: 2000, memory_bytes_max: 200 };
        let model = Model { limits, queues: BTreeMap::new(), jobs: Vec::new(), turns: Vec::new() };
        let mut world = World { places: Places::new(limits), model, now: Timestamp(1_000_000) };
        world.set(queues.0);
        world.set(queues.1);
        for happening in happenings {
            match happening {
                Happening::Submit { queue, key, cpu, memory } => {
                    let wants = Wants { cpu_millis: cpu, memory_bytes: memory };
                    let id = format!("{:04}", world.model.jobs.len());
                    let job = Job::new(id.as_str().into(), spec(QUEUES[queue], KEYS[key], wants), world.now);
                    world.model.jobs.push(job);
                }
                Happening::Look { fails } => world.look(fails),
                Happening::Live { job, how } if !world.model.jobs.is_empty() => {
                    world.live(job % world.model.jobs.len(), how);
                }
                Happening::Live { .. } => {}
                Happening::Time(ms) => world.now = world.now.plus_ms(ms),
                // A limit that is lowered below what runs is broken by nobody.
                Happening::Set(queue) => {
                    let before = world.model.queues.get(&queue.name);
                    let lower = |new: Option<u32>, old: Option<u32>| new.is_some_and(|new| old.is_none_or(|old| new < old));
                    let lowered = before.is_some_and(|old| {
                        lower(queue.max_running, old.max_running) || lower(queue.key_max_running, old.key_max_running)
                            || queue.rate != old.rate || queue.key_rate != old.key_rate
                            || queue.hold_while_suspended != old.hold_while_suspended
                    });
                    if !lowered {
                        world.set(queue);
                    }
                }
                Happening::Restart => world.restart(),
            }
            world.model.check();
        }
    }
}

/// One server, jobs that take a while each, and more urgent ones that never stop coming. `room` sorts anew each time.
fn waits_for(priority: Priority, every_ms: u64, work_ms: u64) -> u64 {
    let job = |n: u64, priority, at: u64| Due {
        job: format!("{n:08}").as_str().into(),
        priority,
        wake_at: Timestamp(0).plus_ms(at),
        suspended: false,
        queue: "default".into(),
        key: None,
        wants: Wants::default(),
    };
    let mut room = vec![job(0, priority, 0)];
    let (mut now, mut came, mut n) = (0, 0, 0);
    loop {
        while came <= now {
            n += 1;
            room.push(job(n, Priority::Critical, came));
            came += every_ms;
        }
        turn::sort(&mut room);
        let served = room.remove(0);
        if served.priority == priority && served.job.as_str() == "00000000" {
            return now;
        }
        now += work_ms;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn nobody_starves_under_an_endless_stream_of_more_urgent_jobs(
        priority in prop_oneof![Just(Priority::Low), Just(Priority::Normal), Just(Priority::High)],
        every_ms in 20_000..60_000_u64,
        factor in 1..4_u64,
    ) {
        let work_ms = every_ms * factor;
        let waited = waits_for(priority, every_ms, work_ms);
        // Only those that came in the head start pass it, and each takes its time.
        let head_start = head_start_ms(Priority::Critical) - head_start_ms(priority);
        let pass = head_start / every_ms + 1;
        let bound = pass * work_ms;
        prop_assert!(waited <= bound, "{waited} > {bound}");
        // And it does wait for them: the order is not just that of arrival.
        prop_assert!(waited + work_ms >= head_start.min(bound), "{waited}");
    }
}

#[test]
fn a_job_that_asks_for_much_is_passed_for_a_minute_and_then_by_nobody() {
    let limits = Limits {
        live_max: 100,
        rising_max: 100,
        cpu_millis_max: 4000,
        memory_bytes_max: 1000,
    };
    let mut places = Places::new(limits);
    let job = |id: &str, cpu_millis: u32, at: i64| {
        let wants = Wants {
            cpu_millis: Some(cpu_millis),
            memory_bytes: None,
        };
        Job::new(id.into(), spec("default", None, wants), Timestamp(at))
    };
    let chosen = |places: &mut Places, waiting: &[&Job], now: i64| -> Vec<String> {
        let waiting = waiting.iter().copied().map(Due::of).collect();
        let chosen = places.choose(waiting, Timestamp(now));
        for due in &chosen.turns {
            places.begun(due, Timestamp(now), Timestamp(now));
        }
        chosen.turns.into_iter().map(|due| due.job.0).collect()
    };
    let mut first = job("first", 1000, 0);
    first.state = State::Running;
    places.note(&first);
    let (big, small, late) = (
        job("big", 4000, 0),
        job("small", 1000, 5),
        job("late", 1000, 9),
    );
    assert_eq!(chosen(&mut places, &[&big, &small], 10), ["small"]);
    let mut small = small;
    small.state = State::Running;
    places.note(&small);
    let minute = i64::try_from(PASSED_MS).unwrap();
    assert!(chosen(&mut places, &[&big, &late], minute).is_empty());
    // Nor by one that comes just now.
    assert!(!places.welcome(&Due::of(&late), Timestamp(minute)));
    for job in [&mut first, &mut small] {
        assert!(chosen(&mut places, &[&big, &late], minute + 1).is_empty());
        job.state = State::Completed;
        assert!(places.note(job));
    }
    assert_eq!(chosen(&mut places, &[&big, &late], minute + 2), ["big"]);
}
