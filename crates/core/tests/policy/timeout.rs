//! Timeouts against three stop-watches that tick millisecond by millisecond.

use super::*;
use dauer_core::timeout::next_limit;
use proptest::prelude::*;

/// What the job does next, and for how long.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// It is due and waits for room.
    Wait(u64),
    /// Its sandbox is on its way up.
    Rise(u64),
    Run(u64),
    Sleep(u64),
    /// Its sandbox is on its way up again.
    Wake(u64),
    /// It failed and is not due yet.
    Pause(u64),
}

/// A life: wait, rise, run, and then again and again either asleep or once more.
fn life() -> impl Strategy<Value = Vec<Phase>> {
    let ms = || 1..60u64;
    let again = prop_oneof![
        (ms(), ms(), ms()).prop_map(|(sleep, wake, run)| vec![
            Phase::Sleep(sleep),
            Phase::Wake(wake),
            Phase::Run(run)
        ]),
        (ms(), ms(), ms(), ms()).prop_map(|(pause, wait, rise, run)| vec![
            Phase::Pause(pause),
            Phase::Wait(wait),
            Phase::Rise(rise),
            Phase::Run(run)
        ]),
    ];
    let first = (ms(), ms(), ms());
    (first, proptest::collection::vec(again, 0..4)).prop_map(|((wait, rise, run), again)| {
        let mut life = vec![Phase::Wait(wait), Phase::Rise(rise), Phase::Run(run)];
        life.extend(again.into_iter().flatten());
        life
    })
}

/// The model: three watches, of which each phase lets some tick.
#[derive(Default)]
struct Watches {
    attempt: u64,
    whole: u64,
    queue: u64,
    begun: bool,
}

impl Watches {
    /// Before the first millisecond of a phase.
    fn enter(&mut self, phase: Phase) {
        match phase {
            Phase::Rise(_) => self.begun = true,
            Phase::Wait(_) => self.queue = 0,
            Phase::Pause(_) => self.attempt = 0,
            Phase::Run(_) | Phase::Sleep(_) | Phase::Wake(_) => {}
        }
    }

    fn tick(&mut self, phase: Phase, asleep_too: bool) {
        let asleep = matches!(phase, Phase::Sleep(_) | Phase::Wake(_));
        if matches!(phase, Phase::Wait(_)) {
            self.queue += 1;
        }
        if matches!(phase, Phase::Run(_)) || asleep && asleep_too {
            self.attempt += 1;
        }
        if self.begun && (!asleep || asleep_too) {
            self.whole += 1;
        }
    }

    fn over(&self, spec: &JobSpec, phase: Phase) -> Option<Limit> {
        let reached = |ticked: u64, limit: Option<u64>| limit.is_some_and(|limit| ticked >= limit);
        if reached(self.whole, spec.job_timeout_ms) {
            return Some(Limit::Job);
        }
        if matches!(phase, Phase::Wait(_)) && reached(self.queue, spec.queue_timeout_ms) {
            return Some(Limit::Queue);
        }
        // An attempt that rises has not begun to count.
        let counts = !matches!(phase, Phase::Wait(_) | Phase::Rise(_) | Phase::Pause(_));
        (counts && reached(self.attempt, spec.timeout_ms)).then_some(Limit::Attempt)
    }
}

/// What begins the phase that follows this one.
fn go_on(job: &mut Job, at: i64, present: Phase, next: Phase) {
    match (present, next) {
        (Phase::Wait(_), _) => drop(tell(job, at, admitted()).expect("it is due")),
        (Phase::Rise(_) | Phase::Wake(_), _) => {
            tell(job, at, EventKind::Started).expect("it rises");
        }
        (Phase::Run(_), Phase::Sleep(_)) => {
            let then = Then::Suspend {
                wake_at: None,
                waits_for: None,
            };
            checkpoint(job, at, &format!("c{at}"), then);
            tell(job, at, EventKind::Released).unwrap();
        }
        (Phase::Run(_), Phase::Pause(ms)) => {
            job.spec_mut().retry.retry_delay_ms = ms;
            tell(job, at, exited(1)).unwrap();
            tell(job, at, EventKind::Released);
        }
        (Phase::Sleep(_), _) => {
            let wake = EventKind::Wake {
                asked: false,
                boot_id: "b".into(),
            };
            tell(job, at, wake).unwrap();
        }
        (Phase::Pause(_), _) => {}
        (Phase::Run(_), other) => panic!("no life goes on with {other:?} after running"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_time_is_over_at_the_millisecond_and_for_the_reason_that_the_watches_show(
        life in life(),
        limits in [proptest::option::of(1..120u64), proptest::option::of(1..200u64), proptest::option::of(1..80u64)],
        asleep_too in any::<bool>(),
    ) {
        let mut spec = spec();
        [spec.timeout_ms, spec.job_timeout_ms, spec.queue_timeout_ms] = limits;
        spec.timeouts_while_suspended = asleep_too;
        spec.retry = RetryPolicy { max_retries: 99, factor: 1.0, ..RetryPolicy::default() };
        let mut job = Job::new("j".into(), spec.clone(), Timestamp(0));
        let (mut watches, mut now) = (Watches::default(), 0);
        for (index, phase) in life.iter().copied().enumerate() {
            watches.enter(phase);
            let (Phase::Wait(ms) | Phase::Rise(ms) | Phase::Run(ms) | Phase::Sleep(ms) | Phase::Wake(ms) | Phase::Pause(ms)) = phase;
            for _ in 0..ms {
                // What the record names is what is over next, and nothing is over before.
                let named = next_limit(&job).filter(|(at, _)| at.0 <= now).map(|(_, limit)| limit);
                prop_assert_eq!(named, watches.over(&spec, phase), "{:?} at {}", phase, now);
                if named.is_some() {
                    prop_assert!(tell(&mut job, now, EventKind::DeadlineReached).is_some());
                    prop_assert_eq!(ended_by(&job), named);
                    return Ok(());
                }
                prop_assert!(tell(&mut job, now, EventKind::DeadlineReached).is_none());
                let waits = !matches!(phase, Phase::Rise(_) | Phase::Run(_));
                prop_assert_eq!(job.expires_at, next_limit(&job).map(|(at, _)| at).filter(|_| waits));
                watches.tick(phase, asleep_too);
                now += 1;
            }
            if watches.over(&spec, phase).is_some() {
                return Ok(());
            }
            let Some(next) = life.get(index + 1) else { break };
            let retried_too_late = matches!(next, Phase::Pause(ms) if spec.job_timeout_ms.is_some_and(|limit| watches.whole + ms >= limit));
            go_on(&mut job, now, phase, *next);
            prop_assert_eq!(job.state == State::Failed, retried_too_late);
            if retried_too_late {
                return Ok(());
            }
        }
    }
}

/// Which limit the job says it ended by, or is ending by.
fn ended_by(job: &Job) -> Option<Limit> {
    let message = job
        .outcome
        .as_ref()
        .and_then(|outcome| outcome.message.clone());
    let said = message.or_else(|| job.last_error.clone());
    match (&job.intent, said) {
        (Some(Intent::End { end, .. }), _) => [Limit::Job, Limit::Attempt]
            .into_iter()
            .find(|limit| limit.end() == *end),
        (_, Some(said)) if said.contains("with all of its attempts") => Some(Limit::Job),
        (_, Some(said)) if said.contains("waited for its turn") => Some(Limit::Queue),
        (_, Some(said)) if said.contains("the attempt ran") => Some(Limit::Attempt),
        (_, said) => panic!("{said:?}"),
    }
}
