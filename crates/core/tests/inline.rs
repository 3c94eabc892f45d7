//! Random histories of inline jobs against a second, simpler model: a handful of numbers instead of a record.

use dauer_core::ledger::Life;
use dauer_core::*;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Waits { due: i64 },
    Runs,
    Ended(State),
}

/// What a person would keep in mind of such a job.
#[derive(Clone, Debug)]
struct Model {
    at: At,
    calls: u32,
    retries_left: u32,
    delay: i64,
    keeps_saved: bool,
    saved: Option<u32>,
    deaths: u32,
    told_to_end: bool,
}

#[derive(Clone, Copy, Debug)]
enum Happens {
    Claim,
    Done,
    Error {
        fatal: bool,
    },
    Panic,
    Save(u32),
    Cancel,
    GiveUp,
    ProcessDies,
    ProcessEnds,
    Begin,
    /// Of the call before this one.
    LateDone,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => Just(Happens::Claim),
        1 => Just(Happens::Done),
        3 => any::<bool>().prop_map(|fatal| Happens::Error { fatal }),
        2 => Just(Happens::Panic),
        2 => (0..9_u32).prop_map(Happens::Save),
        1 => Just(Happens::Cancel),
        1 => Just(Happens::GiveUp),
        4 => Just(Happens::ProcessDies),
        1 => Just(Happens::ProcessEnds),
        1 => Just(Happens::Begin),
        1 => Just(Happens::LateDone),
    ]
}

impl Model {
    fn failed(&mut self, now: i64, fatal: bool) {
        if self.told_to_end {
            self.at = At::Ended(State::Cancelled);
        } else if fatal || self.retries_left == 0 {
            self.at = At::Ended(State::Failed);
        } else {
            self.retries_left -= 1;
            self.deaths = 0;
            if !self.keeps_saved {
                self.saved = None;
            }
            self.at = At::Waits {
                due: now + self.delay,
            };
        }
    }

    fn happens(&mut self, what: Happens, now: i64) {
        match (self.at, what) {
            (At::Waits { due }, Happens::Claim) if due <= now => {
                self.calls += 1;
                self.at = At::Runs;
            }
            // Only a job that was never called is begun before its time.
            (At::Waits { due }, Happens::Begin) if self.calls == 0 && due > now => {
                self.at = At::Waits { due: now };
            }
            (At::Waits { .. }, Happens::Cancel) => self.at = At::Ended(State::Cancelled),
            (At::Runs, Happens::Done) => {
                let end = if self.told_to_end {
                    State::Cancelled
                } else {
                    State::Completed
                };
                self.at = At::Ended(end);
            }
            (At::Runs, Happens::Error { fatal }) => self.failed(now, fatal),
            (At::Runs, Happens::Panic) => self.failed(now, false),
            (At::Runs, Happens::Save(state)) => {
                self.saved = Some(state);
                self.deaths = 0;
            }
            (At::Runs, Happens::Cancel) => self.told_to_end = true,
            (At::Runs, Happens::GiveUp) if self.told_to_end => {
                self.at = At::Ended(State::Cancelled)
            }
            (At::Runs, Happens::ProcessDies) if self.told_to_end => {
                self.at = At::Ended(State::Cancelled);
            }
            (At::Runs, Happens::ProcessDies) => {
                self.deaths += 1;
                self.at = if self.deaths > decide::CRASHES_IN_A_ROW_MAX {
                    At::Ended(State::Failed)
                } else {
                    At::Waits { due: now }
                };
            }
            (At::Runs, Happens::ProcessEnds) if self.told_to_end => {
                self.at = At::Ended(State::Cancelled);
            }
            (At::Runs, Happens::ProcessEnds) => self.at = At::Waits { due: now },
            (At::Waits { .. } | At::Runs | At::Ended(_), _) => {}
        }
        if let At::Ended(State::Completed | State::Cancelled) = self.at {
            self.saved = None;
        }
    }
}

fn event(job: &Job, what: Happens, now: i64) -> Event {
    let lost = Ended::Lost {
        out_of_memory: false,
        rebooted: None,
    };
    let (generation, kind) = match what {
        Happens::Claim => (
            None,
            EventKind::Claimed {
                process: "p".into(),
                counted_ms: None,
            },
        ),
        Happens::Done => (
            Some(job.generation),
            EventKind::Returned(Returned::Done(None)),
        ),
        Happens::Error { fatal } => {
            let failed = Returned::Failed {
                message: "no".into(),
                fatal,
            };
            (Some(job.generation), EventKind::Returned(failed))
        }
        Happens::Panic => {
            let panicked = Returned::Panicked {
                message: "no".into(),
            };
            (Some(job.generation), EventKind::Returned(panicked))
        }
        Happens::Save(state) => (
            Some(job.generation),
            EventKind::Saved(Json(state.to_string())),
        ),
        Happens::Cancel => {
            let ask = EventKind::EndAsked {
                end: End::Stop,
                grace_ms: None,
                children: false,
            };
            (None, ask)
        }
        Happens::GiveUp => (None, EventKind::GraceOver),
        Happens::ProcessDies => (Some(job.generation), EventKind::Ended(lost)),
        Happens::ProcessEnds => (Some(job.generation), EventKind::GivenBack),
        Happens::Begin => (None, EventKind::BeginAsked),
        Happens::LateDone => (
            Some(job.generation.wrapping_sub(1)),
            EventKind::Returned(Returned::Done(None)),
        ),
    };
    Event {
        at: Timestamp(now),
        generation,
        chance: 0,
        life: Life::default(),
        kind,
    }
}

fn see(job: &Job) -> At {
    match job.state {
        State::Pending | State::PendingRetry => At::Waits {
            due: job.wake_at.expect("it waits for a moment").0,
        },
        State::Running => At::Runs,
        ended => {
            assert!(ended.is_terminal(), "{ended}");
            At::Ended(ended)
        }
    }
}

fn spec(retries: u32, delay: i64, keeps_saved: bool) -> JobSpec {
    let from = if keeps_saved { "checkpoint" } else { "start" };
    serde_json::from_value(serde_json::json!({
        "driver": INLINE, "argv": ["f"], "image": {"kind": "host"}, "network": "none", "stop_grace_ms": 10,
        "retry": {"max_retries": retries, "retry_delay_ms": delay, "factor": 1.0, "from": from},
    }))
    .expect("a spec")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_inline_job_does_what_a_simple_model_says(
        retries in 0..4_u32, delay in 0..50_i64, keeps_saved: bool, held: bool,
        steps in proptest::collection::vec((happens(), 0..30_i64), 1..60),
    ) {
        let mut spec = spec(retries, delay, keeps_saved);
        spec.run_at = held.then_some(Timestamp(10_000));
        let mut job = Job::new("j".into(), spec, Timestamp(0));
        let mut model = Model {
            at: At::Waits { due: if held { 10_000 } else { 0 } },
            calls: 0,
            retries_left: retries,
            delay,
            keeps_saved,
            saved: None,
            deaths: 0,
            told_to_end: false,
        };
        let mut now = 0;
        for (what, later) in steps {
            now += later;
            let giving_up = matches!(what, Happens::GiveUp);
            let verdict = decide(&job, &event(&job, what, now));
            if let Verdict::Move(movement) = verdict {
                prop_assert!(job.state.may_become(movement.job.state));
                let destroys = movement.effects.contains(&Effect::Destroy { generation: job.generation });
                prop_assert_eq!(destroys, giving_up, "nothing else is left of a function");
                job = movement.job;
                if giving_up {
                    // What follows from dropping it.
                    let dropped = event(&job, Happens::ProcessDies, now);
                    if let Verdict::Move(movement) = decide(&job, &dropped) {
                        job = movement.job;
                    }
                }
            }
            model.happens(what, now);
            prop_assert_eq!(see(&job), model.at, "after {:?}", what);
            prop_assert_eq!(job.attempt, model.calls);
            let saved = job.saved.as_ref().map(|Json(text)| text.parse::<u32>().unwrap());
            prop_assert_eq!(saved, model.saved, "after {:?}", what);
            prop_assert!(job.sandbox.is_none() && job.operation.is_none_or(|operation| operation == Operation::Terminating));
        }
    }
}
