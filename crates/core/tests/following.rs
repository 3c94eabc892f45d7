//! Jobs that follow others, under a daemon that dies between any two lines: whatever it had told before, after the next start each job
//! is where a model says that only knows how the others ended.

use dauer_core::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};

/// What the store holds: the records, and who still waits for whom.
struct Store {
    jobs: Vec<Job>,
    waits_for: Vec<(usize, usize)>,
}

struct Daemon {
    store: Store,
    /// Ends that were committed and have to be told.
    to_tell: VecDeque<usize>,
    /// It dies after so many more lines.
    fuse: Option<u32>,
    at: i64,
}

struct Died;

fn id(n: usize) -> JobId {
    JobId(format!("job-{n}"))
}

fn job(n: usize, after: &[(usize, When)]) -> Job {
    let after: Vec<After> = after
        .iter()
        .map(|(other, when)| After {
            job: id(*other),
            when: *when,
        })
        .collect();
    let mut spec: JobSpec = serde_json::from_value(serde_json::json!({
        "name": null, "argv": ["true"], "env": {}, "workdir": null, "driver": "runc", "image": {"kind": "host"},
        "mounts": [], "inject": null, "cpu_millis": null, "memory_bytes": null, "timeout_ms": null, "network": "none",
        "publish": [], "user": null, "tty": false, "stdin": false, "remove_on_exit": false, "stop_grace_ms": 10,
        "retry": {"max_retries": 2}
    }))
    .unwrap();
    let blocked_by = after.iter().map(|after| after.job.clone()).collect();
    spec.after = after;
    Job::new(id(n), spec, Timestamp(0)).blocked_by(blocked_by)
}

impl Daemon {
    fn line(&mut self) -> Result<(), Died> {
        match &mut self.fuse {
            Some(0) => Err(Died),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Decides and commits; the end of a job is told after that.
    fn tell(&mut self, n: usize, kind: EventKind) -> Result<(), Died> {
        self.at += 1;
        let event = Event {
            at: Timestamp(self.at),
            generation: None,
            chance: 0,
            kind,
            life: Default::default(),
        };
        let Verdict::Move(movement) = decide(&self.store.jobs[n], &event) else {
            return Ok(());
        };
        self.line()?;
        for kept in &movement.kept {
            if let Kept::Unblocked { by } = kept {
                let waits_for = &mut self.store.waits_for;
                waits_for.retain(|(follower, other)| (*follower, id(*other)) != (n, by.clone()));
            }
        }
        let ended = movement.job.state.is_terminal();
        self.store.jobs[n] = movement.job;
        self.line()?;
        if ended {
            self.to_tell.push_back(n);
        }
        self.tell_all()
    }

    fn tell_all(&mut self) -> Result<(), Died> {
        while let Some(ended) = self.to_tell.pop_front() {
            let state = Some(self.store.jobs[ended].state);
            let waits_for = self.store.waits_for.clone();
            for (follower, _) in waits_for.iter().filter(|(_, other)| *other == ended) {
                let job = id(ended);
                self.tell(*follower, EventKind::DependencyEnded { job, ended: state })?;
            }
        }
        Ok(())
    }

    /// A new daemon knows what is in the store.
    fn restart(&mut self) -> Result<(), Died> {
        let ended = |other: &usize| self.store.jobs[*other].state.is_terminal();
        let others = self.store.waits_for.iter().map(|(_, other)| *other);
        self.to_tell = others.filter(ended).collect();
        self.tell_all()
    }

    /// A job whose turn it is begins and ends at once.
    fn run(&mut self, n: usize, state: State) {
        let job = &mut self.store.jobs[n];
        if job.state == State::Pending && job.wake_at.is_some() {
            assert!(job.blocked_by.is_empty(), "{job:?}");
            job.state = state;
            job.version += 1;
            self.to_tell.push_back(n);
        }
    }
}

/// Where a job has to be, from how others ended: it ran (or may run), it failed for another one, or it waits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    MayRun,
    Fails,
    Waits,
}

fn fate(n: usize, after: &[Vec<(usize, When)>], ran: &BTreeMap<usize, State>) -> Fate {
    let mut waits = false;
    for (other, when) in &after[n] {
        let ended = match fate(*other, after, ran) {
            Fate::MayRun => ran.get(other).copied(),
            Fate::Fails => Some(State::Failed),
            Fate::Waits => None,
        };
        match ended {
            Some(state) if *when == When::Ended || state == State::Completed => {}
            Some(_) => return Fate::Fails,
            None => waits = true,
        }
    }
    if waits { Fate::Waits } else { Fate::MayRun }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_job_is_where_the_ends_of_others_put_it_also_after_crashes(
        edges in proptest::collection::vec((1..8_usize, any::<proptest::sample::Index>(), any::<bool>()), 0..14),
        steps in proptest::collection::vec((0..8_usize, 0..3_usize, proptest::option::weighted(0.6, 0..8_u32)), 1..30),
    ) {
        let mut after: Vec<Vec<(usize, When)>> = vec![Vec::new(); 8];
        for (n, other, ended) in edges {
            let (other, when) = (other.index(n), if ended { When::Ended } else { When::Completed });
            if after[n].iter().all(|(known, _)| *known != other) {
                after[n].push((other, when));
            }
        }
        let jobs = (0..8).map(|n| job(n, &after[n])).collect();
        let waits_for = after.iter().enumerate().flat_map(|(n, after)| after.iter().map(move |(other, _)| (n, *other)));
        let store = Store { jobs, waits_for: waits_for.collect() };
        let mut daemon = Daemon { store, to_tell: VecDeque::new(), fuse: None, at: 0 };
        let mut ran = BTreeMap::new();
        for (n, how, fuse) in steps {
            let state = [State::Completed, State::Failed, State::Cancelled][how];
            if fate(n, &after, &ran) == Fate::MayRun {
                ran.entry(n).or_insert(state);
            }
            daemon.run(n, state);
            daemon.fuse = fuse;
            let mut died = daemon.tell_all().is_err();
            while died {
                daemon.fuse = daemon.fuse.filter(|_| fuse.is_some_and(|fuse| fuse > 5)).map(|_| 2);
                died = daemon.restart().is_err();
                daemon.fuse = None;
            }
            daemon.fuse = None;
            for n in 0..8 {
                let job = &daemon.store.jobs[n];
                let failed_for_another = job.outcome.as_ref().and_then(|outcome| outcome.reason) == Some(Reason::DependencyFailed);
                match fate(n, &after, &ran) {
                    Fate::Fails => prop_assert!(failed_for_another && job.state == State::Failed, "{job:?}"),
                    Fate::Waits => prop_assert!(job.state == State::Pending && job.wake_at.is_none(), "{job:?}"),
                    Fate::MayRun => {
                        let there = ran.get(&n).copied().unwrap_or(State::Pending);
                        prop_assert!(job.state == there && job.blocked_by.is_empty(), "{job:?}");
                        prop_assert!(job.state.is_terminal() || job.wake_at.is_some(), "{job:?}");
                    }
                }
                let open = daemon.store.waits_for.iter().filter(|(follower, _)| *follower == n).count();
                prop_assert_eq!(open, job.blocked_by.len());
            }
        }
    }
}
