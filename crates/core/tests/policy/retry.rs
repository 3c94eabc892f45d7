//! Attempts against a table: what is tried again, after how long, how often, and from where.

use super::*;
use proptest::prelude::*;

/// One attempt, as it is to go.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    checkpoint: bool,
    end: End,
    chance: u64,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Code(i32),
    Signal,
    Memory,
    NotFound,
    Lost,
    Killed,
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let end = prop_oneof![
        4 => (0..4i32).prop_map(End::Code),
        1 => Just(End::Signal),
        1 => Just(End::Memory),
        1 => Just(End::NotFound),
        1 => Just(End::Lost),
        1 => Just(End::Killed),
    ];
    (any::<bool>(), end, any::<u64>()).prop_map(|(checkpoint, end, chance)| Attempt {
        checkpoint,
        end,
        chance,
    })
}

fn policy() -> impl Strategy<Value = RetryPolicy> {
    let on = (
        proptest::sample::subsequence(vec![Reason::ExitCode, Reason::Signal, Reason::Lost], 0..=2),
        proptest::collection::vec(prop_oneof![Just(1), Just(2), Just(127)], 0..3),
    );
    (
        0..5u32,
        0..2000u64,
        1..4u8,
        0..9000u64,
        any::<[bool; 2]>(),
        on,
    )
        .prop_map(
            |(max_retries, retry_delay_ms, factor, max_delay_ms, [full, there], on)| RetryPolicy {
                max_retries,
                retry_delay_ms,
                factor: factor.into(),
                max_delay_ms,
                jitter: if full { Jitter::Full } else { Jitter::None },
                retry_on: RetryOn {
                    reasons: on.0,
                    exit_codes: on.1,
                },
                from: if there {
                    RetryFrom::Checkpoint
                } else {
                    RetryFrom::Start
                },
            },
        )
}

/// The model: the reason and the code that the end of an attempt has; none where it is not a failure that may be retried.
fn failure(end: End) -> Option<(&'static str, Option<i32>)> {
    match end {
        End::Code(0) | End::Killed => None,
        End::Code(code) => Some(("exit_code", Some(code))),
        End::Signal => Some(("signal", None)),
        End::Memory => Some(("out_of_memory", None)),
        End::NotFound => Some(("start_failed", Some(127))),
        End::Lost => Some(("lost", None)),
    }
}

/// The model: delays by multiplying step by step.
fn longest_delay(policy: &RetryPolicy, retries: u32) -> u64 {
    let mut delay = policy.retry_delay_ms;
    for _ in 0..retries {
        delay *= policy.factor as u64;
    }
    delay.min(policy.max_delay_ms)
}

/// Plays an attempt from its admission to its end.
fn play(job: &mut Job, at: i64, attempt: Attempt, number: u32) {
    if let End::NotFound = attempt.end {
        let failed = Ended::StartFailed {
            code: 127,
            message: "no".into(),
        };
        tell_by_chance(job, at, attempt.chance, EventKind::Ended(failed));
        return;
    }
    tell(job, at, EventKind::Started).unwrap();
    if attempt.checkpoint {
        checkpoint(job, at, &format!("c{number}"), Then::Continue);
    }
    let end = match attempt.end {
        End::Code(code) => exited(code),
        End::Signal | End::Memory => EventKind::Ended(Ended::Exited {
            code: None,
            signal: Some(9),
            out_of_memory: matches!(attempt.end, End::Memory),
        }),
        End::Lost => EventKind::Ended(Ended::Lost {
            out_of_memory: false,
            rebooted: None,
        }),
        End::Killed => {
            let kill = EventKind::EndAsked {
                end: dauer_core::End::Kill,
                grace_ms: None,
                children: false,
            };
            tell(job, at, kill).unwrap();
            exited(0)
        }
        End::NotFound => unreachable!("it never ran"),
    };
    tell_by_chance(job, at, attempt.chance, end).unwrap();
}

proptest! {
    #[test]
    fn attempts_follow_each_other_as_the_table_says(policy in policy(), attempts in proptest::collection::vec(attempt(), 1..7)) {
        let mut job = Job::new("j".into(), JobSpec { retry: policy.clone(), ..spec() }, Timestamp(0));
        let (mut now, mut retries) = (1_000_000, 0);
        let mut checkpointed: Option<u32> = None;
        for (number, attempt) in (1u32..).zip(attempts) {
            let effects = tell(&mut job, now, admitted()).expect("it is due");
            let expected = match checkpointed {
                None => Effect::Start,
                Some(number) => Effect::Restore { checkpoint: format!("c{number}").as_str().into(), after_loss: true },
            };
            prop_assert_eq!(effects, vec![expected]);
            if attempt.checkpoint && !matches!(attempt.end, End::NotFound) {
                checkpointed = Some(number);
            }
            // A sandbox that is lost behind a checkpoint is restored without an end of the attempt.
            if matches!(attempt.end, End::Lost) && checkpointed.is_some() {
                break;
            }
            now += 500;
            play(&mut job, now, attempt, number);
            let on = &policy.retry_on;
            let wanted = failure(attempt.end).filter(|(reason, code)| {
                let all = on.reasons.is_empty() && on.exit_codes.is_empty();
                let by_reason = on.reasons.iter().any(|known| known.name() == *reason);
                all || by_reason || code.is_some_and(|code| on.exit_codes.contains(&code))
            });
            if wanted.is_none() || retries == policy.max_retries {
                prop_assert!(job.state.is_terminal(), "{:?}", job.state);
                break;
            }
            prop_assert_eq!(job.state, State::PendingRetry);
            let waits = u64::try_from(job.wake_at.unwrap().0 - now).unwrap();
            let longest = longest_delay(&policy, retries);
            match policy.jitter {
                Jitter::None => prop_assert_eq!(waits, longest),
                Jitter::Full => prop_assert!(waits <= longest),
            }
            if policy.from == RetryFrom::Start {
                checkpointed = None;
            }
            prop_assert_eq!(job.checkpoint.is_some(), checkpointed.is_some());
            retries += 1;
            prop_assert_eq!(job.retries, retries);
            tell(&mut job, now, EventKind::Released).unwrap();
            now = job.wake_at.unwrap().0;
            let early = tell(&mut job.clone(), now - 1, admitted());
            prop_assert!(early.is_none() || waits == 0);
        }
    }

    #[test]
    fn full_jitter_gives_every_delay_the_same_share_of_all_numbers(longest in 0..1000u64, chance in any::<u64>()) {
        let policy = RetryPolicy { retry_delay_ms: longest, jitter: Jitter::Full, ..RetryPolicy::default() };
        let share = (u64::MAX / (longest + 1)).max(1);
        // A number is as many whole shares from the beginning as its delay is long, give or take the share it lies in.
        let delay = policy.delay_ms(0, chance);
        prop_assert!(delay <= longest);
        prop_assert!(delay.abs_diff((chance / share).min(longest)) <= 1, "{delay} of {longest}");
        prop_assert_eq!(policy.delay_ms(0, 0), 0);
        prop_assert_eq!(policy.delay_ms(0, u64::MAX), longest);
    }
}
