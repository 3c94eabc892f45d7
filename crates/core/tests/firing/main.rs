//! What a schedule fires: scenarios as text in `scripts.txt`, and a simpler model that takes one moment after the other.
//!
//! `schedule overlap=… catch_up=…` makes a schedule; `come now=MS [former] MS…` are the moments that have come, while the job of an earlier
//! firing lives or not; `expect …` is what is done, in one line, written by [`show`].

use dauer_core::plan::firing::{self, Firing, MISSED_AFTER_MS};
use dauer_core::{CatchUp, JobId, Overlap, Schedule, Timestamp};
use proptest::prelude::*;

fn schedule(overlap: Overlap, catch_up: CatchUp) -> Schedule {
    serde_json::from_value(serde_json::json!({
        "name": "nightly", "version": 1, "timing": {"kind": "every", "every_ms": 10, "from": 0},
        "spec": {
            "name": null, "argv": ["true"], "env": {}, "workdir": null, "driver": "runc", "image": {"kind": "host"},
            "mounts": [], "inject": null, "cpu_millis": null, "memory_bytes": null, "timeout_ms": null, "network": "none",
            "publish": [], "user": null, "tty": false, "stdin": false, "remove_on_exit": false, "stop_grace_ms": 10
        },
        "overlap": overlap, "catch_up": catch_up, "start_at": null, "end_at": null, "paused": false, "next_at": 10,
        "last_at": null, "last_job": "former", "ending": [], "fired": 0, "skipped": 0, "last_error": null, "created_at": 0
    }))
    .expect("a record of the first version is read")
}

fn show(firing: &Firing) -> String {
    let mut parts = Vec::new();
    if !firing.fire.is_empty() {
        let moments: Vec<String> = firing.fire.iter().map(|at| at.0.to_string()).collect();
        parts.push(format!("fire {}", moments.join(" ")));
    }
    if firing.one_by_one && !firing.fire.is_empty() {
        parts.push("one by one".to_owned());
    }
    if firing.replaces_former {
        parts.push("the former is cancelled".to_owned());
    }
    if firing.skipped > 0 {
        parts.push(format!("skipped {}", firing.skipped));
    }
    if parts.is_empty() {
        parts.push("nothing".to_owned());
    }
    parts.join("; ")
}

fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn asked(line: &str) -> Schedule {
    let overlap = value(line, "overlap").and_then(Overlap::from_name);
    let catch_up = match value(line, "catch_up").expect("catch_up=") {
        "none" => CatchUp::None,
        "one" => CatchUp::One,
        "all" => CatchUp::All {
            max: value(line, "max").expect("max=").parse().expect("a number"),
        },
        other => panic!("catch_up={other}"),
    };
    schedule(overlap.expect("overlap="), catch_up)
}

#[test]
fn every_scenario_does_what_it_expects() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/firing/scripts.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let (mut title, mut schedule, mut done, mut expectations) = ("", None, String::new(), 0);
    for line in text.lines() {
        match line.split_once(' ') {
            None => {}
            Some(("#", words)) => title = words,
            Some(("schedule", words)) => schedule = Some(asked(words)),
            Some(("come", words)) => {
                let now = value(words, "now").unwrap().parse().unwrap();
                let moments: Vec<Timestamp> = words
                    .split_whitespace()
                    .filter_map(|word| word.parse().ok().map(Timestamp))
                    .collect();
                let lives = words.contains("former");
                let schedule = schedule.as_ref().unwrap();
                done = show(&firing::plan(schedule, &moments, lives, Timestamp(now)));
            }
            Some(("expect", words)) => {
                assert_eq!(done, words.trim(), "{title}");
                expectations += 1;
            }
            Some((other, _)) => panic!("{title}: what is {other:?}?"),
        }
    }
    assert!(expectations >= 15, "only {expectations} expectations");
}

/// The world, one moment after the other: which jobs live and wait, and what was told to end.
#[derive(Debug, Default, PartialEq, Eq)]
struct World {
    /// Jobs in the order in which they were made: the moment, and the one it waits for.
    made: Vec<(i64, Option<i64>)>,
    /// The newest that lives; -1 stands for the former one.
    alive: Option<i64>,
    cancelled: Vec<i64>,
    skipped: u64,
}

impl World {
    /// One moment comes, whatever came before.
    fn meet(&mut self, at: i64, overlap: Overlap) {
        match (self.alive, overlap) {
            (Some(_), Overlap::Skip) => {
                self.skipped += 1;
                return;
            }
            (Some(other), Overlap::Replace) => {
                self.cancelled.push(other);
                self.made.push((at, Some(other)));
            }
            (other, Overlap::Queue) => self.made.push((at, other)),
            (_, Overlap::Allow) | (None, Overlap::Skip | Overlap::Replace) => {
                self.made.push((at, None));
            }
        }
        self.alive = Some(at);
    }

    /// A job that was replaced before it could begin need not be made at all.
    fn without_stillborn(mut self) -> Self {
        let stillborn: Vec<i64> = self
            .cancelled
            .iter()
            .copied()
            .filter(|job| *job >= 0)
            .collect();
        let former = self.cancelled.iter().copied().find(|job| *job < 0);
        self.made.retain(|(at, _)| !stillborn.contains(at));
        if let Some((_, waits_for)) = self.made.last_mut()
            && waits_for.is_some_and(|job| stillborn.contains(&job))
        {
            *waits_for = former;
        }
        self.skipped += stillborn.len() as u64;
        self.cancelled.retain(|job| *job < 0);
        self
    }
}

/// What the plan comes to.
fn carried_out(plan: &Firing, former_lives: bool) -> World {
    let mut world = World {
        skipped: plan.skipped,
        alive: former_lives.then_some(-1),
        ..World::default()
    };
    if plan.replaces_former {
        world.cancelled.push(-1);
    }
    let mut before = world.alive;
    for at in &plan.fire {
        world.made.push((at.0, before.filter(|_| plan.one_by_one)));
        before = Some(at.0);
        world.alive = before;
    }
    world
}

fn overlaps() -> impl Strategy<Value = Overlap> {
    prop::sample::select(Overlap::ALL.to_vec())
}

fn catch_ups() -> impl Strategy<Value = CatchUp> {
    prop_oneof![
        Just(CatchUp::None),
        Just(CatchUp::One),
        (1..6_u32).prop_map(|max| CatchUp::All { max })
    ]
}

proptest! {
    #[test]
    fn moments_that_come_together_do_what_they_would_one_by_one(
        overlap in overlaps(),
        catch_up in catch_ups(),
        former_lives: bool,
        gaps in prop::collection::vec(1..20_000_i64, 0..8),
        late in 0..30_000_i64,
    ) {
        let moments: Vec<i64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
        let now = moments.last().copied().unwrap_or(0) + late;
        // Which of them count, said otherwise: walk back from the newest.
        let counts = |index: usize| {
            let newer = moments.len() - 1 - index;
            match catch_up {
                CatchUp::None => newer == 0 && now - moments[index] <= MISSED_AFTER_MS as i64,
                CatchUp::One => newer == 0,
                CatchUp::All { max } => newer < max as usize,
            }
        };
        let mut world = World { alive: former_lives.then_some(-1), ..World::default() };
        for (index, at) in moments.iter().enumerate() {
            if counts(index) {
                world.meet(*at, overlap);
            } else {
                world.skipped += 1;
            }
        }
        let schedule = schedule(overlap, catch_up);
        let come: Vec<Timestamp> = moments.iter().copied().map(Timestamp).collect();
        let plan = firing::plan(&schedule, &come, former_lives, Timestamp(now));
        prop_assert_eq!(carried_out(&plan, former_lives), world.without_stillborn());

        // And the record says so: each moment is a job or was skipped, and what was replaced is to be told.
        let ids: Vec<JobId> = plan.fire.iter().map(|at| JobId(at.0.to_string())).collect();
        let after = firing::fired(&schedule, &plan, &ids, Some(Timestamp(now + 1)));
        prop_assert_eq!(after.fired + after.skipped, moments.len() as u64);
        prop_assert_eq!(after.version, schedule.version + 1);
        prop_assert_eq!(after.next_at, Some(Timestamp(now + 1)));
        prop_assert_eq!(after.ending.is_empty(), !plan.replaces_former);
        match ids.last() {
            Some(last) => prop_assert_eq!(after.last_job.as_ref(), Some(last)),
            None => prop_assert_eq!(after.last_job, schedule.last_job),
        }
    }
}
