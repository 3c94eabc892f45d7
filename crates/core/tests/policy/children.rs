//! A family of jobs, some of which are cancelled with their children, with a daemon that forgets what it was about.

use super::*;
use dauer_core::plan::recovery::{Observed, Step, recovery};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// Somebody wants a job below this one.
    Child(usize),
    /// The program of this one ends.
    Exit(usize),
    /// Somebody cancels this one with its children.
    Cancel(usize),
    /// Somebody cancels this one alone.
    CancelAlone(usize),
    /// The daemon does so many of the things it is about.
    Work(u8),
    /// It dies and begins anew from the records.
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (0..40usize).prop_map(Happening::Child),
        2 => (0..40usize).prop_map(Happening::Exit),
        1 => (0..40usize).prop_map(Happening::Cancel),
        1 => (0..40usize).prop_map(Happening::CancelAlone),
        4 => (0..6u8).prop_map(Happening::Work),
        1 => Just(Happening::Restart),
    ]
}

/// The records, and what the daemon is about: jobs whose children are to be told, forgotten when it dies.
#[derive(Default)]
struct Family {
    jobs: Vec<Job>,
    tells: Vec<usize>,
    /// The model: what was asked of each job when it had not ended.
    cancelled: BTreeMap<usize, bool>,
    now: i64,
}

impl Family {
    fn at(&mut self) -> i64 {
        self.now += 1;
        self.now
    }

    fn add(&mut self, parent: Option<usize>) -> bool {
        // As the store, in the transaction that adds it.
        if parent.is_some_and(|parent| self.jobs[parent].ends_children.is_some()) {
            return false;
        }
        let id = JobId(self.jobs.len().to_string());
        let spec = JobSpec {
            parent: parent.map(|parent| self.jobs[parent].id.clone()),
            ..spec()
        };
        let at = self.at();
        let mut job = Job::new(id, spec, Timestamp(at));
        // Some run, some wait.
        if self.jobs.len().is_multiple_of(2) {
            tell(&mut job, at, admitted()).unwrap();
            tell(&mut job, at, EventKind::Started).unwrap();
        }
        self.jobs.push(job);
        true
    }

    fn tell(&mut self, job: usize, kind: EventKind) -> bool {
        let at = self.at();
        let Some(effects) = tell(&mut self.jobs[job], at, kind) else {
            return false;
        };
        for effect in effects {
            match effect {
                Effect::EndChildren { .. } => self.tells.push(job),
                Effect::Terminate => {
                    self.tell(job, exited(1));
                }
                Effect::Destroy { .. } => {
                    self.tell(job, EventKind::Released);
                }
                Effect::Start
                | Effect::Restore { .. }
                | Effect::TakeCheckpoint { .. }
                | Effect::DropCheckpoints { .. }
                | Effect::DropTemplate { .. } => {}
            }
        }
        true
    }

    fn cancel(&mut self, job: usize, children: bool) {
        let end = EventKind::EndAsked {
            end: End::Stop,
            grace_ms: None,
            children,
        };
        if self.tell(job, end) {
            *self.cancelled.entry(job).or_default() |= children;
        }
    }

    fn children(&self, job: usize) -> Vec<usize> {
        let id = &self.jobs[job].id;
        let of = |child: &usize| self.jobs[*child].spec.parent.as_ref() == Some(id);
        (0..self.jobs.len()).filter(of).collect()
    }

    /// One thing the daemon is about. False where there is nothing.
    fn work(&mut self) -> bool {
        let Some(job) = self.tells.pop() else {
            return false;
        };
        let untold = |family: &Self, child: &usize| family.jobs[*child].ends_children.is_none();
        let children = self.children(job);
        if let Some(child) = children.iter().copied().find(|child| untold(self, child)) {
            // One child a step, so that the daemon may die between them.
            let end = EventKind::EndAsked {
                end: End::Stop,
                grace_ms: None,
                children: true,
            };
            self.tells.insert(0, job);
            if !self.tell(child, end) {
                assert!(self.tell(child, EventKind::ChildrenEndAsked { grace_ms: None }));
            }
        } else if children.iter().any(|child| {
            let child = &self.jobs[*child];
            child.is_ending_children() || !child.state.is_terminal()
        }) {
            self.tells.insert(0, job);
        } else {
            self.tell(job, EventKind::ChildrenEnded);
        }
        true
    }

    fn restart(&mut self) {
        self.tells.clear();
        for job in 0..self.jobs.len() {
            let record = &self.jobs[job];
            let observed = match record.state {
                State::Running => Observed::Alive,
                _ => Observed::Gone {
                    rebooted: None,
                    never_launched: true,
                },
            };
            if recovery(record, &observed, false).contains(&Step::EndChildren) {
                self.tells.push(job);
            }
        }
    }

    /// The model: somebody above it, or it itself, was cancelled with all below.
    fn is_below_a_cancelled_one(&self, job: usize) -> bool {
        let mut present = Some(job);
        while let Some(job) = present {
            if self.cancelled.get(&job) == Some(&true) {
                return true;
            }
            let parent = self.jobs[job].spec.parent.as_ref();
            present = parent.map(|id| id.as_str().parse().unwrap());
        }
        false
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn all_below_a_cancelled_job_end_and_nobody_else_does(happenings in proptest::collection::vec(happening(), 1..80)) {
        let mut family = Family::default();
        family.add(None);
        let mut exited_by_itself = vec![];
        for what in happenings {
            let there = family.jobs.len();
            match what {
                Happening::Child(parent) => {
                    family.add(Some(parent % there));
                }
                Happening::Exit(job) => {
                    if family.jobs[job % there].state == State::Running && family.tell(job % there, exited(0)) {
                        exited_by_itself.push(job % there);
                    }
                }
                Happening::Cancel(job) => family.cancel(job % there, true),
                Happening::CancelAlone(job) => family.cancel(job % there, false),
                Happening::Work(steps) => {
                    for _ in 0..steps {
                        family.work();
                    }
                },
                Happening::Restart => family.restart(),
            }
        }
        // Long enough for every tree of so few.
        for _ in 0..10_000 {
            if !family.work() {
                break;
            }
        }
        for job in 0..family.jobs.len() {
            let record = &family.jobs[job];
            let below = family.is_below_a_cancelled_one(job);
            let expected = if exited_by_itself.contains(&job) {
                State::Completed
            } else if below || family.cancelled.contains_key(&job) {
                State::Cancelled
            } else if job.is_multiple_of(2) {
                State::Running
            } else {
                State::Pending
            };
            prop_assert_eq!(record.state, expected, "job {}", job);
            let settled = record.ends_children.map(|children| children.done);
            prop_assert_eq!(settled, below.then_some(true));
            prop_assert!(!below || !family.clone_of(job).add(Some(0)));
        }
    }
}

impl Family {
    /// A family of only this one, to see whether it would take a child.
    fn clone_of(&self, job: usize) -> Self {
        Self {
            jobs: vec![self.jobs[job].clone()],
            ..Self::default()
        }
    }
}
