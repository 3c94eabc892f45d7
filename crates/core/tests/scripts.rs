//! Scenarios of `decide` as text: `tests/scripts/*.txt`, one `#` title a scenario.
//!
//! `submitted [timeout=MS job_timeout=MS queue_timeout=MS counted_asleep] [retries=N delay=MS max_delay=MS jitter=full on=WHAT,…
//! from=checkpoint] [run_at=MS] [after=JOB:WHEN,…]` makes a job; `event [g=N] NAME …` applies an event at the time the line number says;
//! `expect …` is the verdict in one line, written by [`show`]; `ledger …` what it writes there, by [`show_ledger`].

mod show;

use dauer_core::ledger::Life;
use dauer_core::*;
use show::{of_template, show_ledger};
use std::collections::BTreeMap;
use std::fmt::Write;

fn spec(words: &Words<'_>) -> JobSpec {
    JobSpec {
        name: None,
        argv: vec!["true".into()],
        env: BTreeMap::new(),
        workdir: None,
        driver: if words.has("inline") { INLINE } else { "runc" }.into(),
        image: Image::Host,
        mounts: vec![],
        inject: None,
        cpu_millis: words.number("cpu"),
        memory_bytes: words.number("memory"),
        timeout_ms: words.number("timeout"),
        network: Network::None,
        publish: vec![],
        user: None,
        tty: false,
        stdin: false,
        remove_on_exit: false,
        stop_grace_ms: 10_000,
        definition: None,
        params: None,
        metadata: BTreeMap::new(),
        tags: BTreeMap::new(),
        priority: Priority::Normal,
        retry: RetryPolicy {
            max_retries: words.number("retries").unwrap_or(0),
            retry_delay_ms: words.number("delay").unwrap_or(0),
            max_delay_ms: words.number("max_delay").unwrap_or(3_600_000),
            jitter: words.value("jitter").map_or(Jitter::None, |name| {
                Jitter::from_name(name).expect("a jitter")
            }),
            retry_on: retry_on(words.value("on").unwrap_or("")),
            from: words.value("from").map_or(RetryFrom::Start, |name| {
                RetryFrom::from_name(name).expect("a place")
            }),
            ..RetryPolicy::default()
        },
        run_at: words.number("run_at").map(Timestamp),

        schedule: None,
        scheduled_at: None,
        job_timeout_ms: words.number("job_timeout"),
        queue_timeout_ms: words.number("queue_timeout"),
        timeouts_while_suspended: words.has("counted_asleep"),
        parent: None,
        queue: None,
        concurrency_key: None,
        unique: None,
        after: words.after(),
        batch: None,
        keep_disk: None,
        from: words
            .value("forked")
            .or(words.value("warm"))
            .map(CheckpointId::from),
        from_disk: words.has("disk"),
        fork: words.value("warm").map(|_| of_template()),
        keep_checkpoints: None,
        warm: words.value("warm").map(|_| WarmStart::default()),
    }
}

/// `timeout,lost,75`: reasons and exit codes.
fn retry_on(text: &str) -> RetryOn {
    let mut on = RetryOn::default();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        match Reason::from_name(word) {
            Some(reason) => on.reasons.push(reason),
            None => on
                .exit_codes
                .push(word.parse().expect("a reason or an exit code")),
        }
    }
    on
}

/// `chance=P`: so many hundredths of all numbers lie below the one drawn.
fn chance(words: &Words<'_>) -> u64 {
    let percent: u64 = words.number("chance").unwrap_or(0);
    u64::MAX / 100 * percent
}

struct Words<'a>(Vec<&'a str>);

impl Words<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }
    fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.value(key)
            .map(|text| text.parse().ok().unwrap_or_else(|| panic!("{key}={text}")))
    }
    /// `after=a:completed,b:ended`.
    fn after(&self) -> Vec<After> {
        let all = self.value("after").unwrap_or_default();
        let each = all.split(',').filter_map(|one| one.split_once(':'));
        let after = each.map(|(job, when)| After {
            job: job.into(),
            when: match when {
                "completed" => When::Completed,
                "ended" => When::Ended,
                other => panic!("after={job}:{other}"),
            },
        });
        after.collect()
    }
    fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }
}

fn checkpoint(job: &Job, words: &Words<'_>) -> Checkpoint {
    Checkpoint {
        id: words.value("id").expect("id=").into(),
        job: job.id.clone(),
        generation: job.generation,
        taken_at: Timestamp(words.number("taken").unwrap_or(0)),
        frozen_ms: words.number("frozen").unwrap_or(1),
        memory_bytes: 1,
        disk_bytes: 0,
        log_offset: 0,
        token: words.value("token").map(str::to_owned),
        blocks_bytes: Some(4096),
    }
}

fn event(job: &Job, line: &str, at: i64) -> Event {
    let words = Words(line.split_whitespace().collect());
    let id = || words.value("id").expect("id=").to_owned();
    let name = *words
        .0
        .iter()
        .find(|word| !word.contains('='))
        .expect("an event name");
    let kind = match name {
        "admitted" => EventKind::Admitted {
            sandbox: "5a".into(),
            boot_id: "boot".into(),
            counted_ms: words.number("counted"),
        },
        "dependency" => EventKind::DependencyEnded {
            job: JobId(id()),
            ended: State::ALL.into_iter().find(|state| words.has(state.name())),
        },
        "started" => EventKind::Started,
        "exited" => EventKind::Ended(Ended::Exited {
            code: words.number("code"),
            signal: words.number("signal"),
            out_of_memory: words.has("oom"),
        }),
        "start_failed" => EventKind::Ended(Ended::StartFailed {
            code: words.number("code").unwrap(),
            message: "no".into(),
        }),
        "restore_failed" => EventKind::Ended(Ended::RestoreFailed {
            message: "no".into(),
            bad_image: words.has("bad"),
        }),
        "lost" => EventKind::Ended(Ended::Lost {
            out_of_memory: words.has("oom"),
            rebooted: words.has("rebooted").then(|| "boot".to_owned()),
        }),
        "node_lost" => EventKind::Ended(Ended::NodeLost { node: id() }),
        "checkpoint_asked" => EventKind::CheckpointAsked {
            checkpoint: CheckpointId(id()),
            token: words.value("token").map(str::to_owned),
            then: if words.has("suspend") {
                Then::Suspend {
                    wake_at: words.number("wake").map(Timestamp),
                    waits_for: words.value("for").map(str::to_owned),
                }
            } else {
                Then::Continue
            },
        },
        "published" => EventKind::CheckpointPublished(checkpoint(job, &words)),
        "checkpoint_failed" => EventKind::CheckpointFailed {
            checkpoint: CheckpointId(id()),
            message: "disk full".into(),
        },
        "wake" => EventKind::Wake {
            asked: words.has("asked"),
            boot_id: "boot".into(),
        },
        "end" => EventKind::EndAsked {
            end: match () {
                () if words.has("kill") => End::Kill,
                () => End::Stop,
            },
            grace_ms: words.number("grace"),
            children: words.has("children"),
        },
        "end_children" => EventKind::ChildrenEndAsked {
            grace_ms: words.number("grace"),
        },
        "children_ended" => EventKind::ChildrenEnded,
        "exit" => EventKind::ExitAsked {
            exit_code: words.number("code").unwrap(),
            output: words.value("output").map(|text| Json(text.to_owned())),
        },
        "lock" => EventKind::LockAsked(Lock {
            id: id(),
            expires_at: words.number("until").map(Timestamp),
        }),
        "unlock" => EventKind::LockReleased { id: id() },
        "progress" => EventKind::Progressed(Progress {
            done: words.number("done").unwrap(),
            total: None,
            message: None,
            at: Timestamp(at),
        }),
        "signal" => EventKind::SignalSent(Signal {
            job: job.id.clone(),
            id: id(),
            name: words.value("name").expect("name=").to_owned(),
            payload: Json("null".into()),
            sent_at: Timestamp(at),
        }),
        "take" => EventKind::SignalTaken {
            signal: id(),
            name: "go".into(),
            token: words.value("token").expect("token=").to_owned(),
        },
        "wait" => EventKind::WaitNoted(Wait {
            job: job.id.clone(),
            token: words.value("token").expect("token=").to_owned(),
            give_up_at: Timestamp(0),
            timed_out: words.has("over"),
        }),
        "describe" => EventKind::Described {
            tags: words
                .value("tag")
                .map(|text| match text.split_once(':') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (text.to_owned(), None),
                })
                .into_iter()
                .collect(),
            metadata: BTreeMap::new(),
        },
        "discard" => EventKind::Discarded,
        "retry" => EventKind::RetryAsked,
        "rollback" => EventKind::RollbackAsked {
            to: words.value("id").map(|_| Box::new(checkpoint(job, &words))),
            boot_id: "boot".into(),
        },
        "grace_over" => EventKind::GraceOver,
        "deadline" => EventKind::DeadlineReached,
        "interrupted" => EventKind::Interrupted {
            boot_id: "boot".into(),
        },
        "released" => EventKind::Released,
        "claimed" => EventKind::Claimed {
            process: "p".into(),
            counted_ms: None,
        },
        "begin" => EventKind::BeginAsked,
        "done" => EventKind::Returned(Returned::Done(
            words.value("output").map(|text| Json(text.to_owned())),
        )),
        "error" => EventKind::Returned(Returned::Failed {
            message: "no".into(),
            fatal: words.has("fatal"),
        }),
        "panic" => EventKind::Returned(Returned::Panicked {
            message: "no".into(),
        }),
        "saved" => EventKind::Saved(Json(words.value("state").expect("state=").to_owned())),
        "given_back" => EventKind::GivenBack,
        other => panic!("unknown event {other}"),
    };
    Event {
        at: Timestamp(words.number("at").unwrap_or(at)),
        generation: words.number("g"),
        chance: chance(&words),
        kind,
        life: Life {
            began_at: words.number("began").map(Timestamp),
            ended_at: words.number("ended").map(Timestamp),
            cpu_ms: words.number("cpu"),
            memory_bytes: None,
        },
    }
}

fn show(verdict: &Verdict) -> String {
    let movement = match verdict {
        Verdict::Ignore(why) => return format!("ignored {why:?}"),
        Verdict::Refuse(refusal) => return format!("refused: {refusal}"),
        Verdict::Move(movement) => movement,
    };
    let job = &movement.job;
    let mut text = job.state.name().to_owned();
    if let Some(operation) = job.operation {
        write!(text, "/{operation}").unwrap();
    }
    write!(text, " g{} a{}", job.generation, job.attempt).unwrap();
    if let Some(id) = &job.checkpoint {
        write!(text, " from={id}").unwrap();
    }
    if let Some(at) = job.wake_at {
        write!(text, " wake={}", at.0).unwrap();
    }
    if let Some(name) = &job.waits_for {
        write!(text, " for={name}").unwrap();
    }
    if !job.locks.is_empty() {
        let ids: Vec<&str> = job.locks.iter().map(|lock| lock.id.as_str()).collect();
        write!(text, " locks={}", ids.join(",")).unwrap();
    }
    if !job.blocked_by.is_empty() {
        let by: Vec<&str> = job.blocked_by.iter().map(JobId::as_str).collect();
        write!(text, " by={}", by.join(",")).unwrap();
    }
    if let Some(progress) = &job.progress {
        write!(text, " progress={}", progress.done).unwrap();
    }
    if let Some(at) = job.deadline_at {
        write!(text, " deadline={}", at.0).unwrap();
    }
    if let Some(at) = job.job_deadline_at {
        write!(text, " job_deadline={}", at.0).unwrap();
    }
    if let Some(at) = job.expires_at {
        write!(text, " expires={}", at.0).unwrap();
    }
    if job.crashes_in_a_row > 0 {
        write!(text, " crashes={}", job.crashes_in_a_row).unwrap();
    }
    if let Some(children) = job.ends_children {
        text.push_str(if children.done {
            " children=ended"
        } else {
            " children=ending"
        });
    }
    if let Some(reason) = job.outcome.as_ref().and_then(|outcome| outcome.reason) {
        write!(text, " {}", reason.name()).unwrap();
    }
    if let Some(code) = job.exit_code() {
        write!(text, " exit={code}").unwrap();
    }
    if let Some(Json(state)) = &job.saved {
        write!(text, " saved={state}").unwrap();
    }
    if let Some(token) = &movement.token {
        let status = match &token.status {
            TokenStatus::Requested => "requested",
            TokenStatus::Done { .. } => "done",
            TokenStatus::Failed { .. } => "failed",
        };
        write!(text, " {}:{status}", token.token).unwrap();
    }
    for kept in &movement.kept {
        match kept {
            Kept::Output(Json(json)) => write!(text, " output={json}").unwrap(),
            Kept::Signal(signal) => write!(text, " +{}", signal.id).unwrap(),
            Kept::SignalTaken { signal, token } => write!(text, " {signal}>{token}").unwrap(),
            Kept::Wait(wait) => write!(text, " wait({})", wait.token).unwrap(),
            // With every checkpoint and every loss; the simulation shows what they are for.
            Kept::SignalsSealed | Kept::SignalsFreed => {}
            Kept::BegunAnew => text.push_str(" anew"),
            Kept::Described { tags, .. } => write!(text, " tags={tags:?}").unwrap(),
            // A line of its own: see `show_ledger`.
            Kept::Opened(_) | Kept::Closed(_) | Kept::Relabelled(_) => {}
            Kept::Unblocked { by } => write!(text, " unblocked({by})").unwrap(),
            Kept::Turn {
                turn,
                forget_before,
            } => {
                let (queue, at) = (&turn.queue, turn.at.0);
                write!(text, " turn({queue} at={at} since={})", forget_before.0).unwrap();
            }
        }
    }
    if movement.quiet {
        text.push_str(" quiet");
    }
    match movement.forget_tokens {
        // With every restore; the simulation shows what it is for.
        Forget::None | Forget::Requested => {}
        Forget::All => text.push_str(" forget=all"),
    }
    let effects: Vec<String> = movement
        .effects
        .iter()
        .map(|effect| match effect {
            Effect::Start => "start".into(),
            Effect::Restore {
                checkpoint,
                after_loss,
            } => {
                format!(
                    "restore({checkpoint}{})",
                    if *after_loss { " after_loss" } else { "" }
                )
            }
            Effect::TakeCheckpoint {
                checkpoint, freeze, ..
            } => {
                format!("take({checkpoint}{})", if *freeze { " freeze" } else { "" })
            }
            Effect::Terminate => "terminate".into(),
            Effect::EndChildren { .. } => "end_children".into(),
            Effect::Destroy { generation } => format!("destroy(g{generation})"),
            Effect::DropCheckpoints { keep } => {
                format!(
                    "drop({})",
                    keep.as_ref().map_or("all".into(), |id| format!("but {id}"))
                )
            }
            Effect::DropTemplate { template } => format!("drop_template({template})"),
        })
        .collect();
    write!(
        text,
        "; {}",
        if effects.is_empty() {
            "-".into()
        } else {
            effects.join(" ")
        }
    )
    .unwrap();
    text
}

fn run(path: &std::path::Path) -> usize {
    let text = std::fs::read_to_string(path).unwrap();
    let (mut job, mut verdict, mut expectations) = (None::<Job>, String::new(), 0);
    let mut ledger = String::new();
    for (number, line) in text.lines().enumerate() {
        let here = format!("{}:{}", path.display(), number + 1);
        let (word, rest) = line
            .split_once(' ')
            .map_or((line, ""), |(word, rest)| (word, rest.trim()));
        match word {
            "" | "#" => {}
            "submitted" => {
                let words = Words(rest.split_whitespace().collect());
                let spec = spec(&words);
                let blocked_by = spec.after.iter().map(|after| after.job.clone()).collect();
                job = Some(Job::new("j".into(), spec, Timestamp(0)).blocked_by(blocked_by));
            }
            "event" => {
                let present = job.as_mut().expect("submitted first");
                let decided = decide(present, &event(present, rest, 1000 * (number as i64 + 1)));
                verdict = show(&decided);
                ledger = show_ledger(&decided);
                if let Verdict::Move(movement) = decided {
                    assert!(
                        present.state.may_become(movement.job.state),
                        "{here}: illegal move"
                    );
                    *present = movement.job;
                }
            }
            "expect" => {
                assert_eq!(verdict, rest, "{here}");
                expectations += 1;
            }
            "ledger" => {
                assert_eq!(ledger, rest, "{here}");
                expectations += 1;
            }
            other => panic!("{here}: unknown word {other}"),
        }
    }
    expectations
}

#[test]
fn every_scenario_gives_the_verdicts_it_expects() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let expectations: usize = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| run(&entry.unwrap().path()))
        .sum();
    assert!(
        expectations > 40,
        "only {expectations} expectations were found"
    );
}
