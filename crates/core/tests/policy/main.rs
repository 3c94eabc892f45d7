//! The policy of a job against models that are simpler than the code: retries, timeouts, crash loops, children.

mod children;
mod crash_loop;
mod retry;
mod timeout;

use dauer_core::*;

/// The smallest spec.
fn spec() -> JobSpec {
    serde_json::from_value(serde_json::json!({
        "name": null, "argv": ["true"], "env": {}, "workdir": null, "driver": "runc", "image": {"kind": "host"},
        "mounts": [], "inject": null, "cpu_millis": null, "memory_bytes": null, "timeout_ms": null, "network": "none",
        "publish": [], "user": null, "tty": false, "stdin": false, "remove_on_exit": false, "stop_grace_ms": 10
    }))
    .unwrap()
}

/// What happens to the job at this moment. Its effects, where it was changed.
fn tell(job: &mut Job, at: i64, kind: EventKind) -> Option<Vec<Effect>> {
    tell_by_chance(job, at, 0, kind)
}

fn tell_by_chance(job: &mut Job, at: i64, chance: u64, kind: EventKind) -> Option<Vec<Effect>> {
    let event = Event {
        at: Timestamp(at),
        generation: None,
        chance,
        life: ledger::Life::default(),
        kind,
    };
    match decide(job, &event) {
        Verdict::Move(movement) => {
            assert!(job.state.may_become(movement.job.state), "{event:?}");
            *job = movement.job;
            Some(movement.effects)
        }
        Verdict::Ignore(_) | Verdict::Refuse(_) => None,
    }
}

fn admitted() -> EventKind {
    EventKind::Admitted {
        sandbox: "s".into(),
        boot_id: "b".into(),
        counted_ms: None,
    }
}

fn exited(code: i32) -> EventKind {
    EventKind::Ended(Ended::Exited {
        code: Some(code),
        signal: None,
        out_of_memory: false,
    })
}

/// A checkpoint of the job, from being asked for to being committed.
fn checkpoint(job: &mut Job, at: i64, id: &str, then: Then) {
    let asked = EventKind::CheckpointAsked {
        checkpoint: id.into(),
        token: None,
        then,
    };
    tell(job, at, asked).expect("it can be frozen");
    let published = Checkpoint {
        id: id.into(),
        job: job.id.clone(),
        generation: job.generation,
        taken_at: Timestamp(at),
        frozen_ms: 0,
        memory_bytes: 0,
        disk_bytes: 0,
        blocks_bytes: None,
        log_offset: 0,
        token: None,
    };
    tell(job, at, EventKind::CheckpointPublished(published)).expect("it is in flight");
}
