//! The smallest job there is.

use dauer_core::{Image, Job, JobId, JobSpec, Network, Priority, RetryPolicy, Timestamp};
use dauer_store::NewEntry;
use std::collections::BTreeMap;

/// The n-th id.
pub(crate) fn id(n: u64) -> JobId {
    JobId(format!("01900000-0000-7000-8000-{n:012x}"))
}

/// The n-th job.
pub(crate) fn job(n: u64) -> Job {
    let spec = JobSpec {
        name: None,
        argv: vec!["true".into()],
        env: BTreeMap::new(),
        workdir: None,
        driver: "runc".into(),
        image: Image::Host,
        mounts: Vec::new(),
        inject: None,
        cpu_millis: None,
        memory_bytes: None,
        timeout_ms: None,
        network: Network::None,
        publish: Vec::new(),
        user: None,
        tty: false,
        stdin: false,
        remove_on_exit: false,
        stop_grace_ms: 0,
        definition: None,
        params: None,
        metadata: BTreeMap::new(),
        tags: BTreeMap::new(),
        priority: Priority::Normal,
        retry: RetryPolicy::default(),
        run_at: None,

        schedule: None,
        scheduled_at: None,
        job_timeout_ms: None,
        queue_timeout_ms: None,
        timeouts_while_suspended: false,
        parent: None,
        queue: None,
        concurrency_key: None,
        unique: None,
        after: Vec::new(),
        batch: None,
        keep_disk: None,
        from: None,
        from_disk: false,
        fork: None,
        keep_checkpoints: None,
        warm: None,
    };
    Job::new(id(n), spec, Timestamp(0))
}

/// A journal entry of this word.
pub(crate) fn entry(event: &str) -> NewEntry {
    NewEntry {
        at: Timestamp(0),
        event: event.to_owned().into(),
        from: None,
        detail: None,
        by: None,
        why: None,
    }
}
