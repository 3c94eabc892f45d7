//! The world, the store, and a daemon that carries effects out until its fuse has burnt.

use dauer_core::plan::recovery::{Observed, Step, pending_effects, recovery};
use dauer_core::*;
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Body {
    Running,
    Frozen,
}

/// What is really there.
#[derive(Default)]
struct World {
    /// Living sandboxes by generation, with what they have counted to.
    sandboxes: BTreeMap<u32, (Body, u64)>,
    /// How ended ones ended, where their shim wrote it down.
    exits: BTreeMap<u32, Ended>,
    launched: Vec<u32>,
    /// Published images by id, with the count they hold.
    images: BTreeMap<String, u64>,
    starts: u32,
}

/// What is in the store: only commits touch it.
struct Store {
    job: Job,
    committed: BTreeMap<String, u64>,
}

pub(super) struct Simulation {
    world: World,
    store: Store,
    /// The daemon's memory: events that effects reported. Lost with it.
    queue: VecDeque<(Option<u32>, EventKind)>,
    /// The daemon dies after so many more small steps.
    pub(super) fuse: Option<u32>,
    at: i64,
    ids: u32,
    /// The most progress ever committed with a checkpoint.
    floor: u64,
    /// How often a sandbox vanished.
    losses: u32,
}

pub(super) struct Died;

impl Simulation {
    pub(super) fn new(retries: u32) -> Self {
        let spec = serde_json::from_value(serde_json::json!({
            "name": null, "argv": ["count"], "env": {}, "workdir": null, "driver": "runc", "image": {"kind": "host"},
            "mounts": [], "inject": null, "cpu_millis": null, "memory_bytes": null, "timeout_ms": null, "network": "none",
            "publish": [], "user": null, "tty": false, "stdin": false, "remove_on_exit": false, "stop_grace_ms": 10,
            "retry": {"max_retries": retries, "retry_delay_ms": 0}
        }))
        .unwrap();
        Self {
            world: World::default(),
            store: Store {
                job: Job::new("j".into(), spec, Timestamp(0)),
                committed: BTreeMap::new(),
            },
            queue: VecDeque::new(),
            fuse: None,
            at: 1,
            ids: 0,
            floor: 0,
            losses: 0,
        }
    }

    /// Between any two lines.
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

    fn apply(&mut self, generation: Option<u32>, kind: EventKind) -> Result<(), Died> {
        self.queue.push_back((generation, kind));
        while let Some((generation, kind)) = self.queue.pop_front() {
            self.at += 1;
            let before = self.store.job.clone();
            let Verdict::Move(movement) = decide(
                &before,
                &Event {
                    at: Timestamp(self.at),
                    generation,
                    kind: kind.clone(),
                },
            ) else {
                if let EventKind::CheckpointPublished(checkpoint) = &kind
                    && before.checkpoint.as_ref() != Some(&checkpoint.id)
                {
                    self.world.images.remove(&checkpoint.id.0);
                }
                continue;
            };
            assert!(
                before.state.may_become(movement.job.state),
                "{} to {}",
                before.state,
                movement.job.state
            );
            assert_eq!(movement.job.version, before.version + 1);
            assert!(movement.job.generation >= before.generation);
            self.line()?;
            self.commit(&movement);
            for effect in movement.effects {
                self.line()?;
                self.perform(effect);
            }
        }
        Ok(())
    }

    fn commit(&mut self, movement: &Move) {
        if let Some(checkpoint) = &movement.checkpoint {
            let count = *self
                .world
                .images
                .get(&checkpoint.id.0)
                .expect("a pointer is committed only to a published image");
            assert!(
                count >= self.floor,
                "a newer checkpoint holds less progress"
            );
            self.floor = count;
            self.store.committed.insert(checkpoint.id.0.clone(), count);
        }
        if movement.job.state == State::PendingRetry {
            // The next attempt begins from nothing.
            self.floor = 0;
        }
        self.store.job = movement.job.clone();
    }

    fn perform(&mut self, effect: Effect) {
        let generation = self.store.job.generation;
        match effect {
            Effect::Start => {
                self.world.starts += 1;
                self.launch(generation, 0);
            }
            Effect::Restore { checkpoint, .. } => {
                let count = *self
                    .world
                    .images
                    .get(&checkpoint.0)
                    .expect("the image to restore is there");
                self.launch(generation, count);
            }
            Effect::TakeCheckpoint {
                checkpoint, freeze, ..
            } => self.take(&checkpoint, freeze),
            Effect::Terminate => {}
            Effect::Destroy { generation } => {
                if self.world.sandboxes.remove(&generation).is_some() {
                    let killed = Ended::Exited {
                        code: None,
                        signal: Some(9),
                        out_of_memory: false,
                    };
                    self.world.exits.insert(generation, killed.clone());
                    if self.store.job.operation == Some(Operation::Terminating) {
                        self.queue
                            .push_back((Some(generation), EventKind::Ended(killed)));
                    }
                } else if self.store.job.operation == Some(Operation::Terminating)
                    && generation == self.store.job.generation
                {
                    let lost = Ended::Lost {
                        out_of_memory: false,
                        rebooted: false,
                    };
                    self.queue
                        .push_back((Some(generation), EventKind::Ended(lost)));
                }
                self.queue
                    .push_back((Some(generation), EventKind::Released));
            }
            Effect::DropCheckpoints { keep } => {
                let keep = keep.map(|id| id.0);
                assert!(
                    keep.is_some() || self.store.job.checkpoint.is_none(),
                    "the pointer's image is not dropped"
                );
                self.world.images.retain(|id, _| Some(id) == keep.as_ref());
            }
        }
    }

    fn launch(&mut self, generation: u32, count: u64) {
        let others = self
            .world
            .sandboxes
            .iter()
            .filter(|(other, (body, _))| **other != generation && *body == Body::Running);
        assert_eq!(others.count(), 0, "two incarnations would run at once");
        if self.world.sandboxes.contains_key(&generation)
            || self.world.exits.contains_key(&generation)
        {
            return;
        }
        self.world.launched.push(generation);
        self.world
            .sandboxes
            .insert(generation, (Body::Running, count));
        self.queue.push_back((Some(generation), EventKind::Started));
    }

    /// The shim's part: it does this alone, whether or not a daemon listens. Safe to repeat.
    fn take(&mut self, id: &CheckpointId, freeze: bool) {
        let generation = self.store.job.generation;
        let Some((body, count)) = self.world.sandboxes.get_mut(&generation) else {
            return;
        };
        let published = self.world.images.entry(id.0.clone()).or_insert(*count);
        let _ = published;
        if freeze {
            *body = Body::Frozen;
        }
        let checkpoint = self.record(id);
        self.queue
            .push_back((Some(generation), EventKind::CheckpointPublished(checkpoint)));
    }

    fn record(&self, id: &CheckpointId) -> Checkpoint {
        Checkpoint {
            id: id.clone(),
            job: self.store.job.id.clone(),
            generation: self.store.job.generation,
            taken_at: Timestamp(self.at),
            frozen_ms: 0,
            memory_bytes: 0,
            disk_bytes: 0,
            log_offset: 0,
            token: None,
        }
    }

    /// A new daemon: nothing is known but the record and what is there.
    pub(super) fn restart(&mut self) -> Result<(), Died> {
        self.queue.clear();
        // Twice: the second finds nothing more to do, or finishes what a first one left to events.
        for _ in 0..3 {
            self.reconcile()?;
        }
        Ok(())
    }

    fn reconcile(&mut self) -> Result<(), Died> {
        let job = self.store.job.clone();
        let generation = job.generation;
        let observed = if self.world.sandboxes.contains_key(&generation) {
            Observed::Alive
        } else if let Some(ended) = self.world.exits.get(&generation) {
            Observed::Recorded(ended.clone())
        } else {
            Observed::Gone {
                rebooted: false,
                never_launched: !self.world.launched.contains(&generation),
            }
        };
        let intended = match &job.intent {
            Some(Intent::Checkpoint { checkpoint, .. }) => Some(checkpoint.clone()),
            _ => None,
        };
        let published = intended
            .clone()
            .filter(|id| self.world.images.contains_key(&id.0));
        for step in recovery(&job, &observed, published.is_some()) {
            self.line()?;
            let present = Some(self.store.job.generation);
            match step {
                Step::Schedule => self.apply(
                    None,
                    EventKind::Admitted {
                        sandbox: "s".into(),
                        boot_id: "b".into(),
                    },
                )?,
                Step::Adopt => {
                    if self
                        .world
                        .sandboxes
                        .get(&generation)
                        .is_some_and(|(body, _)| *body == Body::Running)
                    {
                        self.apply(present, EventKind::Started)?;
                    }
                }
                Step::RepeatOperation => {
                    for effect in pending_effects(&job, Timestamp(self.at)) {
                        self.perform(effect);
                    }
                    if let Some((generation, kind)) = self.queue.pop_front() {
                        self.apply(generation, kind)?;
                    }
                }
                Step::Apply(ended) => self.apply(present, EventKind::Ended(ended))?,
                Step::CommitPublished => {
                    let checkpoint = self.record(published.as_ref().expect("said to be published"));
                    self.apply(present, EventKind::CheckpointPublished(checkpoint))?;
                }
                Step::DiscardPartial => {}
                Step::DestroyLeftover => {
                    self.perform(Effect::Destroy { generation });
                    if let Some((generation, kind)) = self.queue.pop_front() {
                        self.apply(generation, kind)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Something happens; the daemon may die in the middle of it.
    pub(super) fn happen(&mut self, what: u8) -> Result<(), Died> {
        let generation = self.store.job.generation;
        let alive = self.world.sandboxes.get(&generation).copied();
        self.ids += 1;
        let checkpoint = CheckpointId(format!("c{}", self.ids));
        match (what % 10, alive) {
            (0..=2, Some((Body::Running, count))) => {
                self.world
                    .sandboxes
                    .insert(generation, (Body::Running, count + 1));
                Ok(())
            }
            (3, _) => self.apply(
                None,
                EventKind::CheckpointAsked {
                    checkpoint,
                    token: None,
                    then: Then::Continue,
                },
            ),
            (4, _) => {
                let then = Then::Suspend {
                    wake_at: None,
                    waits_for: None,
                };
                self.apply(
                    None,
                    EventKind::CheckpointAsked {
                        checkpoint,
                        token: None,
                        then,
                    },
                )
            }
            (5 | 6, _) => self.apply(
                None,
                EventKind::Wake {
                    asked: what.is_multiple_of(2),
                    boot_id: "b".into(),
                },
            ),
            (7, Some(_)) => {
                self.world.sandboxes.remove(&generation);
                self.losses += 1;
                let lost = Ended::Lost {
                    out_of_memory: false,
                    rebooted: false,
                };
                // Half of the time the shim dies with it and leaves no record.
                if what.is_multiple_of(2) {
                    self.world.exits.insert(generation, lost.clone());
                }
                self.apply(Some(generation), EventKind::Ended(lost))
            }
            (8, Some((Body::Running, _))) if what > 200 => {
                self.world.sandboxes.remove(&generation);
                let ended = Ended::Exited {
                    code: Some(i32::from(what % 20 == 8)),
                    signal: None,
                    out_of_memory: false,
                };
                self.world.exits.insert(generation, ended.clone());
                self.apply(Some(generation), EventKind::Ended(ended))
            }
            (9, _) if what < 20 => self.apply(None, EventKind::RetryAsked),
            (9, _) if what > 240 => self.apply(
                None,
                EventKind::EndAsked {
                    end: End::Stop,
                    grace_ms: Some(0),
                },
            ),
            _ => Ok(()),
        }
    }

    /// While no daemon runs, a sandbox may go on, end (its shim writes it down) or vanish with its shim.
    pub(super) fn happen_without_a_daemon(&mut self, what: u8) {
        let generation = self.store.job.generation;
        let Some((body, count)) = self.world.sandboxes.get(&generation).copied() else {
            return;
        };
        match (what % 8, body) {
            (0, _) => {
                self.world.sandboxes.remove(&generation);
                self.losses += 1;
            }
            (1, Body::Running) => {
                self.world.sandboxes.remove(&generation);
                self.world.exits.insert(
                    generation,
                    Ended::Exited {
                        code: Some(0),
                        signal: None,
                        out_of_memory: false,
                    },
                );
            }
            (2..=4, Body::Running) => {
                self.world.sandboxes.insert(generation, (body, count + 1));
            }
            _ => {}
        }
    }

    /// Record and world agree.
    pub(super) fn check(&self) {
        let job = &self.store.job;
        let alive: Vec<_> = self.world.sandboxes.iter().collect();
        match job.state {
            State::Running => {
                assert_eq!(alive.len(), 1, "{job:?} {alive:?}");
                let (generation, (body, count)) = alive[0];
                assert_eq!(
                    (*generation, *body, job.operation),
                    (job.generation, Body::Running, None)
                );
                assert!(*count >= self.floor, "progress that was committed is lost");
            }
            State::Suspended | State::Completed | State::Failed | State::Cancelled => {
                assert!(
                    alive.is_empty(),
                    "{} {:?} but {alive:?} live",
                    job.state,
                    job.operation
                );
                assert_eq!(job.operation, None);
            }
            other => panic!("a settled job is {other}"),
        }
        if let Some(id) = &job.checkpoint {
            assert_eq!(
                self.world.images.get(&id.0),
                Some(&self.floor),
                "the pointer's image is there and is the newest"
            );
        }
        if job.state == State::Failed {
            let given_up = job.restores_in_a_row >= decide::RESTORES_IN_A_ROW_MAX;
            let exited =
                job.outcome.as_ref().and_then(|outcome| outcome.reason) == Some(Reason::ExitCode);
            assert!(
                exited || self.losses > 0 && (job.checkpoint.is_none() || given_up),
                "failed though it could be restored: {job:?}"
            );
            assert!(
                job.retries >= job.spec.retry.max_retries,
                "failed though it could be tried again: {job:?}"
            );
        }
        assert!(
            self.world.starts <= 1 + job.retries,
            "the program was started from its beginning {} times",
            self.world.starts
        );
    }
}
