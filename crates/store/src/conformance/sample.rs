//! Jobs and changes for the claims.

use crate::{Change, NewAudit, NewEntry, Store};
use dauer_core::plan::retention::KeepCheckpoints;
use dauer_core::plan::turn::Due;
use dauer_core::{
    Checkpoint, CheckpointId, DefinitionRef, Forget, Image, Jitter, Job, JobId, JobSpec, Mount,
    Network, Priority, Publish, Reason, RetryFrom, RetryOn, RetryPolicy, State, Timestamp,
    WarmStart,
};
use std::sync::Arc;

/// The n-th id: of the form of a UUID of version 7, sorting by n. Ids of the same thousand share their first 8 characters.
pub(crate) fn id(n: u64) -> JobId {
    JobId(format!(
        "{:08x}-{:04x}-7000-8000-{n:012x}",
        0x0190_0000 + n / 1000,
        n % 1000
    ))
}

/// A job of this number with every field of its spec in use.
pub(crate) fn job(n: u64) -> Job {
    named(n, None)
}

/// The same with a name.
pub(crate) fn named(n: u64, name: Option<&str>) -> Job {
    let spec = JobSpec {
        name: name.map(str::to_owned),
        argv: vec![
            "sh".into(),
            "-c".into(),
            "echo \"spec\": {'ü'} \u{1F43B}\n".into(),
            String::new(),
        ],
        env: [
            ("PATH".into(), "/bin".into()),
            ("EMPTY".into(), String::new()),
        ]
        .into(),
        workdir: Some("/tmp".into()),
        driver: "gvisor".into(),
        image: Image::Directory("/srv/root".into()),
        mounts: vec![Mount {
            source: "/a".into(),
            target: "/b".into(),
            read_only: n.is_multiple_of(2),
        }],
        inject: Some("/home/x".into()),
        cpu_millis: Some(1500),
        memory_bytes: Some(1 << 40),
        timeout_ms: Some(n),
        network: Network::Nat,
        publish: vec![Publish {
            host_port: 8080,
            guest_port: 80,
        }],
        user: Some("1000:1000".into()),
        tty: false,
        stdin: true,
        remove_on_exit: false,
        stop_grace_ms: 10_000,
        definition: Some(DefinitionRef {
            name: "resize".into(),
            version: "1.10.0-rc.1".into(),
        }),
        params: Some(serde_json::json!({"n": n, "text": "\"params\": {ü}"})),
        metadata: [("answer".into(), [42].into_iter().collect())].into(),
        tags: [("team".into(), format!("t{}", n % 3))].into(),
        priority: Priority::Normal,
        retry: RetryPolicy {
            max_retries: 3,
            jitter: Jitter::Full,
            retry_on: RetryOn {
                reasons: vec![Reason::Timeout],
                exit_codes: vec![75],
            },
            from: RetryFrom::Checkpoint,
            ..RetryPolicy::default()
        },
        run_at: None,

        schedule: Some("nightly".into()),
        scheduled_at: Some(Timestamp(5)),
        job_timeout_ms: Some(n + 1),
        queue_timeout_ms: None,
        timeouts_while_suspended: true,
        parent: None,
        queue: None,
        concurrency_key: Some(format!("key-{}", n % 5)),
        unique: None,
        after: Vec::new(),
        batch: Some(format!("batch-{}", n % 2)),
        keep_disk: n
            .is_multiple_of(3)
            .then(|| CheckpointId(format!("{n:016x}"))),
        from: None,
        from_disk: false,
        fork: None,
        warm: n.is_multiple_of(5).then(|| WarmStart {
            pool: 2,
            env: [("A".into(), "ü".into())].into(),
            differs: None,
            cold: Some("no".into()),
        }),
        keep_checkpoints: n.is_multiple_of(4).then(|| KeepCheckpoints {
            last: u32::try_from(n % 7).unwrap_or(0) + 1,
            for_ms: n.is_multiple_of(8).then_some(n),
        }),
    };
    let at = Timestamp(1_700_000_000_000 + i64::try_from(n).unwrap_or(0));
    Job::new(id(n), spec, at)
}

/// A job as lists show it.
pub(crate) fn listed(job: &Job) -> Job {
    let mut job = job.clone();
    job.spec_mut().params = None;
    job
}

/// A job that waits, as the schedule shows it.
pub(crate) fn due(job: &Job) -> Due {
    assert!(job.wake_at.is_some(), "it waits for a moment");
    Due::of(job)
}

/// A journal entry of this word.
pub(crate) fn entry(event: &str) -> NewEntry {
    NewEntry {
        at: Timestamp(1_700_000_000_000),
        event: event.to_owned().into(),
        from: None,
        detail: Some(format!("about {event}")),
        by: Some("uid:7".into()),
        why: Some("to see".into()),
    }
}

/// An audit record of this word.
pub(crate) fn audit(event: &str) -> NewAudit {
    NewAudit {
        at: Timestamp(1_700_000_000_000),
        event: event.into(),
        subject: format!("subject of {event}"),
        detail: None,
        by: Some("uid:7".into()),
        why: None,
    }
}

/// The change that makes `job` its next version and writes it back there, as `edit` has it.
pub(crate) fn change(job: &mut Job, edit: impl FnOnce(&mut Job)) -> Change {
    let from = job.state;
    edit(job);
    job.version += 1;
    Change {
        job: Arc::new(job.clone()),
        entry: Some(NewEntry {
            from: Some(from),
            ..entry("changed")
        }),
        checkpoint: None,
        token: None,
        forget_tokens: Forget::None,
        kept: Vec::new(),
    }
}

/// A checkpoint of this job.
pub(crate) fn checkpoint(job: &Job, n: u64) -> Checkpoint {
    Checkpoint {
        id: CheckpointId(format!("{n:016x}")),
        job: job.id.clone(),
        generation: job.generation,
        // Not in the order in which they are committed.
        taken_at: Timestamp(1_700_000_000_000 - i64::try_from(n).unwrap_or(0)),
        frozen_ms: 120,
        memory_bytes: 1 << 33,
        disk_bytes: 4096,
        log_offset: u64::from(u32::MAX) + n,
        token: Some("r7".into()),
        blocks_bytes: Some(4096),
    }
}

/// Creates the n-th job.
pub(super) async fn create(store: &dyn Store, n: u64) -> Job {
    let job = job(n);
    store.create(job.clone(), entry("created")).await.unwrap();
    job
}

/// Commits `edit` on `job`.
pub(super) async fn edit(store: &dyn Store, job: &mut Job, edit: impl FnOnce(&mut Job)) {
    store.commit(change(job, edit)).await.unwrap();
}

/// Commits `job` as being in this state.
pub(super) async fn become_state(store: &dyn Store, job: &mut Job, state: State) {
    edit(store, job, |job| job.state = state).await;
}
