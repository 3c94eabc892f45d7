//! The world, the store, and a daemon that carries effects out until its fuse has burnt.

mod happenings;

use super::bill::Bill;
use super::inbox::{Inbox, Memory};
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
    /// Living sandboxes by generation, with what their program remembers.
    sandboxes: BTreeMap<u32, (Body, Memory)>,
    /// How ended ones ended, where their shim wrote it down.
    exits: BTreeMap<u32, Ended>,
    launched: Vec<u32>,
    /// Published images by id, with the memory they hold.
    images: BTreeMap<String, Memory>,
    /// When each image was taken.
    taken_at: BTreeMap<String, i64>,
    starts: u32,
}

/// What is in the store: only commits touch it.
struct Store {
    job: Job,
    inbox: Inbox,
    bill: Bill,
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
    /// How often the machine went down, with all that lived.
    reboots: u32,
    /// The job was told that its exit is kept.
    exit_kept: bool,
}

pub(super) struct Died;

impl Simulation {
    pub(super) fn new(retries: u32) -> Self {
        let spec: JobSpec = serde_json::from_value(serde_json::json!({
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
                inbox: Inbox::default(),
                bill: Bill::default(),
            },
            queue: VecDeque::new(),
            fuse: None,
            at: 1,
            ids: 0,
            floor: 0,
            losses: 0,
            reboots: 0,
            exit_kept: false,
        }
    }

    /// This boot of the machine.
    fn boot(&self) -> String {
        format!("boot {}", self.reboots)
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
                    chance: 0,
                    kind: kind.clone(),
                    life: self.store.bill.life(before.generation),
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
            self.commit(&movement, &kind);
            for effect in movement.effects {
                self.line()?;
                self.perform(effect);
            }
        }
        Ok(())
    }

    fn commit(&mut self, movement: &Move, kind: &EventKind) {
        self.bill(movement, kind);
        if let Some(checkpoint) = &movement.checkpoint {
            let image = self.world.images.get(&checkpoint.id.0);
            let count = image
                .expect("a pointer is committed only to a published image")
                .count;
            assert!(
                count >= self.floor,
                "a newer checkpoint holds less progress"
            );
            self.floor = count;
        }
        for kept in &movement.kept {
            self.store.inbox.put(kept);
        }
        if let Some(Intent::End {
            end: End::Exit { .. },
            ..
        }) = movement.job.intent
        {
            self.exit_kept = true;
        }
        if movement.job.state == State::PendingRetry {
            // The next attempt begins from nothing.
            self.floor = 0;
        }
        self.store.job = movement.job.clone();
    }

    /// What the commit means for the truth, from what happened and not from what was decided.
    fn bill(&mut self, movement: &Move, kind: &EventKind) {
        let before = &self.store.job;
        let bill = &mut self.store.bill;
        match kind {
            EventKind::Started => bill.told(before.generation, false),
            EventKind::Ended(_) => bill.told(before.generation, true),
            EventKind::CheckpointPublished(_) if movement.job.state == State::Suspended => {
                bill.sleeps(before.generation);
            }
            _ => {}
        }
        if before.checkpoint != movement.job.checkpoint {
            let taken_at = movement.job.checkpoint.as_ref();
            let taken_at = taken_at.map(|id| self.world.taken_at[&id.0]);
            bill.stores(taken_at, self.at);
        }
        for kept in &movement.kept {
            bill.put(kept);
        }
    }

    fn perform(&mut self, effect: Effect) {
        let generation = self.store.job.generation;
        match effect {
            Effect::Start => {
                self.world.starts += 1;
                self.launch(generation, Memory::default());
            }
            Effect::Restore { checkpoint, .. } => {
                let image = self.world.images.get(&checkpoint.0);
                let memory = image.expect("the image to restore is there").clone();
                self.launch(generation, memory);
            }
            Effect::TakeCheckpoint {
                checkpoint, freeze, ..
            } => self.take(&checkpoint, freeze),
            // There are no jobs below it: at once all of them have ended.
            Effect::EndChildren { .. } => {
                self.queue.push_back((None, EventKind::ChildrenEnded));
            }
            Effect::Terminate => {}
            Effect::Destroy { generation } => {
                if self.world.sandboxes.remove(&generation).is_some() {
                    let killed = Ended::Exited {
                        code: None,
                        signal: Some(9),
                        out_of_memory: false,
                    };
                    self.world.exits.insert(generation, killed.clone());
                    self.store.bill.ended(generation, self.at, true);
                    if self.store.job.operation == Some(Operation::Terminating) {
                        self.queue
                            .push_back((Some(generation), EventKind::Ended(killed)));
                    }
                } else if self.store.job.operation == Some(Operation::Terminating)
                    && generation == self.store.job.generation
                {
                    let lost = Ended::Lost {
                        out_of_memory: false,
                        rebooted: None,
                    };
                    self.queue
                        .push_back((Some(generation), EventKind::Ended(lost)));
                }
                self.queue
                    .push_back((Some(generation), EventKind::Released));
            }
            Effect::DropTemplate { .. } => unreachable!("no job of this world begins warm"),
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

    fn launch(&mut self, generation: u32, memory: Memory) {
        assert!(
            self.store.job.locks.is_empty(),
            "it begins with a lock that it does not know of"
        );
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
            .insert(generation, (Body::Running, memory));
        self.store.bill.began(generation, self.at);
        self.queue.push_back((Some(generation), EventKind::Started));
    }

    /// The shim's part: it does this alone, whether or not a daemon listens. Safe to repeat.
    fn take(&mut self, id: &CheckpointId, freeze: bool) {
        let generation = self.store.job.generation;
        assert!(self.store.job.locks.is_empty(), "frozen with a lock held");
        let Some((body, memory)) = self.world.sandboxes.get_mut(&generation) else {
            return;
        };
        let images = &mut self.world.images;
        images.entry(id.0.clone()).or_insert_with(|| memory.clone());
        if freeze {
            *body = Body::Frozen;
            self.store.bill.frozen(generation, self.at);
        }
        let taken_at = self.world.taken_at.entry(id.0.clone());
        taken_at.or_insert(self.at);
        let checkpoint = self.record(id);
        self.queue
            .push_back((Some(generation), EventKind::CheckpointPublished(checkpoint)));
    }

    fn record(&self, id: &CheckpointId) -> Checkpoint {
        Checkpoint {
            id: id.clone(),
            job: self.store.job.id.clone(),
            generation: self.store.job.generation,
            taken_at: Timestamp(self.world.taken_at[&id.0]),
            frozen_ms: 0,
            memory_bytes: 0,
            disk_bytes: 0,
            log_offset: 0,
            token: None,
            blocks_bytes: None,
        }
    }

    /// A new daemon: nothing is known but the record and what is there.
    pub(super) fn restart(&mut self) -> Result<(), Died> {
        self.queue.clear();
        let exits = &self.world.exits;
        self.store
            .bill
            .daemon_died(|generation| exits.contains_key(&generation));
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
                rebooted: Some(self.boot()).filter(|boot| job.boot_id.as_ref() != Some(boot)),
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
                        boot_id: self.boot(),
                        counted_ms: None,
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
                Step::NoteInterruption => {
                    let boot_id = self.boot();
                    self.apply(present, EventKind::Interrupted { boot_id })?;
                }
                Step::EndChildren => {
                    self.perform(Effect::EndChildren { grace_ms: None });
                    if let Some((generation, kind)) = self.queue.pop_front() {
                        self.apply(generation, kind)?;
                    }
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

    /// What the program remembers that lives, or would be restored.
    fn memory(&self) -> Memory {
        let job = &self.store.job;
        let alive = self.world.sandboxes.get(&job.generation);
        let image = || {
            let id = job.checkpoint.as_ref()?;
            self.world.images.get(&id.0).cloned()
        };
        alive
            .map(|(_, memory)| memory.clone())
            .or_else(image)
            .unwrap_or_default()
    }

    /// Record and world agree.
    pub(super) fn check(&self) {
        let job = &self.store.job;
        let alive: Vec<_> = self.world.sandboxes.iter().collect();
        match job.state {
            State::Running => {
                assert_eq!(alive.len(), 1, "{job:?} {alive:?}");
                let (generation, (body, memory)) = alive[0];
                assert_eq!((*generation, *body), (job.generation, Body::Running));
                let leaves = matches!(
                    job.intent,
                    Some(Intent::End {
                        end: End::Exit { exit_code: 0 },
                        ..
                    })
                );
                assert!(job.operation.is_none() || leaves, "{job:?}");
                assert!(
                    memory.count >= self.floor,
                    "progress that was committed is lost"
                );
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
                self.world.images.get(&id.0).map(|memory| memory.count),
                Some(self.floor),
                "the pointer's image is there and is the newest"
            );
        }
        if !job.state.is_terminal() {
            self.store.inbox.check(&self.memory(), job);
        }
        if self.exit_kept {
            let done = job.state == State::Running || job.state == State::Completed;
            assert!(done && self.store.inbox.output.is_some(), "{job:?}");
        }
        if job.state == State::Failed {
            let given_up = job.restores_in_a_row >= decide::RESTORES_IN_A_ROW_MAX
                || job.crashes_in_a_row > decide::CRASHES_IN_A_ROW_MAX;
            let exited =
                job.outcome.as_ref().and_then(|outcome| outcome.reason) == Some(Reason::ExitCode);
            assert!(
                exited || self.losses + self.reboots > 0 && (job.checkpoint.is_none() || given_up),
                "failed though it could be restored: {job:?}"
            );
            assert!(
                job.retries >= job.spec.retry.max_retries
                    || job.crashes_in_a_row > decide::CRASHES_IN_A_ROW_MAX,
                "failed though it could be tried again: {job:?}"
            );
        }
        self.store.bill.check(self.at);
        assert!(
            job.attempt <= 1 + job.retries + self.losses,
            "a machine that went down was charged: {job:?}"
        );
        assert!(
            self.world.starts <= 1 + job.retries,
            "the program was started from its beginning {} times",
            self.world.starts
        );
    }
}
