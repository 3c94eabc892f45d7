//! The guard against crash loops, against a look at the whole history.

use super::*;
use dauer_core::decide::{CALM_MS, CRASHES_IN_A_ROW_MAX};
use proptest::prelude::*;

/// What becomes of an incarnation.
#[derive(Clone, Copy, Debug)]
enum Life {
    /// It takes a checkpoint before its node goes down, after so long.
    Checkpoint(u64),
    /// Its node goes down so long after it came up.
    Down(u64),
    /// Its node goes down before it is up.
    NeverUp,
    /// The daemon goes down before it made anything of it, then it comes up and its node goes down after so long.
    Interrupted(u64),
}

fn life() -> impl Strategy<Value = Life> {
    let ms = || prop_oneof![6 => 0..1000u64, 1 => CALM_MS - 1..CALM_MS + 2];
    prop_oneof![
        1 => ms().prop_map(Life::Checkpoint),
        8 => ms().prop_map(Life::Down),
        4 => Just(Life::NeverUp),
        4 => ms().prop_map(Life::Interrupted),
    ]
}

/// The model: how many crashes stand in a row at the end of this history.
fn in_a_row(history: &[Life]) -> u32 {
    let mut row = 0;
    for life in history {
        let (before, ran) = match *life {
            Life::Checkpoint(_) => {
                // The row begins anew behind the checkpoint.
                row = 0;
                continue_after(*life, &mut row);
                continue;
            }
            Life::Down(ran) => (0, Some(ran)),
            Life::NeverUp => (0, None),
            Life::Interrupted(ran) => (1, Some(ran)),
        };
        row += before;
        if row > CRASHES_IN_A_ROW_MAX {
            return row;
        }
        match ran {
            Some(ran) if ran >= CALM_MS => row = 0,
            Some(_) | None => row += 1,
        }
        if row > CRASHES_IN_A_ROW_MAX {
            return row;
        }
    }
    row
}

fn continue_after(life: Life, row: &mut u32) {
    if let Life::Checkpoint(ran) = life
        && ran < CALM_MS
    {
        *row += 1;
    }
}

fn lost() -> EventKind {
    EventKind::Ended(Ended::Lost {
        out_of_memory: false,
        rebooted: Some("next".into()),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_job_is_given_up_exactly_when_its_node_went_down_too_often_in_a_row(
        lives in proptest::collection::vec(life(), 1..30),
    ) {
        let mut job = Job::new("j".into(), spec(), Timestamp(0));
        let mut now = 0;
        tell(&mut job, now, admitted()).unwrap();
        tell(&mut job, now, EventKind::Started).unwrap();
        checkpoint(&mut job, now, "c0", Then::Continue);
        // From here on it is restored each time.
        now += i64::try_from(CALM_MS).unwrap();
        tell(&mut job, now, lost()).unwrap();
        for (index, life) in lives.iter().enumerate() {
            now += 1;
            if let Life::Interrupted(_) = life {
                tell(&mut job, now, EventKind::Interrupted { boot_id: "b".into() }).unwrap();
            }
            if job.state == State::Running {
                if !matches!(life, Life::NeverUp) {
                    tell(&mut job, now, EventKind::Started).unwrap();
                }
                if let Life::Checkpoint(_) = life {
                    checkpoint(&mut job, now, &format!("c{index}+"), Then::Continue);
                }
                if let Life::Checkpoint(ran) | Life::Down(ran) | Life::Interrupted(ran) = life {
                    now += i64::try_from(*ran).unwrap();
                }
                tell(&mut job, now, lost()).unwrap();
            }
            let row = in_a_row(&lives[..=index]);
            prop_assert_eq!(job.crashes_in_a_row, row);
            prop_assert_eq!((job.attempt, job.retries), (1, 0), "reboots are not charged");
            let given_up = row > CRASHES_IN_A_ROW_MAX;
            let reason = job.outcome.as_ref().and_then(|outcome| outcome.reason);
            prop_assert_eq!(reason, given_up.then_some(Reason::CrashLoop));
            if given_up {
                return Ok(());
            }
            prop_assert_eq!(job.operation, Some(Operation::Restarting));
        }
    }
}
